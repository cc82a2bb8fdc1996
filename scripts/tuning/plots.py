"""The pictures of a sweep of learning rates: a U-shaped curve for each method, and accuracy against forgetting."""

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

import peft
from comparison.plots import GREY, STYLES, place_labels
from gpt2.files import atomic_write
from tuning.studies import Study

COLUMNS = 4
DEFAULT, OTHER = "#0072B2", "#D55E00"  # as in comparison/plots.py: told apart by colour-blind people too


def curves(table: pd.DataFrame, best: dict[str, float], study: Study, file: Path) -> None:
    """Validation loss against the learning rate, a panel a method: dots are trainings, lines are means; dashed, the
    method's other size. ``table``: a row a training; ``best``: method -> the rate that was chosen."""
    methods = list(best)
    rows = -(-len(methods) // COLUMNS)
    figure = Figure(figsize=(11, 0.7 + 2.1 * rows), dpi=130, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    lowest = table.loss.min() * 0.8
    for axes, method in zip(panels, methods, strict=False):
        for option, part in table[table.method == method].groupby("option"):
            style, color = ("s--", OTHER) if option else ("o-", DEFAULT)
            shown = part.assign(loss=part.loss.fillna(study.highest).clip(upper=study.highest))
            axes.plot(shown.lr, shown.loss, style[0], color=color, markersize=3.5, alpha=0.45)
            mean = shown.groupby("lr").loss.mean()
            axes.plot(mean.index, mean, style[1:], color=color, label=option.replace("=", " ") or "default size")
        axes.axvline(best[method], color=GREY, linewidth=1, linestyle=":")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(lowest, study.highest * 1.15)
        axes.set_title(f"{method}: {best[method]:g}", loc="left", fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(table[table.method == method].option.unique()) > 1:
            axes.legend(frameon=False, fontsize=7.5, loc="upper center")
        ticks = [tick for tick in study.ticks if tick >= lowest]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    for axes in panels[len(methods) :]:
        axes.set_visible(False)
    figure.supxlabel("learning rate (dotted: the one chosen)", fontsize=10)
    figure.supylabel(f"validation loss, nats per {study.unit}", fontsize=10)
    with atomic_write(file) as temporary:
        figure.savefig(temporary)


def forgetting(table: pd.DataFrame, before: float, best: dict[str, float], file: Path) -> None:
    """Validation accuracy against the rise of the language model's loss: a point a method and learning rate, the chosen
    rates large and with their names. ``before``: the loss of the model as it was."""
    means = table[table.option == ""].groupby(["method", "lr"])[["accuracy", "general_loss"]].mean().dropna()
    means = means.assign(rise=(means.general_loss - before).clip(lower=0.0))
    figure = Figure(figsize=(10, 6.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)  # measures texts
    axes = figure.subplots()
    axes.set_xscale("symlog", linthresh=0.01, linscale=0.4)
    chosen = means.loc[list(best.items())].droplevel("lr")
    low = chosen.accuracy.min() - 0.025
    for family, (marker, color) in STYLES.items():
        methods = [method for method in best if peft.METHODS[method].family == family]
        if not methods:
            continue
        others, large = means.loc[methods], chosen.loc[methods]
        axes.plot(others.rise, others.accuracy.clip(lower=low), marker, color=color, alpha=0.3, markersize=5)
        axes.plot(large.rise, large.accuracy, marker, color=color, markersize=9, markeredgecolor="black", label=family)
    axes.set_ylim(low - 0.002, 1.003)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("forgetting: rise of the language model's loss on general text, nats per token")
    axes.set_ylabel("validation accuracy (lower ones are drawn at the edge)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower center", ncols=len(STYLES), bbox_to_anchor=(0.5, 1.0))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is settled; labels are placed in it, by pixels
    place_labels(figure, axes, chosen.index.tolist(), chosen.rise.to_numpy(), chosen.accuracy.to_numpy(), [])
    with atomic_write(file) as temporary:
        figure.savefig(temporary)
