"""Running submissions against the course's own checks, each in a process of its own."""

import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from nbformat import NotebookNode

from gpt2.errors import RunError
from tools.files import EXERCISE, code_cells, exercise_of, exercises, read
from tools.grading_process import RUNNING, Judge, Limits, end, fingerprint, run
from tools.handed_in import LARGEST_FILE, Task

COLUMNS = ("student", "chapter", "exercise", "right", "points", "of", "hint", "seconds", "error")


def assemble(original: NotebookNode, submission: NotebookNode, quick: bool = False) -> list[dict]:
    """The cells to run: the submission's, with the setup cell and every check cell as the course has them.

    A check stays where the submission has it, so that helpers and corrections above it count; one that was deleted
    comes at the end, and one that stands before its answer comes behind it. Cells are known by their ids, also where
    Colab has put them into the metadata, or where an editor has lost the ids, by their text. ``quick`` leaves out the
    chapter's own cells, on which no exercise depends.
    """
    ours = {cell.id: cell.source for cell in code_cells(original)}
    kept = {name: text for name, text in ours.items() if name == "setup" or exercise_of(name)}
    by_text = {text.strip(): name for name, text in ours.items()}
    order = ["setup"]
    sources = dict(kept)
    for number, cell in enumerate(code_cells(submission)):
        name = cell.get("id") if cell.get("id") in ours else cell.metadata.get("id")
        name = name if name in ours else by_text.get(cell.source.strip(), f"own-{number}")
        if name in order:
            name = f"again-{number}" if name not in kept else ""
        told = quick and name in ours and name not in kept and not exercise_of(name, EXERCISE)
        if name and not told:
            order.append(name)
            sources.setdefault(name, cell.source)
    order += [name for name in kept if name not in order]
    for name in [name for name in order if exercise_of(name)]:
        answer = name.replace("check", "exercise")
        if answer in order and order.index(name) < order.index(answer):
            order.remove(name)
            order.insert(order.index(answer) + 1, name)
    return [
        {"id": name, "source": sources[name], "exercise": exercise_of(name) or exercise_of(name, EXERCISE)}
        for name in order
    ]


def grade(task: Task, limits: Limits, judge: Judge, quick: bool = False) -> list[dict]:
    """A row for each exercise of the chapter, whatever the submission does."""
    original = read(task.original)
    who = {"student": task.student, "chapter": task.chapter}
    rows = {name: {**who, "exercise": name, "right": 0, "hint": "", "seconds": ""} for name in exercises(original)}
    problem, results = task.problem, []
    if not problem:
        try:
            if task.file.stat().st_size > LARGEST_FILE:
                raise ValueError(f"larger than {LARGEST_FILE // 10**6} MB")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cells = assemble(original, read(task.file), quick)
        except Exception as error:  # noqa: BLE001 - a file from somebody else can be wrong in any way
            problem = f"not a notebook that can be read ({type(error).__name__}: {' '.join(str(error).split())})"[:200]
        else:
            results, problem = run(cells, task.original, limits)
    for result in results:
        result["right"] = result["right"] and not result["error"]
        if result["right"] and (hint := judge.hint(result)):
            result |= {"right": False, "hint": "", "error": f"right only in the submission's own process: {hint}"}
        if result["exercise"] in rows:
            row = rows[result["exercise"]]
            row |= {"right": int(result["right"]), "hint": result["hint"], "error": result["error"]}
            row["seconds"] = round(result["seconds"], 2)
    return [{"error": problem, **row} for row in rows.values()]


def grade_all(tasks: list[Task], limits: Limits, jobs: int, quick: bool = False) -> Iterator[list[dict]]:
    """The rows of each task as soon as it is graded, ``jobs`` at a time."""
    course = tasks[0].original.parent
    before, judge = fingerprint(course), Judge([task.original for task in tasks])
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(grade, task, limits, judge, quick) for task in tasks]
        try:
            for future in as_completed(futures):
                rows = future.result()
                if changed := [name for name, content in before.items() if fingerprint(course).get(name) != content]:
                    who = f"while {rows[0]['student']}'s {rows[0]['chapter']} was graded"
                    raise RunError(
                        f"{changed[0]} was changed {who}; restore it and read that notebook before you go on"
                    )
                yield rows
        finally:
            for future in futures:
                future.cancel()
            for process in list(RUNNING):
                end(process)


def summary(rows: Iterable[dict]) -> str:
    """A table for the terminal: a line for each student, a column for each chapter, as in 2/3."""
    points: dict[str, dict[str, list[int]]] = {}
    for row in rows:
        chapter = points.setdefault(row["student"], {}).setdefault(row["chapter"][:2], [])
        chapter.append(row["right"])
    numbers = sorted({number for chapters in points.values() for number in chapters})
    lines = [["student", *numbers, "all"]]
    for student, chapters in sorted(points.items()):
        every = [right for rights in chapters.values() for right in rights]
        cells = [f"{sum(chapters[number])}/{len(chapters[number])}" for number in numbers]
        lines.append([student, *cells, f"{sum(every)}/{len(every)}"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
