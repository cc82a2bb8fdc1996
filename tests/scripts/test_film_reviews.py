"""The film reviews through the commands, with a stand-in archive: long texts are truncated, packed, and classified."""

import hashlib
import json
from pathlib import Path

import pytest

from data import imdb
from gpt2.errors import InputError
from gpt2.metrics import wilson
from reproduction import runs
from reproduction.evidence import messages_of, published_count
from reproduction.report import write_report
from reproduction.results import collect
from reproduction.rows import SPLITS, rows
from reproduction.running import Settings, run_row
from tests.data.reviews import write_archive


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    archive = write_archive(tmp_path / "assets/imdb" / imdb.ARCHIVE, reviews=60)
    monkeypatch.setattr(imdb, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    return tmp_path / "assets"


def test_a_run_on_film_reviews(reviews, command, tmp_path):
    out = tmp_path / "run"
    common = ["--model", "practice", "--data", "imdb", "--assets", reviews, "--epochs", 1]
    result = command("finetune_spam", *common, "--protocol", "grouped", "--max-length", 12, "--out", out)
    assert result.status == 0, result.err
    assert "imdb: " in result.out and "grouped split" in result.out and "Truncated to 12 tokens" in result.out
    config = json.loads((out / "config.json").read_text())
    assert (config["data"], config["protocol"], config["max_length"]) == ("imdb", "grouped", 12)
    assert config["classes"] == ["neg", "pos"] and config["positive"] == "pos"
    assert json.loads((out / "metrics.json").read_text())["test"]["n"] == 120
    answer = command("classify", out, "A fine film, I saw it twice. " * 20)
    assert answer.status == 0 and answer.out.split("\t")[0] in ("neg", "pos")


def test_a_missing_archive_is_one_line(command, tmp_path, monkeypatch):
    monkeypatch.setattr("data.download.CACHE", tmp_path / "empty")
    monkeypatch.setattr(imdb, "URL", "http://127.0.0.1:9/aclImdb_v1.tar.gz")
    monkeypatch.setattr("data.download.why_unreachable", lambda url, timeout: "no network")
    said = command("finetune_spam", "--data", "imdb", "--model", "practice").one_line(1)
    assert "put a copy at FOLDER/imdb/aclImdb_v1.tar.gz and set GPT2_PEFT_ASSETS=FOLDER" in said


def test_the_published_rows_are_whole_numbers_of_reviews():
    for row in rows("imdb").values():
        assert [messages_of(row, part) for part in SPLITS] == [35_000, 5_000, 10_000]
        assert [round(10_000 * published_count(row, part) / messages_of(row, part)) for part in SPLITS] == [
            round(10_000 * row.published[part]) for part in SPLITS
        ]
    low, high = wilson(published_count(rows("imdb")["imdb-full"], "test"), 10_000)
    assert (round(low, 4), round(high, 4)) == (0.9133, 0.924)


def test_the_page_has_the_published_figures():
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    for row in rows("imdb").values():
        assert " | ".join(f"{100 * row.published[part]:.2f}" for part in SPLITS) in page


@pytest.mark.parametrize("protocol", ["published", "grouped"])
def test_its_rows_can_be_repeated_on_a_stand_in(protocol, reviews, tmp_path):
    settings = Settings(tmp_path / "out", protocol, "cpu", str(reviews), "practice", smoke=True)
    runs.open_folder(tmp_path / "out", "practice", True, "reproduce.py --rows imdb", machine(), "imdb")
    for row in rows("imdb").values():
        metrics = run_row(row, 123, settings)
        assert metrics["status"] == "finished" and metrics["test"]["n"] == 8 and metrics["epochs"] == 1
        config = json.loads((tmp_path / f"out/runs/{row.id}-{protocol}-123/config.json").read_text())
        assert (config["data"], config["max_length"], config["padding"]) == ("imdb", 256, "context")
    text = write_report(tmp_path / "out", collect(tmp_path / "out", str(reviews))).read_text(encoding="utf-8")
    assert "88.85 %" in text and "film reviews" in text and "spam" not in text.split("## Settings")[0]
    with pytest.raises(InputError, match="holds rows of imdb, and these are of sms"):
        runs.open_folder(tmp_path / "out", "practice", True, "reproduce.py", machine(), "sms")


@pytest.mark.slow
def test_a_row_runs_with_random_weights_of_its_own_size(reviews, tmp_path):
    settings = Settings(tmp_path / "out", "published", "cpu", str(reviews), "random", smoke=True)
    metrics = run_row(rows("imdb")["imdb-last-block"], 123, settings)
    assert metrics["status"] == "finished" and metrics["total_parameters"] == 124_441_346
    assert metrics["trainable_parameters"] == 7_090_946


def machine() -> dict:
    return {"processor": "a processor", "cores": 2, "system": "Linux", "python": "3.11", "torch": "2.13"}
