"""Points, delays, totals, feedback, success rates, alike answers, and the form that nbgrader reads."""

import csv
import os
import re
from datetime import datetime

import nbformat
import pytest

from tools import points
from tools.handed_in import find

LONG = """
def double(x):
    '''Twice {name}.'''
    {name} = []  # {name}
    for i in range(2):
        for j in range(x):
            {name}.append(i + j)
    total = sum({name}) - sum({name}) + len({name})
    return total if total > 0 else -total
"""


def table(path) -> list[dict]:
    with open(path, encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def graded(tiny, tmp_path, capsys):
    """Three students (one file late, one wrong), graded with everything on -> the folder with what was written."""
    tiny.hand_in("anna", tiny.make(tiny.answers | {"01.1": LONG.format(name="values")}))
    tiny.hand_in("ben", tiny.make(tiny.answers | {"01.1": LONG.format(name="things"), "01.2": "number = 41"}))
    tiny.hand_in("Cleo Müller_77_assignsubmission_file_", tiny.make(tiny.answers))
    (tmp_path / "points.csv").write_text("exercise,points\n01,2\n01.3,5\n")
    late = datetime(2026, 5, 2, 12, 0).timestamp()
    for path in tiny.submissions.rglob("*.ipynb"):
        os.utime(path, (late, late))
    (tmp_path / "times.csv").write_text("student,chapter,time\nanna,01,2026-04-30T23:00\nben,,2026-05-01T00:01\n")
    options = ("--weights", tmp_path / "points.csv", "--due", "2026-05-01", "--handed-in", tmp_path / "times.csv")
    options += (
        "--totals",
        tmp_path / "totals.csv",
        "--feedback",
        tmp_path / "feedback",
        "--statistics",
        "--similarity",
    )
    assert tiny.call("classroom", "grade", tiny.submissions, "--out", tmp_path / "grades.csv", *options) == 0
    (tmp_path / "told").write_text(capsys.readouterr().out)
    return tmp_path


def test_points_weights_and_delay(graded):
    rows = {(row["student"], row["exercise"]): row for row in table(graded / "grades.csv")}
    assert [rows["anna", f"01.{i}"]["points"] for i in (1, 2, 3)] == ["2.0", "2.0", "5.0"]
    assert [rows["ben", f"01.{i}"]["points"] for i in (1, 2, 3)] == ["1.8", "0.0", "4.5"]  # a day has begun
    assert rows["Cleo Müller", "01.3"]["points"] == "4.0"  # by the file's time: 36 hours
    marks = {"01_tiny": "7.2", "Total": "7.2", "Maximum": "9.0"}
    totals = table(graded / "totals.csv")
    assert totals[0] == {"Identifier": "Participant 77", "Full name": "Cleo Müller", **marks}
    assert totals[1]["Full name"] == "anna" and totals[1]["Identifier"] == ""


def test_totals_for_canvas(tiny, tmp_path, scripts):
    (task,), _ = find_in(tiny, tmp_path)
    row = {"student": "smith", "chapter": "01_tiny", "exercise": "01.1", "points": 1.0, "of": 2.0}
    points.write_totals(tmp_path / "canvas.csv", [row, row], [task], "canvas")
    who = {"Student": "smith", "ID": "88", "SIS Login ID": "", "Section": ""}
    assert table(tmp_path / "canvas.csv") == [{**who, "01_tiny": "2.0", "Total": "2.0", "Maximum": "4.0"}]


def find_in(tiny, tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "smith_88_01_tiny.ipynb").write_text("{}")
    original = {"01": tiny.notebooks / "01_tiny.ipynb"}
    return find(tmp_path / "flat", original, original)


def test_a_submission_writes_no_formula(tmp_path):
    points.write_table(tmp_path / "t.csv", ["a", "b"], [{"a": "=1+1", "b": -1.5}])
    assert table(tmp_path / "t.csv") == [{"a": "'=1+1", "b": "-1.5"}]


def test_feedback_says_what_the_check_says(graded):
    page = (graded / "feedback" / "ben.md").read_text(encoding="utf-8")
    assert page.startswith("# ben: 6.3 of 9 points") and "Handed in late: 10% less" in page
    assert "| 01.2 | 0 of 2 | the number is another one |" in page
    assert sorted(file.name for file in (graded / "feedback").iterdir()) == ["Cleo Müller.md", "anna.md", "ben.md"]


def test_statistics_and_similarity(graded):
    told = (graded / "told").read_text()
    assert re.search(r"01\.2 +2 +3 +67%  1 x the number is another one", told)
    assert "anna and ben: 01.1 100%" in told and "Cleo" not in told.split("Nearly the same")[1]


@pytest.mark.parametrize(
    "option, text, words",
    [
        ("--weights", "a,b\n1,2\n", "expected the columns exercise,points"),
        ("--weights", "exercise,points\n01.1,-1\n", "are not a number from 0"),
        ("--handed-in", "student,time\nanna,yesterday\n", "the time as 2026-05-31T23:59"),
    ],
)
def test_a_table_that_cannot_be_read_gets_one_line(tiny, tmp_path, capsys, option, text, words):
    tiny.hand_in("anna", tiny.make(tiny.answers))
    (tmp_path / "table.csv").write_text(text)
    out = ("--out", tmp_path / "grades.csv", option, tmp_path / "table.csv")
    assert tiny.call("classroom", "grade", tiny.submissions, *out) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "grades.csv").exists()


def test_nbgrader_gets_its_metadata_and_the_solution_between_its_marks(tiny, tmp_path, scripts):
    """What nbgrader's documentation asks of schema version 3."""
    out = tiny.notebooks.parent / "nb"
    (tmp_path / "points.toml").write_text('"01.2" = 4\n')
    assert tiny.call("classroom", "nbgrader", out, "--weights", tmp_path / "points.toml") == 0
    notebook = nbformat.read(out / "source" / "01_tiny" / "01_tiny.ipynb", as_version=4)
    nbformat.validate(notebook)
    marks = [cell.metadata["nbgrader"] for cell in notebook.cells]
    assert len({mark["grade_id"] for mark in marks}) == len(marks)
    for cell, mark in zip(notebook.cells, marks, strict=True):
        assert mark["schema_version"] == 3 and re.fullmatch(r"[\w-]+", mark["grade_id"])
        assert all(isinstance(mark[name], bool) for name in ("grade", "solution", "locked", "task"))
        assert ("points" in mark) == mark["grade"] and mark["cell_type"] == cell.cell_type
        assert mark["solution"] == ("### BEGIN SOLUTION" in cell.source) != mark["locked"]
    assert [mark["points"] for mark in marks if mark["grade"]] == [1.0, 4.0, 1.0]
    stub = re.sub(r"### BEGIN SOLUTION.*### END SOLUTION", "", notebook.cells[3].source, flags=re.DOTALL)
    assert "def double(x):" in stub and "2 * x" not in stub
    ran = scripts.files.execute(out / "source" / "01_tiny" / "01_tiny.ipynb", cwd=tiny.notebooks)
    assert ran.cells[4].outputs[0].text == "01.1  right\n"
