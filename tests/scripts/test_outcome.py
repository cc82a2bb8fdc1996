"""What a run says of its classifier: on a table with three classes, and on one with a rare class."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from gpt2.metrics import calibration_error, classification_metrics, per_class, reliability, wilson

SUBJECTS = {"food": ("soup", "bread", "cheese"), "sport": ("goal", "match", "team"), "work": ("office", "desk", "boss")}


@pytest.fixture
def three_classes(tmp_path):
    rows = [
        {"text": f"the {words[i % 3]} and the {words[(i + 1) % 3]} of day {i}", "label": label}
        for label, words in SUBJECTS.items()
        for i in range(30)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "three.csv", index=False)
    return tmp_path / "three.csv"


@pytest.fixture
def rare(tmp_path):
    """One in ten of the numbers below 400 is a prime that ends with 7 or 9; some words mostly go with it."""

    def special(n: int) -> bool:
        return n % 10 in (7, 9) and all(n % k for k in range(2, int(n**0.5) + 1)) and n > 1

    rows = [
        {
            "text": f"number {n} is {'odd and stands alone' if special(n) != (n % 7 == 0) else 'plain'}",
            "label": special(n),
        }
        for n in range(400)
    ]
    table = pd.DataFrame(rows).replace({"label": {True: "prime", False: "other"}})
    assert 0.05 < (table.label == "prime").mean() < 0.15
    table.to_csv(tmp_path / "rare.csv", index=False)
    return tmp_path / "rare.csv"


def run(command, data, out, *arguments):
    common = ["--method", "head", "--model", "practice", "--epochs", 1, "--data", data, "--out", out]
    result = command("finetune_spam", *common, *arguments)
    assert result.status == 0, result.err
    return result.out, json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def test_three_classes_each_by_itself_and_the_baselines_beside(command, three_classes, tmp_path):
    said, metrics = run(command, three_classes, tmp_path / "run")
    assert list(metrics["classes"]) == ["food", "sport", "work"]
    assert all(found["n"] == 6 for found in metrics["classes"].values())
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    for name, found in metrics["classes"].items():
        hit = ((predictions.label == name) & (predictions.predicted == name)).sum()
        assert found["recall"] == pytest.approx(hit / 6)
    low, high = metrics["accuracy_interval"]
    right = int((predictions.label == predictions.predicted).sum())
    assert (low, high) == pytest.approx(tuple(binomtest(right, 18).proportion_ci(method="wilson")), abs=1e-6)
    assert metrics["baselines"]["majority"]["accuracy"] == pytest.approx(1 / 3)
    assert metrics["baselines"]["tfidf"]["accuracy"] > 0.9
    assert "TF-IDF, test" in said and "95 % interval" in said and "sport" in said
    mistakes = pd.read_csv(tmp_path / "run" / "mistakes.csv")
    assert (mistakes.label != mistakes.predicted).all() and mistakes.probability.is_monotonic_decreasing
    assert (tmp_path / "run" / "scores.png").stat().st_size > 5_000
    assert not (tmp_path / "run" / "decision.json").exists()


def test_a_rare_class_with_weights_a_threshold_and_calibration(command, rare, tmp_path):
    _, plain = run(command, rare, tmp_path / "plain")
    asked = ("--class-weights", "balanced", "--threshold", "best-f1", "--calibrate")
    said, metrics = run(command, rare, tmp_path / "run", *asked)
    assert metrics["test"]["recall"] > plain["test"]["recall"]
    decision = json.loads((tmp_path / "run" / "decision.json").read_text(encoding="utf-8"))
    assert decision == {name: metrics[name] for name in ("temperature", "threshold", "rule")}
    assert decision["rule"] == "best-f1" and decision["temperature"] != 1.0
    assert f"from probability {decision['threshold']:.3f} on" in said
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    text = predictions[predictions.predicted == "prime"].text.iloc[0]
    answer = command("classify", tmp_path / "run", text).out
    assert answer.startswith("prime\t")  # classify.py decides as the run did


def test_a_rule_is_checked_before_anything_is_trained(command, rare, tmp_path):
    for rule in ("0", "2", "best", "precision=1.5", "-1"):
        line = command("finetune_spam", "--data", rare, f"--threshold={rule}", "--out", tmp_path / "run").one_line(2)
        assert "is no rule" in line
    assert not (tmp_path / "run").exists()


def test_a_run_is_repeated_by_its_command(command, three_classes, tmp_path):
    _, first = run(command, three_classes, tmp_path / "run", "--seed", 5)
    text = (tmp_path / "run" / "command.txt").read_text(encoding="utf-8")
    assert "--seed 5\n" in text and "--out" not in text
    again = command("finetune_spam", f"@{tmp_path / 'run' / 'command.txt'}", "--out", tmp_path / "again")
    assert again.status == 0, again.err
    second = json.loads((tmp_path / "again" / "metrics.json").read_text(encoding="utf-8"))
    assert second["test"] == first["test"]
    line = command("finetune_spam", "@nothing.txt").one_line(2)
    assert "cannot read the settings @nothing.txt" in line


def test_the_seed_changes_the_training_and_not_the_split_of_an_own_table(command, three_classes, tmp_path):
    _, one = run(command, three_classes, tmp_path / "one", "--seed", 1)
    _, two = run(command, three_classes, tmp_path / "two", "--seed", 2)
    tables = [pd.read_csv(tmp_path / name / "predictions.csv") for name in ("one", "two")]
    assert tables[0].text.equals(tables[1].text) and one["test"]["loss"] != two["test"]["loss"]
    _, _ = run(command, three_classes, tmp_path / "three", "--split-seed", 7)
    assert not pd.read_csv(tmp_path / "three" / "predictions.csv").text.equals(tables[0].text)


def test_calibration_error_by_hand():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.35, 0.65]])
    table = reliability(labels, probabilities)
    assert table.n.tolist() == [1, 3] and table.accuracy.tolist() == pytest.approx([1.0, 2 / 3])
    assert calibration_error(table) == pytest.approx((1 * 0.35 + 3 * (0.9 - 2 / 3)) / 4)


def test_answers_may_differ_from_the_largest_probability():
    labels, probabilities = np.array([1, 0]), np.array([[0.6, 0.4], [0.8, 0.2]])
    assert classification_metrics(labels, probabilities, 1)["recall"] == 0
    assert classification_metrics(labels, probabilities, 1, np.array([1, 0]))["recall"] == 1
    found = per_class(labels, np.array([1, 1]), ["a", "b"])
    assert found["a"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 1} and found["b"]["precision"] == 0.5
    assert wilson(0, 10)[0] == pytest.approx(0.0) and wilson(10, 10)[1] == pytest.approx(1.0)


def test_a_temperature_at_an_end_of_the_search_is_not_used(command, three_classes, tmp_path, monkeypatch):
    monkeypatch.setattr("common.classifying.choose_temperature", lambda logits, labels: None)
    said, metrics = run(command, three_classes, tmp_path / "run", "--calibrate")
    assert "No temperature follows from the 9 validation messages" in said and metrics["temperature"] == 1.0
    assert not (tmp_path / "run" / "decision.json").exists()
