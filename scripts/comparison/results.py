"""From run folders to tables: results.csv, and who was right about which message."""

import argparse
import csv
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

import peft
from common.markdown import counted
from common.prepare import load_data
from comparison.baselines import answers
from comparison.forgetting import find_texts, key_of, loss_after, loss_before, windows
from comparison.messages import FILE, Messages, as_messages, facts, kept
from comparison.runs import finished_runs
from comparison.settings import LATER_SETTINGS
from comparison.taxonomy import Anatomy, dissect
from data import Dataset
from gpt2.config import GPT2Config
from gpt2.errors import InputError
from gpt2.files import atomic_write, write_json
from gpt2.training.run_files import read_json

MEASURED = ("accuracy", "precision", "recall", "f1", "roc_auc")


@dataclass
class Results:
    """All that the report is made of."""

    record: dict  # comparison.json
    runs: pd.DataFrame  # a row for each finished run: results.csv
    unfinished: dict[str, str]  # run -> the last line of its output
    baselines: dict[int, dict]  # seed -> name -> metrics and right
    messages: Messages  # what is known of the test messages
    correct: pd.DataFrame  # 1 right, 0 wrong: a column for each row and baseline, a row for each message of each seed
    anatomies: dict[str, Anatomy]  # row -> what its method is, at its model's size

    @property
    def main(self) -> pd.DataFrame:
        """All runs but those of a sweep over ranks, which has a section of its own."""
        return self.runs[self.runs["rank_swept"].isna()]

    @property
    def model(self) -> str:
        """The base model; rows that were added may have another."""
        return self.record["settings"]["model"]


def collect(out: Path, assets: str | None, general_text: str | None) -> Results:
    """Read every finished run below ``out``, measure what is still missing, and write results.csv."""
    anatomies: dict[tuple, Anatomy] = {}
    record, runs = read_runs(out, lambda folder, record: row_of(folder, record, anatomies))
    finished = [out / "runs" / run for run in runs.run]
    if runs.rank_swept.notna().all():
        raise InputError(f"{out} holds runs of a sweep over ranks only; run the comparison of --methods first")
    settings = LATER_SETTINGS | record["settings"]
    measure_forgetting(out, runs, settings["model"], assets, general_text)
    with atomic_write(out / "results.csv") as temporary:
        runs.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)

    @functools.cache
    def dataset(seed: int) -> Dataset:
        return load_data(argparse.Namespace(**settings, seed=seed, split_seed=seed, assets=assets))

    seeds = sorted(runs.seed.unique().tolist())
    messages = as_messages(kept(out / FILE, seeds, "test messages", lambda seed: facts(dataset(seed))))
    reference = kept(
        out / "baselines.json", seeds, "baselines", lambda seed: answers(dataset(seed), settings, seed, assets)
    )
    tables = ((row.row, row.seed, answers_of(out / "runs" / row.run)) for row in runs.itertuples())
    correct = correctness(tables, messages)
    for seed, named in reference.items():
        for name, result in named.items():
            correct.loc[correct.index.get_level_values("seed") == seed, name] = result["right"]
    by_row = {row.row: anatomies[row.model, row.method, row.options] for row in runs.itertuples()}
    return Results(record, runs, dict(unfinished(out, finished)), reference, messages, correct, by_row)


def read_runs(out: Path, row_of: Callable[[Path, dict], dict]) -> tuple[dict, pd.DataFrame]:
    """comparison.json, and ``row_of`` each finished run, in teaching order."""
    record = read_json(out / "comparison.json")
    if not record:
        raise InputError(f"{out} holds no comparison: comparison.json is missing; run without --report-only first")
    finished = finished_runs(out)
    if not finished:
        raise InputError(f"{out} holds no finished run to report on")
    runs = pd.DataFrame([row_of(folder, record) for folder in finished])
    order = {method: index for index, method in enumerate(peft.METHODS)}
    added = runs.row.isin(record.get("rows", {}))  # rows of settings files stand behind their method's own
    runs = runs.assign(added=added).sort_values(
        ["method", "added", "rank_swept", "row", "seed"], key=lambda c: c.map(order) if c.name == "method" else c
    )
    return record, runs.drop(columns="added").reset_index(drop=True)


def what_was_run(folder: Path, record: dict) -> dict:
    """The first columns of results.csv: which run this is."""
    metrics = read_json(folder / "metrics.json")
    method, seed = metrics["method"], metrics["seed"]
    row = folder.name.removesuffix(f"-{seed}")
    options = {key: value for key, value in metrics["options"].items() if value is not None}
    return {
        "run": folder.name,
        "row": row,
        "method": method,
        "rank_swept": options["rank"] if is_sweep(row, method, options, record) else None,
        "seed": seed,
        "model": metrics["model"],
        "options": " ".join(f"{key}={value}" for key, value in options.items()),
        "trainable_parameters": metrics["trainable_parameters"],
    }


def how_it_ran(folder: Path, record: dict) -> dict:
    """The last columns of results.csv: settings, and what the run cost; forgetting is measured later."""
    metrics, config = read_json(folder / "metrics.json"), read_json(folder / "config.json")
    return {
        "lr": config["lr"],
        "weight_decay": config["weight_decay"],
        "batch_size": config["batch_size"],
        "epochs": metrics["epochs"],
        "seconds_per_epoch": metrics["seconds_training"] / metrics["epochs"],
        "peak_memory_mb": metrics["peak_memory_mb"],
        "adapter_bytes": sum(file.stat().st_size for file in (folder / "adapter").iterdir()),
        "general_loss_before": None,
        "general_loss_after": None,
        **record.get("runs", {}).get(folder.name, {"jobs": None, "threads": None}),
    }


def row_of(folder: Path, record: dict, anatomies: dict[tuple, Anatomy]) -> dict:
    """One line of results.csv."""
    metrics, run = read_json(folder / "metrics.json"), what_was_run(folder, record)
    adapter = read_json(folder / "adapter" / "adapter_config.json")
    history = pd.read_csv(folder / "history.csv")
    key = (run["model"], run["method"], run["options"])
    if key not in anatomies:
        shape = GPT2Config(**adapter["base_config"])
        anatomies[key] = dissect(shape, run["method"], metrics["options"], adapter["num_classes"])
    anatomy = anatomies[key]
    trained = history[history.epoch > 0]
    best = trained.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True]).iloc[0]
    return {
        **run,
        "data": metrics["data"] if metrics["protocol"] else Path(metrics["data"]).name,
        "protocol": metrics["protocol"],
        "head": anatomy.head,
        "share": metrics["trainable_parameters"] / anatomy.total,
        "train_accuracy": metrics["train"]["accuracy"],
        "validation_accuracy": metrics["validation"]["accuracy"],
        **{f"test_{name}": metrics["test"].get(name) for name in (*MEASURED, "loss", "n")},
        "best_epoch": int(best.epoch),
        "merged": anatomy.mergeable,
        "extra_flops_per_token": anatomy.extra_flops,
        "extra_flops_per_token_merged": anatomy.extra_flops_merged,
        **how_it_ran(folder, record),
    }


def conditions(runs: pd.DataFrame) -> str:
    """How many runs shared the machine. Of a run that ended while nothing waited for it, this is not known."""
    known = runs.dropna(subset=["jobs", "threads"])
    said = {f"{row.jobs:.0f} at a time, {counted(row.threads, 'thread')} each" for row in known.itertuples()}
    return "; ".join([*sorted(said), *["of some not known"] * (len(known) < len(runs))])


def is_sweep(row: str, method: str, options: dict, record: dict) -> bool:
    """Does this row differ from its method's own by the rank, and at most by the learning rate besides?"""
    declared = peft.METHODS[method].options
    other = [key for key, value in options.items() if key in declared and value != declared[key].default]
    stated = record.get("rows", {}).get(row, {})
    return row != method and other == ["rank"] and not stated.keys() & {"epochs", "model"}


def unfinished(out: Path, finished: list[Path]) -> Iterator[tuple[str, str]]:
    """Runs that were begun and not finished, and what they said last."""
    for folder in sorted({file.parent for file in (out / "runs").glob("*/output.txt")} - set(finished)):
        file = folder / "output.txt"
        said = file.read_text(encoding="utf-8", errors="replace").split("\n")
        error = next((line for line in reversed(said) if line.startswith("error: ")), None)
        yield folder.name, error.removeprefix("error: ") if error else "not finished yet"


def answers_of(folder: Path) -> pd.DataFrame:
    """predictions.csv: label, predicted, probability, text, as they were written."""
    return pd.read_csv(folder / "predictions.csv", dtype=str, keep_default_na=False)


def correctness(answers: Iterator[tuple[str, int, pd.DataFrame]], messages: Messages | None = None) -> pd.DataFrame:
    """1 right, 0 wrong, NaN no such run; rows (seed, position, unit), each message a unit where ``messages`` do not say
    otherwise. Runs with one seed must share their messages."""
    units = messages.units() if messages else {}
    texts: dict[int, pd.Series] = {}
    columns: dict[str, list[pd.Series]] = {}
    for name, seed, table in answers:
        if not texts.setdefault(seed, table.text).equals(table.text):
            raise InputError(f"{name} with seed {seed} was tested on other messages than the rest; delete its folder")
        if messages and table.label.tolist() != messages.table.loc[seed].label.tolist():
            raise InputError(f"{name} with seed {seed} was tested on messages that are no longer in the data")
        index = pd.MultiIndex.from_arrays(
            [[seed] * len(table), range(len(table)), units.get(seed, table.text)], names=["seed", "position", "unit"]
        )
        right = (table.label == table.predicted).astype(float).to_numpy()
        columns.setdefault(name, []).append(pd.Series(right, index=index))
    return pd.DataFrame({name: pd.concat(parts) for name, parts in columns.items()})


def measure_forgetting(out: Path, runs: pd.DataFrame, model: str, assets: str | None, general_text: str | None) -> None:
    """Fill the two columns of ``runs`` for the main runs of ``model``. What was measured once is kept in
    OUT/general_text.json."""
    main = runs[runs.rank_swept.isna() & (runs.model == model)]
    file, files = out / "general_text.json", find_texts(general_text, assets)
    known = read_json(file)
    tokens = windows(files) if files else None
    if tokens is not None and known.get("key") != key_of(tokens):
        known = {
            "key": key_of(tokens),
            "files": [path.name for path in files],
            "tokens": tokens.numel(),
            "width": tokens.size(1),
            "before": loss_before(model, assets, tokens),
            "runs": {},
        }
    for row in tqdm(list(main.itertuples()), desc="general text", unit="run", leave=False, disable=None):
        adapter = out / "runs" / row.run / "adapter"
        stamp = (adapter / "adapter_model.safetensors").stat().st_mtime_ns  # a run that was repeated is measured again
        entry = known.get("runs", {}).get(row.run, {})
        if tokens is not None and entry.get("stamp") != stamp:
            entry = {"stamp": stamp, "loss": loss_after(model, assets, tokens, adapter)}
            known["runs"][row.run] = entry
            write_json(file, known)
        if entry:
            runs.loc[row.Index, ["general_loss_before", "general_loss_after"]] = known["before"], entry["loss"]
