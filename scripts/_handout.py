"""The folder that students get: everything that a chapter needs, and no solutions and outputs."""

import shutil
import tempfile
from pathlib import Path

from _notebooks import NOTEBOOKS, ROOT, read, strip, write

from gpt2.errors import InputError

CODE = ("gpt2", "peft", "data", "scripts")
FILES = ("LICENSE", "README.md", "requirements.txt", "notebooks/README.md", "notebooks/course.py")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "cache", ".*", "_grading*.py", "_handout.py", "classroom.py")


def hand_out(out: Path, originals: dict[str, Path]) -> None:
    """Copy the course with these chapters into the new folder ``out``, whole or not at all.

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
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=LEFT_OUT)
    checks = folder / "notebooks" / "checks"
    checks.mkdir(parents=True)
    shutil.copy(NOTEBOOKS / "checks" / "__init__.py", checks)
    for name in FILES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder / name)
    for number, original in originals.items():
        write(strip(read(original)), folder / "notebooks" / original.name)
        shutil.copy(NOTEBOOKS / "checks" / f"chapter_{number}.py", checks)
