"""A tiny course in a temporary folder: one chapter of three exercises, plain Python, for the tools around chapters."""

import importlib
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]
SETUP = """\
import os, sys
from pathlib import Path

here = Path(os.environ["JPY_SESSION_NAME"])
root = next(place for place in here.parents if (place / "notebooks/course.py").is_file())
sys.path[:0] = [str(root / "notebooks")]
from course import check"""
TITLE = "# 01 Tiny\n\nReading 3 minutes, running 2 seconds"
CHECKS = """\
from course import Wrong, exercise


@exercise("01.1")
def double(answer):
    if answer(3) != 6:
        raise Wrong("three gives six")


@exercise("01.2")
def number(answer):
    if answer != 42:
        raise Wrong("the number is another one")


@exercise("01.3")
def word(answer):
    if answer != "tokens":
        raise Wrong("another word")
"""
STUBS = {"01.1": "def double(x):\n    return ...", "01.2": "number = ...", "01.3": "word = ..."}
ANSWERS = {"01.1": "def double(x):\n    return 2 * x", "01.2": "number = 42", "01.3": 'word = "tokens"'}
NAMES = {"01.1": "double", "01.2": "number", "01.3": "word"}


def make(answers: dict[str, str]) -> nbformat.NotebookNode:
    """The chapter with these answers, the stubs where there is none."""
    cells = [new_markdown_cell(TITLE, id="title"), new_code_cell(SETUP, id="setup")]
    cells.append(new_code_cell("print(1 / 4)", id="quarter"))
    for name, stub in STUBS.items():
        dashed = name.replace(".", "-")
        cells.append(new_code_cell(answers.get(name, stub), id=f"exercise-{dashed}"))
        cells.append(new_code_cell(f'check("{name}", {NAMES[name]})', id=f"check-{dashed}"))
    return new_notebook(cells=cells)


@pytest.fixture
def scripts(monkeypatch):
    """The teachers' tools, as modules."""
    names = ("files", "grading", "handout", "classroom", "refresh")
    return SimpleNamespace(**{name: importlib.import_module(f"tools.{name}") for name in names})


@pytest.fixture
def tiny(tmp_path, monkeypatch, scripts) -> SimpleNamespace:
    """The tiny course. ``tiny.hand_in(student, notebook or bytes)`` hands in; ``tiny.call(script, …)`` is a command."""
    notebooks = tmp_path / "tiny" / "notebooks"
    (notebooks / "checks").mkdir(parents=True)
    (notebooks / "solutions").mkdir()
    shutil.copy(ROOT / "notebooks" / "course.py", notebooks)
    (notebooks / "checks" / "__init__.py").touch()
    (notebooks / "checks" / "chapter_01.py").write_text(CHECKS)
    nbformat.write(make({}), notebooks / "01_tiny.ipynb")
    nbformat.write(make(ANSWERS), notebooks / "solutions" / "01_tiny.ipynb")
    for module in (scripts.files, scripts.handout):
        monkeypatch.setattr(module, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(scripts.files, "SOLUTIONS", notebooks / "solutions")
    monkeypatch.setattr(scripts.refresh, "sms_data", lambda: True)
    submissions = tmp_path / "submissions"

    def hand_in(student: str, notebook: nbformat.NotebookNode | bytes, name: str = "01_tiny.ipynb") -> None:
        (submissions / student).mkdir(parents=True, exist_ok=True)
        file = submissions / student / name
        file.write_bytes(notebook if isinstance(notebook, bytes) else nbformat.writes(notebook).encode())

    def call(script: str, *arguments: object) -> int:
        cli, module = importlib.import_module("common.cli"), getattr(scripts, script)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.run(module.main)
        return ended.value.code

    return SimpleNamespace(
        notebooks=notebooks,
        submissions=submissions,
        hand_in=hand_in,
        call=call,
        make=make,
        answers=ANSWERS,
        setup=SETUP,
    )
