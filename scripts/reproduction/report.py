"""report.md: published beside measured, in one folder with its pictures."""

import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from common.markdown import DASH, code_block, plain, plus_minus, points, table
from comparison.significance import LEVEL
from gpt2.files import atomic_write
from reproduction.conclusions import conclude, warnings
from reproduction.evidence import wilson
from reproduction.listing import size_of, words
from reproduction.plots import beside, splits
from reproduction.results import Results, spread
from reproduction.rows import every_row

PARTS = {"test": "Test messages", "validation": "Validation messages", "train": "Training messages"}
TEST = (
    f"*Consistent*: no difference is shown, by Fisher's exact test, at a p below {LEVEL:g} after Holm's correction "
    "for all tests of these three tables. The test takes the messages of the two runs for different ones, because "
    "nobody published the single answers; they are the same, so it rather overlooks a difference than invents one. "
    "Intervals and tests know only the luck of which messages are asked. Another seed, or another GPU, trains "
    "another model; several seeds show how much that changes."
)

SPLITS_DIFFER = {
    "sms": "In the grouped split no test message has a copy or near-copy in the training part, and spam has its "
    "natural share. In the published one, 37 of the 300 test messages also stand in the training part, and 70 have a "
    "copy or near-copy there.",
    "imdb": "In the grouped split no film is in two parts, and 25,000 reviews are to test (data/imdb.py). In the "
    "published one, all 50,000 were shuffled together.",
}
BAG_OF_WORDS = (
    "Not measured here. Published beside these rows (Raschka, scikit-learn): a bag of words with logistic regression "
    "has 99.80 % on the training, 88.62 % on the validation and 88.85 % on the test reviews."
)


def write_report(out: Path, results: Results) -> Path:
    """Write report.md and its pictures into ``out``; returns the report's path."""
    sections = [
        *heading(results),
        "## What can be concluded",
        "\n".join(f"- {sentence}" for sentence in conclude(results)),
        *beside_section(out, results),
        *seeds_section(results),
        *grouped_section(out, results),
        *words_section(results),
        *cost_section(results.runs),
        *settings_section(results),
    ]
    file = out / "report.md"
    with atomic_write(file) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return file


def heading(results: Results) -> list[str]:
    """What was run, and what stood in for the real thing."""
    record, machine = results.record, results.record["machine"]
    devices = ", ".join(sorted(map(str, results.runs.device.unique())))
    facts = [
        f"{len(results.runs)} runs of {results.runs.row.nunique()} rows, seeds "
        f"{', '.join(map(str, sorted(results.runs.seed.unique())))}, begun {record['started']}, reported "
        f"{datetime.date.today():%Y-%m-%d}",
        f"on {devices}; {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python "
        f"{machine['python']}, PyTorch {machine['torch']}",
        "the published figures are of one run with one seed each; where each stands is said at the end",
    ]
    if "bf16" in devices:
        facts.insert(2, "bf16: matrix products were computed in bfloat16, for speed; `--golden` compares in float32")
    text = ["# The published comparison, repeated", *(f"> {sentence}" for sentence in warnings(record))]
    text += [code_block("\n".join(record["commands"])), "\n".join(f"- {fact}" for fact in facts)]
    if results.unfinished:
        lines = "\n".join(f"- `{name}`: {plain(status)}" for name, status in results.unfinished.items())
        text.append(f"**Not finished, and so not in the tables:**\n\n{lines}")
    return text


def beside_section(out: Path, results: Results) -> list[str]:
    """Three tables and a picture: what was published, what was measured."""
    if results.compared.empty:
        return []
    beside(results.compared, results.of("published"), out / "published_measured.png", bool(warnings(results.record)))
    text = [
        "## Published beside measured",
        "![Test accuracy, published and measured](published_measured.png)\n\nTest accuracy with 95 % intervals "
        "(Wilson). Small dots: other seeds.",
        TEST,
    ]
    columns = ["row", "published, %", "its 95 % interval", "measured, %", "its 95 % interval", "difference, points"]
    for part, title in PARTS.items():
        found = results.compared[results.compared.part == part]
        lines = [
            [
                f"`{line.row}`",
                f"{100 * line.published:.2f}",
                interval(line.published_right, line.published_n),
                f"{100 * line.measured:.2f}",
                interval(line.right, line.n),
                points(line.difference),
                verdict(line),
            ]
            for line in found.itertuples()
        ]
        sizes = " or ".join(f"{n:,}" for n in sorted(found.n.unique()))
        text += [f"### {title} ({sizes})", table([*columns, "consistent?"], lines)]
    if results.compared.published_right.isna().any():
        text.append(
            "*No count*: no whole number of messages gives this accuracy, so it has no interval and no test "
            "(docs/published.md)."
        )
    others = sorted(results.compared[results.compared.seed != 123].row.unique())
    if others:
        text.append(f"Seed 123, the published one, has no finished run of {', '.join(others)}: another seed is shown.")
    return text


def interval(right: float | None, n: int) -> str:
    """``91.9 … 96.9``, in percent."""
    if right is None or pd.isna(right):
        return f"{DASH} (no count)"
    low, high = wilson(int(right), int(n))
    return f"{100 * low:.1f} … {100 * high:.1f}"


def verdict(line: Any) -> str:
    """Of one published and one measured accuracy."""
    if line.copied:
        return f"{DASH} (copied)"
    if not line.genuine:
        return f"{DASH} (stand-in)"
    if pd.isna(line.p):
        return f"{DASH} (no count)"
    return f"**no**, p = {line.p_holm:.2g}" if line.differs else f"yes, p = {line.p_holm:.2g}"


def seeds_section(results: Results) -> list[str]:
    """Mean, deviation and range over the seeds, where there are several."""
    found = spread(results.runs)
    if found.empty:
        return []
    lines = [
        [
            f"`{line.row}`",
            line.protocol,
            f"{line.seeds}",
            plus_minus(line.mean, line.sd, 100),
            f"{100 * line.low:.2f} … {100 * line.high:.2f}",
            f"{100 * line.published:.2f}" if line.protocol == "published" else DASH,
            ("yes" if line.within else "no") if line.protocol == "published" else DASH,
        ]
        for line in found.itertuples()
    ]
    columns = ["row", "split", "seeds", "test accuracy, %", "range", "published, %", "published within the range?"]
    return [
        "## Several seeds",
        "Mean ± standard deviation over the seeds, and the range. A published figure is one draw from such a spread.",
        table(columns, lines),
    ]


def grouped_section(out: Path, results: Results) -> list[str]:
    """The same rows without duplicates and at the natural ratio of spam."""
    runs = results.of("grouped")
    if runs.empty:
        return ["## The leak-free split", "Not measured; `--protocol both` runs the rows on both splits."]
    splits(results.runs, results.baselines, out / "splits.png", bool(warnings(results.record)))
    means = results.runs.groupby(["protocol", "row"], sort=False)[["test_accuracy", "test_f1", "test_n"]].mean()
    lines = []
    for name, line in means.loc["grouped"].iterrows():
        known = means.loc[("published", name)] if ("published", name) in means.index else None
        cells = [f"`{name}`"]
        cells += [DASH, DASH] if known is None else [f"{100 * known.test_accuracy:.2f}", f"{100 * known.test_f1:.2f}"]
        right = round(line.test_accuracy * line.test_n)
        cells += [f"{100 * line.test_accuracy:.2f}", interval(right, round(line.test_n)), f"{100 * line.test_f1:.2f}"]
        lines.append(cells)
    about = "spam" if results.data == "sms" else "positive reviews"
    columns = ["row", "published split: accuracy, %", f"F1 of {about}, %"]
    columns += ["grouped split: accuracy, %", "its 95 % interval", f"F1 of {about}, %"]
    return [
        "## The leak-free split",
        f"{SPLITS_DIFFER[results.data]} Means over the seeds.",
        table(columns, lines),
        f"![Test F1 on both splits](splits.png)\n\nF1 of {about} on both splits.",
    ]


def words_section(results: Results) -> list[str]:
    """TF-IDF and logistic regression on the same messages."""
    title = "## Counting words, on the same messages"
    if results.data != "sms":
        return [title, BAG_OF_WORDS]
    if not results.baselines:
        return [title, "Not measured: a smoke run does not see all messages."]
    lines, missing = [], []
    for protocol, metrics in results.baselines.items():
        if "missing" in metrics:
            missing.append(f"Not measured for the {protocol} split: {plain(metrics['missing'])}.")
            continue
        test, n = metrics["test"], int(metrics["test"]["n"])
        shares = [f"{100 * metrics[part]['accuracy']:.2f}" for part in ("train", "validation", "test")]
        lines.append([protocol, *shares, interval(round(test["accuracy"] * n), n), f"{100 * test['f1']:.2f}", f"{n:,}"])
    columns = ["split", "training, %", "validation, %", "test, %", "95 % interval", "F1 of spam, %", "test messages"]
    text = [title, "TF-IDF + logistic regression (data/baselines.py), which needs no neural network and a second."]
    return [*text, *([table(columns, lines)] if lines else []), *missing]


def cost_section(runs: pd.DataFrame) -> list[str]:
    """What each row took here, and what was published of it."""
    lines, first = [], runs[runs.copied_from.isna()].sort_values("seed", kind="stable").drop_duplicates("row")
    measured = {run.row: run for run in first.itertuples()}
    for row in every_row().values():
        run = measured.get(row.id)
        if run is not None:
            memory = DASH if pd.isna(run.peak_memory_mb) else f"{run.peak_memory_mb:,.0f}"
            published = DASH if row.minutes is None else f"{row.minutes:.2f} ({row.hardware})"
            seconds = [f"{run.seconds_training:,.0f}", f"{run.seconds:,.0f}"]
            lines.append([f"`{row.id}`", size_of(row), f"{run.trainable_parameters:,}", *seconds, memory, published])
    columns = ["row", "model", "parameters trained", "training, s", "in all, s", "peak memory, MB"]
    return [
        "## Time and memory",
        "Measured with the lowest seed, one row after the other, each in a process of its own. On a GPU the memory is "
        "what PyTorch had allocated there, else the process's, with Python and its libraries.",
        table([*columns, "published, minutes"], lines),
    ]


def settings_section(results: Results) -> list[str]:
    """What each row is, and where it was published."""
    chosen = [row for row in every_row().values() if row.id in set(results.runs.row)]
    lines = [[f"`{row.id}`", f"GPT-2 {size_of(row)}; {plain(words(row))}", plain(row.source)] for row in chosen]
    copied = results.runs[results.runs.copied_from.notna()].drop_duplicates("row")
    notes = [
        f"`{run.row}` has the settings of `{run.copied_from}`: its result is copied." for run in copied.itertuples()
    ]
    return ["## Settings and sources", table(["row", "settings", "published in"], lines), *notes]
