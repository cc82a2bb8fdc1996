"""From run folders of finetune_text.py to tables: results.csv, the written texts, and tests of the differences."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import peft
from common.writing import Writing, write_texts
from comparison.results import how_it_ran, measure_forgetting, read_runs, unfinished, what_was_run
from comparison.significance import LEVEL, holm
from data.nearest import nearest_targets
from data.text_pairs import load_pairs
from gpt2.checkpoints.weights import load_gpt2
from gpt2.errors import InputError
from gpt2.files import atomic_write, write_json
from gpt2.text_metrics import bleu_intervals, measure
from gpt2.training.run_files import read_json
from gpt2.training.writing import SEPARATOR

MEASURES = {"bleu": "BLEU", "chrf": "chrF", "nist": "NIST", "rouge_l": "ROUGE-L", "cider": "CIDEr"}
UNTUNED, NEAREST = "before training", "nearest training source"


@dataclass
class TextResults:
    """All that the report is made of."""

    record: dict  # comparison.json
    runs: pd.DataFrame  # a row for each finished run: results.csv
    unfinished: dict[str, str]  # run -> the last line of its output
    baselines: dict[str, dict]  # name -> texts and measures
    texts: dict[str, pd.DataFrame]  # run -> generated.csv
    differences: pd.DataFrame  # see ``compare_with``

    @property
    def main(self) -> pd.DataFrame:
        """All runs but those of a sweep over ranks, which has a section of its own."""
        return self.runs[self.runs.rank_swept.isna()]

    @property
    def best(self) -> str:
        """The row of the highest mean BLEU among those that have all seeds."""
        rows = self.main.groupby("row").test_bleu
        complete = rows.count() == rows.count().max()
        return str(rows.mean()[complete].idxmax())


def collect(out: Path, assets: str | None, general_text: str | None) -> TextResults:
    """Read every finished run below ``out``, measure what is still missing, and write results.csv."""
    record, runs = read_runs(out, row_of)
    if runs.rank_swept.notna().all():
        raise InputError(f"{out} holds runs of a sweep over ranks only; run the comparison of --methods first")
    settings = record["settings"]
    texts = {run: read_texts(out / "runs" / run) for run in runs.run}
    first = next(iter(texts.values()))
    sources, references = first.source.tolist(), first.references.map(json.loads).tolist()
    for run, table in texts.items():
        if not table[["source", "references"]].equals(first[["source", "references"]]):
            raise InputError(
                f"{run} wrote for other test sources, or has other references, than the rest; delete its folder"
            )
    measure_forgetting(out, runs, settings["model"], assets, general_text)
    with atomic_write(out / "results.csv") as temporary:
        runs.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)
    written = dict(zip(runs.run, (texts[run].written.tolist() for run in runs.run), strict=True))
    baselines = read_baselines(out, settings, sources, references, assets)
    results = TextResults(record, runs, {}, baselines, texts, pd.DataFrame())
    results.unfinished = dict(unfinished(out, [out / "runs" / run for run in runs.run]))
    against = {results.best: None, NEAREST: baselines[NEAREST]["texts"]}
    results.differences = pd.concat(
        [compare_with(name, found, results.main, written, references) for name, found in against.items()]
    )
    return results


def read_texts(folder: Path) -> pd.DataFrame:
    """generated.csv of a run, every cell as it was written: a text may be a number. Raises InputError."""
    file = folder / "generated.csv"
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        table.references.map(json.loads)
        return table[["source", "written", "references"]]
    except (OSError, ValueError, AttributeError, KeyError) as error:  # not there, cut off, or something else
        raise InputError(f"{file} is missing or damaged; delete {folder.name}/ and run the comparison again") from error


def row_of(folder: Path, record: dict) -> dict:
    """One line of results.csv."""
    metrics, run = read_json(folder / "metrics.json"), what_was_run(folder, record)
    options = peft.METHODS[run["method"]].options
    rank = metrics["options"].get("rank", options["rank"].default if "rank" in options else None)
    written = metrics["written"]["model"]
    return {
        **run,
        "rank": rank,
        "data": Path(metrics["data"]).name,
        "share": metrics["trainable_parameters"] / metrics["total_parameters"],
        "validation_loss": metrics["validation"]["loss"],
        "validation_perplexity": metrics["validation"]["perplexity"],
        "test_loss": metrics["test"]["loss"],
        "test_perplexity": metrics["test"]["perplexity"],
        **{f"test_{name}": written[name] for name in MEASURES},
        "bleu_half_width": written["half_width"],
        "sources": metrics["sources"],
        "best_epoch": metrics["best_epoch"],
        **how_it_ran(folder, record),
    }


def read_baselines(
    out: Path, settings: dict, sources: list[str], references: list[list[str]], assets: str | None
) -> dict[str, dict]:
    """The texts of the model before training and of the nearest training source, kept in OUT/baselines.json."""
    file = out / "baselines.json"
    known = read_json(file)
    if known.get("sources") != sources:
        columns = (settings["source_column"], settings["target_column"])
        pairs = load_pairs(settings["data"], *columns, assets=assets, encoding=settings["encoding"])
        model = load_gpt2(settings["model"], assets)
        named = {
            UNTUNED: write_texts(model, sources, SEPARATOR, Writing(num_beams=settings["num_beams"])),
            NEAREST: nearest_targets(pairs.train[: settings["max_pairs"]], sources),
        }
        measured = {name: {"texts": texts, **measure(texts, references)} for name, texts in named.items()}
        known = {"sources": sources, "named": measured}
        write_json(file, known)
    return known["named"]


def compare_with(
    name: str, texts: list[str] | None, runs: pd.DataFrame, written: dict[str, list[str]], references: list[list[str]]
) -> pd.DataFrame:
    """Every row against ``name`` (a row, or a baseline with its ``texts``): paired bootstrap over the sources within
    each seed, p adjusted by Holm for all rows. Columns: against, row, difference (of BLEU, mean of the seeds), p (the
    largest of the seeds), differs (with each seed)."""
    found = []
    for _, part in runs.groupby("seed"):
        named = {row.row: written[row.run] for row in part.itertuples()}
        first = texts if texts is not None else named.pop(name, None)
        if first is None or not named:
            continue
        scores = bleu_intervals({name: first} | named, references)
        adjusted = holm([scores[row]["p"] for row in named])
        found += [(row, scores[row]["bleu"] - scores[name]["bleu"], p) for row, p in zip(named, adjusted, strict=True)]
    table = pd.DataFrame(found, columns=["row", "difference", "p"])
    table = table.groupby("row", sort=False).agg(difference=("difference", "mean"), p=("p", "max")).reset_index()
    return table.assign(against=name, differs=table.p < LEVEL)


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Indexed by row, highest BLEU first: means over the seeds, and standard deviations as NAME_sd."""
    groups = runs.groupby("row", sort=False)
    columns = [f"test_{name}" for name in MEASURES]
    columns += ["validation_loss", "test_perplexity", "seconds_per_epoch", "peak_memory_mb", "adapter_bytes"]
    columns += ["bleu_half_width", "general_loss_before", "general_loss_after"]
    summary = groups[columns].mean().join(groups[columns].std().add_suffix("_sd"))
    first = groups[["method", "rank", "trainable_parameters", "share"]].first()
    summary = summary.join(first).assign(seeds=groups.seed.nunique())
    return summary.sort_values("test_bleu", ascending=False)
