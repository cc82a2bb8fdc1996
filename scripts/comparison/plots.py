"""The pictures of the report; readable in grey: a family has its own marker besides its own colour."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, PercentFormatter

from gpt2.files import atomic_write
from gpt2.training.plot_text import drawable, plain_text

GREY = "#6b6b6b"
ACCURACY = "test accuracy"
STYLES = {  # marker and colour (Okabe & Ito's, told apart by colour-blind people too)
    "selective": ("o", "#0072B2"),
    "additive": ("^", "#D55E00"),
    "reparametrised": ("s", "#009E73"),
    "hybrid": ("D", "#CC79A7"),
}
LINES = (("o-", "#0072B2"), ("s--", "#D55E00"), ("^-.", "#009E73"), ("D:", "#CC79A7"))
AROUND = [(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False)]
FAR = 8.0  # the axis leaves out a method that is so many times farther from the middle than three quarters of them are


def scatter(
    table: pd.DataFrame,
    x: str,
    label: str,
    file: Path,
    lines: dict[str, float],
    logarithmic: bool,
    score: str = ACCURACY,
) -> list[str]:
    """Test accuracy, or BLEU, against column ``x``, a point a method with bars of one standard deviation; ``lines`` are
    horizontal, for baselines. Returns the methods that are too far below the others to be drawn.

    ``table`` is indexed by method, with columns score, score_sd, family, x and x_sd.
    """
    left_out = outliers(table.score)
    table = table.drop(index=left_out)
    table = table.assign(place=spread(table[x]) if logarithmic else table[x])
    figure = Figure(figsize=(9, 6.2), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)  # measures texts
    axes = figure.subplots()
    for family, (marker, color) in STYLES.items():
        part = table[table.family == family]
        if part.empty:
            continue
        axes.errorbar(
            part.place,
            part.score,
            xerr=part[f"{x}_sd"] if f"{x}_sd" in part else None,
            yerr=part.score_sd,
            fmt=marker,
            color=color,
            markersize=8,
            markeredgecolor="black",
            markeredgewidth=0.6,
            elinewidth=0.9,
            ecolor="#b0b0b0",
            label=family,
            zorder=3,
        )
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    low = min((table.score - table.score_sd).min(), table.score.min())
    high = max((table.score + table.score_sd).max(), table.score.max())
    shown = {name: value for name, value in lines.items() if value > low - (high - low) / 2}
    low, high = min([low, *shown.values()]), max([high, *shown.values()])
    notes = []
    top = 1.0 if score == ACCURACY else 100.0
    room = max(high - low, 0.01 * top) * 0.12
    axes.set_ylim(low - room, min(high + room, top + room / 3))
    axes.margins(x=0.12)
    for value in shown.values():
        axes.axhline(value, color=GREY, linestyle=":", zorder=1)
    for name, value in joined(shown, room / 3).items():
        notes.append(
            axes.annotate(
                name, (0.01, value), xycoords=("axes fraction", "data"), ha="left", va="bottom", color=GREY, fontsize=9
            )
        )
    axes.set_xlabel(label)
    axes.set_ylabel(f"{score} (mean, bar: one standard deviation)")
    if score == ACCURACY:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.07), ncols=4, handletextpad=0.2)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is settled; labels are placed in it, by pixels
    place_labels(figure, axes, table.index.tolist(), table.place.to_numpy(), table.score.to_numpy(), notes)
    with atomic_write(file) as temporary:
        figure.savefig(temporary)
    return left_out


def joined(lines: dict[str, float], gap: float) -> dict[str, float]:
    """Labels of horizontal lines; where lines lie closer than ``gap``, one label names them, at the highest."""
    found: dict[str, float] = {}
    for name, value in sorted(lines.items(), key=lambda line: line[1]):
        below = next(reversed(found), None)
        if below is not None and value - found[below] < gap:
            del found[below]
            name = f"{below}; {name}"
        found[name] = value
    return found


def outliers(values: pd.Series) -> list[str]:
    """Names far below the rest, which would squeeze all the others into a line."""
    middle = values.median()
    spread = max((middle - values).abs().quantile(0.75), 0.01)
    return values[middle - values > FAR * spread].index.tolist()


def short(value: float) -> str:
    """1,500 -> 1.5k, for an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def spread(values: pd.Series) -> pd.Series:
    """Move values that are all but equal a little apart, on a logarithmic axis, so that points do not hide points."""
    group = values.sort_values()
    group = (group / group.shift() > 1.05).cumsum()  # a new group where the next value is clearly larger
    rank = group.groupby(group).cumcount() - (group.groupby(group).transform("size") - 1) / 2  # … -1, 0, 1 …
    return values * 1.13 ** rank.reindex(values.index)


def place_labels(
    figure: Figure, axes: Axes, names: Sequence[str], x: np.ndarray, y: np.ndarray, others: Sequence[Text]
) -> None:
    """Write each name near its point, at the nearest of many positions where it covers nothing; a thin line leads back
    from a position farther off. ``others`` are texts to keep clear of."""
    points = axes.transData.transform(np.column_stack([x, y]))  # pixels
    renderer, frame = figure.canvas.get_renderer(), axes.get_window_extent()
    taken = [(px - 7, py - 7, px + 7, py + 7) for px, py in points]
    taken += [other.get_window_extent(renderer).extents for other in others]
    for i in np.argsort(points[:, 0]):
        text = axes.annotate(names[i], (0, 0), xycoords="figure pixels", fontsize=9, zorder=5)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
        box = text.get_window_extent(renderer)
        width, height = box.width + 3, box.height + 1
        choices = []
        for distance in (12, 20, 30, 42, 56, 72, 90, 110):
            for dx, dy in AROUND:
                left = points[i, 0] + dx * (distance + width / 2) - width / 2
                bottom = points[i, 1] + dy * (distance + height / 2 - 4) - height / 2
                place = (left, bottom, left + width, bottom + height)
                inside = frame.x0 <= place[0] and place[2] <= frame.x1 and frame.y0 <= place[1] and place[3] <= frame.y1
                choices.append((sum(overlap(place, other) for other in taken) + 1e6 * (not inside), distance, place))
        best = min(choices, key=lambda choice: choice[:2])
        place = best[2]
        text.set_position((place[0] + 1, place[1] + 1))
        taken.append(place)
        if best[1] > 12:
            corner = (np.clip(points[i, 0], place[0], place[2]), np.clip(points[i, 1], place[1], place[3]))
            axes.annotate(
                "",
                corner,
                xycoords="figure pixels",
                xytext=points[i],
                textcoords="figure pixels",
                arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": GREY, "shrinkA": 5, "shrinkB": 0},
            )


def overlap(a: tuple, b: tuple) -> float:
    """Area that two boxes (left, bottom, right, top) share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def rank_sweep(table: pd.DataFrame, file: Path) -> None:
    """Test accuracy against LoRA's rank, a line a sweep; ``table``: columns sweep, rank, accuracy, accuracy_sd."""
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for shift, (name, part) in enumerate(table.sort_values("rank").groupby("sweep")):
        style, color = LINES[shift % len(LINES)]
        x = np.log2(part["rank"]) + 0.08 * shift - 0.04  # side by side, so that the bars can be told apart
        axes.errorbar(
            x, part.accuracy, yerr=part.accuracy_sd, fmt=style, color=color, capsize=3, markersize=6, label=name
        )
    ranks = sorted(table["rank"].unique())
    axes.set_xticks(np.log2(ranks), [str(rank) for rank in ranks])
    axes.set_xlabel("rank r")
    axes.set_ylabel("test accuracy (mean ± standard deviation)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=140)


def dots(table: pd.DataFrame, bases: list[str], file: Path) -> str | None:
    """A line a method, a dot a base: test accuracy, with bars of one standard deviation, the last base's best on top.
    Returns a note where the names of the bases cannot be drawn.

    ``table``: columns method, base, mean, std.
    """
    labels, note = drawable(bases)
    with plain_text(labels):
        figure = draw_dots(table, bases, labels)
        with atomic_write(file) as temporary:
            figure.savefig(temporary)
    return note


def draw_dots(table: pd.DataFrame, bases: list[str], labels: list[str]) -> Figure:
    """The figure; ``labels`` are what the legend calls the bases."""
    best = table[table.base == bases[-1]].set_index("method")["mean"]
    methods = sorted(table.method.unique(), key=lambda method: best.get(method, 0.0))
    height = {method: row for row, method in enumerate(methods)}
    styles = list(STYLES.values())
    figure = Figure(figsize=(8, 1.6 + 0.36 * len(methods)), dpi=140, layout="constrained")
    axes = figure.subplots()
    for i, base in enumerate(bases):
        part = table[table.base == base]
        shift = 0.15 * ((len(bases) - 1) / 2 - i)
        marker, color = styles[i % len(styles)]
        heights = [height[method] + shift for method in part.method]
        axes.errorbar(
            part["mean"],
            heights,
            xerr=part["std"],
            fmt=marker,
            color=color,
            markeredgecolor="black",
            ecolor="#b0b0b0",
            markersize=7,
            markeredgewidth=0.6,
            elinewidth=0.9,
            label=f" {labels[i]}",  # a space, because matplotlib hides labels that begin with _
            zorder=3,
        )
    axes.set_yticks(range(len(methods)), methods)
    axes.set_xlabel("test accuracy (mean, bar: one standard deviation)")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(bases), handletextpad=0.2)
    return figure
