"""How good a classifier is: the one place where predictions become numbers, for every method and baseline.

    accuracy   right / all
    precision  of the messages called positive (spam), the part that is
    recall     of the positive messages, the part that was found
    F1         2 · precision · recall / (precision + recall)
    ROC AUC    the chance that a random positive message is ranked above a random other one

Accuracy alone misleads when classes are unequal: where 13 % of messages are spam, never calling anything spam
is 87 % accurate and has recall 0.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from gpt2.errors import RunError


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, positive_index: int | None, answers: np.ndarray | None = None
) -> dict[str, float | int | None]:
    """Return accuracy, precision, recall, f1, roc_auc (all fractions) and n.

    ``labels`` (n,) class ids; ``probabilities`` (n, classes); ``answers`` (n,) class ids, by default the largest
    probability of each row.
    With a ``positive_index`` (two classes) precision, recall and F1 are that class's; roc_auc is None when
    only one class occurs, where it has no meaning. With None (more classes) they are averages over the
    classes that occur in the labels or the predictions, each class counting the same, and there is no
    roc_auc. A quotient 0/0 counts as 0.
    Raises RunError when a probability is not a finite number: the model diverged.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if not np.isfinite(probabilities).all():
        raise RunError("the model's outputs are not finite numbers; training diverged, try a smaller learning rate")
    predictions = probabilities.argmax(axis=1) if answers is None else answers
    if positive_index is None:
        truth, called, average = labels, predictions, "macro"
    else:
        truth, called, average = labels == positive_index, predictions == positive_index, "binary"
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, called, pos_label=True, average=average, zero_division=0
    )
    metrics: dict[str, float | int | None] = {
        "accuracy": float(accuracy_score(labels, predictions)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }
    if positive_index is not None:
        both = 0 < truth.sum() < len(truth)
        metrics["roc_auc"] = float(roc_auc_score(truth, probabilities[:, positive_index])) if both else None
    metrics["n"] = len(labels)
    return metrics


def confusion(labels: Sequence[int] | np.ndarray, predictions: np.ndarray, num_classes: int) -> list[list[int]]:
    """Return the table ``[true class][predicted class]`` of counts, num_classes × num_classes."""
    return confusion_matrix(labels, predictions, labels=range(num_classes)).tolist()


def per_class(labels: np.ndarray, answers: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Class -> precision, recall and f1 of it, and n, how many messages are of it. A quotient 0/0 counts as 0."""
    ids = range(len(classes))
    columns = precision_recall_fscore_support(labels, answers, labels=ids, average=None, zero_division=0)
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
        for name, p, r, f, n in zip(classes, *columns, strict=True)
    }


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Are answers given with 80 % right in 80 % of cases? A row for each bin of confidence that has messages: mean
    ``confidence`` (the largest probability), ``accuracy`` and ``n``."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": right, "n": 1}).groupby(bin_of)
    return table.agg({"confidence": "mean", "accuracy": "mean", "n": "sum"}).reset_index(drop=True)


def calibration_error(table: pd.DataFrame) -> float:
    """Expected calibration error of a table of ``reliability``: the mean distance of confidence and accuracy, weighted
    by the messages of each bin (Naeini et al., 2015)."""
    return float(((table.confidence - table.accuracy).abs() * table.n).sum() / table.n.sum())


def effective_number(right: np.ndarray, units: Sequence) -> float:
    """How many independent messages would say as much as n that belong together in units, such as ten sentences of a
    word: p (1 - p) / variance, the variance of a mean of whole units, Σ (right - p size)² / n² over the units.

    ``right`` (n,) 1 or 0, ``units`` (n,) names. At most n, and the number of units where all or none are right.
    """
    table = pd.Series(np.asarray(right, dtype=float)).groupby(np.asarray(units)).agg(["sum", "size"])
    n = table["size"].sum()
    accuracy = table["sum"].sum() / n
    variance = ((table["sum"] - accuracy * table["size"]) ** 2).sum() / n**2
    return min(float(n), accuracy * (1 - accuracy) / variance) if variance > 0 else float(len(table))


def wilson(right: float, n: float) -> tuple[float, float]:
    """95 % interval of the accuracy behind ``right`` of ``n`` independent messages: the values that these do not rule
    out (Wilson, 1927). ``n`` need not be a whole number: messages that depend on each other count for fewer."""
    z, p = NormalDist().inv_cdf(0.975), right / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
