"""Sections of the report about LoRA's rank, the memory of a training step, and what each method is."""

import functools
from pathlib import Path

import peft
from common.markdown import DASH, operations, plus_minus, size, table
from comparison.memory import CHECKED, MESSAGES, METHODS, SHAPES, TABLE, TOKENS, budget, with_method
from comparison.plots import rank_sweep
from comparison.results import Results
from comparison.summary import Summary, rank_reading
from comparison.taxonomy import dissect
from gpt2.config import SIZES
from gpt2.training.run_files import read_json
from peft.quantization import bits_per_weight


def sweep_section(out: Path, summary: Summary) -> list[str]:
    """Accuracy of LoRA by rank, with its picture."""
    if summary.ranks.empty:
        return [
            "## Rank of LoRA",
            "Not measured; `--experiments experiments/ranks` trains LoRA and rsLoRA at ranks 1 to 64.",
        ]
    rank_sweep(summary.ranks, out / "ranks.png")
    ranks = sorted(summary.ranks["rank"].unique())
    cells = summary.ranks.set_index(["sweep", "rank"])
    rows = []
    for sweep in dict.fromkeys(summary.ranks.sweep):
        found = [cells.loc[(sweep, rank)] if (sweep, rank) in cells.index else None for rank in ranks]
        rows.append([sweep, *[DASH if c is None else plus_minus(c.accuracy, c.accuracy_sd, 100) for c in found]])
    return [
        "## Rank of LoRA",
        "\n".join(f"- {sentence}" for sentence in rank_reading(summary)),
        table(["test accuracy, %", *[f"rank {rank}" for rank in ranks]], rows),
        "![Test accuracy against rank](ranks.png)\n\nα is the same at every rank.",
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
    peaks = results.main.groupby("row").peak_memory_mb.mean()
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
