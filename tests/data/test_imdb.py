"""The film reviews: what is read of the archive, the three ways to cut them, and the way to the file."""

import hashlib
import http.server
import threading

import pandas as pd
import pytest

from data import download, imdb, load_dataset
from data.splits import cut_in_order
from gpt2.errors import InputError, RunError
from tests.data.reviews import text_of, write_archive


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """A folder with a stand-in archive, which is taken for the published one."""
    archive = write_archive(tmp_path / "assets/imdb" / imdb.ARCHIVE)
    monkeypatch.setattr(imdb, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    return tmp_path / "assets"


@pytest.fixture
def frame(assets):
    return imdb.read_reviews(assets / "imdb" / imdb.ARCHIVE)


def test_only_labelled_reviews_are_read_and_nothing_is_written(frame, tmp_path):
    assert len(frame) == 400 and set(frame["label"]) == {"pos", "neg"}
    assert not frame["text"].str.contains("Elsewhere|No label").any() and not frame["film"].isna().any()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [imdb.ARCHIVE]


def test_they_stand_in_the_order_of_the_reference(frame):
    """Test before train, positive before negative, and file names sorted as texts: 0_9, 10_9, 11_9, …, 1_9, 20_9"""
    names = sorted(f"{i}_9.txt" for i in range(100))
    expected = [text_of("test", "pos", int(name.split("_")[0])) for name in names]
    assert frame["text"][:100].tolist() == expected
    assert frame[["part", "label"]].drop_duplicates().to_numpy().tolist() == [
        ["test", "pos"],
        ["test", "neg"],
        ["train", "pos"],
        ["train", "neg"],
    ]
    assert frame["film"][[0, 2]].tolist() == ["tttest0000", "tttest0003"]  # reviews 0 and 11


def test_the_published_split_shuffles_all_reviews_twice(frame):
    train, validation, test = imdb.published_split(frame)
    assert [len(part) for part in (train, validation, test)] == [280, 40, 80]
    once = frame.sample(frac=1, random_state=123).reset_index(drop=True)
    twice = once.sample(frac=1, random_state=123)
    assert pd.concat([train, validation, test])["text"].tolist() == twice["text"].tolist()
    assert set(train["part"]) == {"train", "test"}  # the flaw: films in all parts
    assert set(train["film"]) & set(test["film"])


def test_the_published_sizes():
    parts = cut_in_order(pd.DataFrame({"text": range(imdb.REVIEWS)}))
    assert [len(part) for part in parts] == [35_000, 5_000, 10_000]


@pytest.mark.parametrize("protocol", ["strict", "grouped"])
def test_the_authors_split_keeps_their_test_part(frame, protocol, assets):
    train, validation, test = imdb.split(assets / "imdb" / imdb.ARCHIVE, protocol, seed=5)
    assert test["text"].tolist() == frame[frame["part"] == "test"]["text"].tolist()
    assert set(train["part"]) == set(validation["part"]) == {"train"}
    assert len(train) + len(validation) == 200 - 2 * 4  # of five equal reviews of each label one is kept
    assert 0.07 * 192 <= len(validation) <= 19
    texts = [set(part["text"]) for part in (train, validation, test)]
    assert sum(map(len, texts)) == len(set().union(*texts))
    assert not (set(train["film"]) | set(validation["film"])) & set(test["film"])
    shared = set(train["film"]) & set(validation["film"])
    assert not shared if protocol == "grouped" else shared
    other = imdb.split(assets / "imdb" / imdb.ARCHIVE, protocol, seed=6)[1]
    assert set(other["text"]) != set(validation["text"])


def test_a_training_review_that_is_also_in_the_test_part_is_left_out(frame):
    frame.loc[frame.index[-1], "text"] = frame["text"][0]
    train, validation, test = imdb.authors_split(frame, 1, by_film=False)
    assert frame["text"][0] in set(test["text"])
    assert frame["text"][0] not in {*train["text"], *validation["text"]}


def test_load_dataset_knows_it(assets):
    dataset = load_dataset("imdb", assets=assets)
    assert (dataset.name, dataset.protocol, dataset.classes, dataset.positive) == (
        "imdb",
        "published",
        ("neg", "pos"),
        "pos",
    )
    assert list(dataset.train.columns) == ["text", "label"] and len(dataset.test) == 80
    assert "Raschka" in dataset.notes[0]
    assert load_dataset("imdb", assets=assets, seed=9).train.equals(dataset.train)
    strict = load_dataset("imdb", "strict", seed=9, assets=assets)
    assert len(strict.test) == 200 and not strict.train.equals(load_dataset("imdb", "strict", assets=assets).train)
    with pytest.raises(InputError, match="not for imdb; choose the protocol grouped"):
        load_dataset("imdb", assets=assets, group_near_duplicates=True)


def test_near_copies_of_50_000_reviews_are_not_looked_for():
    from data import LEAKAGE_LIMIT

    assert imdb.REVIEWS * 0.9 > LEAKAGE_LIMIT  # training and test parts; Dataset.leakage() is None then


class Handler(http.server.BaseHTTPRequestHandler):
    archive = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        self.wfile.write(self.archive)

    def log_message(self, *_):
        pass


def test_it_is_downloaded_once(assets, tmp_path, monkeypatch, capfd):
    Handler.archive = (assets / "imdb" / imdb.ARCHIVE).read_bytes()
    monkeypatch.setattr(download, "CACHE", tmp_path / "cache")
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(imdb, "URL", f"http://127.0.0.1:{server.server_port}/{imdb.ARCHIVE}")
    try:
        assert load_dataset("imdb").train.equals(load_dataset("imdb", assets=assets).train)
    finally:
        server.shutdown()
        server.server_close()
    assert [path.name for path in (tmp_path / "cache/imdb").iterdir()] == [imdb.ARCHIVE]
    assert load_dataset("imdb").name == "imdb"  # without the server: from the cache
    assert capfd.readouterr().err.count("downloaded http") == 1


def test_what_is_wrong_with_a_file_is_one_line(assets, tmp_path, monkeypatch):
    archive = assets / "imdb" / imdb.ARCHIVE
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not the published file"):
        load_dataset("imdb", assets=assets)
    with pytest.raises(InputError, match="cannot be read") as caught:
        imdb.read_reviews(archive)
    assert "\n" not in str(caught.value)
    write_archive(archive, reviews=0)
    with pytest.raises(InputError, match="has no reviews"):
        imdb.read_reviews(archive)
    monkeypatch.setattr(download, "CACHE", tmp_path / "empty")
    monkeypatch.setattr(imdb, "URL", "http://127.0.0.1:9/nothing.tar.gz")
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    with pytest.raises(RunError, match="FOLDER/imdb/aclImdb_v1.tar.gz"):
        load_dataset("imdb")
