"""From verdicts to points: weights, late hand-ins, totals, a page of feedback for each student, success rates."""

import contextlib
import csv
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from gpt2.errors import InputError
from gpt2.files import atomic_write
from tools.handed_in import Task


@dataclass(frozen=True)
class Policy:
    """How many points an exercise has, and what a day of delay costs."""

    weights: dict[str, float] = field(default_factory=dict)  # "09.4" or, for all of a chapter, "09"; else 1
    due: datetime | None = None
    percent_per_day: float = 10.0
    times: dict[tuple[str, str], datetime] = field(default_factory=dict)  # (student, chapter) -> handed in

    def points(self, exercise: str) -> float:
        return self.weights.get(exercise, self.weights.get(exercise[:2], 1.0))

    def kept(self, task: Task) -> float:
        """The share of its points that a submission keeps: each day that has begun costs ``percent_per_day``."""
        if self.due is None or task.file is None:
            return 1.0
        written = datetime.fromtimestamp(task.file.stat().st_mtime)
        late = self.times.get((task.student, task.chapter[:2]), self.times.get((task.student, ""), written)) - self.due
        days = -(-late // timedelta(days=1)) if late > timedelta(0) else 0
        return max(0.0, 1 - days * self.percent_per_day / 100)


def read_weights(path: Path) -> dict[str, float]:
    """From a CSV with the columns exercise and points, or from TOML with lines such as "09.4" = 2."""
    with reading(path, "weights", 'the columns exercise,points (CSV), or lines such as "09.4" = 2 (TOML)'):
        if path.suffix == ".toml":
            pairs = list(tomllib.loads(path.read_text(encoding="utf-8")).items())
        else:
            pairs = [(row["exercise"], row["points"]) for row in rows_of(path)]
        weights = {str(name).strip(): float(points) for name, points in pairs}
    if wrong := [name for name, points in weights.items() if not 0 <= points < float("inf")]:
        raise InputError(f"{path}: the points of {wrong[0]} are not a number from 0", argument="weights")
    return weights


def read_times(path: Path) -> dict[tuple[str, str], datetime]:
    """From a CSV with the columns student, time and, where it differs, chapter ("09")."""
    with reading(path, "handed_in", "the columns student,chapter,time, the time as 2026-05-31T23:59"):
        return {
            (row["student"], (row.get("chapter") or "")[:2]): datetime.fromisoformat(row["time"])
            for row in rows_of(path)
        }


@contextlib.contextmanager
def reading(path: Path, argument: str, expected: str) -> Iterator[None]:
    """A file that cannot be read, or has something else than ``expected`` in it, becomes one InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", argument=argument) from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected {expected}: {error}", argument=argument) from None


def rows_of(path: Path) -> list[dict]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def add_points(rows: list[dict], tasks: list[Task], policy: Policy) -> None:
    """Give each row of the grades its points, of how many, in place."""
    kept = {(task.student, task.chapter): policy.kept(task) for task in tasks}
    for row in rows:
        row["of"] = policy.points(row["exercise"])
        row["points"] = round(row["right"] * row["of"] * kept[row["student"], row["chapter"]], 2)


def write_table(path: Path, columns: Iterable[str], rows: Iterable[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.DictWriter(file, list(columns), quoting=csv.QUOTE_NONNUMERIC)  # utf-8-sig: spreadsheets see UTF-8
        table.writeheader()
        table.writerows({name: harmless(value) for name, value in row.items()} for row in rows)


def harmless(value: object) -> object:
    """A text from a submission must not be a formula to a spreadsheet."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value


PLATFORMS = {  # the columns before the points, and what stands in them
    "moodle": {"Identifier": "Participant {number}", "Full name": "{student}"},
    "canvas": {"Student": "{student}", "ID": "{number}", "SIS Login ID": "", "Section": ""},
}


def write_totals(path: Path, rows: list[dict], tasks: list[Task], platform: str = "moodle") -> None:
    """A row a student, as the platform imports it: who it is, points for each chapter and for all, and the maximum.

    The number is the one in the file's or folder's name; without it there is none, and the name has to do.
    """
    chapters = sorted({row["chapter"] for row in rows})
    totals = {}
    for task in tasks:
        totals[task.student] = {
            name: "" if "{number}" in text and not task.number else text.format(**vars(task))
            for name, text in PLATFORMS[platform].items()
        }
    for row in rows:
        total = totals[row["student"]]
        for column, points in ((row["chapter"], row["points"]), ("Total", row["points"]), ("Maximum", row["of"])):
            total[column] = round(total.get(column, 0) + points, 2)
    write_table(path, [*PLATFORMS[platform], *chapters, "Total", "Maximum"], totals.values())


def write_feedback(folder: Path, rows: list[dict], tasks: list[Task], policy: Policy) -> None:
    """A page of Markdown for each student, with the hint of each exercise that is not right yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for student in sorted({row["student"] for row in rows}):
        own = [row for row in rows if row["student"] == student]
        total, most = sum(row["points"] for row in own), sum(row["of"] for row in own)
        lines = [f"# {student}: {total:g} of {most:g} points", ""]
        for task in (task for task in tasks if task.student == student):
            late = 1 - policy.kept(task)
            lines += [f"## {task.chapter}", ""]
            lines += [f"Handed in late: {late:.0%} less for this chapter.", ""] if late else []
            lines += ["| exercise | points | what the check says |", "|---|---:|---|"]
            for row in (row for row in own if row["chapter"] == task.chapter):
                said = row["error"] or row["hint"] or ("right" if row["right"] else "")
                said = said.replace("|", "\\|").replace("<", "&lt;")
                lines.append(f"| {row['exercise']} | {row['points']:g} of {row['of']:g} | {said} |")
            lines.append("")
        name = "".join(c if c.isalnum() or c in " ()-_." else "_" for c in student).strip(". ") or "_"
        with atomic_write(folder / f"{name}.md") as temporary:
            temporary.write_text("\n".join(lines), encoding="utf-8")


def statistics(rows: list[dict]) -> str:
    """A table for the terminal: how many had each exercise right, of those who handed in, and the commonest hint."""
    lines = ["exercise  right  handed in   rate  what most others read"]
    for exercise in sorted({row["exercise"] for row in rows}):
        own = [row for row in rows if row["exercise"] == exercise and row["error"] != "not handed in"]
        right = sum(row["right"] for row in own)
        said = Counter(row["hint"] or row["error"] for row in own if not row["right"]).most_common(1)
        rate = f"{right / len(own):6.0%}" if own else "     –"
        most = f"{said[0][1]} x {said[0][0][:70]}" if said else ""
        lines.append(f"{exercise:8}  {right:5}  {len(own):9} {rate}  {most}".rstrip())
    return "\n".join(lines)
