"""Score a table with a run, chunk by chunk, in memory that does not grow with it."""

import csv
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.text import class_table
from data.labels import NUMBER
from data.table_files import read_chunks
from data.tables import check_different, column_index
from gpt2.errors import InputError
from gpt2.files import atomic_write
from gpt2.metrics import classification_metrics, per_class
from peft.run_classifier import RunClassifier


def score_table(
    run: RunClassifier, path: Path, out: Path, text_column: str, label_column: str | None, encoding: str
) -> dict | None:
    """Write ``out``, a .csv: the table's columns, ``predicted``, and the probability of each class. Returns metrics
    where the table has labels. A row without a message gets no answer.

    Raises InputError for a table that cannot be read, a column that is missing or would be overwritten, and labels none
    of which is a class of the run.
    """
    if out.exists() and path.exists() and out.samefile(path):
        raise InputError(f"{out} is the table to score itself; name another file for the scored one", "out")
    if out.suffix.lower() != ".csv":
        raise InputError(f"{out} is not a .csv file; name one", "out")
    new = ["predicted", *(f"p({name})" for name in run.classes_)]
    wanted = [text_column, *([label_column] if label_column else [])]
    check_different(path, dict(zip(("text", "label"), wanted, strict=False)))
    empty, unknown, labels, scores = 0, 0, [], []
    ids = {same_number(str(name)): i for i, name in enumerate(run.classes_)}
    with atomic_write(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer, bar = csv.writer(file), tqdm(desc="messages", unit="message", disable=None)
        for number, (_, table) in enumerate(read_chunks(path, wanted, encoding)):
            header = list(table.columns)
            if number == 0:
                check_columns(path, header, wanted, new)
                writer.writerow([*header, *new])
            texts = table.iloc[:, header.index(text_column)]
            there = texts.str.strip().astype(bool).to_numpy()
            probabilities = run.predict_proba(texts[there].tolist())
            answers = run.decision_.answers(probabilities, run.positive_)
            cells = np.full((len(table), len(new)), "", dtype=object)
            cells[there, 0] = run.classes_[answers].astype(str)
            cells[there, 1:] = np.vectorize("{:.6f}".format, otypes=[object])(probabilities)
            writer.writerows(np.hstack([table.to_numpy(dtype=object), cells]))
            empty += int((~there).sum())
            if label_column:
                known = table.iloc[:, header.index(label_column)].str.strip()[there].map(same_number).map(ids)
                unknown += int(known.isna().sum())
                labels.append(known.dropna().to_numpy(dtype=int))
                scores.append(probabilities[known.notna().to_numpy()])
            bar.update(len(table))
        bar.close()
        metrics = None
        if label_column:  # before the table takes its place: labels that are all unknown are wrong input
            metrics = metrics_of(run, path, np.concatenate(labels), np.concatenate(scores), label_column)
    if empty:
        print(f"Without a message, and so without an answer: {empty:,} of the rows.", file=sys.stderr)
    if unknown:
        print(f"With a label that the run does not know: {unknown:,} of the rows.", file=sys.stderr)
    return metrics


def same_number(label: str) -> str | Decimal:
    """Labels that are equal as numbers are one label, as in training: 1 and 1.0."""
    return Decimal(label) if NUMBER.fullmatch(label) else label


def check_columns(path: Path, header: list[str], wanted: list[str], new: list[str]) -> None:
    """Raise InputError where a wanted column is missing, or one that will be added is there."""
    for name, argument in zip(wanted, ("text_column", "label_column"), strict=False):
        column_index(path, header, name, argument)
    if there := [name for name in new if name in header]:
        raise InputError(f"{path} has a column {there[0]!r} already, which would be added; rename it")


def metrics_of(
    run: RunClassifier, path: Path, labels: np.ndarray, probabilities: np.ndarray, column: str | None
) -> dict:
    """Metrics of all rows with a known label, and of each class."""
    if not len(labels):
        raise InputError(
            f"{path}: no label of column {column!r} is a class of this run ({', '.join(map(str, run.classes_))})"
        )
    answers = run.decision_.answers(probabilities, run.positive_)
    metrics = classification_metrics(labels, probabilities, run.positive_, answers)
    return metrics | {"classes": per_class(labels, answers, list(map(str, run.classes_)))}


def print_metrics(metrics: dict) -> None:
    """Accuracy, precision, recall and F1 of the whole, then each class by itself."""
    shown = ", ".join(f"{name} {metrics[name]:.2%}" for name in ("accuracy", "precision", "recall", "f1"))
    print(f"On {metrics['n']:,} rows with a label: {shown}")
    print(class_table(metrics["classes"]))
