"""Downloads against a server of our own: the good case, and each way in which a network lets one down."""

import gzip
import hashlib
import http.server
import io
import socket
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from data import download, load_dataset, sms_spam
from gpt2.errors import InputError, RunError

CONTENT = b"ham\thello\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def archive(member="messages"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as files:
        files.writestr(member, CONTENT)
    return buffer.getvalue()


LARGE = bytes(30_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {".zip": archive(), ".gz": gzip.compress(CONTENT)}.get(Path(self.path).suffix, CONTENT)
        body = LARGE if self.path == "/large" else body
        if self.path == "/missing":
            return self.send_error(404)
        self.send_response(200)
        promised = len(body) + (1000 if self.path.startswith("/broken") else 0)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def closed():
    """The address of a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/file"


@pytest.mark.parametrize(("path", "member"), [("/file", None), ("/unsized", None), ("/file.zip", "messages")])
def test_good_download_says_one_line(server, tmp_path, capfd, path, member):
    target = tmp_path / "new" / "file"
    assert download.fetch(server + path, target, SHA256, member) == target
    assert target.read_bytes() == CONTENT
    assert [item.name for item in target.parent.iterdir()] == ["file"]
    out, error = capfd.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert server + path in error and str(target) in error


@pytest.mark.parametrize(
    ("path", "member", "sha256", "sentence"),
    [
        ("/missing", None, SHA256, "the server answered 404"),
        ("/broken", None, SHA256, "interrupted"),
        ("/broken.zip", "messages", SHA256, "interrupted"),
        ("/file", None, "0" * 64, "not the expected file"),
        ("/file.zip", "messages", "0" * 64, "not the expected file"),
        ("/file", "messages", SHA256, "not a zip archive with messages"),
        ("/file.zip", "other", SHA256, "not a zip archive with other"),
    ],
)
def test_failed_download_leaves_nothing(server, tmp_path, capfd, path, member, sha256, sentence):
    with pytest.raises(RunError, match=sentence) as caught:
        download.fetch(server + path, tmp_path / "file", sha256, member)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_gzip_file_is_known_by_what_it_holds(server, tmp_path):
    file = download.fetch(server + "/file.gz", tmp_path / "file.gz", SHA256)
    file.write_bytes(gzip.compress(CONTENT, compresslevel=1))  # packed anew, by somebody else
    assert download.local_or_download("file.gz", "http://unused", SHA256, assets=tmp_path) == file
    for damaged in (file.read_bytes()[:-1], CONTENT, gzip.compress(CONTENT + b"more")):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="not the published file"):
            download.local_or_download("file.gz", "http://unused", SHA256, assets=tmp_path)


def test_an_archive_is_known_by_its_own_bytes(server, tmp_path):
    """A .tar.gz is read as it was published; its sha256 is that of the file, not of what is packed."""
    packed = gzip.compress(CONTENT, mtime=0)
    (tmp_path / "file.tar.gz").write_bytes(packed)
    found = download.local_or_download(
        "file.tar.gz", "http://unused", hashlib.sha256(packed).hexdigest(), assets=tmp_path
    )
    assert found == tmp_path / "file.tar.gz"
    with pytest.raises(InputError, match="not the published file"):
        download.local_or_download("file.tar.gz", "http://unused", SHA256, assets=tmp_path)
    sha256 = hashlib.sha256(LARGE).hexdigest()
    assert download.fetch(server + "/large", tmp_path / "new.tar.gz", sha256).stat().st_size == len(LARGE)


def test_a_large_file_is_never_held_in_memory(server, tmp_path):
    sha256 = hashlib.sha256(LARGE).hexdigest()
    tracemalloc.start()
    try:
        download.fetch(server + "/large", tmp_path / "file", sha256)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(LARGE) / 2


def test_a_failed_download_keeps_the_older_file(server, tmp_path):
    (tmp_path / "file").write_bytes(b"older")
    with pytest.raises(RunError):
        download.fetch(server + "/broken", tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == b"older"


def test_connection_refused(closed, tmp_path, capfd):
    with pytest.raises(RunError, match="no network"):
        download.fetch(closed, tmp_path / "file", SHA256, timeout=60)
    assert capfd.readouterr() == ("", "")


def test_unwritable_destination(server, tmp_path):
    (tmp_path / "file").write_bytes(b"in the way of a folder")
    with pytest.raises(RunError, match="cannot write"):
        download.fetch(server + "/file", tmp_path / "file" / "below", SHA256)


def test_assets_then_cache_then_download(server, closed, tmp_path, monkeypatch):
    assets, cache = tmp_path / "assets", tmp_path / "cache"
    monkeypatch.setattr(download, "CACHE", cache)
    (assets / "a").mkdir(parents=True)

    found = download.local_or_download("a/file", server + "/file", SHA256, assets=assets)
    assert found == cache / "a" / "file"  # not in assets: downloaded
    assert download.local_or_download("a/file", closed, SHA256) == found  # now in the cache
    (assets / "a" / "file").write_bytes(CONTENT)
    assert download.local_or_download("a/file", closed, SHA256, assets=assets) == assets / "a" / "file"
    monkeypatch.setenv("GPT2_PEFT_ASSETS", str(assets))
    assert download.local_or_download("a/file", closed, SHA256) == assets / "a" / "file"

    (assets / "a" / "file").write_bytes(b"damaged")
    with pytest.raises(InputError, match="not the published file"):
        download.local_or_download("a/file", closed, SHA256)
    with pytest.raises(InputError, match="does not exist"):
        download.local_or_download("a/file", closed, SHA256, assets=tmp_path / "nowhere")


def test_a_damaged_cache_is_replaced(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "CACHE", tmp_path)
    (tmp_path / "file").write_bytes(b"damaged")
    assert download.local_or_download("file", server + "/file", SHA256).read_bytes() == CONTENT


def test_sources_without_a_network(closed, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(download, "CACHE", tmp_path)
    monkeypatch.setattr(sms_spam, "URL", closed)
    dataset = load_dataset("auto")
    assert dataset.name == "practice"
    assert dataset.protocol is None
    assert "not available" in dataset.notes[0] and "no network" in dataset.notes[0]
    assert dataset.train.equals(load_dataset("practice").train)
    assert len(load_dataset("practice").notes) == len(dataset.notes) - 1
    with pytest.raises(RunError, match="GPT2_PEFT_ASSETS=FOLDER"):
        load_dataset("sms")
    assert capfd.readouterr() == ("", "")


def test_auto_does_not_hide_a_damaged_local_file(tmp_path):
    (tmp_path / "sms-spam").mkdir()
    (tmp_path / "sms-spam" / "SMSSpamCollection").write_bytes(b"damaged")
    with pytest.raises(InputError, match="not the published file"):
        load_dataset("auto", assets=tmp_path)


def test_unknown_source():
    with pytest.raises(InputError, match="practise.*auto, sms, imdb, practice, unseen-words, unseen-order or a path"):
        load_dataset("practise")
    with pytest.raises(InputError, match="does not exist"):
        load_dataset("practise.csv")
