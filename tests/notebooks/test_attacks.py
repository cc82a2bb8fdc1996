"""What a submission may try to be called right: none of it must work, nor cost another exercise its points."""

import csv
import importlib

import pytest

WRONG = "def double(x):\n    return 0\n"
LINE = "{'exercise': '01.1', 'right': True, 'hint': '', 'error': '', 'seconds': 0, 'records': []}"
ATTACKS = {
    "replaces the function that looks": "import course\ncourse.look = course._look = lambda *a: None",
    "replaces check": "import course\ncourse.check = check = lambda *a: True",
    "replaces the check in the register": "import course\ncourse.CHECKS['01.1'] = lambda answer: None",
    "empties the register": "import course\ncourse.CHECKS.clear()\ncourse.CHECKS['01.1'] = print",
    "replaces the code of a check": "import course\ncourse.CHECKS['01.1'].__code__ = (lambda answer: None).__code__",
    "replaces Wrong's hint": "import course\ncourse._one_line = lambda *a: None",
    "replaces Wrong in the checks": """
import checks.chapter_01 as c, course
c.Wrong = lambda hint: SystemExit(hint)
course._one_line = lambda *a: None
""",
    "shadows a builtin": """
import checks.chapter_01 as c
c.any = c.isinstance = lambda *a: True
c.exercise = c.Wrong = None
""",
    "replaces a builtin": "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.any = lambda *a: False",
    "replaces JSON": """
import json
real = json.dumps
json.dumps = lambda x, **options: real(x, **options).replace("false", "true")
""",
    "replaces the recorder": """
import tools.replay as r
r.record = lambda answers: (answers, lambda: [{"calls": [], "trouble": ""}])
""",
    "replaces the watcher": """
import course, tools.guard
tools.guard.Guard.replaced = lambda self: None
course.look = lambda *a: None
""",
    "equals everything": """
class Yes(int):
    __eq__ = __ge__ = __le__ = lambda *a: True
    __ne__ = lambda *a: False

def double(x):
    return Yes(0)
""",
    "writes to every file": f"""
import json, os
line = json.dumps({LINE}).encode() + b"\\n"
for number in range(3, 64):
    try:
        os.write(number, line)
        os.write(number, b"0" * 64 + b" " + line)
    except OSError:
        pass
""",
    "prints a forged line": f"print({LINE!r})\nprint('01.1  right', flush=True)",
    "calls the reporter that it finds in the frames": f"""
import sys
frame = sys._getframe()
while frame:
    if say := frame.f_locals.get("say"):
        try:
            say({LINE})
        except Exception:
            pass
    frame = frame.f_back
""",
    "calls the reporter that it finds in memory": f"""
import gc
for thing in gc.get_objects():
    if getattr(thing, "__name__", "") == "say":
        try:
            thing({LINE})
        except Exception:
            pass
""",
    "sets the verdict that it finds in the frames": """
def double(x):
    import sys
    frame = sys._getframe()
    while frame:
        for name in ("hint", "error"):
            frame.f_locals[name] = None
        frame.f_locals.get("line", {}).update(right=True)
        frame = frame.f_back
    return 0
""",
    "replaces the check while it runs": """
def double(x):
    import course
    course._one_line = lambda *a: None
    return 0
""",
}


def graded(tiny, tmp_path, students: dict[str, str], inside: bool) -> dict[str, list[dict]]:
    """What the grader says to these cells of exercise 01.1; all else in the submission is right."""
    checks = tiny.notebooks / "checks" / "chapter_01.py"
    if inside:
        checks.write_text(checks.read_text().replace('@exercise("01.1")', '@exercise("01.1", inside=True)'))
    for student, cell in students.items():
        tiny.hand_in(student, tiny.make(tiny.answers | {"01.1": cell}))
    assert tiny.call("classroom", "grade", tiny.submissions, "--out", tmp_path / "grades.csv", "--jobs", 2) == 0
    with open(tmp_path / "grades.csv", encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {name: [row for row in rows if row["student"] == name] for name in students}


@pytest.mark.slow
@pytest.mark.parametrize("inside", [False, True])
def test_no_attack_is_called_right(tiny, tmp_path, inside):
    students = {name: cell if "def double" in cell else WRONG + cell for name, cell in ATTACKS.items()}
    if inside:
        del students["equals everything"]  # an answer of its own kind, which nothing here takes apart
    found = graded(tiny, tmp_path, students | {"honest": tiny.answers["01.1"]}, inside)
    assert [row["right"] for row in found.pop("honest")] == ["1", "1", "1"]
    assert not [name for name, rows in found.items() if rows[0]["right"] != "0"]


def test_a_process_that_ends_itself_gets_nothing_for_it(tiny, tmp_path):
    found = graded(tiny, tmp_path, {"ends": "def double(x):\n    import os\n    os._exit(0)"}, False)
    assert [row["right"] for row in found["ends"]] == ["0", "0", "0"]
    assert "ended early" in found["ends"][0]["error"]


def test_grading_stops_when_a_submission_writes_into_the_course(tiny, tmp_path, capsys):
    write = "import checks.chapter_01 as c\nopen(c.__file__, 'a').write('CHECKS = {}')\n"
    tiny.hand_in("anna", tiny.make(tiny.answers | {"01.1": write + WRONG}))
    assert tiny.call("classroom", "grade", tiny.submissions, "--out", tmp_path / "grades.csv") == 1
    assert "chapter_01.py was changed while anna's 01_tiny was graded" in capsys.readouterr().err
    assert not (tmp_path / "grades.csv").exists()


def test_a_teacher_is_told_what_was_replaced(tiny, tmp_path, capsys):
    found = graded(tiny, tmp_path, {"anna": WRONG + ATTACKS["replaces the function that looks"]}, False)
    assert "the submission replaces course.look" in found["anna"][0]["error"]
    assert "anna" in capsys.readouterr().err


REAL = {
    "02.1": (
        "torch.allclose = torch.equal = lambda *a, **k: True\ndef causal_weights(scores):\n    return scores",
        "02",
    ),
    "11.2": ("torch.Tensor.allclose = lambda *a, **k: True\nclass MyAdapter(torch.nn.Module):\n    pass", "11"),
}


@pytest.mark.slow
def test_the_courses_own_chapters(tiny, scripts, monkeypatch, tmp_path):
    """All solutions get all points; an answer that replaces a function of PyTorch gets none."""
    files = importlib.reload(scripts.files)
    for path in files.SOLUTIONS.glob("*.ipynb"):
        tiny.hand_in("solver", files.read(path), path.name)
    for name, (source, chapter) in REAL.items():
        path = next(files.NOTEBOOKS.glob(f"{chapter}_*.ipynb"))
        notebook = files.read(path)
        next(cell for cell in notebook.cells if cell.id == f"exercise-{name.replace('.', '-')}").source = (
            "import torch\n" + source
        )
        tiny.hand_in("attacker", notebook, path.name)
    out = tmp_path / "grades.csv"
    assert tiny.call("classroom", "grade", tiny.submissions, "--out", out, "--quick", "--jobs", 2) == 0
    with open(out, encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert not [row for row in rows if row["student"] == "solver" and row["right"] == "0"]
    assert not [row for row in rows if row["student"] == "attacker" and row["right"] == "1"]
    told = {row["exercise"]: row["error"] for row in rows if row["student"] == "attacker"}
    assert all("the submission replaces torch." in told[name] for name in REAL)
