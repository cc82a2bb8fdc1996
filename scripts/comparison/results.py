"""From run folders to tables: results.csv, a summary for each method, and who was right about which message."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

import peft
from comparison.baselines import baselines
from comparison.forgetting import find_texts, key_of, loss_after, loss_before, windows
from comparison.runs import finished_runs
from comparison.taxonomy import Anatomy, dissect
from gpt2.config import GPT2Config
from gpt2.errors import InputError
from gpt2.files import atomic_write, write_json
from gpt2.training.runs import read_json

MEASURED = ("accuracy", "precision", "recall", "f1", "roc_auc")


@dataclass
class Results:
    """All that the report is made of."""

    record: dict  # comparison.json
    runs: pd.DataFrame  # a row for each finished run: results.csv
    unfinished: dict[str, str]  # run -> the last line of its output
    baselines: dict[int, dict]  # seed -> name -> metrics and right
    correct: pd.DataFrame  # a column for each method and baseline, a row for each test message of each seed
    sweep: pd.DataFrame  # the same for the runs of the rank sweep, columns such as "lora, rank 4"
    anatomies: dict[str, Anatomy]  # method -> what it is, at this model's size

    @property
    def main(self) -> pd.DataFrame:
        """The runs with default options."""
        return self.runs[self.runs["rank_swept"].isna()]


def collect(out: Path, assets: str | None, general_text: str | None) -> Results:
    """Read every finished run below ``out``, measure what is still missing, and write results.csv."""
    record = read_json(out / "comparison.json")
    if not record:
        raise InputError(f"{out} holds no comparison: comparison.json is missing; run without --report-only first")
    finished = finished_runs(out)
    if not finished:
        raise InputError(f"{out} holds no finished run to report on")
    anatomies: dict[tuple, Anatomy] = {}
    rows = [row_of(folder, record, anatomies) for folder in finished]
    runs = pd.DataFrame(rows)
    order = {method: index for index, method in enumerate(peft.METHODS)}
    runs = runs.sort_values(["method", "rank_swept", "seed"], key=lambda c: c.map(order) if c.name == "method" else c)
    runs = runs.reset_index(drop=True)
    main = runs[runs.rank_swept.isna()]
    if main.empty:
        raise InputError(f"{out} holds runs of a rank sweep only; run the comparison without --rank-sweep first")
    measure_forgetting(out, runs, main, record["settings"]["model"], assets, general_text)
    with atomic_write(out / "results.csv") as temporary:
        runs.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)

    reference = baselines(out, record["settings"], sorted(runs.seed.unique().tolist()), assets)
    answers = {row.run: answers_of(out / "runs" / row.run) for row in runs.itertuples()}
    correct = correctness((row.method, row.seed, answers[row.run]) for row in main.itertuples())
    for seed, named in reference.items():
        for name, result in named.items():
            correct.loc[correct.index.get_level_values("seed") == seed, name] = result["right"]
    return Results(
        record,
        runs,
        dict(unfinished(out, finished)),
        reference,
        correct,
        correctness((column, row.seed, answers[row.run]) for column, row in swept(runs)),
        {row.method: anatomies[row.method, row.options] for row in main.itertuples()},
    )


def row_of(folder: Path, record: dict, anatomies: dict[tuple, Anatomy]) -> dict:
    """One line of results.csv."""
    metrics, config = read_json(folder / "metrics.json"), read_json(folder / "config.json")
    adapter = read_json(folder / "adapter" / "adapter_config.json")
    history = pd.read_csv(folder / "history.csv")
    method, seed, test = metrics["method"], metrics["seed"], metrics["test"]
    plain = folder.name == f"{method}-{seed}"
    options = {key: value for key, value in metrics["options"].items() if value is not None}
    said = " ".join(f"{key}={value}" for key, value in options.items())
    key = (method, said)
    if key not in anatomies:
        shape = GPT2Config(**adapter["base_config"])
        anatomies[key] = dissect(shape, method, metrics["options"], adapter["num_classes"])
    anatomy = anatomies[key]
    trained = history[history.epoch > 0]
    best = trained.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True]).iloc[0]
    return {
        "run": folder.name,
        "method": method,
        "rank_swept": None if plain else options.get("rank"),
        "seed": seed,
        "model": metrics["model"],
        "data": metrics["data"] if metrics["protocol"] else Path(metrics["data"]).name,
        "protocol": metrics["protocol"],
        "options": said,
        "head": anatomy.head,
        "trainable_parameters": metrics["trainable_parameters"],
        "share": metrics["trainable_parameters"] / anatomy.total,
        "train_accuracy": metrics["train"]["accuracy"],
        "validation_accuracy": metrics["validation"]["accuracy"],
        **{f"test_{name}": test.get(name) for name in (*MEASURED, "loss", "n")},
        "lr": config["lr"],
        "weight_decay": config["weight_decay"],
        "batch_size": config["batch_size"],
        "epochs": metrics["epochs"],
        "best_epoch": int(best.epoch),
        "seconds_per_epoch": metrics["seconds_training"] / metrics["epochs"],
        "peak_memory_mb": metrics["peak_memory_mb"],
        "adapter_bytes": sum(file.stat().st_size for file in (folder / "adapter").iterdir()),
        "merged": anatomy.mergeable,
        "extra_flops_per_token": anatomy.extra_flops,
        "extra_flops_per_token_merged": anatomy.extra_flops_merged,
        "general_loss_before": None,
        "general_loss_after": None,
        **record.get("runs", {}).get(folder.name, {"jobs": None, "threads": None}),
    }


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


def swept(runs: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """The runs of the rank sweep with the name of their column; the default rank's come from the main table."""
    for method in runs[runs.rank_swept.notna()].method.unique():
        for row in runs[runs.method == method].itertuples():
            yield f"{method}, rank {rank_of(row)}", row


def rank_of(row: Any) -> int:
    """The rank of a LoRA run, swept or default."""
    if pd.notna(row.rank_swept):
        return int(row.rank_swept)
    return peft.METHODS[row.method].options["rank"].default


def correctness(answers: Iterator[tuple[str, int, pd.DataFrame]]) -> pd.DataFrame:
    """1 right, 0 wrong, NaN no such run; rows (seed, position, text). Runs with one seed must share their messages."""
    messages: dict[int, pd.Series] = {}
    columns: dict[str, list[pd.Series]] = {}
    for name, seed, table in answers:
        if not messages.setdefault(seed, table.text).equals(table.text):
            raise InputError(f"{name} with seed {seed} was tested on other messages than the rest; delete its folder")
        index = pd.MultiIndex.from_arrays(
            [[seed] * len(table), range(len(table)), table.text], names=["seed", "position", "text"]
        )
        right = (table.label == table.predicted).astype(float).to_numpy()
        columns.setdefault(name, []).append(pd.Series(right, index=index))
    return pd.DataFrame({name: pd.concat(parts) for name, parts in columns.items()})


def measure_forgetting(
    out: Path, runs: pd.DataFrame, main: pd.DataFrame, model: str, assets: str | None, general_text: str | None
) -> None:
    """Fill the two columns of ``runs`` for the main runs. What was measured once is kept in OUT/general_text.json."""
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
