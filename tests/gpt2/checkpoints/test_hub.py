"""Finding a checkpoint: local folder, cache, hub. The hub here is a small server in this process, or none at all."""

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import huggingface_hub.constants
import pytest

from gpt2 import InputError, load_gpt2, save_gpt2
from gpt2.checkpoints import hub as our_hub
from gpt2.checkpoints.hub import PRACTICE_FOLDER, Checkpoint, find_checkpoint, unreachable

REPOSITORY = Path(__file__).parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def empty_machine(monkeypatch, tmp_path):
    """No assets folder, an empty Hugging Face cache, a hub that refuses every connection, no earlier probe."""
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    unreachable.cache_clear()
    yield
    unreachable.cache_clear()


@pytest.fixture
def no_download(monkeypatch):
    monkeypatch.setattr(our_hub, "download", lambda name: pytest.fail(f"tried to download {name}"))


def put(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def put_in_cache(tmp_path, *names, name="gpt2"):
    repository = tmp_path / "cache" / f"models--openai-community--{name}"
    put(repository / "refs")
    (repository / "refs" / "main").write_text(COMMIT)
    return put(repository / "snapshots" / COMMIT, *names)


# --------------------------------------------------------------------------------------------- names, folders, files


def test_practice_is_bundled_and_asks_no_network(monkeypatch):
    monkeypatch.setattr(our_hub, "unreachable", lambda: pytest.fail("asked the network"))
    assert find_checkpoint("practice") == Checkpoint("practice", PRACTICE_FOLDER, "practice")
    assert {"config.json", "model.safetensors"} <= {file.name for file in PRACTICE_FOLDER.iterdir()}


def test_folder_or_file_of_ones_own_is_found_again_from_elsewhere(monkeypatch, tmp_path, no_download):
    folder = put(tmp_path / "mine", "config.json", "model.safetensors")
    monkeypatch.chdir(tmp_path)
    for source in ("mine", Path("mine"), str(folder)):
        found = find_checkpoint(source)
        assert (found.name, found.notes) == (None, ())
        assert Path(found.source) == folder, "an absolute path, for a later command in another folder"
        assert found.path.samefile(folder)
    assert find_checkpoint("mine/model.safetensors").path.samefile(folder / "model.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_checkpoint("~/mine").path == folder


@pytest.mark.parametrize("source", ["gpt3", "GPT2", "gpt2-small", "no/such/folder"])
def test_unknown_name_lists_the_known_ones(source, no_download):
    with pytest.raises(InputError, match=f"no model '{source}'.* auto, practice, gpt2, gpt2-medium,.*gpt2-xl"):
        find_checkpoint(source)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "auto"])
def test_assets_folder_comes_first(monkeypatch, tmp_path, no_download, name):
    asked = "gpt2" if name == "auto" else name
    put_in_cache(tmp_path, "config.json", "model.safetensors", name=asked)
    folder = put(tmp_path / "assets" / asked, "model.safetensors")
    expected = Checkpoint(asked, folder, asked)
    assert find_checkpoint(name, assets=tmp_path / "assets") == expected
    monkeypatch.setenv("GPT2_PEFT_ASSETS", str(tmp_path / "assets"))
    assert find_checkpoint(name) == expected
    other = put(tmp_path / "other" / asked, "model.safetensors")
    assert find_checkpoint(name, assets=tmp_path / "other").path == other, "the option comes before the variable"


@pytest.mark.parametrize("name", ["gpt2", "auto"])
def test_missing_assets_folder_is_an_error(monkeypatch, tmp_path, no_download, name):
    with pytest.raises(InputError, match="the assets folder .*nowhere does not exist"):
        find_checkpoint(name, assets=tmp_path / "nowhere")
    monkeypatch.setenv("GPT2_PEFT_ASSETS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="GPT2_PEFT_ASSETS"):
        find_checkpoint(name)


def test_assets_folder_without_this_model_is_passed_over(tmp_path, no_download):
    put(tmp_path / "assets" / "gpt2", "config.json")  # no weights
    cached = put_in_cache(tmp_path, "config.json", "model.safetensors")
    assert find_checkpoint("gpt2", assets=tmp_path / "assets").path == cached


@pytest.mark.parametrize("name", ["gpt2", "auto"])
def test_hugging_face_cache_comes_next_and_needs_no_network(monkeypatch, tmp_path, no_download, name):
    cached = put_in_cache(tmp_path, "config.json", "model.safetensors")
    monkeypatch.setattr(our_hub, "unreachable", lambda: pytest.fail("asked the network"))
    assert find_checkpoint(name) == Checkpoint("gpt2", cached, "gpt2")


@pytest.mark.parametrize("cached", [["config.json"], ["model.safetensors"]])
def test_half_a_model_in_the_cache_does_not_count(tmp_path, no_download, cached):
    put_in_cache(tmp_path, *cached)
    assert find_checkpoint("auto").name == "practice"


# ------------------------------------------------------------------------------------------------- without a network


def test_auto_without_network_is_practice_and_says_why_in_two_lines(no_download):
    found = find_checkpoint("auto")
    assert (found.source, found.path, found.name) == ("practice", PRACTICE_FOLDER, "practice")
    assert len(found.notes) == 2 and all(len(note) < 160 and "\n" not in note for note in found.notes)
    assert re.search(r"practice model.*GPT-2 124M .*\(no network: Connection refused\)", found.notes[0])
    assert "assets" in found.notes[1]


def test_name_without_network_is_an_error_that_says_what_to_do(no_download):
    with pytest.raises(InputError, match=r"gpt2-xl .*\(no network: Connection refused\).*'practice'.*assets"):
        find_checkpoint("gpt2-xl")


def test_hub_that_never_answers_is_given_up(monkeypatch, no_download):
    monkeypatch.setattr(our_hub, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert unreachable() in ("no answer from the network", "no network: timed out")
        unreachable.cache_clear()
        assert find_checkpoint("auto").name == "practice"


def test_probe_stays_within_the_two_seconds_promised():
    assert our_hub.PROBE_SECONDS <= 1.5


def test_network_is_asked_once(monkeypatch, no_download):
    asked = []
    monkeypatch.setattr(our_hub, "why_unreachable", lambda url, seconds: asked.append((url, seconds)) or "no network")
    for _ in range(3):
        find_checkpoint("auto")
    assert asked == [("http://127.0.0.1:9", our_hub.PROBE_SECONDS)]


def test_offline_switch_of_hugging_face_is_respected(monkeypatch, no_download):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(our_hub, "why_unreachable", lambda *args: pytest.fail("asked the network"))
    assert "(HF_HUB_OFFLINE is set)" in find_checkpoint("auto").notes[0]
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        find_checkpoint("gpt2")


# ---------------------------------------------------------------------------------------------- downloading, for real


class Hub(http.server.ThreadingHTTPServer):
    """As much of huggingface.co as a download needs.

    ``cut``: it sends no byte of the weights beyond this one; ``cuts``: as many times, then it is well again.
    """

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.log = files, []
        self.cut, self.cuts = 0, float("inf")
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        asked = self.headers.get("Range")
        self.server.log.append((self.command, self.path, asked))
        content = self.server.files.get(self.path.rpartition("/")[2])
        if not self.path.startswith("/openai-community/gpt2-medium/resolve/main/") or content is None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(re.fullmatch(r"bytes=(\d+)-\d*", asked)[1]) if asked else 0
        weights = with_body and self.path.endswith("model.safetensors")
        dies = weights and self.server.cut > 0 and self.server.cuts > 0
        self.server.cuts -= dies
        if dies and start >= self.server.cut:
            self.close_connection = True
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{len(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if with_body:
            self.wfile.write(content[start : self.server.cut if dies else None])
            self.close_connection = dies

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path, tiny_model):
    save_gpt2(tiny_model, tmp_path / "published")
    server = Hub({file.name: file.read_bytes() for file in (tmp_path / "published").iterdir()})
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


FIND = """
import json, sys, time
time.sleep = lambda seconds: None  # the library waits between its attempts
import huggingface_hub.constants
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1_000  # it continues from the last whole chunk
import gpt2.checkpoints.hub
gpt2.checkpoints.hub.PROBE_SECONDS = 60  # the server here always answers, on a busy machine just later
from gpt2.checkpoints.hub import find_checkpoint
from gpt2.errors import InputError, RunError
try:
    print(json.dumps(str(find_checkpoint(sys.argv[1]).path)))
except (InputError, RunError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2 if isinstance(error, InputError) else 1)
assert "torch" not in sys.modules
"""


def find_in_new_process(source, endpoint, tmp_path, **variables):
    """What a person meets: another process, in which huggingface_hub reads its settings from the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", FIND, source],
        cwd=REPOSITORY,
        env=environment | variables,
        capture_output=True,
        text=True,
    )


def test_download_then_cache(hub, tmp_path, tiny_model):
    first = find_in_new_process("gpt2-medium", hub.address, tmp_path, TQDM_POSITION="-1")  # a bar without a terminal
    assert first.returncode == 0, first.stderr
    announcement, path = first.stdout.splitlines()
    assert announcement == "Downloading openai-community/gpt2-medium (1,520 MB, once) ..."
    assert "100%" in first.stderr, "the library's progress bar stays"
    loaded = load_gpt2(json.loads(path))
    assert all(a.equal(b) for a, b in zip(loaded.parameters(), tiny_model.parameters(), strict=True))
    hub.log.clear()
    second = find_in_new_process("gpt2-medium", hub.address, tmp_path)
    assert (second.stdout, second.stderr) == (path + "\n", "")
    assert hub.log == [], "found in the cache, without asking"


def weights_fetched(hub):
    return [asked for verb, path, asked in hub.log if verb == "GET" and path.endswith("model.safetensors")]


def test_short_break_of_the_network_is_bridged_without_starting_again(hub, tmp_path, tiny_model):
    hub.cut, hub.cuts = 34_500, 1
    done = find_in_new_process("gpt2-medium", hub.address, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert weights_fetched(hub) == [None, "bytes=34000-"]
    loaded = load_gpt2(json.loads(done.stdout.splitlines()[-1]))
    assert all(a.equal(b) for a, b in zip(loaded.parameters(), tiny_model.parameters(), strict=True))


def test_download_cut_in_the_middle_is_one_clear_line_and_can_be_repeated(hub, tmp_path, tiny_model):
    hub.cut = len(hub.files["model.safetensors"]) // 2
    cut = find_in_new_process("gpt2-medium", hub.address, tmp_path)
    assert cut.returncode == 1
    sentence = (
        r"error: the download of openai-community/gpt2-medium was interrupted \(.*\); run the same command again.*\n"
    )
    assert re.fullmatch(sentence, cut.stderr), "and no noise of the library"
    assert not list((tmp_path / "home").rglob("*.safetensors")), "half a file is not taken for a whole one"
    hub.cut = 0
    again = find_in_new_process("gpt2-medium", hub.address, tmp_path)
    assert again.returncode == 0, again.stderr
    loaded = load_gpt2(json.loads(again.stdout.splitlines()[-1]))
    assert all(a.equal(b) for a, b in zip(loaded.parameters(), tiny_model.parameters(), strict=True))


def test_model_that_the_hub_does_not_have_is_a_failed_run(hub, tmp_path):
    done = find_in_new_process("gpt2-large", hub.address, tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: the download of openai-community/gpt2-large was interrupted (" in done.stderr


def test_commands_without_network_print_nothing_but_the_sentence(tmp_path):
    auto = find_in_new_process("auto", "http://127.0.0.1:9", tmp_path)
    assert (json.loads(auto.stdout), auto.stderr, auto.returncode) == (str(PRACTICE_FOLDER), "", 0)
    named = find_in_new_process("gpt2", "http://127.0.0.1:9", tmp_path)
    assert named.returncode == 2 and named.stdout == ""
    assert named.stderr.startswith("error: gpt2 is not on this machine") and named.stderr.count("\n") == 1
    offline = find_in_new_process("gpt2", "http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    assert offline.returncode == 2 and "(HF_HUB_OFFLINE is set)" in offline.stderr
