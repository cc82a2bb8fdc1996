"""The picture of a sweep over LoRA's rank, for models that learn to write."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from comparison.plots import LINES
from gpt2.files import atomic_write

PANELS = {"validation_loss": "validation loss, nats per target token", "test_bleu": "test BLEU"}


def rank_panels(summary: pd.DataFrame, file: Path) -> None:
    """Validation loss and BLEU against the rank, a panel each; ``summary`` has a row a rank: rank, NAME, NAME_sd."""
    figure = Figure(figsize=(9, 3.8), dpi=140, layout="constrained")
    place = np.log2(summary["rank"].astype(float))
    for axes, (name, label), (style, color) in zip(figure.subplots(1, 2), PANELS.items(), LINES, strict=False):
        axes.errorbar(place, summary[name], yerr=summary[f"{name}_sd"], fmt=style, color=color, capsize=3, markersize=6)
        axes.set_xticks(place, [f"{rank:.0f}" for rank in summary["rank"]])
        axes.set_xlabel("rank r")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(file) as temporary:
        figure.savefig(temporary)
