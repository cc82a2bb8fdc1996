"""The real hand-out, unpacked: every link leads somewhere, and commands run in it; chapters: test_chapters.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

LINK = re.compile(r"\]\(([^)#\s]+)")


def pages(folder: Path) -> dict[Path, str]:
    """Every page that a student can read -> its Markdown; of a chapter without the cells of code."""
    found = {page: page.read_text(encoding="utf-8") for page in folder.rglob("*.md")}
    for chapter in folder.rglob("*.ipynb"):
        cells = nbformat.read(chapter, as_version=4).cells
        found[chapter] = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return found


def prose(markdown: str) -> str:
    """Without formulas and code, in which brackets mean something else."""
    return re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$\n]*\$|`[^`\n]*`", "", markdown, flags=re.DOTALL)


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    """handed_out(only=None) -> the folder, made once by the command that teachers type."""
    made = {}

    def hand_out(only: str | None = None) -> Path:
        if only not in made:
            folder = tmp_path_factory.mktemp("handout") / "course"
            script = Path(__file__).parents[2] / "notebooks" / "tools" / "classroom.py"
            chosen = ["--only", only] if only else []
            subprocess.run([sys.executable, script, "handout", folder, *chosen], check=True, stdout=subprocess.DEVNULL)
            made[only] = folder
        return made[only]

    return hand_out


@pytest.mark.parametrize("only", [None, "08,15"])
def test_every_link_leads_somewhere(handed_out, only):
    broken = []
    for page, text in pages(handed_out(only)).items():
        for target in LINK.findall(prose(text)):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_nothing_for_teachers_and_no_file_that_is_missing(handed_out):
    folder = handed_out()
    for page in (folder / "README.md", folder / "notebooks" / "README.md"):
        text = page.read_text(encoding="utf-8")
        found = re.search(r"requirements-dev|pytest|For teachers|teachers -->", text)
        assert not found, f"{page}: {found[0]}"
    pointers = re.compile(
        r"solutions?/|the solutions?\b|classroom\.py|refresh\.py|OWNER/REPOSITORY|colab\.research", re.I
    )
    every = pages(folder) | {file: file.read_text(encoding="utf-8") for file in folder.rglob("*.py")}
    assert not [f"{page}: {found[0]}" for page, text in every.items() if (found := pointers.search(text))]
    # "universal-computation scripts/run.py" is a file of another repository, named as a source
    for name in re.findall(r"(?<!tests/)(?<!computation )scripts/(\w+)\.py", "\n".join(pages(folder).values())):
        assert (folder / "scripts" / f"{name}.py").is_file(), name
    chapters = {path.name for path in (Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert {path.name for path in (folder / "notebooks").glob("*.ipynb")} == chapters
    assert not [path for path in folder.rglob("*") if path.name in ("solutions", "wrong", "tests", "__pycache__")]


def test_a_link_to_a_chapter_that_is_not_handed_out_is_plain_text(handed_out):
    map_of_chapters = (handed_out("08,15") / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert "[08 Selective fine-tuning](08_selective_finetuning.ipynb)" in map_of_chapters
    assert "| 09 LoRA |" in map_of_chapters


def test_commands_work_in_it(handed_out):
    command = [sys.executable, "scripts/finetune_spam.py", "--help"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=handed_out(), env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "--method" in done.stdout, done.stderr
