"""Calibration and thresholds: equal to a search by brute force, and chosen from validation data alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpt2.errors import InputError
from gpt2.training.decision import Decision, check_rule, choose_temperature, choose_threshold


@pytest.fixture
def scores():
    """400 labels and probabilities that overlap."""
    generator = np.random.default_rng(1)
    labels = generator.random(400) < 0.2
    return labels, np.clip(0.5 * labels + 0.6 * generator.random(400), 0, 1)


def measures(labels, called):
    right = (labels & called).sum()
    return right / max(called.sum(), 1), right / labels.sum()


def test_the_temperature_of_overconfident_logits_is_the_factor_of_their_confidence():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(20_000, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]  # calibrated as they are
    assert choose_temperature(logits, labels) == pytest.approx(1.0, abs=0.05)
    assert choose_temperature(4 * logits, labels) == pytest.approx(4.0, abs=0.2)
    losses = [F.cross_entropy(4 * logits / t, labels).item() for t in np.linspace(1, 10, 91)]
    best = choose_temperature(4 * logits, labels)
    assert F.cross_entropy(4 * logits / best, labels).item() <= min(losses) + 1e-6


def test_best_f1_is_the_best_of_all_thresholds(scores):
    labels, positive = scores

    def f1(threshold):
        precision, recall = measures(labels, positive >= threshold)
        return 2 * precision * recall / max(precision + recall, 1e-12)

    chosen = choose_threshold("best-f1", labels, positive)
    assert f1(chosen) == pytest.approx(max(f1(t) for t in np.unique(positive)))


def test_precision_is_reached_with_the_highest_recall(scores):
    labels, positive = scores
    chosen = choose_threshold("precision=0.95", labels, positive)
    precision, recall = measures(labels, positive >= chosen)
    assert precision >= 0.95
    others = [measures(labels, positive >= t) for t in np.unique(positive)]
    assert recall == max(r for p, r in others if p >= 0.95)


def test_a_precision_that_no_threshold_reaches_is_refused():
    labels, positive = np.array([True, False, False]), np.array([0.1, 0.9, 0.8])
    with pytest.raises(InputError, match="no threshold has a precision of 0.9 on the 3 validation messages"):
        choose_threshold("precision=0.9", labels, positive)


@pytest.mark.parametrize(
    "rule", ["", "best", "precision", "precision=", "precision=2", "0", "1.5", "-0.1", "nan", "1e9"]
)
def test_unknown_rules_are_refused(rule):
    with pytest.raises(InputError, match="threshold"):
        check_rule(rule)


def test_answers_follow_the_threshold_and_else_the_most_likely_class():
    probabilities = np.array([[0.3, 0.7], [0.6, 0.4], [0.9, 0.1]])
    assert Decision().answers(probabilities, positive=1).tolist() == [1, 0, 0]
    assert Decision(threshold=0.4, rule="best-f1").answers(probabilities, positive=1).tolist() == [1, 1, 0]
    assert Decision(threshold=0.4, rule="best-f1").answers(probabilities, positive=0).tolist() == [1, 0, 0]
    three = np.array([[0.2, 0.3, 0.5]])
    assert Decision(threshold=0.1, rule="0.1").answers(three, positive=None).tolist() == [2]


def test_no_threshold_follows_from_messages_of_one_class():
    with pytest.raises(InputError, match="all of one class"):
        choose_threshold("best-f1", np.zeros(4, dtype=bool), np.linspace(0, 1, 4))


@pytest.mark.parametrize("right", [1.0, -1.0], ids=["all right", "all wrong"])
def test_no_temperature_follows_from_answers_that_are_all_right_or_all_wrong(right):
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    logits = right * F.one_hot(labels, 2).float()
    assert choose_temperature(logits, labels) is None
    mixed = torch.cat([logits, -logits[:1] if right > 0 else -3 * logits])  # one more that disagrees, or enough of them
    assert choose_temperature(mixed, torch.cat([labels, labels[:1] if right > 0 else labels])) is not None
