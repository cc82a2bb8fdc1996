"""The study of data sizes: 8, 16, 32 … all training messages, for a few methods, random weights, and TF-IDF.

Each seed draws its own grouped split. Its smaller training sets are the beginnings of the larger ones, and each has the
classes in the same shares. The test part is always the whole one.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import t

from common.markdown import code_block, table
from data import Dataset
from data.baselines import fit_tfidf
from gpt2.files import atomic_write
from gpt2.metrics import classification_metrics

SMALLEST = 8  # messages
STRENGTH = 1000.0  # TF-IDF's C, chosen as the learning rates were (docs/results/learning_rates/report.md)
TFIDF, RANDOM = "TF-IDF", "random weights"
MARKERS = "osD^vPX*<>"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def evenly(dataset: Dataset) -> Dataset:
    """The training messages in an order in which each beginning has the classes in the shares of the whole."""
    train = dataset.train
    of_class = train.groupby("label")
    place = (of_class.cumcount() + 0.5) / of_class["label"].transform("size")
    return dataclasses.replace(dataset, train=train.iloc[np.argsort(place, kind="stable")].reset_index(drop=True))


def sizes_of(largest: int, factor: int = 2) -> list[int]:
    """8, 16, 32 … and all; each ``factor`` times the one before."""
    return [SMALLEST * factor**i for i in range(30) if SMALLEST * factor**i < largest] + [largest]


def tfidf_rows(datasets: dict[int, Dataset], sizes: Sequence[int]) -> pd.DataFrame:
    """TF-IDF and logistic regression on the same messages: columns method, split, n_train, accuracy, f1."""
    rows = []
    for split, dataset in datasets.items():
        for size in sizes:
            few = dataclasses.replace(dataset, train=dataset.train[:size])
            probabilities = fit_tfidf(few, (STRENGTH,))(dataset.test.text)
            metrics = classification_metrics(dataset.test.label.to_numpy(), probabilities, dataset.positive_index)
            row = {"method": TFIDF, "split": split, "n_train": size}
            rows.append(row | {name: metrics[name] for name in ("accuracy", "f1")})
    return pd.DataFrame(rows)


def summarise(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """(method, n_train) -> mean, sd and the half width of a 95 % interval of the mean over the seeds (Student's t)."""
    found = rows.groupby(["method", "n_train"], sort=False)[column].agg(["mean", "std", "size"])
    found["half"] = t.ppf(0.975, found["size"] - 1) * found["std"] / np.sqrt(found["size"])
    return found


def picture(rows: pd.DataFrame, file: Path) -> None:
    """F1 against training messages, a line a method, with 95 % intervals."""
    figure = Figure(figsize=(9.5, 5.6), dpi=130, layout="constrained")
    axes = figure.subplots()
    found = summarise(rows, "f1")
    methods = list(dict.fromkeys(rows.method))
    for i, method in enumerate(methods):
        part = found.loc[method]
        x = part.index * 1.03 ** (i - len(methods) / 2)  # side by side, so that the bars can be told apart
        style = "--" if RANDOM in method else ":" if method == TFIDF else "-"
        axes.errorbar(
            x,
            part["mean"],
            yerr=part["half"],
            fmt=MARKERS[i % len(MARKERS)] + style,
            color=COLORS[i % len(COLORS)],
            markersize=5,
            linewidth=1.4,
            elinewidth=0.8,
            label=method,
        )
    sizes = sorted(rows.n_train.unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=9)
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("training messages, of which one in eight is spam")
    axes.set_ylabel("F1 of spam on the test messages")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    with atomic_write(file) as temporary:
        figure.savefig(temporary)


def reading(rows: pd.DataFrame) -> list[str]:
    """Sentences that follow from the numbers: where TF-IDF is behind, and where pretraining shows."""
    pretrained = [m for m in dict.fromkeys(rows.method) if RANDOM not in m and m != TFIDF]
    by_seed = rows.pivot_table(index=["n_train", "split"], columns="method", values="f1")
    sentences = []
    for method in [*pretrained, *(m for m in by_seed if RANDOM in m)]:
        other = TFIDF
        better, worse = compared(by_seed, method, other)
        sentences.append(f"`{method}` against {other}: {verdict(better, worse)}.")
    for method in (m for m in by_seed if RANDOM in m):
        other = method.split(",")[0]
        if other in by_seed:
            better, worse = compared(by_seed, other, method)
            sentences.append(f"`{other}`, pretrained against random weights: {verdict(better, worse)}.")
    return sentences


def compared(by_seed: pd.DataFrame, one: str, other: str) -> tuple[list[int], list[int]]:
    """The sizes at which the paired 95 % interval of the difference in F1 lies above zero, and below it."""
    difference = (by_seed[one] - by_seed[other]).groupby("n_train").agg(["mean", "std", "size"])
    half = t.ppf(0.975, difference["size"] - 1) * difference["std"] / np.sqrt(difference["size"])
    above, below = difference["mean"] - half > 0, difference["mean"] + half < 0
    return difference.index[above].tolist(), difference.index[below].tolist()


def verdict(better: list[int], worse: list[int]) -> str:
    """In words."""
    said = [
        f"{word} at {', '.join(f'{n:,}' for n in sizes)}"
        for word, sizes in (("better", better), ("worse", worse))
        if sizes
    ]
    return "; ".join(said) if said else "no difference is shown at any size"


def write_report(out: Path, rows: pd.DataFrame, facts: dict) -> Path:
    """Write report.md, rows.csv and the picture; returns the report's path."""
    picture(rows, out / "sizes.png")
    with atomic_write(out / "rows.csv") as temporary:
        rows.to_csv(temporary, index=False, float_format="%.6g")
    sizes = sorted(rows.n_train.unique())
    sections = [
        "# How many messages does it take?",
        code_block(facts["command"]),
        f"Model `{facts['model']}`, SMS data, grouped protocol, seeds {facts['seeds']}, each with its own split. A "
        f"training takes at least {facts['steps']} steps of 8 messages, in whole epochs, with the default learning "
        f"rates; TF-IDF's C is {STRENGTH:g}. {facts['machine']}.",
        "\n".join(f"- {sentence}" for sentence in reading(rows)),
        "These compare F1 seed by seed: *better* or *worse* where the 95 % interval of the mean difference (Student's "
        "t, not adjusted for the number of comparisons) leaves out zero. Few seeds make wide intervals.",
        "![F1 of spam against training messages](sizes.png)",
    ]
    for column, title in (("f1", "F1 of spam, %"), ("accuracy", "Accuracy, %")):
        found = summarise(rows, column)
        lines = []
        for method in dict.fromkeys(rows.method):
            cells = [found.loc[(method, size)] for size in sizes]
            lines.append([method, *[f"{100 * cell['mean']:.1f} ± {100 * cell['std']:.1f}" for cell in cells]])
        sections += [
            f"## {title}: mean ± standard deviation",
            table(["messages", *[f"{size:,}" for size in sizes]], lines),
        ]
    file = out / "report.md"
    with atomic_write(file) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return file
