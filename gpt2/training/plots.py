"""The pictures of a run and of a range test, drawn without a screen; readable in grey.

How names get into them: plot_text.py.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from gpt2.training.decision import Decision
from gpt2.training.lr_range import LRRange
from gpt2.training.plot_text import drawable, plain_text

BLUE, ORANGE, GREY = "#1f5fa8", "#d9730d", "#6b6b6b"


def plot_curves(history: pd.DataFrame, steps: pd.DataFrame, file: Path) -> None:
    """Loss and accuracy over the epochs, for training and validation; ``steps``, a row a batch, as a faint line
    of means over a twentieth of an epoch."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    per_epoch = max(len(steps) // max(history.epoch.max(), 1), 1)
    smoothed = steps.rolling(max(per_epoch // 20, 1), min_periods=1).mean() if len(steps) else steps
    for axes, what in ((left, "loss"), (right, "accuracy")):
        if len(steps):
            axes.plot(steps.step / per_epoch, smoothed[what], color=ORANGE, alpha=0.35, label="training, by step")
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


def plot_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    positive: int | None,
    decision: Decision,
    reliability: pd.DataFrame,
    file: Path,
) -> None:
    """Confidence against accuracy (a table of gpt2.metrics.reliability); of two classes also the ROC curve and
    precision against recall, with the chosen threshold marked."""
    truth = labels == (-1 if positive is None else positive)
    curves = 0 < truth.sum() < len(truth)
    figure = Figure(figsize=(12 if curves else 4.2, 3.9), layout="constrained")
    panels = figure.subplots(1, 3 if curves else 1, squeeze=False)[0]
    if curves:
        draw_curves(panels[0], panels[1], truth, probabilities[:, positive], decision.threshold)
    axes = panels[-1]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="as confident as right")
    axes.plot(reliability.confidence, reliability.accuracy, "o-", color=BLUE, label="messages by confidence")
    for row in reliability.itertuples():
        axes.annotate(f"{row.n:,}", (row.confidence, row.accuracy), (0, 6), textcoords="offset points", fontsize=8)
    axes.set_title("Reliability, with numbers of messages", loc="left", fontsize=11)
    label(axes, "confidence: the probability of the answer", "accuracy")
    axes.set_xlim(min(reliability.confidence.min(), 1 / probabilities.shape[1]) - 0.03, 1.04)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(file, dpi=130)


def draw_curves(roc: Axes, pr: Axes, truth: np.ndarray, scores: np.ndarray, threshold: float) -> None:
    """What each threshold gives: true (n,) booleans, scores (n,) probabilities of the positive class."""
    called = scores >= threshold
    recall = (called & truth).sum() / truth.sum()
    false, found, _ = roc_curve(truth, scores)
    roc.plot(false, found, color=BLUE)
    roc.plot((called & ~truth).sum() / (~truth).sum(), recall, "s", color=ORANGE, label=f"threshold {threshold:.2f}")
    roc.set_title("ROC curve", loc="left", fontsize=11)
    label(roc, "share of the others called positive", "recall: share of positives found")
    roc.legend(frameon=False, loc="lower right", fontsize=9)
    precisions, recalls, _ = precision_recall_curve(truth, scores)
    pr.plot(recalls, precisions, color=BLUE)
    if called.any():
        pr.plot(recall, (called & truth).sum() / called.sum(), "s", color=ORANGE)
    pr.set_title("Precision and recall", loc="left", fontsize=11)
    label(pr, "recall", "precision")


def label(axes: Axes, x: str, y: str) -> None:
    """Names for two axes of shares."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(-0.03, 1.08)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


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
