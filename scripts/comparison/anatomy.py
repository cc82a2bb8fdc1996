"""What runs have done to the weights: spectra, intruder dimensions, and the language loss without them, as a report."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from common.markdown import DASH, code_block, plain, table
from comparison.forgetting import language_loss, restore_language_head
from gpt2.checkpoints.weights import load_gpt2
from gpt2.errors import InputError
from gpt2.files import atomic_write
from gpt2.training.plot_text import drawable, plain_text
from peft.anatomy import effective_rank, energy_shares, remove_intruders, weight_changes
from peft.estimator import TextClassifier

KINDS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out")  # a panel each
LINES = (  # Okabe & Ito's colours, and lines that differ in grey too
    *(("-", "o", "#0072B2"), ("--", "s", "#D55E00"), ("-.", "^", "#009E73"), (":", "D", "#CC79A7")),
    *(("-", "v", "#E69F00"), ("--", "P", "#56B4E9"), ("-.", "X", "#000000")),
)
LEAST = 1e-4  # of the largest singular value: smaller ones are not drawn


@dataclass(frozen=True)
class RunAnatomy:
    """What was found in one run."""

    name: str
    method: str
    spectra: dict[str, np.ndarray]  # layer -> singular values of ΔW, descending
    layers: pd.DataFrame  # a row a changed layer; LAYER_COLUMNS
    losses: tuple[float, float, float] | None  # nats per token: pretrained, fine-tuned, without intruders


def examine(
    run: Path, name: str, assets: str | None, top: int, epsilon: float, keep: float, tokens: Tensor | None
) -> RunAnatomy:
    """Take one run apart. ``tokens`` (windows, width) are general text; None: no loss is measured."""
    found_run = TextClassifier.load(run, assets)
    model, base = found_run.model_, load_gpt2(found_run.model, assets)
    try:
        changes = weight_changes(model, base)
        without, found = remove_intruders(model, base, top, epsilon, keep)
    except InputError as error:
        raise InputError(f"{run}: {error}") from error
    spectra = {layer: change.singular_values.numpy() for layer, change in changes.items()}
    rows = []
    for layer, change in changes.items():
        values = change.singular_values
        shares = energy_shares(values)
        rows.append(
            {
                "layer": layer,
                "shape": "x".join(map(str, change.delta.shape)),
                "relative_size": change.relative_size,
                "effective_rank": effective_rank(values),
                "rank_for_90_percent": int((shares < 0.9).sum()) + 1,
                "intruders": len(found[layer]),
            }
        )
    losses = None
    if tokens is not None:
        before = language_loss(base, tokens)
        tuned, reduced = (language_loss(restore_language_head(each), tokens) for each in (model, without))
        losses = before, tuned, reduced
    return RunAnatomy(name, found_run.method, spectra, pd.DataFrame(rows), losses)


def names_of(runs: Sequence[Path]) -> list[str]:
    """The last part of each folder, or all of it where two are alike."""
    short = [run.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [run.as_posix() for run in runs]


def block_and_kind(layer: str) -> tuple[int, str] | None:
    """``h.3.mlp.fc_in`` -> 3, fc_in; None for what is in no block."""
    found = re.fullmatch(r"h\.(\d+)\.\w+\.(\w+)", layer)
    return (int(found[1]), found[2]) if found else None


def write(out: Path, found: Sequence[RunAnatomy], command: str, top: int, epsilon: float, keep: float) -> str | None:
    """anatomy.csv, spectra.png and anatomy.md. Returns a note where the runs' names cannot be drawn."""
    everything = pd.concat([one.layers.assign(run=one.name) for one in found]).set_index("run").reset_index()
    with atomic_write(out / "anatomy.csv") as temporary:
        everything.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)
    labels, note = drawable([one.name for one in found])
    with plain_text(labels):
        figure = draw(found, labels)
        with atomic_write(out / "spectra.png") as temporary:
            figure.savefig(temporary)
    with atomic_write(out / "anatomy.md") as temporary:
        temporary.write_text(report(found, command, top, epsilon, keep), encoding="utf-8")
    return note


def draw(found: Sequence[RunAnatomy], labels: Sequence[str]) -> Figure:
    """Singular values against their index: a panel a kind of layer, a line a run, a band over the blocks."""
    figure = Figure(figsize=(11, 6.6), dpi=140, layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    largest = max(values[0] for one in found for values in one.spectra.values())
    for axes, kind in zip(panels.flat, KINDS, strict=True):
        for (style, marker, color), one, label in zip(LINES, found, labels, strict=False):
            spectra = [values for layer, values in one.spectra.items() if (block_and_kind(layer) or "?")[-1] == kind]
            if spectra:
                draw_line(axes, spectra, style, marker, color, label)
        if not axes.lines:
            axes.text(0.5, 0.5, "unchanged", transform=axes.transAxes, ha="center", color="#6b6b6b")
        axes.set_title(kind)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(LEAST / 2 * largest, 2 * largest)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("index of the singular value", fontsize=10)
    figure.supylabel("singular value of ΔW\n(median over the blocks; band: smallest to largest)", fontsize=10)
    lines = {line.get_label(): line for axes in panels.flat for line in axes.lines}
    shown = [f" {label}" for label in labels if f" {label}" in lines]
    figure.legend([lines[label] for label in shown], shown, loc="outside upper center", ncols=len(LINES), frameon=False)
    return figure


def draw_line(axes: Axes, spectra: list[np.ndarray], style: str, marker: str, color: str, label: str) -> None:
    """The median over blocks with a band from smallest to largest, as far as there is something to see."""
    values = np.stack(spectra)  # (blocks, n)
    middle = np.median(values, axis=0)
    there = middle > LEAST * middle[0]
    index = np.arange(1, len(middle) + 1)[there]
    axes.fill_between(index, values.min(axis=0)[there], values.max(axis=0)[there], color=color, alpha=0.15, linewidth=0)
    (line,) = axes.plot(index, middle[there], style, color=color, marker=marker, markevery=0.12, markersize=5)
    line.set_label(f" {label}")  # a space: matplotlib hides labels that begin with _


def report(found: Sequence[RunAnatomy], command: str, top: int, epsilon: float, keep: float) -> str:
    """anatomy.md."""
    lines = [
        "# Anatomy of updates",
        "",
        code_block(command),
        "",
        "ΔW is the difference between fine-tuned and pretrained weight (of a quantised base, with what quantisation "
        "has lost). The new classification head is left out. Every layer: [anatomy.csv](anatomy.csv).",
        "",
        "![Singular values of ΔW by kind of layer](spectra.png)",
        "",
        "Means over the changed layers. *Effective rank*: exp of the entropy of σ/Σσ. *Rank for 90 %*: how many "
        f"singular values hold 90 % of Σσ². *Intruders*: of the first {top} left singular vectors of a fine-tuned "
        f"weight, those with |cos| < {epsilon:g} to every pretrained one (Shuttleworth et al., 2024, "
        "arXiv:2410.21228).",
        "",
        table(
            ["run", "method", "layers", "‖ΔW‖ / ‖W‖", "effective rank", "rank for 90 %", "intruders in all"],
            [overview(one) for one in found],
        ),
        "",
    ]
    for one in found:
        lines += [f"## Intruder dimensions of {plain(one.name)}", "", intruder_table(one), ""]
    return "\n".join([*lines, *loss_section(found, keep)])


def overview(one: RunAnatomy) -> list[str]:
    """A row of the first table."""
    means = one.layers[["relative_size", "effective_rank", "rank_for_90_percent"]].mean()
    cells = [f"{means.relative_size:.4f}", f"{means.effective_rank:.1f}", f"{means.rank_for_90_percent:.1f}"]
    return [plain(one.name), f"`{one.method}`", str(len(one.layers)), *cells, str(one.layers.intruders.sum())]


def intruder_table(one: RunAnatomy) -> str:
    """A row a block, a column a kind of layer; what is in no block by itself."""
    counts = dict(zip(one.layers.layer, one.layers.intruders, strict=True))
    placed = {block_and_kind(layer): str(count) for layer, count in counts.items()}
    blocks = sorted({place[0] for place in placed if place})
    rows = [[str(block), *(placed.get((block, kind), DASH) for kind in KINDS)] for block in blocks]
    text = table(["block", *KINDS], rows) if rows else ""
    outside = [f"`{layer}` {count}" for layer, count in counts.items() if not block_and_kind(layer)]
    return text + (f"\n\nOutside the blocks: {', '.join(outside)}." if outside else "")


def loss_section(found: Sequence[RunAnatomy], keep: float) -> list[str]:
    """How well each model still predicts general text, before and after."""
    measured = [(one, one.losses) for one in found if one.losses]
    if not measured:
        return ["No general text was at hand (`--general-text`), so the language loss was not measured.", ""]
    rows = [[plain(one.name), *(f"{loss:.3f}" for loss in losses)] for one, losses in measured]
    done = "removed" if keep == 0 else f"scaled to {keep:g}"
    return [
        "## Language loss on general text",
        "",
        f"In nats per token. *Intruders {done}*: in the fine-tuned weights, with the head of the language model.",
        "",
        table(["run", "pretrained", "fine-tuned", f"intruders {done}"], rows),
        "",
    ]
