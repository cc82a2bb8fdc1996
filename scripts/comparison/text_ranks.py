"""The section of a comparison's report about LoRA's rank, for models that learn to write."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.markdown import DASH, plus_minus, table
from comparison.plots import LINES
from comparison.text_results import MEASURES, summarise
from gpt2.files import atomic_write

# Hu et al., 2021, arXiv:2106.09685v2, table 18: GPT-2 medium on E2E, LoRA on queries and values
PAPER: dict[int, tuple[float, ...]] = {  # rank: PAPER_MEASURES
    1: (1.23, 68.72, 8.7215, 0.4565, 0.7052, 2.4329),
    2: (1.21, 69.17, 8.7413, 0.4590, 0.7052, 2.4639),
    4: (1.18, 70.38, 8.8439, 0.4689, 0.7186, 2.5349),
    8: (1.17, 69.57, 8.7457, 0.4636, 0.7196, 2.5196),
    16: (1.16, 69.61, 8.7483, 0.4629, 0.7177, 2.4985),
    32: (1.16, 69.33, 8.7736, 0.4642, 0.7105, 2.5255),
    64: (1.16, 69.24, 8.7174, 0.4651, 0.7180, 2.5070),
}
PAPER_MEASURES = ("validation loss", "BLEU", "NIST", "METEOR", "ROUGE-L", "CIDEr")
OF_PAPER = (
    "The right half is **another model**, published by others: GPT-2 medium (355M), LoRA on queries and values, all "
    "E2E training pairs, ROUGE-L from 0 to 1 (Hu et al., 2021, [arXiv:2106.09685](https://arxiv.org/abs/2106.09685) "
    "version 2, table 18). Compare how the values of each half change with the rank, not their heights."
)
PANELS = {"validation_loss": "validation loss, nats per target token", "test_bleu": "test BLEU"}


def rank_section(out: Path, runs: pd.DataFrame) -> list[str]:
    """Each method whose rank was swept, by rank. Beside LoRA the paper's table, in columns of its own."""
    methods = runs[runs.rank_swept.notna()].method.unique()
    if not len(methods):
        return ["## Rank of LoRA", "Not measured; `--experiments experiments/ranks-writing` adds ranks 1 to 64."]
    sections = []
    for method in methods:
        swept = runs[(runs.method == method) & (runs.rank_swept.notna() | (runs.row == method))]
        summary, published = summarise(swept).sort_values("rank"), PAPER if method == "lora" else {}
        picture = "ranks.png" if method == "lora" else f"ranks-{method}.png"
        rank_panels(summary, out / picture)
        best, lowest = summary.test_bleu.idxmax(), summary.validation_loss.idxmin()
        alphas = swept.options.str.extract(r"alpha=([\d.]+)")[0].dropna().unique()
        sections += [
            f"## Rank of {'LoRA' if method == 'lora' else method}",
            f"The highest mean BLEU is that of rank {summary['rank'][best]:.0f}, the lowest mean validation loss that "
            f"of rank {summary['rank'][lowest]:.0f}."
            + (f" α is {alphas[0]} at every rank, so the scaling falls as the rank rises." if len(alphas) == 1 else ""),
            rank_rows(summary, published),
            *([OF_PAPER] if published else []),
            f"![Validation loss and BLEU against rank]({picture})\n\nMeans and standard deviations over the seeds.",
        ]
    return sections


def rank_rows(summary: pd.DataFrame, published: Mapping[int, tuple[float, ...]]) -> str:
    """A row a rank."""
    columns = ["rank", "trained", "validation loss", *MEASURES.values()]
    columns += [f"Hu et al.: {name}" for name in PAPER_MEASURES if published]
    rows = []
    for m in summary.itertuples():
        ours = [plus_minus(getattr(m, f"test_{name}"), getattr(m, f"test_{name}_sd")) for name in MEASURES]
        theirs = [f"{value:g}" for value in published.get(int(m.rank), ())] or [DASH] * len(columns[8:])
        loss = plus_minus(m.validation_loss, m.validation_loss_sd, digits=3)
        rows.append([f"{m.rank:.0f}", f"{m.trainable_parameters:,}", loss, *ours, *theirs])
    return table(columns, rows)


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
