"""What the base model is worth: the same methods on several bases, from comparisons that compare_methods.py made.

    python scripts/compare_methods.py --out results/practice --methods head,lora
    python scripts/compare_methods.py --out results/random --methods head,lora --model random:practice
    python scripts/compare_bases.py random=results/random practice=results/practice --out results/bases

The folders must hold the same data, protocol, epochs and seeds, and so the same test messages. Every base is compared
with the last one named, method by method and message by message; runs of which only results.csv is left, by their
means. Rows that settings files have added are left out.
Leaves bases.md, bases.csv and bases.png.
"""

import argparse
import csv
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from common import cli
from gpt2.errors import InputError
from gpt2.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

SAME = ("data", "protocol", "epochs")  # columns of results.csv


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("bases", nargs="+", metavar="NAME=FOLDER", type=base, help="results folders, the baseline last")
    parser.add_argument("--out", default="results/bases", metavar="FOLDER", help="default: %(default)s")
    args = parser.parse_args(argv)
    bases = dict(args.bases)
    if len(bases) < 2 or len(bases) < len(args.bases):
        parser.error("name two or more results folders, each by its own name, as in random=results/random")

    from comparison.plots import dots

    accuracies, correct, settings = read(bases)
    out = Path(args.out)
    summary = accuracies.groupby(["method", "base"], sort=False).accuracy.agg(["mean", "std", "count"]).reset_index()
    with atomic_write(out / "bases.csv") as temporary:
        summary.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)
    note = dots(summary, list(bases), out / "bases.png")
    command = "python scripts/compare_bases.py " + shlex.join(argv)
    with atomic_write(out / "bases.md") as temporary:
        temporary.write_text(report(summary, correct, list(bases), settings, command), encoding="utf-8")
    if note:
        print(note)
    print(f"Report in {out / 'bases.md'}")


def base(text: str) -> tuple[str, Path]:
    """``NAME=FOLDER``."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=FOLDER")
    return name, Path(folder)


def read(bases: dict[str, Path]) -> "tuple[pd.DataFrame, pd.DataFrame, dict]":
    """A row for each run (base, method, seed, accuracy), who was right about which message (columns ``base method``),
    and the settings that all share. Raises InputError when the folders are not of the same data and protocol."""
    import pandas as pd

    from comparison.messages import read_messages
    from comparison.results import answers_of, correctness

    rows, answers, first = [], [], None
    for name, folder in bases.items():
        if not (folder / "results.csv").is_file():
            again = cli.command_line("compare_methods.py", "--out", folder)
            raise InputError(f"{folder} holds no results.csv; make one with {again}")
        runs = pd.read_csv(folder / "results.csv")
        runs = runs[runs.run == runs.method + "-" + runs.seed.astype(str)]  # default options
        first = runs if first is None else first
        for key in SAME:
            mine, theirs = (table[key].astype(object).fillna("none").unique().tolist() for table in (runs, first))
            if mine != theirs:
                raise InputError(f"{folder} was made with another {key} ({mine}) than the first folder ({theirs})")
        rows += [(name, row.method, row.seed, row.test_accuracy) for row in runs.itertuples()]
        for row in runs.itertuples():
            if (folder / "runs" / row.run).is_dir():
                answers.append((f"{name} {row.method}", row.seed, answers_of(folder / "runs" / row.run)))
    settings = {key: runs[key].iloc[0] for key in SAME}  # the same in all
    accuracies = pd.DataFrame(rows, columns=["base", "method", "seed", "accuracy"])
    known = (read_messages(folder, accuracies.seed.unique().tolist()) for folder in bases.values())
    return accuracies, correctness(iter(answers), next(filter(None, known), None)), settings


def report(summary: "pd.DataFrame", correct: "pd.DataFrame", names: list[str], settings: dict, command: str) -> str:
    """bases.md: a row a method, a column a base, and whether it differs from the last base."""
    import peft
    from common.markdown import DASH, code_block, counted, plain, plus_minus, points, table
    from comparison.significance import LEVEL, holm, sign_flip

    cells = {(row.method, row.base): row for row in summary.itertuples()}
    pairs = {}
    for method, name in cells:
        if {f"{name} {method}", f"{names[-1]} {method}"} <= set(correct) and name != names[-1]:
            difference = (correct[f"{name} {method}"] - correct[f"{names[-1]} {method}"]).dropna()
            pairs[method, name] = sign_flip(difference.groupby(level="unit").sum().to_numpy())
    adjusted = dict(zip(pairs, holm(list(pairs.values())), strict=True))

    def cell(method: str, name: str) -> str:
        if (method, name) not in cells:
            return DASH
        row, text = cells[method, name], ""
        if name != names[-1] and (method, names[-1]) in cells:
            star = "\\*" if adjusted.get((method, name), 1) < LEVEL else ""
            text = f" ({points(row.mean - cells[method, names[-1]].mean)}{star})"
        return plus_minus(row.mean, row.std, 100) + text

    methods = [method for method in peft.METHODS if any((method, name) in cells for name in names)]
    rows = [[f"`{method}`", *(cell(method, name) for name in names)] for method in methods]
    protocol = f", {settings['protocol']} protocol" if isinstance(settings["protocol"], str) else ""
    counts = summary["count"]
    seeds = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    return "\n".join(
        [
            f"# Bases compared: {plain(settings['data'])}{protocol}, {counted(settings['epochs'], 'epoch')}",
            "",
            code_block(command),
            "",
            f"Test accuracy in percent, mean ± standard deviation over {seeds} seeds. In brackets the difference from "
            f"*{plain(names[-1])}* in points; \\* where an exact test by sign flips on the same messages (McNemar's, "
            f"where these are independent) shows one (p < {LEVEL} after Holm's correction for the {len(pairs)} tests "
            "of this table; there is none where a base's single answers are no longer available).",
            "",
            table(["method", *map(plain, names)], rows),
            "",
            "![Test accuracy of each method on each base](bases.png)",
            "",
        ]
    )


if __name__ == "__main__":
    cli.run(main)
