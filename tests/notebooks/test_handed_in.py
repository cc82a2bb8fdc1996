"""Which file is whose, however a learning platform packs them; and no file is left out in silence."""

import json
from pathlib import Path

import pytest

from tools.handed_in import find

EVERY = {name[:2]: Path(f"{name}.ipynb") for name in ("08_selective_finetuning", "09_lora", "10_lora_family")}
CELL = {"cell_type": "code", "id": "exercise-09-1", "source": "", "metadata": {}, "outputs": []}


@pytest.fixture
def make(tmp_path):
    def files(*names: str, text: str = "{}") -> Path:
        for name in names:
            path = tmp_path / "SUBMISSIONS" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "SUBMISSIONS"

    return files


@pytest.mark.parametrize(
    "name, student, number",
    [
        ("anna/09_lora.ipynb", "anna", ""),
        ("anna_2/09_lora.ipynb", "anna_2", ""),
        ("anna/week 8/09_lora (2).ipynb", "anna", ""),
        ("smith_88_09_lora.ipynb", "smith", "88"),
        ("smithanna_LATE_4711_99_09_lora-1.ipynb", "smithanna", "4711"),
        ("smith_09_lora.ipynb", "smith", ""),
        ("smith_88_09_mine.ipynb", "smith", "88"),
        ("Anna Smith_123_assignsubmission_file_/09_lora.ipynb", "Anna Smith", "123"),
        ("Anna Smith_123_assignsubmission_file_09_lora.ipynb", "Anna Smith", "123"),
    ],
)
def test_whose_it_is(make, name, student, number):
    tasks, remarks = find(make(name), {"09": EVERY["09"]}, EVERY)
    assert [(task.student, task.number, task.problem) for task in tasks] == [(student, number, "")]
    assert not remarks


def test_two_students_of_one_name_stay_two(make):
    folder = make(*(f"Anna Smith_{n}_assignsubmission_file_/09_lora.ipynb" for n in (1, 2)))
    tasks, _ = find(folder, {"09": EVERY["09"]}, EVERY)
    assert [task.student for task in tasks] == ["Anna Smith (1)", "Anna Smith (2)"]


@pytest.mark.parametrize(
    "name, words",
    [
        ("anna/09_lora.zip", "it is packed"),
        ("anna/notes.txt", "no notebook"),
        ("notes.txt", "no notebook"),
        ("09_lora.ipynb", "does not say whose it is"),
        ("anna/mine.ipynb", "neither its name nor its cells"),
        ("anna/08_selective_finetuning.ipynb", "chapter 08 is not graded now"),
        ("anna/.DS_Store", "1 hidden file left out"),
    ],
)
def test_nothing_is_left_out_in_silence(make, name, words):
    tasks, remarks = find(make(name), {"09": EVERY["09"]}, EVERY)
    assert all(task.problem == "not handed in" for task in tasks)
    assert len(remarks) == 1 and words in remarks[0]


def test_what_it_holds_counts_more_than_its_name(make):
    text = json.dumps({"cells": [CELL]})
    folder = make("anna/08_selective_finetuning.ipynb", "berta/homework.ipynb", text=text)
    tasks, remarks = find(folder, EVERY, EVERY)
    assert [task.file.name for task in tasks if task.file] == ["08_selective_finetuning.ipynb", "homework.ipynb"]
    assert {task.chapter for task in tasks if task.file} == {"09_lora"}
    assert "named as chapter 08, but it holds" in remarks[0] and "graded as chapter 09" in remarks[1]


def test_two_versions_are_named_and_none_is_chosen(make):
    (task,), _ = find(make("anna/09_a.ipynb", "anna/09_b.ipynb"), {"09": EVERY["09"]}, EVERY)
    assert task.file is None and "several files for this chapter: anna/09_a.ipynb, anna/09_b.ipynb" in task.problem
    (task,), _ = find(make("anna/09_lora.ipynb"), {"09": EVERY["09"]}, EVERY)
    assert task.file.name == "09_lora.ipynb"
