"""The setup cell finds the course from anywhere, and chooses model and device; no other cell names a device."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch

import course
from gpt2 import devices
from gpt2.checkpoints import hub

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
BOOKS = [*sorted(NOTEBOOKS.glob("*.ipynb")), *sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))]
SETUP = next(cell.source for cell in nbformat.read(BOOKS[0], as_version=4).cells if cell.id == "setup")
FIND = SETUP.split("MODEL, device")[0]  # all but the last line, which imports PyTorch
WHERE = "\nimport course\nprint(course.ROOT)"
DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")


def run(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=clean, capture_output=True, text=True)


def test_it_can_be_read():
    lines = [line for line in SETUP.splitlines() if line.strip()]
    assert len(lines) <= 6 and "from course import begin, check, show_source" in lines


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/solutions", "docs", "tests/notebooks/wrong"])
def test_it_finds_the_course_from(folder):
    done = run(FIND + WHERE, ROOT / folder)
    assert done.stdout.strip() == str(ROOT), done.stderr


def test_it_finds_the_course_in_a_folder_for_students(tmp_path):
    """And not the repository's, although this also has a notebooks/course.py."""
    students = tmp_path / "course-for-students" / "notebooks"
    students.mkdir(parents=True)
    shutil.copy(NOTEBOOKS / "course.py", students)
    done = run(FIND + WHERE, students)
    assert done.stdout.strip() == str(students.parent), done.stderr


def test_without_the_course_it_says_so_in_one_sentence(tmp_path):
    done = run(FIND, tmp_path)
    assert done.returncode == 1 and re.fullmatch(r"The course is not here: .+\.\n", done.stderr)


def test_on_colab_it_clones_the_course_first(tmp_path):
    """With a git that copies; a second run finds the folder and continues."""
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\nmkdir "$3" || exit 1\ncp -r "{NOTEBOOKS}" "$3"/notebooks\necho "$@" > arguments\n')
    git.chmod(0o755)
    (tmp_path / "content").mkdir()
    colab = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n"
    for _ in range(2):
        path = f"{git.parent}{os.pathsep}{os.environ['PATH']}"
        done = run(colab + FIND + WHERE, tmp_path / "content", PATH=path)
        assert done.stdout.strip() == str(tmp_path / "content" / "course"), done.stderr
    told = (tmp_path / "content" / "arguments").read_text().split()
    assert told[0] == "clone" and told[1].startswith("https://github.com/") and told[2] == "course"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.relative_to(NOTEBOOKS).with_suffix("").as_posix())
def test_no_cell_names_a_device(path):
    """Cells use ``device``. ``.cpu()`` is allowed: figures and NumPy need it."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                named = isinstance(node, ast.Constant) and isinstance(node.value, str) and DEVICE.fullmatch(node.value)
                assert not named, f"cell {cell.id}, line {node.lineno}: {node.value!r}"
                moved = isinstance(node, ast.Attribute) and node.attr in ("cuda", "mps")
                assert not moved, f"cell {cell.id}, line {node.lineno}: .{node.attr}"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """machine(gpu, weights): what begin() finds. The device is only named, nothing is computed on it."""
    threads, path, precision = torch.get_num_threads(), list(sys.path), torch.get_float32_matmul_precision()

    def make(gpu: bool, weights: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(devices, "choose_device", lambda name="auto": torch.device("cuda" if gpu else "cpu"))
        monkeypatch.setattr(devices, "describe", lambda device: device.type)
        monkeypatch.setattr(hub, "local_folder", lambda name, assets: tmp_path if weights else None)
        monkeypatch.setattr(hub, "unreachable", lambda: "no network")

    yield make
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    sys.path[:] = path


@pytest.mark.parametrize(
    "gpu, weights, model, chosen, words",
    [
        (True, True, "auto", "gpt2", "Model: gpt2, because its weights and a GPU are available. Device: cuda."),
        (True, False, "auto", "practice", "GPT-2 124M is not on this machine and cannot be downloaded (no network)."),
        (False, True, "auto", "practice", "because there is no NVIDIA GPU here. Device: cpu."),
        (False, False, "auto", "practice", "because there is no NVIDIA GPU here. Device: cpu."),
        (True, True, "practice", "practice", "as you chose. Device: cuda."),
        (False, True, "gpt2", "gpt2", "Model: gpt2, as you chose. Device: cpu."),
    ],
)
def test_the_choice_is_told_in_one_line_with_its_reason(machine, capsys, gpu, weights, model, chosen, words):
    machine(gpu, weights)
    assert course.begin(model) == (chosen, torch.device("cuda" if gpu else "cpu"))
    first, *others = capsys.readouterr().out.splitlines()
    assert words in first and len(others) == (chosen == "gpt2")
    assert torch.get_float32_matmul_precision() == "highest"


def test_gpt2_by_name_where_it_is_not_available(machine):
    machine(False, False)
    with pytest.raises(SystemExit, match="gpt2 is not on this machine"):
        course.begin("gpt2")


def test_another_package_named_peft_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(course, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit, match="`import gpt2` finds .+, not the course's"):
        course.begin("practice")
