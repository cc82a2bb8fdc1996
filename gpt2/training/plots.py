"""The pictures of a run and of a range test, drawn without a screen; readable in grey.

How names get into them: plot_text.py.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gpt2.training.lr_range import LRRange
from gpt2.training.plot_text import drawable, plain_text

BLUE, ORANGE, GREY = "#1f5fa8", "#d9730d", "#6b6b6b"


def plot_curves(history: pd.DataFrame, file: Path) -> None:
    """Loss and accuracy over the epochs, for training and validation messages."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, what in ((left, "loss"), (right, "accuracy")):
        axes.plot(history.epoch, history[f"train_{what}"], "o--", color=ORANGE, label="training (running mean)")
        axes.plot(history.epoch, history[f"validation_{what}"], "s-", color=BLUE, label="validation")
        axes.set_xlabel("epoch (0 = before training)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_title("Loss (nats per message)", loc="left")
    left.set_ylim(bottom=0)
    right.set_title("Accuracy", loc="left")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.legend(frameon=False)
    figure.savefig(file, dpi=130)


def plot_confusion(table: list[list[int]], classes: Sequence[str], file: Path, title: str) -> str | None:
    """Rows: what a message is; columns: what it was called. Shade: share of the row. Returns a note where the names
    cannot be drawn and numbers stand for them."""
    counts = np.array(table)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(1.6 + 0.95 * len(classes), 14)
    labels, note = drawable(classes)
    with plain_text(labels):
        figure = Figure(figsize=(size + 0.6, size), layout="constrained")
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        if len(classes) <= 20:  # beyond that the numbers would only be a smudge
            for row in range(len(classes)):
                for column in range(len(classes)):
                    color = "white" if share[row, column] > 0.55 else "black"
                    count = f"{counts[row, column]:,}"
                    axes.text(column, row, count, ha="center", va="center", color=color, fontsize=12)
        fontsize = 10 if len(classes) <= 60 else 600 / len(classes)
        axes.set_xticks(range(len(classes)), labels, rotation=0 if len(classes) <= 4 else 90, fontsize=fontsize)
        axes.set_yticks(range(len(classes)), labels, fontsize=fontsize)
        axes.set_xlabel("called")
        axes.set_ylabel("is")
        axes.set_title(title, fontsize=11)
        figure.savefig(file, dpi=130)
    return note


def plot_lr_range(found: LRRange, file: Path) -> None:
    """Loss against learning rate of a range test: every batch, the running mean, and the suggestion."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, ".", color=GREY, markersize=4, label="a batch")
    axes.plot(found.rates, found.smoothed, color=BLUE, label="running mean")
    axes.axvline(found.rates[found.best], color=GREY, linestyle=":", label="lowest running mean")
    axes.axvline(found.suggestion, color=ORANGE, linestyle="--", label=f"suggestion, {found.suggestion:.1e}")
    axes.set_xscale("log")
    axes.set_ylim(0, 2 * found.smoothed[0])
    axes.set_xlabel("learning rate")
    axes.set_title("Loss (nats per message)", loc="left")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(framealpha=1, edgecolor="white")
    figure.savefig(file, dpi=130)
