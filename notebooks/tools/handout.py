"""The folder that students get: everything that a chapter needs, and no solutions and outputs."""

import re
import shutil
import tempfile
from pathlib import Path

from gpt2.errors import InputError
from tools.files import NOTEBOOKS, ROOT, read, strip, write

FOLDERS = ("gpt2", "peft", "data", "scripts", "docs")  # docs: chapter 15 reads the measured results
FILES = {  # in the repository -> in the folder for students
    "LICENSE": "LICENSE",
    "requirements.txt": "requirements.txt",
    "requirements-course.txt": "requirements-course.txt",
    "notebooks/handout.md": "README.md",
    "notebooks/README.md": "notebooks/README.md",
    "notebooks/bibliography.md": "notebooks/bibliography.md",
    "notebooks/glossary.md": "notebooks/glossary.md",
    "notebooks/index.md": "notebooks/index.md",
    "notebooks/course.py": "notebooks/course.py",
    "notebooks/two_tasks.py": "notebooks/two_tasks.py",
}
FOR_DEVELOPERS = ("commands.md", "design.md", "known_limits.md")  # of docs: they speak of tests and teachers' tools
LEFT_OUT = shutil.ignore_patterns("__pycache__", "cache", ".*", *FOR_DEVELOPERS)
FOR_TEACHERS = re.compile(r"<!-- teachers -->.*?<!-- /teachers -->\n?", re.DOTALL)
BADGE = re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\(https://colab\.[^)]*\)\s*")  # opens the public repository
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def hand_out(out: Path, originals: dict[str, Path]) -> None:
    """Copy the course with these chapters into the new folder ``out``; when something fails, nothing is left there.

    Raises InputError when there is something of that name already, or no room to write.
    """
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} exists; name a new folder")
    if out.resolve().is_relative_to(NOTEBOOKS):
        raise InputError(f"{out} lies in the course's own notebooks/; name a folder elsewhere")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
            folder = Path(scratch) / "course"
            fill(folder, originals)
            folder.rename(out)  # one step: the folder is there with everything in it, or not at all
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}; choose another folder") from error


def fill(folder: Path, originals: dict[str, Path]) -> None:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=LEFT_OUT)
    checks = folder / "notebooks" / "checks"
    checks.mkdir(parents=True)
    shutil.copy(NOTEBOOKS / "checks" / "__init__.py", checks)
    for ours, theirs in FILES.items():
        shutil.copy(ROOT / ours, folder / theirs)
    for number, original in originals.items():
        write(strip(read(original)), folder / "notebooks" / original.name)
        shutil.copy(NOTEBOOKS / "checks" / f"chapter_{number}.py", checks)
    for page in folder.rglob("*.md"):
        text = FOR_TEACHERS.sub("", page.read_text(encoding="utf-8"))
        page.write_text(without_dead_links(text, page.parent), encoding="utf-8")
    for chapter in (folder / "notebooks").glob("*.ipynb"):
        notebook = read(chapter)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = without_dead_links(BADGE.sub("", cell.source), chapter.parent)
        write(notebook, chapter)


def without_dead_links(text: str, folder: Path) -> str:
    """Markdown of a page in ``folder``: a link to what is not handed out, such as a chapter, becomes its words."""

    def link(match: re.Match) -> str:
        there = "://" in match[2] or (folder / match[2]).exists()
        return match[0] if there else match[1]

    return LINK.sub(link, text)
