"""Files appear whole or not at all."""

import json
import os
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from gpt2 import InputError
from gpt2.files import atomic_write, remove_unfinished, write_json


def test_content_appears_only_when_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "result.json"
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent  # the same disk, so the rename is one step
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_keeps_the_old_content_and_leaves_nothing_behind(tmp_path, error):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("new")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_the_file(tmp_path):
    with atomic_write(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("I am not a folder")
    with pytest.raises(InputError, match="cannot write .*file/result.json: .*choose another"):
        with atomic_write(tmp_path / "file" / "result.json"):
            pytest.fail("nothing to write to")


def test_folder_without_permission_is_an_input_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):  # the test may run as root, to whom every folder is open
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gpt2.files.tempfile.mkstemp", refuse)
    with pytest.raises(InputError, match="Permission denied"), atomic_write(tmp_path / "result.json"):
        pytest.fail("nothing to write to")


def test_json_keeps_letters_readable_and_broken_content_writes_nothing(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"text": "naïve 🙂"})
    assert "naïve 🙂" in path.read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        write_json(path, {"text": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "naïve 🙂"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "name").mkdir()
    with pytest.raises(InputError, match="in the way"), atomic_write(tmp_path / "name"):
        pass


@pytest.mark.parametrize(
    "error", [OSError(28, os.strerror(28)), SafetensorError("Error while serializing: I/O error: … (os error 28)")]
)
def test_a_full_disk_names_the_file_that_was_wanted(error, tmp_path):
    with pytest.raises(OSError, match="No space left on device") as raised, atomic_write(tmp_path / "a.bin"):
        raise error
    assert (raised.value.errno, raised.value.filename) == (28, str(tmp_path / "a.bin"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), FileNotFoundError(2, "no", "x"), OSError("?")])
def test_other_errors_are_not_about_this_file(error, tmp_path):
    with pytest.raises(OSError) as raised, atomic_write(tmp_path / "a.bin"):
        raise error
    assert raised.value is error


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files")
def test_safetensors_say_it_in_their_own_words(tmp_path):
    """What a real write beyond the limit raises, so that a new version's wording is noticed."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"), atomic_write(tmp_path / "a.safetensors") as temporary:
            save_file({"a": torch.zeros(100_000)}, temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_unfinished_files_are_removed_and_no_others(tmp_path):
    (tmp_path / "adapter").mkdir()
    ours = [".curves-abcd1234.png", "adapter/.adapter_model-_0_0_0_0.safetensors", ".state-zzzzzzzz.safetensors"]
    theirs = [".hidden", "curves.png", ".lock", ".my-file.png", "a-abcd1234.png"]
    for name in ours + theirs:
        (tmp_path / name).write_text("x")
    remove_unfinished(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(theirs)


def test_json_keeps_a_file_name_that_is_not_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9.csv")  # what Python makes of such a name: a lone surrogate
    write_json(tmp_path / "config.json", {"data": name, "label": "é"})
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"data": name, "label": "é"} and "é" in text
