"""The pictures of a reproduction; readable in grey: what is published is hollow, what is measured is filled."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from comparison.plots import GREY, STYLES
from gpt2.files import atomic_write
from reproduction.evidence import messages_of, published_count, wilson
from reproduction.listing import special
from reproduction.rows import Row, every_row, rows

PUBLISHED, MEASURED = ("D", "#D55E00"), ("o", "#0072B2")  # marker and colour
CUT = 0.9  # left of it the axis is pressed together, because most rows stand right of it
SHIFT = 0.17  # of two marks in one line
REMARK = "stand-in weights or smoke run: accuracies mean nothing as a reproduction"
KINDS = {  # of the published table, in the order of the legend
    "last block(s)": STYLES["selective"],
    "everything": STYLES["additive"],
    "LoRA": STYLES["reparametrised"],
    "head, or nothing": STYLES["hybrid"],
}


def frame(names: Sequence[str], low: float) -> tuple[Figure, Axes, Axes]:
    """A figure with a line a row, whose axis is cut at 90 %: the left part is pressed together."""
    figure = Figure(figsize=(9.5, 1.4 + 0.42 * len(names)), dpi=130, layout="constrained")
    figure.get_layout_engine().set(wspace=0, w_pad=0.02)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 2])
    every = every_row()
    left.set_yticks(range(len(names)), [f"{name}\n{special(every[name])}" for name in names], fontsize=7.5)
    left.set_ylim(len(names) - 0.4, -0.6)  # the first row on top
    left.set_xlim(max(0.0, low - 0.02), CUT)
    right.set_xlim(CUT, 1.003)
    right.tick_params(left=False)
    step = 1 if low > 0.45 else 2
    left.set_xticks([tick / 10 for tick in range(0, 9, step) if tick / 10 > low - 0.02])  # 90 % is the right part's
    for axes in (left, right):
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    right.spines["left"].set(color=GREY, linestyle=":")
    return figure, left, right


def mark(
    axes: Sequence[Axes], x: float, y: float, interval: tuple | None, style: tuple, filled: bool, label: str
) -> None:
    """One accuracy with its interval; the point in the part of the axis where it belongs, whole."""
    (marker, color), (left, right) = style, axes
    for part in axes if interval else ():
        part.plot(interval, (y, y), color=color, linewidth=1.2, alpha=0.75, zorder=2)
    face = color if filled else "white"
    here = left if x < CUT else right
    here.plot(x, y, marker, color=color, markerfacecolor=face, markersize=6.5, label=label, zorder=3, clip_on=False)


def legend(figure: Figure, axes: Sequence[Axes], labels: Sequence[str]) -> None:
    """Each label once, above the axes, in this order."""
    handles = {line.get_label(): line for part in axes for line in part.get_lines()}
    shown = [label for label in labels if label in handles]
    figure.legend([handles[label] for label in shown], shown, loc="outside upper center", ncols=4, frameon=False)


def beside(compared: pd.DataFrame, runs: pd.DataFrame, file: Path, stand_in: bool) -> None:
    """Test accuracy of each row, published and measured, with intervals; small dots for all seeds."""
    table = compared[compared.part == "test"].reset_index(drop=True)
    intervals = [wilson(line.right, line.n) for line in table.itertuples()]
    lowest = min([low for low, _ in intervals] + [table.published.min(), runs.test_accuracy.min(), 0.8])
    figure, left, right = frame(table.row.tolist(), lowest)
    for y, line in enumerate(table.itertuples()):
        count = line.published_right
        known = None if pd.isna(count) else wilson(int(count), int(line.published_n))
        mark((left, right), line.published, y - SHIFT, known, PUBLISHED, False, "published")
        mark((left, right), line.measured, y + SHIFT, intervals[y], MEASURED, True, "measured")
        seeds = runs[runs.row == line.row].test_accuracy
        for value in seeds if len(seeds) > 1 else ():
            part = left if value < CUT else right
            part.plot(value, y + SHIFT, "o", color="black", markersize=2.2, zorder=4, label="each seed", clip_on=False)
    figure.supxlabel("test accuracy, 95 % intervals; the axis is stretched from 90 % on", fontsize=10)
    legend(figure, (left, right), ("published", "measured", "each seed"))
    save(figure, stand_in, file)


def splits(runs: pd.DataFrame, baselines: dict[str, dict], file: Path, stand_in: bool) -> None:
    """F1 of spam on both splits, a line a row; vertical lines for counting words."""
    means = runs.groupby(["protocol", "row"]).test_f1.mean()
    names = [name for name in every_row() if ("grouped", name) in means.index]
    figure, left, right = frame(names, min(means.min(), 0.8))
    for y, name in enumerate(names):
        if ("published", name) in means.index:
            mark((left, right), means["published", name], y - SHIFT, None, PUBLISHED, False, "published split")
        mark((left, right), means["grouped", name], y + SHIFT, None, MEASURED, True, "grouped split")
    labels = ["published split", "grouped split"]
    for protocol, (style, color) in {"published": ("--", PUBLISHED[1]), "grouped": ("-", MEASURED[1])}.items():
        f1 = baselines.get(protocol, {}).get("test", {}).get("f1")
        labels.append(f"counting words, {protocol} split")
        if f1 is not None:
            part = left if f1 < CUT else right
            part.axvline(f1, color=color, linestyle=style, linewidth=1, zorder=1, label=labels[-1])
    figure.supxlabel("F1 of spam, test messages; the axis is stretched from 90 % on", fontsize=10)
    legend(figure, (left, right), labels)
    save(figure, stand_in, file)


def kind(row: Row) -> str:
    """Which sign a row has in the picture of the published table."""
    if row.method == "head":
        return "head, or nothing"
    return {"selective": "last block(s)", "full": "everything", "lora": "LoRA"}[row.method]


def published_picture(file: Path) -> None:
    """The published test accuracies with their intervals, a line a row."""
    every = rows().values()
    figure, left, right = frame([row.id for row in every], 0.38)
    for y, row in enumerate(every):
        accuracy, count = row.published["test"], published_count(row, "test")
        assert accuracy is not None and count is not None
        known = wilson(count, messages_of(row, "test"))
        mark((left, right), accuracy, y, known, KINDS[kind(row)], True, f"trained: {kind(row)}")
    label = "published test accuracy, one seed each, 95 % intervals; the axis is stretched from 90 % on"
    figure.supxlabel(label, fontsize=10)
    legend(figure, (left, right), [f"trained: {name}" for name in KINDS])
    save(figure, False, file)


def save(figure: Figure, stand_in: bool, file: Path) -> None:
    """Write the picture; with a remark above it where its accuracies mean nothing."""
    if stand_in:
        figure.axes[1].set_title(REMARK, loc="right", fontsize=10, color="#b00000")
    with atomic_write(file) as temporary:
        figure.savefig(temporary)
