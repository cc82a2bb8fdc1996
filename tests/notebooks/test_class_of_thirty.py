"""A made-up class: thirty students hand in one real chapter, as students do, and the teacher sees who and why."""

import csv
import json
import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from tools import files

CHAPTER = "01_text_to_tokens"
EXERCISES = ("01.1", "01.2", "01.3", "01.4")


def notebook(**answers: str) -> nbformat.NotebookNode:
    """The chapter with the solutions, and with these answers in place of some (``ex1`` for 01.1)."""
    made = files.read(files.NOTEBOOKS / f"{CHAPTER}.ipynb")
    solved = {cell.id: cell.source for cell in files.read(files.SOLUTIONS / f"{CHAPTER}.ipynb").cells}
    for cell in files.strip(made).cells:
        if files.exercise_of(cell.id, files.EXERCISE):
            cell.source = answers.get(f"ex{cell.id[-1]}", solved[cell.id])
    return made


def without_checks() -> nbformat.NotebookNode:
    made = notebook()
    made.cells = [cell for cell in made.cells if not cell.id.startswith("check-")]
    return made


def reordered() -> nbformat.NotebookNode:
    made = notebook()
    moved = [cell for cell in made.cells if re.match("(exercise|check)-01-", cell.id)]
    rest = [cell for cell in made.cells if cell not in moved and cell.id != "setup"]
    made.cells = [*reversed(moved), *rest, next(cell for cell in made.cells if cell.id == "setup")]
    return made


def forged() -> nbformat.NotebookNode:
    made = notebook(ex1="pieces = 1", ex2="unmerge = 1", ex3="shorten = 1", ex4="learn_in_pieces = 1")
    for cell in made.cells:
        if cell.id.startswith("check-"):
            cell.source = f'print("{cell.id[6:].replace("-", ".")}  right")'
    return made


def with_a_helper() -> nbformat.NotebookNode:
    made = notebook(ex1="def pieces(text):\n    return helper(text)")
    helper = "from gpt2 import get_tokenizer\n\n\ndef helper(text):\n    tokenizer = get_tokenizer()\n"
    helper += "    return [tokenizer.decode_single_token_bytes(i) for i in tokenizer.encode_ordinary(text)]"
    made.cells.insert(3, new_code_cell(helper, id="mine"))
    return made


def text(made: nbformat.NotebookNode) -> bytes:
    return json.dumps(made, ensure_ascii=False).encode()


STUB = "def pieces(text):\n    return ..."
LOOK = "import course\ncourse.look = course._look = lambda *a: None\ndef pieces(text):\n    return 1"
HOG = "hog = []\nwhile True:\n    hog.append(bytearray(200_000_000))"
FLOOD = "for i in range(200):\n    print('x' * 1_000_000)\n"
SHORT_ENOUGH = "def shorten(text, n):\n    return text[:n]"
# file -> (content, exercises that are right, words in the error; of the files that are left out none)
ODD = {
    f"empty/{CHAPTER}.ipynb": (b"", "", "not a notebook"),
    f"pdf/{CHAPTER}.ipynb": (b"%PDF-1.7 \xff\xfe", "", "not a notebook"),
    "wrongname/02_attention.ipynb": (text(notebook()), "1234", ""),
    "renamed/homework.ipynb": (text(notebook()), "1234", ""),
    f"deleted/{CHAPTER}.ipynb": (text(without_checks()), "1234", ""),
    f"reordered/{CHAPTER}.ipynb": (text(reordered()), "1234", ""),
    f"endless/{CHAPTER}.ipynb": (text(notebook(ex2="while True:\n    pass")), "134", "stopped after 8 s"),
    f"hog/{CHAPTER}.ipynb": (text(notebook(ex3=HOG)), "124", "MemoryError"),
    f"forged/{CHAPTER}.ipynb": (text(forged()), "", ""),
    f"attack/{CHAPTER}.ipynb": (text(notebook(ex1=LOOK)), "", "the submission replaces course.look"),
    f"latin1/{CHAPTER}.ipynb": (text(notebook()).replace("£".encode(), b"\xa3"), "", "not a notebook"),
    f"flood/{CHAPTER}.ipynb": (text(notebook(ex4=FLOOD)), "123", ""),
    f"killer/{CHAPTER}.ipynb": (text(notebook(ex3="import os\nos._exit(0)")), "12", "ended early"),
    f"ids/{CHAPTER}.ipynb": (re.sub(rb'"id": "[^"]*",? ?', b"", text(notebook())), "1234", ""),
    f"helper/{CHAPTER}.ipynb": (text(with_a_helper()), "1234", ""),
    f"syntax/{CHAPTER}.ipynb": (text(notebook(ex1="def pieces(text)\n    return 1")), "234", "SyntaxError"),
    f"nothing/{CHAPTER}.ipynb": (text(notebook(ex1=STUB, ex3=SHORT_ENOUGH)), "24", ""),
    f"smith_88_{CHAPTER}.ipynb": (text(notebook()), "1234", ""),
    f"Anna Smith_4_assignsubmission_file_/{CHAPTER}.ipynb": (text(notebook(ex4="pass")), "123", "NameError"),
}


@pytest.mark.slow
def test_a_class_of_thirty(tmp_path, capsys, monkeypatch):
    from common import cli
    from tools import classroom

    folder = tmp_path / "SUBMISSIONS"
    every = {name: content for name, (content, _, _) in ODD.items()}
    every |= {f"two/{CHAPTER[:2]}_{version}.ipynb": text(notebook()) for version in "ab"}
    every |= {f"good{n}/{CHAPTER}.ipynb": text(notebook()) for n in range(8)}
    every |= {"readme.txt": b"", "good1/.DS_Store": b"", f"{CHAPTER}.ipynb": text(notebook())}
    for name, content in every.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "absent").mkdir()
    (folder / "packed").mkdir()
    with zipfile.ZipFile(folder / "packed" / f"{CHAPTER}.zip", "w") as packed:
        packed.writestr(f"{CHAPTER}.ipynb", text(notebook()))

    limits = ("--quick", "--jobs", "2", "--cell-seconds", "8", "--memory-mb", "2500", "--statistics", "--similarity")
    command = ["grade", str(folder), "--out", str(tmp_path / "g.csv"), "--only", "01", *limits]
    monkeypatch.setattr("sys.argv", ["classroom.py", *command])
    with pytest.raises(SystemExit) as ended:
        cli.run(classroom.main)
    assert ended.value.code == 0
    told = capsys.readouterr()
    print(told.out, told.err)
    with open(tmp_path / "g.csv", encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    by_student = {name: [row for row in rows if row["student"] == name] for name in {row["student"] for row in rows}}
    assert len(by_student) == 30
    for name, (_, right, error) in ODD.items():
        student = re.sub(r"_\d.*", "", Path(name).parts[0])
        own = by_student[student]
        assert tuple(row["exercise"] for row in own) == EXERCISES
        assert "".join(row["exercise"][-1] for row in own if row["right"] == "1") == right, (student, own)
        assert error in " ".join(row["error"] for row in own), (student, own)
    for n in range(8):
        assert all(row["right"] == "1" for row in by_student[f"good{n}"])
    assert "several files" in by_student["two"][0]["error"] and by_student["absent"][0]["error"] == "not handed in"
    for words in ("packed/", "readme.txt: left out", "does not say whose", "1 hidden file", "named as chapter 02"):
        assert words in told.err, words
    assert told.out.count("good0 and good1") == 1
