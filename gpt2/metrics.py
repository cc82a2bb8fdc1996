"""How good a classifier is: the one place where predictions become numbers, for every method and baseline.

    accuracy   right / all
    precision  of the messages called positive (spam), the part that is
    recall     of the positive messages, the part that was found
    F1         2 · precision · recall / (precision + recall)
    ROC AUC    the chance that a random positive message is ranked above a random other one

Accuracy alone misleads when classes are unequal: where 13 % of messages are spam, never calling anything spam
is 87 % accurate and has recall 0.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from gpt2.errors import RunError


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, positive_index: int | None
) -> dict[str, float | int | None]:
    """Return accuracy, precision, recall, f1, roc_auc (all fractions) and n.

    ``labels`` (n,) class ids; ``probabilities`` (n, classes), the prediction being the largest of a row.
    With a ``positive_index`` (two classes) precision, recall and F1 are that class's; roc_auc is None when
    only one class occurs, where it has no meaning. With None (more classes) they are averages over the
    classes that occur in the labels or the predictions, each class counting the same, and there is no
    roc_auc. A quotient 0/0 counts as 0.
    Raises RunError when a probability is not a finite number: the model diverged.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if not np.isfinite(probabilities).all():
        raise RunError("the model's outputs are not finite numbers; training diverged, try a smaller learning rate")
    predictions = probabilities.argmax(axis=1)
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
