"""Metrics against numbers worked out by hand, and the two baselines on tables where the answer is known."""

import numpy as np
import pytest

from data import load_dataset
from data.baselines import majority, tfidf
from gpt2.errors import RunError
from gpt2.metrics import classification_metrics, confusion


def test_two_classes_by_hand():
    labels = np.array([1, 1, 1, 0, 0])
    spam = np.array([0.9, 0.6, 0.2, 0.7, 0.1])  # predicted: 1 1 0 1 0
    metrics = classification_metrics(labels, np.stack([1 - spam, spam], axis=1), positive_index=1)
    assert metrics == {
        "accuracy": pytest.approx(3 / 5),
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "roc_auc": pytest.approx(4 / 6),  # of 3 x 2 pairs, 0.9 and 0.6 beat 0.1, 0.9 beats 0.7, 0.2 beats 0.1
        "n": 5,
    }
    assert {type(value) for value in metrics.values()} == {float, int}


def test_the_positive_class_may_be_the_first():
    labels = np.array([0, 1, 1, 1])
    first = np.array([0.8, 0.9, 0.3, 0.2])  # predicted: 0 0 1 1
    metrics = classification_metrics(labels, np.stack([first, 1 - first], axis=1), positive_index=0)
    assert (metrics["precision"], metrics["recall"]) == (0.5, 1.0)
    assert metrics["roc_auc"] == pytest.approx(2 / 3)


def test_three_classes_are_averaged():
    labels = np.array([0, 0, 1, 2])
    metrics = classification_metrics(labels, np.eye(3)[[0, 1, 1, 0]], positive_index=None)
    assert metrics["accuracy"] == 0.5
    assert metrics["precision"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert metrics["recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert metrics["f1"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert "roc_auc" not in metrics


@pytest.mark.filterwarnings("error")
def test_one_class_only_and_nothing_found():
    metrics = classification_metrics(np.zeros(3, int), np.tile([0.9, 0.1], (3, 1)), positive_index=1)
    assert metrics["accuracy"] == 1.0
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (0.0, 0.0, 0.0)
    assert metrics["roc_auc"] is None


def test_a_diverged_model_is_a_failed_run():
    with pytest.raises(RunError, match="learning rate"):
        classification_metrics(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, np.nan]]), positive_index=1)


def test_confusion():
    assert confusion([0, 0, 1], [0, 1, 1], 3) == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


@pytest.fixture
def table(tmp_path):
    rows = [f"win a prize {i},spam" for i in range(10)] + [f"see you at {i},ham" for i in range(30)]
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return load_dataset(path)


def test_majority(table):
    metrics = majority(table)
    assert list(metrics) == ["train", "validation", "test"]
    assert metrics["test"] == {
        "accuracy": 0.75, "precision": 0.0, "recall": 0.0, "f1": 0.0, "roc_auc": 0.5, "n": 8,
    }  # fmt: skip


def test_tfidf_learns_what_the_words_give_away(table):
    assert tfidf(table)["test"]["f1"] == 1.0
    assert tfidf(table)["test"]["roc_auc"] == 1.0


def test_tfidf_does_not_look_at_the_test_part(table):
    before = tfidf(table)["validation"]
    table.test["label"] = 1 - table.test["label"]
    assert tfidf(table)["validation"] == before
    assert tfidf(table)["test"]["accuracy"] == 0.0


def test_tfidf_with_three_classes_and_texts_without_words(tmp_path):
    path = tmp_path / "moods.csv"
    rows = [f"{mark * (i % 4 + 1)},{name}" for mark, name in (("☺", "glad"), ("☹", "sad"), ("?", "puzzled"))
            for i in range(10)]  # fmt: skip
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    metrics = tfidf(load_dataset(path))
    assert metrics["test"]["accuracy"] == 1.0
    assert "roc_auc" not in metrics["test"]
