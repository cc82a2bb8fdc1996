"""For teachers: hand out the course without its solutions, and grade what comes back.

    python notebooks/tools/classroom.py handout ../course-for-students              # all chapters
    python notebooks/tools/classroom.py handout ../week-5 --only 08,09              # some
    python notebooks/tools/classroom.py grade SUBMISSIONS --out grades.csv          # SUBMISSIONS/anna/09_lora.ipynb, …
    python notebooks/tools/classroom.py grade SUBMISSIONS --out grades.csv --weights points.csv \\
        --due 2026-05-31T23:59 --totals totals.csv --feedback feedback --statistics --similarity
    python notebooks/tools/classroom.py nbgrader ../course-for-nbgrader             # the chapters as nbgrader's sources

grade runs every submission with the course's own check cells, in a process of its own with limits of time and memory,
so that a broken or endless one costs only its own points, and repeats each check where nothing of the submission runs.
Run it where nothing precious can be reached. The CSV has a row for each student, chapter and exercise.
"""

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "scripts")]

from common import cli  # noqa: E402 - only now does the path find it


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="handout|grade|nbgrader")
    only = {"metavar": "NN,NN", "help": "chapters, such as 08,09 (default: all that there are)"}

    handout = commands.add_parser("handout", help="copy the course without solutions and outputs")
    handout.add_argument("folder", metavar="FOLDER", help="the new folder")
    handout.add_argument("--only", **only)

    grade = commands.add_parser("grade", help="run submissions against the checks and write a CSV")
    grade.add_argument(
        "submissions", metavar="SUBMISSIONS", help="holds a folder for each student, with NN_….ipynb in it"
    )
    grade.add_argument("--out", required=True, metavar="FILE.csv")
    grade.add_argument("--only", **{**only, "help": "chapters to grade (default: those that anyone has handed in)"})
    grade.add_argument("--quick", action="store_true", help="skip the chapter's own cells: no exercise needs them")
    grade.add_argument("--jobs", type=cli.positive_int, default=os.cpu_count() or 1, help="submissions at a time")
    grade.add_argument("--cell-seconds", type=positive, default=120, metavar="S", help="limit for a cell (%(default)s)")
    grade.add_argument("--seconds", type=positive, default=600, metavar="S", help="limit for a notebook (%(default)s)")
    grade.add_argument(
        "--memory-mb", type=cli.positive_int, default=4000, metavar="MB", help="limit, on Linux (%(default)s)"
    )
    marks = grade.add_argument_group("points and reports")
    weights = {"metavar": "FILE", "help": "points of exercises or chapters: CSV (exercise,points) or TOML (default: 1)"}
    marks.add_argument("--weights", **weights)
    marks.add_argument("--due", type=date, metavar="TIME", help="such as 2026-05-31T23:59; later ones lose points")
    marks.add_argument("--late-percent", type=percent, default=10, metavar="P", help="for each day begun (%(default)s)")
    marks.add_argument(
        "--handed-in", metavar="FILE.csv", help="student,chapter,time (default: when the files were last written)"
    )
    marks.add_argument("--totals", metavar="FILE.csv", help="a row for each student, for a learning platform")
    marks.add_argument("--totals-for", choices=["moodle", "canvas"], default="moodle", help="its columns (%(default)s)")
    marks.add_argument("--feedback", metavar="FOLDER", help="a page of Markdown for each student")
    marks.add_argument("--statistics", action="store_true", help="how many had each exercise right")
    marks.add_argument("--similarity", action="store_true", help="pairs of students with nearly the same answers")

    nbgrader = commands.add_parser("nbgrader", help="write the chapters as nbgrader's source notebooks")
    nbgrader.add_argument("folder", metavar="FOLDER", help="the new folder")
    nbgrader.add_argument("--only", **only)
    nbgrader.add_argument("--weights", **weights)
    args = parser.parse_args(argv)
    {"handout": run_handout, "grade": run_grade, "nbgrader": run_nbgrader}[args.command](args)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return value


def date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-05-31T23:59") from None


def run_handout(args: argparse.Namespace) -> None:
    from tools.files import choose
    from tools.handout import hand_out

    originals = choose(args.only)
    hand_out(Path(args.folder), originals)
    what = "1 chapter, with its checks" if len(originals) == 1 else f"{len(originals)} chapters, with their checks"
    print(f"{what} and everything that they need, without solutions and outputs: {args.folder}")


def run_grade(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from gpt2.errors import InputError
    from gpt2.files import atomic_write
    from tools import points, similarity
    from tools.files import chapters, choose
    from tools.grading import COLUMNS, grade_all, summary
    from tools.grading_process import Limits
    from tools.handed_in import find

    folder = Path(args.submissions)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with a folder for each student in it")
    tasks, remarks = find(folder, choose(args.only), chapters())
    for remark in remarks:
        print(remark, file=sys.stderr)
    if not args.only:
        handed_in = {task.chapter for task in tasks if task.problem != "not handed in"}
        tasks = [task for task in tasks if task.chapter in handed_in]
    if not tasks:
        raise InputError(f"{folder} holds no submissions; expected {folder / 'STUDENT' / 'NN_….ipynb'}")
    policy = points.Policy(
        points.read_weights(Path(args.weights)) if args.weights else {},
        args.due,
        args.late_percent,
        points.read_times(Path(args.handed_in)) if args.handed_in else {},
    )
    limits = Limits(args.cell_seconds, args.seconds, args.memory_mb)
    rows = []
    with atomic_write(args.out) as temporary:  # before the work: a folder that cannot be written is known at once
        with tqdm(total=len(tasks), desc="grading", unit="submission", disable=None) as bar:
            for graded in grade_all(tasks, limits, args.jobs, args.quick):
                rows += graded
                bar.update()
        rows.sort(key=lambda row: (row["student"], row["chapter"]))  # exercises keep their order
        points.add_points(rows, tasks, policy)
        points.write_table(temporary, COLUMNS, rows)
    print(summary(rows))
    failed = {(row["student"], row["chapter"]): row["error"] for row in rows if row["error"]}
    for (student, chapter), error in failed.items():
        print(f"{student}, {chapter}: {error}", file=sys.stderr)
    print(f"Every exercise, with the hint that the student saw: {args.out}")
    if args.totals:
        with atomic_write(args.totals) as temporary:
            points.write_totals(temporary, rows, tasks, args.totals_for)
    if args.feedback:
        points.write_feedback(Path(args.feedback), rows, tasks, policy)
    if args.statistics:
        print("\n" + points.statistics(rows))
    if args.similarity:
        print("\n" + similarity.report(tasks))


def run_nbgrader(args: argparse.Namespace) -> None:
    from tools.files import choose
    from tools.nbgrader_export import export
    from tools.points import read_weights

    originals = choose(args.only)
    export(Path(args.folder), originals, read_weights(Path(args.weights)) if args.weights else {})
    print(f"as sources for nbgrader: {', '.join(path.stem for path in originals.values())}, in {args.folder}")


if __name__ == "__main__":
    cli.run(main)
