"""report.md: the tables and sentences of a comparison, and its pictures, in one folder."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from common.markdown import DASH, code, counted, operations, plain, plus_minus, points, size, table
from comparison.baselines import TFIDF
from comparison.common_sections import heading_section, settings_section, unfinished_section
from comparison.memorising import memorising_section
from comparison.memory import check
from comparison.messages import Messages
from comparison.plots import scatter
from comparison.results import Results
from comparison.rows import base_name
from comparison.sections import memory_section, sweep_section, taxonomy_section
from comparison.settings import LATER_SETTINGS
from comparison.significance import DRAWS, LEVEL
from comparison.summary import Summary, forgetting, reading, summarise
from comparison.taxonomy import MESSAGE_TOKENS
from gpt2.files import atomic_write, write_json
from gpt2.training.run_files import read_json

BEST_EPOCH = "The best epoch is the one with the highest validation accuracy; its weights are the ones tested."


def write_report(out: Path, results: Results, check_memory: bool) -> Path:
    """Write report.md, pairs.csv and the pictures into ``out``; returns the report's path."""
    summary = summarise(results)
    with atomic_write(out / "pairs.csv") as temporary:
        summary.pairs.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)
    if check_memory:
        write_json(out / "memory.json", check())
    sections = [
        *heading(results, summary),
        *main_section(out, results, summary),
        *memorising_section(results.correct, results.messages, in_order(summary)),
        *sweep_section(out, summary),
        "## Forgetting",
        *forgetting(results, summary, read_json(out / "general_text.json")),
        *memory_section(out, results),
        *taxonomy_section(),
        *settings_section(results.runs, results.record, BEST_EPOCH),
    ]
    file = out / "report.md"
    with atomic_write(file) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return file


def heading(results: Results, summary: Summary) -> list[str]:
    """What was compared, how, and on what."""
    settings, runs = LATER_SETTINGS | results.record["settings"], results.main
    protocol = f", {settings['protocol']} protocol" if runs.protocol.notna().all() else ""
    seeds, counts = sorted(summary.sizes), sorted(set(summary.sizes.values()))
    model, data = base_name(settings["model"]), Path(settings["data"]).name
    facts = [
        f"model {code(model)}, data {code(data)}{protocol}, {counted(settings['epochs'], 'epoch')}",
        f"seeds {', '.join(map(str, seeds))}: each draws its own split, the new head and the order of the messages; "
        f"all rows with one seed see the same split, with {' or '.join(f'{n:,}' for n in counts)} test messages",
        *kept_together(settings, results.messages),
    ]
    title = f"Methods compared: {plain(model)}, {plain(data)}{protocol}"
    text = [
        *heading_section(title, facts, results.record, results.runs, runs),
        *unfinished_section(results.unfinished),
    ]
    mixed = [row for row, part in runs.groupby("row", sort=False) if len(part[["options", "lr"]].drop_duplicates()) > 1]
    if mixed:
        text.append(f"**Careful:** runs of one row were made with different settings: {', '.join(mixed)}.")
    return text


def kept_together(settings: dict, messages: Messages) -> list[str]:
    """Which messages the split kept together, and that statistics count them as one."""
    if messages.unit is None:
        return []
    by = {"word": "sentences of one word", "group": "messages of one group, near-copies of each other,"}[messages.unit]
    if settings["group_column"]:
        by = f"messages with one value of {code(settings['group_column'])}"
    each = messages.table.groupby("seed").unit.agg(["nunique", "size"]).mean()
    return [
        f"{by} lie in one part of the split and are not independent: a test set has {each['nunique']:,.0f} "
        f"{messages.unit}s with {each['size']:,.0f} messages (means over the seeds), and all intervals and tests are "
        f"over {messages.unit}s"
    ]


def main_section(out: Path, results: Results, summary: Summary) -> list[str]:
    """The table of all methods, with its two pictures."""
    lines = summary.baselines.accuracy.to_dict()
    names = {"trainable_parameters": "parameters", "accuracy": "score", "accuracy_sd": "score_sd"}
    drawn = summary.methods.rename(columns=names).fillna({"score_sd": 0.0})
    drawn["seconds_sd"] = drawn.seconds_sd.fillna(0.0)
    left_out = scatter(
        drawn, "parameters", "trained parameters (logarithmic axis)", out / "parameters.png", lines, logarithmic=True
    )
    scatter(drawn, "seconds", "seconds of training per epoch", out / "time.png", lines, logarithmic=False)
    cut = f" Too far below to be drawn: {', '.join(left_out)}." if left_out else ""
    columns = [
        "row",
        "test accuracy, %",
        "95 % interval",
        "F1, %",
        "against the best, points",
        "trained",
        "share",
        "head",
    ]
    columns += ["s/epoch", "peak MB", "on disk", "extra FLOPs/token", "the same, merged", "forgetting, nats"]
    base = results.anatomies[summary.best].base_flops
    units = f"{results.messages.unit or 'message'}s"
    return [
        "## Accuracy, cost and forgetting",
        "\n".join(f"- {sentence}" for sentence in reading(summary)),
        table(columns, main_rows(summary, results)),
        f"Means ± standard deviations over the seeds, best first. *95 % interval*: Wilson's, over {units}, of the "
        f"answers of all seeds. *Against the best*: difference of mean accuracies, 95 % interval of a paired bootstrap "
        f"over {units} ({DRAWS:,} draws), and exact test by sign flips over {units} (McNemar's, where each is one "
        f"message), p adjusted by Holm for all pairs of rows and {TFIDF}; the interval is of the one comparison and "
        f"not adjusted. One of the {units} that is tested with several seeds is drawn and flipped as one, with all its "
        "appearances. "
        "Seconds are those of training, divided by the epochs, "
        "without evaluations; where other programs ran beside, they are too high. Peak memory is the process's, "
        "with Python and its libraries. *Extra FLOPs/token*: matrix products beyond the "
        f"{base / 1e6:,.1f} M of the model without a method, for a message of {MESSAGE_TOKENS} tokens, as trained and "
        "after `peft.merge`; multiplications element by element and the unpacking of quantised weights are not "
        "counted. *Forgetting*: rise of the language model's loss, see below.",
        f"![Test accuracy against trained parameters](parameters.png)\n\nAccuracy against trained parameters.{cut} "
        "Points with almost equal counts are moved apart a little.",
        "![Test accuracy against training time](time.png)\n\nAccuracy against training time.",
    ]


def main_rows(summary: Summary, results: Results) -> list[list[str]]:
    """A row for each method and baseline, the most accurate first."""
    rows: list[tuple[float, list[str]]] = []
    most = summary.methods.seeds.max()
    for name, m in summary.methods.iterrows():
        cells = [
            f"`{name}`" + (f" ({m.seeds} of {most} seeds)" if m.seeds < most else ""),
            *accuracy_cells(m),
            against_best(summary, name),
            f"{m.trainable_parameters:,}",
            f"{m.share:.3%}",
            m["head"],
            plus_minus(m.seconds, m.seconds_sd, digits=1),
            f"{m.peak_mb:,.0f}",
            size(m.bytes),
            operations(m.flops),
            operations(m.flops_merged) if m.merged == "yes" else DASH if m.merged == "nothing to merge" else "cannot",
            "not measured" if np.isnan(m.after) else f"{m.after - m.before:+.3f}",
        ]
        rows.append((m.accuracy, cells))
    for name, m in summary.baselines.iterrows():
        rows.append((m.accuracy, [f"*{name}*", *accuracy_cells(m), against_best(summary, name), *[DASH] * 9]))
    return [cells for _, cells in sorted(rows, key=lambda row: -row[0])]


def accuracy_cells(m: pd.Series) -> list[str]:
    """Accuracy, its interval, and F1."""
    accuracy, f1 = plus_minus(m.accuracy, m.accuracy_sd, 100), plus_minus(m.f1, m.f1_sd, 100)
    return [accuracy, f"{100 * m.low:.1f} … {100 * m.high:.1f}", f1]


def in_order(summary: Summary) -> list[str]:
    """All rows and baselines, the most accurate first."""
    return (
        pd.concat([summary.methods, summary.baselines])
        .accuracy.sort_values(ascending=False, kind="stable")
        .index.tolist()
    )


def against_best(summary: Summary, name: str) -> str:
    """The difference to the best method in points, with its interval, and whether it is shown to differ."""
    if name == summary.best:
        return "best"
    row = summary.verdict(name, summary.best)
    if row is None:
        return DASH
    sign = -1 if row.a == summary.best else 1
    low, high = sorted((sign * row.low, sign * row.high))
    figures = f"{points(sign * row.difference)} ({points(low)} … {points(high)})"
    if row.differs:
        return f"{figures} **{'better' if sign > 0 else 'worse'}**, p = {row.p_holm:.2g}"
    return f"{figures} no difference shown" + (f" (unadjusted p = {row.p:.2g})" if row.p < LEVEL else "")
