"""The comparison's statistics: by hand where they are small enough, and fair to methods with fewer seeds."""

import math

import numpy as np
import pandas as pd
import pytest

from comparison import significance
from comparison.results import correctness
from gpt2.errors import InputError


@pytest.mark.parametrize(
    "only_a, only_b, p",
    [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 22 / 1024), (9, 1, 22 / 1024), (0, 6, 2 / 64), (3, 4, 1.0)],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    assert significance.mcnemar(only_a, only_b) == pytest.approx(p)


def test_holm_by_hand():
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.6, 0.5]) == [1.0, 1.0]
    assert significance.holm([]) == []


def frame(**columns: list[float]) -> pd.DataFrame:
    """Answers to messages 0, 1, … of one seed."""
    n = len(next(iter(columns.values())))
    index = pd.MultiIndex.from_tuples([(123, i, f"text {i}") for i in range(n)], names=["seed", "position", "text"])
    return pd.DataFrame(columns, index=index)


def test_pairs_are_compared_message_by_message():
    good, bad = [1.0] * 10 + [1.0] * 10, [0.0] * 10 + [1.0] * 10
    table = significance.compare_all(frame(bad=bad, good=good, twin=good))
    row = significance.pair(table, "bad", "good")
    assert (row.a, row.b, row.n, row.difference, row.a_only, row.b_only) == ("good", "bad", 20, 0.5, 10, 0)
    assert row.p == pytest.approx(2 / 1024) and row.p_holm == pytest.approx(6 / 1024) and row.differs
    assert 0.2 < row.low < 0.5 < row.high < 0.8
    twins = significance.pair(table, "good", "twin")
    assert (twins.difference, twins.p, twins.low, twins.high) == (0, 1, 0, 0) and not twins.differs


def test_a_method_with_fewer_seeds_is_compared_on_what_both_answered():
    table = significance.compare_all(frame(a=[1.0, 1.0, 0.0, 1.0], b=[0.0, 1.0, math.nan, math.nan]))
    assert (table.n[0], table.difference[0], table.a_only[0]) == (2, 0.5, 1)


def test_the_bootstrap_interval_is_that_of_a_mean():
    differences = np.random.default_rng(1).integers(-1, 2, size=(400, 1)).astype(float)
    low, high = significance.bootstrap(differences, np.ones_like(differences), draws=4000)
    error = differences.std() / math.sqrt(400)
    assert low[0] == pytest.approx(differences.mean() - 1.96 * error, abs=0.15 * error)
    assert high[0] == pytest.approx(differences.mean() + 1.96 * error, abs=0.15 * error)


def test_standard_error_of_300_messages():
    assert significance.standard_error(0.955, 300) == pytest.approx(0.012, abs=2e-4)


def test_runs_on_other_messages_are_refused():
    one = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"], "predicted": ["x", "x"]})
    good = correctness(iter([("lora", 123, one), ("head", 123, one)]))
    assert good.lora.tolist() == [1.0, 0.0]
    with pytest.raises(InputError, match="other messages"):
        correctness(iter([("lora", 123, one), ("head", 123, one.assign(text=["a", "c"]))]))
