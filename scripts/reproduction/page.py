"""docs/published.md and its picture: the published rows, their sources, and what they teach.

PYTHONPATH=scripts python -m reproduction.page
"""

if __name__ == "__main__":
    from common import cli  # noqa: F401 - puts the repository first on the path

import math
import textwrap
from pathlib import Path

from common.cli import ROOT
from common.markdown import DASH, counted, points, table
from comparison.significance import LEVEL
from gpt2.files import atomic_write
from reproduction.evidence import fisher, impossible, messages_of, published_count, smallest_shown
from reproduction.lessons import SAME_TWICE, test_count, thought_of, verdicts, with_interval
from reproduction.listing import scale, special
from reproduction.plots import published_picture
from reproduction.rows import SPLITS, rows

PAGE, PICTURE = ROOT / "docs" / "published.md", "published.png"
REPOSITORY = "https://github.com/rasbt/LLMs-from-scratch/blob"
EXPERIMENTS = "ch06/02_bonus_additional-experiments/README.md"
EARLIER = "00a466f0b949139f3076d50d59a2fc3efd516135"  # a version of the table of experiments with twelve rows
SOURCES = {  # of published.csv: what the table calls it, and what the list below says
    "source notes 2024": ("notes", "*notes*: notes of a 2024 article on PEFT with GPT-2 124M."),
    "Raschka 2024, chapter 6": (
        "book, chapter 6",
        "*book*: Sebastian Raschka, *Build a Large Language Model (From Scratch)*, 2024. The figures are those of "
        f"[chapter 6]({REPOSITORY}/main/ch06/01_main-chapter-code/ch06.ipynb) and of",
    ),
    "Raschka, appendix E, as of 2025": (
        "book, appendix E, 2025",
        f"[appendix E]({REPOSITORY}/main/appendix-E/01_main-chapter-code/appendix-E.ipynb) in its repository, which "
        "has changed over the years.",
    ),
    "Raschka, appendix E, after September 2025": ("book, appendix E, later", ""),
    "Raschka, ch. 6 additional experiments": (
        "experiments",
        f"*experiments*: his table of [additional experiments]({REPOSITORY}/main/{EXPERIMENTS}), with the row's "
        "number.",
    ),
}


def page() -> str:
    """The text of docs/published.md."""
    parts = [*opening(), *the_rows(), *teaching(), *whole_numbers(), *scales(), *start_of_a()]
    return "\n\n".join(map(wrapped, parts)) + "\n"


def wrapped(part: str) -> str:
    """A paragraph or list in lines of at most 120 characters; tables and headings as they are."""
    if part.startswith(("|", "#", "!")):
        return part
    indent = "  " if part.startswith("- ") else "   " if part.startswith("1.") else ""
    return "\n".join(
        textwrap.fill(line, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in part.split("\n")
    )


def opening() -> list[str]:
    """What this is."""
    reference = rows()["extra-01"]
    right, n = test_count(reference)
    drop = smallest_shown(right, n)
    return [
        "# Published results, and what they teach",
        f"Others have published {len(rows())} runs of GPT-2 as a spam classifier, on the same split of the SMS Spam "
        "Collection. Here they are, with their sources. `python scripts/reproduce.py --list` shows what it takes to "
        "repeat them, and `python scripts/reproduce.py --rows 124m` repeats those of GPT-2 124M. [A notebook of four "
        "cells](../notebooks/reproduce_on_gpu.ipynb) does it on a GPU, such as Colab's.",
        "None of these figures is ours. [Our own results](results/README.md) are of the practice model, and stand on "
        "another page.",
        "**Each figure is one run with one seed.** A training accuracy is over the 1,040 messages of one shuffled "
        "pass, whose last, incomplete batch is dropped (1,045 without padding). A validation accuracy is over 149 "
        f"messages and a test accuracy over 300. So {percent(reference.published['test'])} are {right} of {n}, and "
        f"the 95 % interval (Wilson) is {with_interval(reference).split('(')[1].rstrip(')')} %. Even a single test of "
        f"two such figures shows a drop only from {100 * drop:.1f} points on.",
        f"![Published test accuracies with their intervals]({PICTURE})",
    ]


def percent(share: float | None) -> str:
    """``95.00 %``."""
    return f"{100 * (share or 0):.2f} %"


def the_rows() -> list[str]:
    """All rows."""
    lines = []
    for row in rows().values():
        train, validation = (f"{100 * (row.published[part] or 0):.2f}" for part in ("train", "validation"))
        minutes = f"{row.minutes:.2f}" if row.minutes else DASH
        lines.append(
            [row.id, f"GPT-2 {special(row)}", scale(row) or DASH, train, validation, with_interval(row), minutes]
        )
        number = f", row {int(row.id.removeprefix('extra-'))}" if row.id.startswith("extra") else ""
        lines[-1].append(SOURCES[row.source][0] + number)
    notes, chapter, appendix, _, experiments = (words for _, words in SOURCES.values())
    columns = ["row", "model, what is trained", "LoRA's scale", "training", "validation", "test, 95 % interval"]
    return [
        "## The rows",
        "Accuracy in percent. Where nothing else is said, messages are padded to 120 tokens, the head reads the last "
        "position, and training takes five epochs with AdamW, learning rate 5e-5, weight decay 0.1 and batches of "
        "eight (`notes-lora`: six epochs). *Minutes* are the published ones, on an A100.",
        table([*columns, "minutes", "published in"], lines),
        "The settings of `notes-selective` were not published; they are taken to be those of chapter 6. `notes-lora` "
        "equals the draft of appendix E of May 2024. `extra-18` has a loss that ignores the label 50256: no message "
        "has this label, so it is the run of `extra-01`.",
        f"- {notes}\n- {chapter} {appendix}\n- {experiments}",
        untuned(),
    ]


def untuned() -> str:
    """The famous starting point is a constant answer."""
    row = rows()["notes-untuned"]
    counts = [f"{published_count(row, part)}" for part in SPLITS]
    n = messages_of(row, "test")
    shares = ", ".join(f"{100 * (row.published[part] or 0):.2f}" for part in SPLITS)
    return (
        f"**The untuned model.** {shares} % ({row.id}) are {', '.join(counts[:2])} and {counts[2]} of the first {n} "
        'messages that each loader yields. As many of these messages are spam: the untuned model answers "spam" to all '
        "of them. The famous starting point is a constant answer, and says nothing about what GPT-2 knows."
    )


def teaching() -> list[str]:
    """Two rows at a time."""
    every, found = rows(), verdicts()
    lines, thoughts = [], []
    for number, verdict in enumerate(found, start=1):
        lesson = verdict.lesson
        shown = f"yes, p = {verdict.p_holm:.2g}" if verdict.shown else f"no, p = {verdict.p_holm:.2g}"
        before, after = with_interval(every[lesson.before]), with_interval(every[lesson.after])
        names = f"{lesson.before} → {lesson.after}"
        lines.append([f"{number}", lesson.change, names, before, after, points(verdict.difference), shown])
        thoughts.append(f"{number}. {thought_of(lesson)}")
    columns = ["no.", "what changes", "rows", "test before, %", "test after, %", "points", "a difference is shown?"]
    return [
        "## What changes between rows",
        table(columns, lines),
        f"The test is Fisher's exact one, at p below {LEVEL:g} after Holm's correction for these {len(found)} pairs. "
        "Both figures of a pair are of the same 300 messages, and a paired test would be sharper, but the single "
        "answers were not published.",
        *summed_up(),
        "What to think of each pair:",
        "\n".join(thoughts),
    ]


def summed_up() -> list[str]:
    """Which pairs show something, and how far two runs of the same settings lie apart."""
    found = verdicts()
    shown = [v for v in found if v.shown]
    alone = [v for v in found if not v.shown and v.p < LEVEL]
    twice = [abs(v.difference) for v in found if v.lesson.change == SAME_TWICE]
    every = rows()
    notes, book = every["notes-selective"], every["book-ch6"]
    text = [
        f"**{len(shown)} of {counted(len(found), 'pair')} show a difference**: "
        + "; ".join(f"{v.lesson.change} ({points(v.difference)})" for v in shown)
        + ". For the others 300 messages and one seed are not enough. That does not mean that nothing changed.",
        f"Two runs of the same settings lie up to {100 * max(twice):.2f} points apart. If the settings of "
        f"`notes-selective` are those of `book-ch6`, as we suppose, then {with_interval(notes)} in the notes and "
        f"{with_interval(book)} in the book are two more (p = "
        f"{fisher(*test_count(notes), *test_count(book)):.2g} alone).",
    ]
    if alone:
        text.append(
            "Looked at alone, without the correction, more would be called a difference: "
            + "; ".join(f"{v.lesson.change} ({points(v.difference)}, p = {v.p:.2g})" for v in alone)
            + f". Of {len(found)} such pairs one may come out so by luck."
        )
    return text


def whole_numbers() -> list[str]:
    """Every accuracy is a count, but one."""
    every = rows()
    figures = sum(row.published[part] is not None for row in every.values() for part in SPLITS)
    found = impossible()
    assert len(found) == 1
    name, part = found[0]
    n, accuracy = messages_of(every[name], part), every[name].published[part] or 0.0
    near = [f"{k} of {n} are {percent(k / n)}" for k in (math.floor(accuracy * n), math.ceil(accuracy * n))]
    slip = ""
    if every[name].published["train"] == accuracy:
        slip = f" {percent(accuracy)} is also the training accuracy of this row, so it may be a slip of copying."
    return [
        "## Every accuracy is a whole number of messages",
        f"An accuracy of 149 or 300 messages can only have certain values. Of the {figures} published figures "
        f"{figures - len(found)} have one of them. **One does not**: the {part} accuracy of {name}, "
        f"{percent(accuracy)}. {', '.join(near)}; nothing lies between. [An earlier version of the same "
        f"table]({REPOSITORY}/{EARLIER}/{EXPERIMENTS}) says {percent(math.floor(accuracy * n) / n)}.{slip} We leave "
        "the figure as it is published, and compare nothing with it. Anyone who reads a table of results can make "
        "this check.",
    ]


def scales() -> list[str]:
    """Three conventions of one formula."""
    lora = [row for row in rows().values() if row.method == "lora"]
    lines = [[row.id, f"{row.options['rank']}", f"{row.options['alpha']:g}", scale(row)] for row in lora]
    rank, alpha, moved = 16, 16, 256
    return [
        "## LoRA's scale: three conventions",
        "LoRA adds scale · B A x to the output of a layer. The paper (Hu et al., 2021) and this repository's default "
        "take alpha/rank. Appendix E had three conventions: the scale alpha with rank 8 (the draft of May 2024), the "
        "scale alpha with rank 16 (2025), and since September 2025 alpha/rank. So the same `alpha=16` means another "
        f"model, and an exercise had to move from alpha {alpha} to alpha {moved} in 2026: {moved}/{rank} is "
        f"{moved // rank} again.",
        table(["row", "rank", "alpha", "scale"], lines),
    ]


def start_of_a() -> list[str]:
    """Where A starts, and why that depends on how it is stored."""
    rank, width = 16, 768
    return [
        "## Where LoRA's A starts",
        "Appendix E stores A as (inputs, rank), most libraries as (rank, inputs). PyTorch's `kaiming_uniform_(A, "
        "a=math.sqrt(5))` draws uniformly within ±1/√n, where n is the size of the second dimension. So by the same "
        f"call appendix E draws A within ±1/√rank, and loralib within ±1/√inputs: at rank {rank} and width {width}, "
        f"±{1 / math.sqrt(rank):.2f} against ±{1 / math.sqrt(width):.3f}. AdamW's first step of B has the same size "
        f"either way, so the low-rank update after it is {math.sqrt(width / rank):.1f} times as large. The draft of "
        "May 2024 drew A from a normal distribution with standard deviation 1/√rank. Here these starts are `--init "
        "kaiming-rank`, `--init kaiming` (the default) and `--init normal`.",
        "---",
        "Written by `PYTHONPATH=scripts python -m reproduction.page` from "
        "[published.csv](../scripts/reproduction/published.csv).",
    ]


def write(folder: Path) -> None:
    """The page and its picture."""
    with atomic_write(folder / PAGE.name) as temporary:
        temporary.write_text(page(), encoding="utf-8")
    published_picture(folder / PICTURE)


if __name__ == "__main__":
    write(PAGE.parent)
    print(f"Wrote {PAGE} and {PICTURE}")
