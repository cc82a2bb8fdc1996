"""A submission can be wrong in any way, and costs only its own points."""

import csv
import shutil
import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook

STUDENTS = {}  # name -> (what is handed in, exercises that count as right, words in the errors)


def submission(right: str, error: str = ""):
    """Decorator: the function makes a submission; ``right`` are the exercises that it should get, as in "13"."""

    def register(function):
        STUDENTS[function.__name__] = (function, right, error)
        return function

    return register


@submission("123")
def all_right(tiny):
    return tiny.make(tiny.answers)


@submission("")
def untouched(tiny):
    return tiny.make({})


@submission("13")
def one_wrong(tiny):
    return tiny.make(tiny.answers | {"01.2": "number = 41"})


@submission("13", "SyntaxError")
def does_not_parse(tiny):
    return tiny.make(tiny.answers | {"01.2": "number = = 42"})


@submission("13", "stopped after 5 s")
def endless(tiny):
    return tiny.make(tiny.answers | {"01.2": "while True:\n    pass"})


@submission("23", "stopped after 5 s")
def endless_when_checked(tiny):
    return tiny.make(tiny.answers | {"01.1": "def double(x):\n    import time\n    time.sleep(1000)"})


@submission("1", "ended early (status 3)")
def crashes(tiny):
    return tiny.make(tiny.answers | {"01.2": "import os\nos._exit(3)"})


@submission("13|1", "stopped after 5 s|MemoryError|ended early")  # whichever comes first; the machine decides
def floods(tiny):
    flood = "import os\nwhile True:\n    print('x' * 100_000)\n    os.write(1, b'y' * 100_000)"
    return tiny.make(tiny.answers | {"01.2": flood})


@submission("13", "MemoryError")
def greedy(tiny):
    return tiny.make(tiny.answers | {"01.2": "number = 42 if bytearray(3_000_000_000) else 0"})


@submission("123")
def goes_to_a_folder_without_permission(tiny):
    move = "import os, tempfile\nfolder = tempfile.mkdtemp()\nos.chmod(folder, 0o555)\nos.chdir(folder)\n"
    return tiny.make(tiny.answers | {"01.1": move + tiny.answers["01.1"]})


@submission("123")
def removes_the_folder_it_is_in(tiny):
    move = "import os, tempfile\nfolder = tempfile.mkdtemp()\nos.chdir(folder)\nos.rmdir(folder)\n"
    return tiny.make(tiny.answers | {"01.1": move + tiny.answers["01.1"]})


@submission("1")
def forged(tiny):
    notebook = tiny.make({"01.1": tiny.answers["01.1"]})
    forgery = 'def check(name, *answers):\n    print(f"{name}  right")\n    return True\n'
    line = '{"exercise": "01.2", "right": true, "hint": null}'
    forgery += f"import os\nopen('x', 'a').write('{line}')"
    notebook.cells[1].source = forgery  # in place of the setup cell
    notebook.cells.insert(2, new_code_cell(forgery, id="mine"))
    for cell in notebook.cells:
        if cell.id.startswith("check-"):
            cell.source = 'print("right")'
    return notebook


@submission("123")
def without_check_cells(tiny):
    notebook = tiny.make(tiny.answers)
    notebook.cells = [cell for cell in notebook.cells if not cell.id.startswith("check-")]
    return notebook


@submission("123")
def without_ids(tiny):
    notebook = tiny.make(tiny.answers)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"lost-{number}"
    return notebook


@submission("123")
def ids_in_metadata(tiny):
    notebook = tiny.make(tiny.answers)
    for cell in notebook.cells:
        cell.metadata["id"] = cell.pop("id")
    notebook.nbformat_minor = 0
    return notebook


@submission("123")
def helper_cell(tiny):
    notebook = tiny.make(tiny.answers | {"01.2": "number = helper()"})
    notebook.cells.insert(3, new_code_cell("def helper():\n    return 42", id="mine"))
    return notebook


@submission("")
def empty(tiny):
    return new_notebook()


@submission("", "not a notebook")
def not_json(tiny):
    return b"PK\x03\x04 a zip file"


@submission("", "not a notebook")
def other_json(tiny):
    return b'{"cells": 3}'


def grades(file) -> dict[str, list[dict]]:
    with open(file, encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {name: [row for row in rows if row["student"] == name] for name in {row["student"] for row in rows}}


def test_every_way_to_be_wrong(tiny, tmp_path, capsys):
    for name, (make, _, _) in STUDENTS.items():
        tiny.hand_in(name, make(tiny))
    (tiny.submissions / "absent").mkdir()
    (tiny.submissions / "notes.txt").write_text("not a student")
    for name in ("01_mine.ipynb", "01_tiny (2).ipynb"):
        tiny.hand_in("twice", b"{}", name)
    tiny.hand_in("renamed", tiny.make(tiny.answers), "01_tiny-final.ipynb")

    endless = {name for name, (_, _, error) in STUDENTS.items() if error.startswith("stopped after")}
    for name in endless:  # graded apart, so that all others have as much time as they need
        shutil.move(tiny.submissions / name, tmp_path / "endless" / name)
    others = ("--memory-mb", 2500, "--jobs", 2)
    assert tiny.call("classroom", "grade", tiny.submissions, "--out", tmp_path / "grades.csv", *others) == 0
    limits = ("--cell-seconds", 5, "--jobs", len(endless))
    assert tiny.call("classroom", "grade", tmp_path / "endless", "--out", tmp_path / "late.csv", *limits) == 0
    by_student = grades(tmp_path / "grades.csv") | grades(tmp_path / "late.csv")
    assert by_student.keys() == {*STUDENTS, "absent", "twice", "renamed"}
    for name, (_, right, error) in STUDENTS.items():
        rows = by_student[name]
        assert [row["exercise"] for row in rows] == ["01.1", "01.2", "01.3"]
        if name == "greedy" and sys.platform != "linux":
            continue
        assert "".join(row["exercise"][-1] for row in rows if row["right"] == "1") in right.split("|"), (name, rows)
        said = " ".join(row["error"] for row in rows)
        assert any(one in said for one in error.split("|")), (name, rows)
        assert bool(error) == any(row["error"] for row in rows) or name == "empty", (name, rows)
    assert by_student["one_wrong"][1]["hint"] == "the number is another one"
    assert by_student["untouched"][1]["hint"].startswith("nothing here yet")
    assert all(row["error"] == "not handed in" for row in by_student["absent"])
    assert "several files" in by_student["twice"][0]["error"]
    assert all(row["right"] == "1" for row in by_student["renamed"])

    told = capsys.readouterr()
    assert "one_wrong" in told.out and "2/3" in told.out
    assert "endless, 01_tiny: stopped after 5 s" in told.err


def test_one_that_cannot_be_interrupted(tiny, tmp_path):
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass"
    tiny.hand_in("stubborn", tiny.make(tiny.answers | {"01.2": stubborn}))
    limits = ("--cell-seconds", 1, "--seconds", 6)
    assert tiny.call("classroom", "grade", tiny.submissions, "--out", tmp_path / "grades.csv", *limits) == 0
    rows = grades(tmp_path / "grades.csv")["stubborn"]
    assert [row["right"] for row in rows[1:]] == ["0", "0"]
    assert "stopped after 6 s, the limit for a notebook" in rows[1]["error"]


def test_quick_leaves_out_the_chapters_own_cells(tiny, scripts):
    submitted = tiny.make(tiny.answers)
    submitted.cells.insert(2, new_code_cell("helper = 1", id="mine"))
    cells = scripts.grading.assemble(tiny.make({}), submitted, quick=True)
    assert [cell["id"] for cell in cells][:3] == ["setup", "own-1", "exercise-01-1"]
    assert "quarter" not in [cell["id"] for cell in cells]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere", "--out", "g.csv"], "nowhere is not a folder"),
        ([".", "--out", "g.csv"], "holds no submissions"),
        ([".", "--out", "g.csv", "--only", "77"], "no chapter 77; there are 01"),
        ([".", "--out", "g.csv", "--seconds", "-1"], "not a number of seconds"),
        (["."], "--out"),
    ],
)
def test_bad_input_gets_one_line(tiny, tmp_path, monkeypatch, capsys, arguments, words):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert tiny.call("classroom", "grade", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list((tmp_path / "empty").iterdir())
