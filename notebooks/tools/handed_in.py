"""What has been handed in: which file is whose, and of which chapter, in a folder as learning platforms pack it.

    SUBMISSIONS/anna/09_lora.ipynb                                         a folder for each student
    SUBMISSIONS/Anna Smith_123_assignsubmission_file_/09_lora.ipynb        Moodle's folders
    SUBMISSIONS/smith_88_09_lora.ipynb                                     all in one folder, as from Canvas

No file is left out without a remark.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

LARGEST_FILE = 50_000_000  # bytes
OWNER = re.compile(r"(?P<student>.+?)(?:_LATE)?(?:_(?P<number>\d+))?(?:_\d+)*(?:_assignsubmission_file)?")
CELLS = re.compile(r"exercise-(\d\d)-\d+|### Exercise (\d\d)\.\d+")


@dataclass(frozen=True)
class Task:
    """One chapter of one student. ``problem`` says why there is nothing to run."""

    student: str
    original: Path
    file: Path | None
    problem: str = ""
    number: str = ""  # by which the learning platform knows the student

    @property
    def chapter(self) -> str:
        return self.original.stem


def find(folder: Path, originals: dict[str, Path], every: dict[str, Path]) -> tuple[list[Task], list[str]]:
    """What to grade: each of the chapters ``originals``, for every student; and a remark on each file left out.

    ``every``: all chapters of the course, by which a file is recognised.
    """
    found: dict[tuple[str, str], dict[str, list[Path]]] = {}  # (student, number) -> chapter -> files
    remarks, hidden = [], 0
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith((".", "__MACOSX")) for part in inside.parts):
            hidden += path.is_file()
            continue
        if path.is_dir():
            if len(inside.parts) == 1:
                found.setdefault(owner_of_folder(path.name), {})
            continue
        chapter, remark = chapter_of(path, every)
        owner = owner_of_folder(inside.parts[0]) if len(inside.parts) > 1 else owner_of_file(path, chapter, every)
        if remark:
            remarks.append(f"{inside}: {remark}")
        if chapter is None:
            continue
        if owner is None:
            remarks.append(f"{inside}: left out, it does not say whose it is; put it into a folder with that name")
        elif chapter not in originals:
            remarks.append(f"{inside}: left out, chapter {chapter} is not graded now")
        else:
            found.setdefault(owner, {}).setdefault(chapter, []).append(path)
    if hidden:
        remarks.append(f"{hidden} hidden file{'s' * (hidden > 1)} left out, such as a computer makes for itself")
    return tasks_of(found, originals, folder), remarks


def tasks_of(found: dict, originals: dict[str, Path], folder: Path) -> list[Task]:
    names = Counter(student for student, _ in found)
    tasks = []
    for (student, number), chapters in sorted(found.items()):
        shown = f"{student} ({number})" if names[student] > 1 and number else student
        for chapter, original in originals.items():
            files = chapters.get(chapter, [])
            files = [path for path in files if path.name == original.name] or files
            problem = "" if len(files) == 1 else "not handed in"
            if len(files) > 1:
                listed = ", ".join(str(path.relative_to(folder)) for path in files)
                problem = f"several files for this chapter: {listed}; leave one of them"
            tasks.append(Task(shown, original, files[0] if len(files) == 1 else None, problem, number))
    return tasks


def owner_of_folder(name: str) -> tuple[str, str]:
    """Student and number. Only Moodle's folders have a number; any other name is a student's as it stands."""
    match = OWNER.fullmatch(name.rstrip("_"))
    return (match["student"], match["number"] or "") if "_assignsubmission_" in name else (name, "")


def owner_of_file(path: Path, chapter: str | None, every: dict[str, Path]) -> tuple[str, str] | None:
    """From the words before the chapter's name, where all files lie in one folder."""
    if chapter is None:
        return None
    before, name, _ = path.name.partition(every[chapter].stem)
    if not name:  # renamed: the chapter's number is all that is left of its name
        before, _, _ = path.name.rpartition(f"{chapter}_")
    match = OWNER.fullmatch(before.rstrip("_- "))
    return (match["student"], match["number"] or "") if match else None


def chapter_of(path: Path, every: dict[str, Path]) -> tuple[str | None, str]:
    """The chapter's number, by the exercises in the file or else by its name; and a remark where these differ."""
    if path.suffix.lower() in (".zip", ".gz", ".rar", ".7z"):
        return None, "left out, it is packed; unpack it and grade again"
    if path.suffix != ".ipynb":
        return None, "left out, it is no notebook (.ipynb)"
    named = [chapter for chapter, original in every.items() if original.stem in path.name]
    named = named or [part for part in re.findall(r"(?<![^_ -])(\d\d)(?=_)", path.name) if part in every][-1:]
    text = ""
    if path.stat().st_size <= LARGEST_FILE:
        text = path.read_bytes().decode("utf-8", errors="replace")
    held = Counter(one or other for one, other in CELLS.findall(text) if (one or other) in every).most_common(1)
    if held and named and held[0][0] != named[-1]:
        return held[0][0], f"named as chapter {named[-1]}, but it holds the exercises of {held[0][0]}; graded as these"
    if held and not named:
        return held[0][0], f"graded as chapter {held[0][0]}, whose exercises it holds"
    if named:
        return named[-1], ""
    return None, "left out, neither its name nor its cells tell the chapter"
