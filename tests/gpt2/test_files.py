"""Files appear whole or not at all."""

import json

import pytest

from gpt2 import InputError
from gpt2.files import whole_file, write_json


def test_content_appears_only_when_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "result.json"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent  # the same disk, so the rename is one step
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_keeps_the_old_content_and_leaves_nothing_behind(tmp_path, error):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as temporary:
        temporary.write_text("new")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_the_file(tmp_path):
    with whole_file(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("I am not a folder")
    with pytest.raises(InputError, match="cannot write .*file/result.json: .*choose another"):
        with whole_file(tmp_path / "file" / "result.json"):
            pytest.fail("nothing to write to")


def test_folder_without_permission_is_an_input_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):  # the test may run as root, to whom every folder is open
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gpt2.files.tempfile.mkstemp", refuse)
    with pytest.raises(InputError, match="Permission denied"), whole_file(tmp_path / "result.json"):
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
    with pytest.raises(InputError, match="in the way"), whole_file(tmp_path / "name"):
        pass
