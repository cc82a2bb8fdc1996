"""report.md: the tables and sentences of a comparison, and its pictures, in one folder."""

import csv
import datetime
import functools
from pathlib import Path

import numpy as np

import peft
from common.markdown import DASH, code, code_block, counted, operations, plain, plus_minus, points, size, table, unique
from comparison.memory import CHECKED, MESSAGES, METHODS, SHAPES, TABLE, TOKENS, budget, check, with_method
from comparison.plots import rank_sweep, scatter
from comparison.results import Results
from comparison.runs import without_folders
from comparison.significance import DRAWS, LEVEL
from comparison.summary import Summary, forgetting, rank_reading, reading, summarise
from comparison.taxonomy import MESSAGE_TOKENS, dissect
from gpt2.config import SIZES
from gpt2.files import atomic_write, write_json
from gpt2.training.runs import read_json
from peft.quantization import bits_per_weight

SCALINGS = {"lora": "lora, scaled by α/r", "rslora": "rslora, scaled by α/√r"}


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
        *sweep_section(out, summary),
        "## Forgetting",
        *forgetting(results, summary, read_json(out / "general_text.json")),
        *memory_section(out, results),
        *taxonomy_section(),
        *settings_section(results),
    ]
    file = out / "report.md"
    with atomic_write(file) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return file


def heading(results: Results, summary: Summary) -> list[str]:
    """What was compared, how, and on what."""
    settings, machine, runs = results.record["settings"], results.record["machine"], results.main
    protocol = f", {settings['protocol']} protocol" if runs.protocol.notna().all() else ""
    commands = "\n".join(dict.fromkeys(map(without_folders, results.record["commands"])))
    seeds, counts = sorted(summary.sizes), sorted(set(summary.sizes.values()))
    shares = sorted({f"{row.jobs:.0f} at a time, {counted(row.threads, 'thread')} each" for row in runs.itertuples()})
    model, data = Path(settings["model"]).name, Path(settings["data"]).name
    facts = [
        f"model {code(model)}, data {code(data)}{protocol}, {counted(settings['epochs'], 'epoch')}",
        f"seeds {', '.join(map(str, seeds))}: each draws its own split, the new head and the order of the messages; "
        f"all methods with one seed see the same split, with {' or '.join(f'{n:,}' for n in counts)} test messages",
        f"{len(results.runs)} runs, begun {results.record['started']}, reported {datetime.date.today():%Y-%m-%d}",
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, PyTorch "
        f"{machine['torch']}; runs {'; '.join(shares)}",
    ]
    text = [
        f"# Methods compared: {plain(model)}, {plain(data)}{protocol}",
        code_block(commands),
        "\n".join(f"- {fact}" for fact in facts),
    ]
    if results.unfinished:
        rows = "\n".join(f"- `{name}`: {plain(why)}" for name, why in results.unfinished.items())
        text.append(f"**Not finished, and so not in the tables:**\n\n{rows}")
    mixed = [m for m, part in runs.groupby("method", sort=False) if len(part[["options", "lr"]].drop_duplicates()) > 1]
    if mixed:
        text.append(f"**Careful:** runs of one method were made with different settings: {', '.join(mixed)}.")
    return text


def main_section(out: Path, results: Results, summary: Summary) -> list[str]:
    """The table of all methods, with its two pictures."""
    lines = summary.baselines.accuracy.to_dict()
    drawn = summary.methods.rename(columns={"trainable_parameters": "parameters"}).fillna({"accuracy_sd": 0.0})
    drawn["seconds_sd"] = drawn.seconds_sd.fillna(0.0)
    left_out = scatter(
        drawn, "parameters", "trained parameters (logarithmic axis)", out / "parameters.png", lines, logarithmic=True
    )
    scatter(drawn, "seconds", "seconds of training per epoch", out / "time.png", lines, logarithmic=False)
    cut = f" Too far below to be drawn: {', '.join(left_out)}." if left_out else ""
    columns = ["method", "test accuracy, %", "F1, %", "against the best, points", "trained", "share", "head", "s/epoch"]
    columns += ["peak MB", "on disk", "extra FLOPs/token", "the same, merged", "forgetting, nats"]
    base = results.anatomies[summary.best].base_flops
    return [
        "## Accuracy, cost and forgetting",
        "\n".join(f"- {sentence}" for sentence in reading(summary)),
        table(columns, main_rows(summary, results)),
        "Means ± standard deviations over the seeds, best first. *Against the best*: difference of mean accuracies, "
        f"95 % interval of a paired bootstrap over the test messages ({DRAWS:,} draws), and exact McNemar test on the "
        "pooled answers of all seeds, p adjusted by Holm for all pairs of methods and baseline; the interval is of the "
        "one comparison and not adjusted. A message that is tested with several seeds counts once for each in the "
        "test, and is drawn as one in the bootstrap. Seconds are those of training, divided by the epochs, "
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
            plus_minus(m.accuracy, m.accuracy_sd, 100),
            plus_minus(m.f1, m.f1_sd, 100),
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
        cells = [f"*{name}*", plus_minus(m.accuracy, m.accuracy_sd, 100), plus_minus(m.f1, m.f1_sd, 100)]
        rows.append((m.accuracy, [*cells, against_best(summary, name), *[DASH] * 9]))
    return [cells for _, cells in sorted(rows, key=lambda row: -row[0])]


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


def sweep_section(out: Path, summary: Summary) -> list[str]:
    """Accuracy of LoRA by rank, with its picture."""
    if summary.ranks.empty:
        return ["## Rank of LoRA", "Not measured; `--rank-sweep` trains LoRA and rsLoRA at ranks 1 to 64."]
    names = {method: SCALINGS[method] for method in dict.fromkeys(summary.ranks.method)}
    rank_sweep(summary.ranks, names, out / "ranks.png")
    ranks = sorted(summary.ranks["rank"].unique())
    cells = summary.ranks.set_index(["method", "rank"])
    rows = []
    for method, name in names.items():
        found = [cells.loc[(method, rank)] if (method, rank) in cells.index else None for rank in ranks]
        rows.append([name, *[DASH if c is None else plus_minus(c.accuracy, c.accuracy_sd, 100) for c in found]])
    return [
        "## Rank of LoRA",
        "\n".join(f"- {sentence}" for sentence in rank_reading(summary)),
        table(["test accuracy, %", *[f"rank {rank}" for rank in ranks]], rows),
        "![Test accuracy against rank](ranks.png)\n\nα is the same at every rank, and so is the learning rate.",
    ]


def memory_section(out: Path, results: Results) -> list[str]:
    """Memory of a training step: computed for models and methods, and checked against real steps."""
    measured, bits = read_json(out / "memory.json"), bits_per_weight(with_method(SIZES["gpt2"], "qlora"))
    columns = ["model, method", "weights", "gradients", "optimiser", "activations", "sum"]
    rows = []
    for shape in TABLE:
        for method in METHODS:
            b = budget(SHAPES[shape], method)
            parts = (b.weights, b.gradients, b.optimiser, b.activations, b.total)
            rows.append([f"{shape}, `{method}`", *map(size, parts)])
    text = [
        "## Memory of a training step",
        f"Weights, gradients and AdamW's two means in float32; QLoRA's blocks at {bits:.2f} bits a weight; `lora` and "
        f"`qlora` with default options, {MESSAGES} messages of {TOKENS} tokens. Activations in one block: 16 C + H + 4 "
        "numbers per token, 6 r more with LoRA on every layer (comparison/memory.py says which). Computed from shapes. "
        "7B and 13B have GPT-3's widths and depths at those sizes.",
        table(columns, rows),
    ]
    if not measured:
        return [*text, "Not checked against a real step here; `--check-memory` does that."]
    rows = []
    for shape in CHECKED:
        for method, bytes_measured in measured.get(shape, {}).items():
            predicted = budget(SHAPES[shape], method).total
            ratio = f"{bytes_measured / predicted - 1:+.0%}"
            rows.append([f"{shape}, `{method}`", size(predicted), size(bytes_measured), ratio])
    peaks = results.main.groupby("method").peak_memory_mb.mean()
    own = ", ".join(f"`{m}` {peaks[m]:,.0f} MB" for m in METHODS if m in peaks)
    return [
        *text,
        "Checked against real steps on the CPU, random weights, memory above what Python and its libraries take:",
        table(["model, method", "predicted", "measured", "difference"], rows),
        f"The peaks of whole runs ({own}) are of the process: they also hold Python, its libraries, the data, "
        "evaluation, and freed memory that the allocator keeps.",
    ]


@functools.cache
def taxonomy_section() -> list[str]:
    """What each method trains, stores and costs, on GPT-2 124M."""
    columns = ["method", "family", "what trains", "parameters", "share", "head", "on disk", "merges"]
    columns += ["extra FLOPs/token", "the same, merged"]
    rows = []
    for method in peft.METHODS:
        a = dissect(SIZES["gpt2"], method)
        after = operations(a.extra_flops_merged) if a.mergeable == "yes" else DASH
        share, stored = f"{a.trainable / a.total:.3%}", size(a.stored_bytes)
        rows.append([f"`{method}`", a.family, a.trains, f"{a.trainable:,}", share, a.head, stored, a.mergeable])
        rows[-1] += [operations(a.extra_flops), after]
    return [
        "## Taxonomy, at GPT-2 124M",
        "Found out by applying each method, with default options and two classes, to a model without memory "
        "(comparison/taxonomy.py). *Selective*: all that trains was there before. *Reparametrised*: what is new can "
        "turn into the plain layer it came from. *Additive*: it cannot. *Hybrid*: two ideas at once. Surveys place "
        "some methods otherwise; the rule here is only what the code shows.",
        table(columns, rows),
    ]


def settings_section(results: Results) -> list[str]:
    """Learning rate, options and best epochs of each method."""
    columns = ["method", "learning rate", "weight decay", "batch", "best epoch, by seed", "options"]
    rows = []
    for method, part in results.main.groupby("method", sort=False):
        values = [unique(part[column]) for column in ("lr", "weight_decay", "batch_size")]
        epochs = ", ".join(f"{row.best_epoch}" for row in part.itertuples())
        rows.append([f"`{method}`", *values, epochs, plain(unique(part.options)) or DASH])
    return [
        "## Settings",
        "The best epoch is the one with the highest validation accuracy; its weights are the ones tested.",
        table(columns, rows),
    ]
