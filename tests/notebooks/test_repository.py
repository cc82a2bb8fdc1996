"""The repository's name stands in one file, and everything else agrees with it."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository():
    return importlib.import_module("tools.repository")


def test_everything_agrees_with_the_constant(repository):
    files = repository.files(ROOT)
    for file in files:
        names = repository.names_in(file.read_text(encoding="utf-8"))
        assert set(names) <= {repository.REPOSITORY}, file
        assert len(names) == 2 or file.suffix != ".ipynb", f"{file}: expected one badge and one setup cell"
    assert len([file for file in files if file.suffix == ".ipynb"]) >= 32


def test_the_command_writes_another_name_everywhere(repository, monkeypatch, tmp_path, capsys):
    ours = [file.relative_to(ROOT) for file in repository.files(ROOT)]
    for file in ours:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.setattr(importlib.import_module("tools.files"), "ROOT", tmp_path)
    repository.main(["--repository", "some-one/gpt2.course"])
    assert "notebooks/tools/repository.py: written" in capsys.readouterr().out
    for file in ours:
        old, new = ((folder / file).read_text(encoding="utf-8") for folder in (ROOT, tmp_path))
        assert set(repository.names_in(new)) <= {"some-one/gpt2.course"}
        assert repository.rename(new, repository.REPOSITORY) == old  # nothing else has changed
    assert 'REPOSITORY = "some-one/gpt2.course"\n' in (tmp_path / "notebooks/tools/repository.py").read_text()
    assert "/some-one/gpt2.course && cd gpt2.course\n" in (tmp_path / "notebooks/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["course", "a/b/c", "https://github.com/a/b", "a b/c", "a/"])
def test_a_name_that_is_none_gets_one_line(repository, monkeypatch, capsys, name):
    cli = importlib.import_module("common.cli")
    monkeypatch.setattr(sys, "argv", ["repository.py", "--repository", name])
    with pytest.raises(SystemExit, match="2"):
        cli.run(repository.main)
    error = capsys.readouterr().err
    assert "is not a repository's name; expected OWNER/NAME" in error and error.count("\n") == 1


def test_it_shows_the_present_name(repository, capsys):
    repository.main([])
    assert capsys.readouterr().out.startswith(f"{repository.REPOSITORY}\nnotebooks/")
