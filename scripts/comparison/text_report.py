"""Of a comparison of methods that learn to write: report.md, outputs.md with texts of each method, and the pictures."""

from pathlib import Path

import pandas as pd

import peft
from common.markdown import DASH, code, counted, plain, plus_minus, size, table
from comparison.common_sections import heading_section, settings_section, unfinished_section
from comparison.plots import scatter
from comparison.rows import base_name
from comparison.significance import LEVEL
from comparison.summary import UNCHANGED, listing
from comparison.text_outputs import outputs
from comparison.text_ranks import rank_section
from comparison.text_results import MEASURES, NEAREST, TextResults, summarise
from gpt2.files import atomic_write
from gpt2.training.run_files import read_json

BEST_EPOCH = (
    "Where the learning rates come from: docs/results/learning_rates_writing/report.md. The best epoch is the one with "
    "the lowest validation loss; its weights are the ones tested."
)


def write_report(out: Path, results: TextResults) -> Path:
    """Write report.md, outputs.md and the pictures into ``out``; returns the report's path."""
    summary = summarise(results.main)
    sections = [
        *heading(results),
        *main_section(out, results, summary),
        *rank_section(out, results.runs),
        *forgetting_section(results, summary, read_json(out / "general_text.json")),
        *settings_section(results.runs, results.record, BEST_EPOCH),
    ]
    for name, text in (("report.md", "\n\n".join(sections) + "\n"), ("outputs.md", outputs(results, summary))):
        with atomic_write(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return out / "report.md"


def heading(results: TextResults) -> list[str]:
    """What was compared, how, and on what."""
    settings, runs = results.record["settings"], results.runs
    sources, seeds = runs.sources.iloc[0], sorted(runs.seed.unique())
    pairs = f"the first {settings['max_pairs']:,}" if settings["max_pairs"] else "all"
    model, data = base_name(settings["model"]), Path(settings["data"]).name
    facts = [
        f"model {code(model)}, data {code(data)}, {pairs} training pairs, {counted(settings['epochs'], 'epoch')}",
        f"seeds {', '.join(map(str, seeds))}: each draws the method's start and the order of the pairs; the pairs are "
        "the same",
        f"perplexity on at most {settings['evaluation_pairs']:,} pairs of each part, texts for {sources:,} test "
        f"sources, both evenly spaced; the texts are written with {counted(settings['num_beams'], 'beam')}",
    ]
    title = f"Methods that learn to write: {plain(model)}, {plain(data)}"
    return [*heading_section(title, facts, results.record, runs, runs), *unfinished_section(results.unfinished)]


def main_section(out: Path, results: TextResults, summary: pd.DataFrame) -> list[str]:
    """The table of all methods and baselines, with its picture."""
    drawn = summary.rename(columns={"test_bleu": "score", "test_bleu_sd": "score_sd"}).fillna({"score_sd": 0.0})
    drawn = drawn.rename(columns={"trainable_parameters": "parameters"})
    drawn["family"] = [peft.METHODS[method].family for method in summary.method]
    lines = {name: found["bleu"] for name, found in results.baselines.items()}
    label = "trained parameters (logarithmic axis)"
    left_out = scatter(drawn, "parameters", label, out / "parameters.png", lines, logarithmic=True, score="BLEU")
    cut = f" Too far below to be drawn: {listing(left_out)}." if left_out else ""
    columns = ["row", *MEASURES.values(), "perplexity", f"against `{results.best}`", f"against {NEAREST}"]
    columns += ["trained", "share", "s/epoch", "peak MB", "on disk", "forgetting, nats"]
    rows: list[tuple[float, list[str]]] = []
    for name, m in summary.iterrows():
        seeds = f" ({counted(m.seeds, 'seed')})" if m.seeds < summary.seeds.max() else ""
        rise = m.general_loss_after - m.general_loss_before
        cells = [
            f"`{name}`{seeds}",
            *(plus_minus(m[f"test_{measure}"], m[f"test_{measure}_sd"]) for measure in MEASURES),
            plus_minus(m.test_perplexity, m.test_perplexity_sd),
            against(results, str(name), results.best),
            against(results, str(name), NEAREST),
            f"{m.trainable_parameters:,}",
            f"{m.share:.3%}",
            plus_minus(m.seconds_per_epoch, m.seconds_per_epoch_sd, digits=0),
            f"{m.peak_memory_mb:,.0f}",
            size(m.adapter_bytes),
            "not measured" if pd.isna(rise) else f"{rise:+.3f}",
        ]
        rows.append((m.test_bleu, cells))
    for name, found in results.baselines.items():
        rows.append((found["bleu"], [f"*{name}*", *(f"{found[m]:.2f}" for m in MEASURES), *[DASH] * 9]))
    half = summary.bleu_half_width
    return [
        "## Quality, cost and forgetting",
        "\n".join(f"- {sentence}" for sentence in reading(results, summary)),
        table(columns, [cells for _, cells in sorted(rows, key=lambda row: -row[0])]),
        "Means ± standard deviations over the seeds, highest BLEU first. BLEU, chrF and ROUGE-L are from 0 to 100, "
        "CIDEr from 0 to 10, and NIST has no upper limit. Each text is compared with all references of its source. The "
        "standard deviations show the noise of training. The choice of test sources adds to it: the 95 % interval of "
        f"one run's BLEU has a half width of {half.min():.1f} to {half.max():.1f} (bootstrap over the sources). "
        "*Against*: difference of mean BLEU, tested by a paired bootstrap over the sources within each seed; p is "
        f"adjusted by Holm for all rows. A difference is **bold** where p is below {LEVEL:g} with every seed. "
        "*Perplexity*: that of the target tokens of test pairs. *Share*: trained parameters, as a share of the "
        "model's. Seconds are those of training, without evaluations. They are too high where other programs ran "
        "beside. Peak memory is the process's, with Python and its libraries; with a GPU, that of the GPU. "
        "*Forgetting*: rise of the language model's loss on other text, see below. `head` is missing: it trains only a "
        "classification head, and a model that writes has none.",
        f"![BLEU against trained parameters](parameters.png)\n\nBLEU against trained parameters.{cut} Points with "
        "almost equal counts are moved apart a little.",
        "[Texts of each method](outputs.md), beside texts that people wrote.",
    ]


def against(results: TextResults, row: str, other: str) -> str:
    """The difference of mean BLEU; bold where the test shows one."""
    found = results.differences.query("row == @row and against == @other")
    if found.empty:
        return "best" if row == other else DASH
    text = f"{found.difference.iloc[0]:+.1f}"
    return f"**{text}**" if found.differs.iloc[0] else text


def reading(results: TextResults, summary: pd.DataFrame) -> list[str]:
    """Sentences that follow from the tests and the means."""
    best, differences = results.best, results.differences
    to_nearest = differences[differences.against == NEAREST]
    above = to_nearest[to_nearest.differs & (to_nearest.difference > 0)].row.tolist()
    below = to_nearest[to_nearest.differs & (to_nearest.difference < 0)].row.tolist()
    same = [row for row in to_nearest.row if row not in [*above, *below]]
    to_best = differences[differences.against == best]
    level = to_best[~to_best.differs].row.tolist()
    sentences = [
        f"`{best}` has the highest mean BLEU, {summary.test_bleu[best]:.1f}. No difference from it is shown for: "
        f"{listing(level)}.",
        f"Copying the target of the {NEAREST} needs no model, and has a BLEU of "
        f"{results.baselines[NEAREST]['bleu']:.1f}. Shown to be better than that: {listing(above)}. Shown to be worse: "
        f"{listing(below)}. No difference is shown for: {listing(same)}.",
    ]
    if {"full", "lora"} <= set(summary.index):
        full, lora = summary.loc["full"], summary.loc["lora"]
        share = lora.trainable_parameters / full.trainable_parameters
        sentences.append(
            f"Full fine-tuning against LoRA: BLEU {full.test_bleu:.1f} and {lora.test_bleu:.1f}, perplexity "
            f"{full.test_perplexity:.2f} and {lora.test_perplexity:.2f}, with {full.trainable_parameters:,} and "
            f"{lora.trainable_parameters:,} trained parameters (LoRA has {share:.1%} as many)."
        )
    if summary.test_bleu.nunique() > 1 and summary.test_perplexity.nunique() > 1:  # else there is no order
        order = summary.test_bleu.corr(summary.test_perplexity, method="spearman")
        sentences.append(
            f"Rank correlation of mean BLEU and mean perplexity over the rows: {order:.2f}. At -1, the row with the "
            "lowest perplexity would have the highest BLEU, and so on down the list."
        )
    return sentences


def forgetting_section(results: TextResults, summary: pd.DataFrame, text: dict) -> list[str]:
    """Sentences about the language model's loss on general text; ``text`` is general_text.json."""
    measured = summary.dropna(subset=["general_loss_after"])
    if measured.empty:
        return ["## Forgetting", "Not measured: no general text was available (`--general-text FILE`)."]
    before = measured.general_loss_before.iloc[0]
    change = (measured.general_loss_after - before).sort_values(ascending=False)
    files = ", ".join(map(plain, text.get("files", [])))
    return [
        "## Forgetting",
        f"Before fine-tuning the language model's loss is {before:.3f} nats per token, on {text['tokens']:,} tokens in "
        f"windows of {text['width']} from {files}. Afterwards the largest rise is that of "
        f"`{change.idxmax()}` ({change.max():+.3f}), the smallest that of `{change.idxmin()}` ({change.min():+.3f}). "
        f"Changed by less than {UNCHANGED:g}: {listing(change.index[change.abs() < UNCHANGED].tolist())}.",
        "Some methods leave all pretrained weights as they were. What these forget comes back: without what they "
        "added, the language model is the same as before.",
    ]
