"""From run folders to tables: results.csv, published beside measured with a test, and what counting words reaches."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from comparison.significance import LEVEL, holm
from data import load_dataset
from data.baselines import tfidf
from gpt2.errors import InputError, RunError
from gpt2.files import atomic_write, write_json
from gpt2.training.run_files import read_json
from gpt2.training.runs import without_nan
from reproduction.evidence import fisher, messages_of, published_count
from reproduction.rows import SPLITS, Row, every_row

MEASURED = ("accuracy", "precision", "recall", "f1", "loss", "n")
COLUMNS = (
    "row protocol seed status model weights row_weights_random smoke copied_from epochs trainable_parameters "
    "total_parameters seconds seconds_training peak_memory_mb device"
).split()


@dataclass
class Results:
    """All that the report is made of."""

    record: dict  # reproduction.json
    runs: pd.DataFrame  # a line for each finished run: results.csv
    unfinished: dict[str, str]  # run -> status
    compared: pd.DataFrame  # a line for each row and part: published, measured, test
    baselines: dict[str, dict]  # protocol -> part -> metrics of TF-IDF, or {"missing": why}

    @property
    def data(self) -> str:
        """Which data set the rows are of: sms or imdb."""
        return self.record.get("data", "sms")

    def of(self, protocol: str) -> pd.DataFrame:
        """The runs with this split."""
        return self.runs[self.runs.protocol == protocol]

    @property
    def genuine(self) -> pd.DataFrame:
        """The runs that conclusions may be drawn from: no stand-ins, and none counted twice."""
        return self.runs[self.runs.genuine & self.runs.copied_from.isna()]


def collect(out: Path, assets: str | None) -> Results:
    """Read every finished run below ``out`` and write results.csv."""
    record = read_json(out / "reproduction.json")
    if record and not isinstance(record.get("settings"), dict):
        raise InputError(f"{out / 'reproduction.json'} is damaged; delete this file and run again")
    if not record:
        raise InputError(f"{out} holds no reproduction: reproduction.json is missing; start with --rows")
    files = sorted((out / "runs").glob("*/metrics.json"))
    found = {file.parent.name: checked(read_json(file), file) for file in files}
    finished = [metrics for metrics in found.values() if metrics.get("status") == "finished"]
    if not finished:
        raise InputError(f"{out} holds no finished run to report on; train some with --rows")
    runs = table_of(finished)
    with atomic_write(out / "results.csv") as temporary:
        runs.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)
    unfinished = {name: metrics.get("status", "begun") for name, metrics in found.items() if metrics not in finished}
    spam = record.get("data", "sms") == "sms"  # on 35,000 long texts, counting words takes longer than a report should
    protocols = [] if record["settings"]["smoke"] or not spam else runs.protocol.unique().tolist()
    return Results(record, runs, unfinished, compare(runs), baselines(out, protocols, assets))


def checked(metrics: dict, file: Path) -> dict:
    """The metrics of a run. Raises InputError when it says that it is finished, but has no results."""
    needed = {"row", "seed", "protocol", *SPLITS}
    if metrics.get("status") == "finished" and not (needed <= metrics.keys() and metrics["row"] in every_row()):
        raise InputError(f"{file} holds no results of a row; delete its folder, and the row runs again")
    return metrics


def table_of(finished: list[dict]) -> pd.DataFrame:
    """A line for each run, in the order of published.csv."""
    every = every_row()
    lines = []
    for metrics in finished:
        row = every[metrics["row"]]
        line = {name: metrics.get(name) for name in COLUMNS} | {"source": row.source, "genuine": genuine(row, metrics)}
        for part in SPLITS:
            line |= {f"{part}_{name}": metrics[part].get(name) for name in MEASURED}
            line[f"published_{part}_accuracy"] = row.published[part]
        lines.append(line)
    order = {name: place for place, name in enumerate(every)}
    table = pd.DataFrame(lines).sort_values(
        ["protocol", "row", "seed"], key=lambda column: column.map(order) if column.name == "row" else column
    )
    return table.reset_index(drop=True)


def genuine(row: Row, metrics: dict) -> bool:
    """May this run be held against the published one? Not if something stood in for its weights, or for its data."""
    as_published = metrics["weights"] == "pretrained" or (metrics["weights"] == "random" and not row.pretrained)
    return as_published and not metrics["smoke"]


def compare(runs: pd.DataFrame) -> pd.DataFrame:
    """Published beside measured, a line for each row and part of the published split. Copied rows are left out: they
    are no second experiment.

    Columns: row, part, seed, genuine, copied, published, published_n, published_right (NaN where no count gives that
    accuracy), measured, n, right, difference, p (Fisher; NaN where the two cannot be compared), p_holm over all
    of them, differs. Measured is the run with the lowest seed; 123 is the published one.
    """
    lines = []
    first = runs[runs.protocol == "published"].sort_values("seed", kind="stable").drop_duplicates("row")
    every = every_row()
    order = list(every)
    for run in sorted(first.itertuples(), key=lambda run: order.index(run.row)):
        row, copied = every[run.row], isinstance(run.copied_from, str)
        for part in SPLITS:
            count, accuracy = published_count(row, part), row.published[part]
            measured, n = getattr(run, f"{part}_accuracy"), int(getattr(run, f"{part}_n"))
            right = round(measured * n)
            p = None
            if run.genuine and not copied and count is not None:
                p = fisher(count, messages_of(row, part), right, n)
            lines.append(
                {
                    "row": row.id,
                    "part": part,
                    "seed": run.seed,
                    "genuine": run.genuine,
                    "copied": copied,
                    "published": accuracy,
                    "published_n": messages_of(row, part),
                    "published_right": count,
                    "measured": measured,
                    "n": n,
                    "right": right,
                    "difference": measured - accuracy,
                    "p": p,
                }
            )
    columns = "row part seed genuine copied published published_n published_right measured n right difference p".split()
    table = pd.DataFrame(lines, columns=columns).astype({"p": float})
    tested = table.p.notna()
    table.loc[tested, "p_holm"] = holm(table.p[tested].tolist())
    return table.assign(differs=table.get("p_holm", pd.Series(dtype=float)) < LEVEL)


def baselines(out: Path, protocols: list[str], assets: str | None) -> dict[str, dict]:
    """protocol -> part -> metrics of TF-IDF and logistic regression; kept in OUT/baselines.json."""
    file = out / "baselines.json"
    known, found = read_json(file), {}
    for protocol in protocols:
        try:
            known[protocol] = known.get(protocol) or without_nan(tfidf(load_dataset("sms", protocol, assets=assets)))
            write_json(file, known)
            found[protocol] = known[protocol]
        except (InputError, RunError) as error:
            found[protocol] = {"missing": str(error)}
    return found


def spread(runs: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy over the seeds, a line for each row and protocol that has several: seeds, mean, sd, low, high,
    published, and whether the published accuracy lies from low to high."""
    groups = runs.groupby(["protocol", "row"], sort=False)
    table = groups.test_accuracy.agg(["size", "mean", "std", "min", "max"])
    table.columns = ["seeds", "mean", "sd", "low", "high"]
    table["published"] = groups.published_test_accuracy.first()
    rounding = 0.5e-4
    table["within"] = table.published.between(table.low - rounding, table.high + rounding)
    return table[table.seeds > 1].reset_index()
