"""From probabilities to answers that can be trusted: calibration and a threshold, both chosen on validation data.

A trained network is often overconfident: its probabilities are higher than the share of its answers that are right.
*Temperature scaling* divides all logits by one number T > 0, chosen so that the validation loss is lowest (Guo et al.,
2017, "On Calibration of Modern Neural Networks"). It changes how sure the answers are, not which is the most likely.

    p = softmax(logits / T)        T = 1: as trained; T > 1: less sure

Of two classes, the *positive* one is answered where its probability is at least the threshold:

    "0.5"               the more likely class
    "best-f1"           where F1 = 2 · precision · recall / (precision + recall) of the validation messages is highest
    "precision=0.99"    the lowest threshold with at least this precision, so that as many as possible are found
"""

import re
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from gpt2.errors import InputError

BOUNDS = (-3.0, 5.0)  # of log T: from 0.05 to 150


@dataclass(frozen=True)
class Decision:
    """How class probabilities (n, classes) become answers."""

    temperature: float = 1.0
    threshold: float = 0.5  # of the positive class; for more than two classes the most likely one is answered
    rule: str = "0.5"  # which the threshold follows from

    def answers(self, probabilities: np.ndarray, positive: int | None) -> np.ndarray:
        """Class ids (n,). ``positive``: the class that the threshold is of; None: the most likely class."""
        if positive is None or self.rule == "0.5":
            return probabilities.argmax(axis=1)
        return np.where(probabilities[:, positive] >= self.threshold, positive, 1 - positive)


AS_TRAINED = Decision()


def choose_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The temperature with the lowest loss of validation logits (n, classes) and labels (n,).

    None where the loss still falls at an end of the search: T would become 0 where every answer is right, as among few
    messages, and infinite where the answers are no better than chance. Neither says how sure a new answer is.
    """
    from scipy.optimize import minimize_scalar  # here: to use a run takes neither of them

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits.double() / np.exp(log_temperature), labels).item()

    found = minimize_scalar(loss, bounds=BOUNDS, method="bounded").x
    at_an_end = min(found - BOUNDS[0], BOUNDS[1] - found) < 1e-3
    return None if at_an_end else float(np.exp(found))


def check_rule(rule: str) -> None:
    """Raise InputError unless ``rule`` is 0.5 or another number from 0 to 1, best-f1, or precision=NUMBER."""
    if not re.fullmatch(r"best-f1|(precision=)?(0?\.\d*[1-9]\d*|1(\.0+)?)", rule):
        raise InputError(
            f"threshold {rule!r} is no rule; give a number above 0 and at most 1, best-f1, or precision=0.99",
            "threshold",
        )


def choose_threshold(rule: str, labels: np.ndarray, positive: np.ndarray) -> float:
    """The threshold that a rule gives on validation data.

    labels     (n,) booleans: is it of the positive class?
    positive   (n,) probabilities of that class

    Raises InputError for an unknown rule, and for a precision that no threshold reaches.
    """
    check_rule(rule)
    if rule != "best-f1" and "=" not in rule:
        return float(rule)
    if not labels.any() or labels.all():
        raise InputError(
            f"the {len(labels):,} validation messages are all of one class, so no threshold follows from them; give "
            "more messages of both, or a number",
            "threshold",
        )
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(labels, positive)
    precision, recall = precision[:-1], recall[:-1]  # the last point has no threshold
    if rule == "best-f1":
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        return float(thresholds[f1.argmax()])
    wanted = float(rule.split("=")[1])
    reached = (precision >= wanted) & (recall > 0)
    if not reached.any():
        raise InputError(
            f"no threshold has a precision of {wanted:g} on the {len(labels):,} validation messages (the highest is "
            f"{precision[recall > 0].max(initial=0):.3f}); ask for less",
            "threshold",
        )
    return float(thresholds[reached.argmax()])
