"""The comparison's statistics: by hand where they are small enough, and fair to methods with fewer seeds."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

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


def frame(units: int | None = None, **columns: list[float]) -> pd.DataFrame:
    """Answers to messages 0, 1, … of one seed; in so many ``units`` of equal size, else each a unit of its own."""
    n = len(next(iter(columns.values())))
    number = np.arange(n) if units is None else np.repeat(np.arange(units), n // units)
    index = pd.MultiIndex.from_arrays([[123] * n, range(n), number], names=["seed", "position", "unit"])
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


# --- units


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (5, 5), (1, 9), (9, 1), (0, 6), (3, 4), (0, 300)])
def test_sign_flips_of_single_messages_are_mcnemars_test(only_a, only_b):
    differences = np.array([1] * only_a + [-1] * only_b + [0] * 7)
    assert significance.sign_flip(differences) == pytest.approx(significance.mcnemar(only_a, only_b))


@pytest.mark.parametrize("differences", [[3, 0, -1, 2, 2], [10, 10, -10, 4, 1, -1], [5], [0, 0], [2, -7, 7, 1, 1, 1]])
def test_sign_flips_by_trying_all(differences):
    ways = [sum(np.array(signs) * differences) for signs in itertools.product((-1, 1), repeat=len(differences))]
    share = np.mean([abs(way) >= abs(sum(differences)) for way in ways])
    assert significance.sign_flip(np.array(differences)) == pytest.approx(share)


def test_ten_sentences_of_a_word_count_as_one():
    """One word of six that only A knows: alone it shows nothing, though ten sentences in sixty say the same."""
    a, b = [1.0] * 60, [0.0] * 10 + [1.0] * 50
    apart, together = (significance.compare_all(frame(units, a=a, b=b)).iloc[0] for units in (None, 6))
    assert apart.p == pytest.approx(2 / 2**10) and together.p == 1
    assert (together.n, together.difference, together.a_only) == (60, pytest.approx(1 / 6), 10)
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert together.low == 0 < apart.low


def test_the_effective_number_of_messages():
    right = [1.0, 0.0, 1.0, 1.0] * 30
    assert significance.effective_number(frame(a=right).a) == pytest.approx(120)
    of_words = np.repeat(right, 5)  # five sentences a word, all right or all wrong
    assert significance.effective_number(frame(120, a=of_words).a) == pytest.approx(120)
    assert significance.effective_number(frame(120, a=np.ones(600)).a) == 120
    assert significance.effective_number(frame(a=[1.0, math.nan, 0.0]).a) == pytest.approx(2)


@pytest.mark.parametrize("right, n", [(290, 300), (300, 300), (0, 60), (31, 60)])
def test_wilsons_interval_is_scipys(right, n):
    low, high = binomtest(right, n).proportion_ci(method="wilson")
    assert significance.wilson(right / n, n) == pytest.approx((low, high), abs=1e-4)


def test_nineteen_of_twenty_intervals_over_words_hold_the_true_accuracy():
    """60 words, 10 sentences each; a word's own chance is 0.97 or 0.5. Intervals over sentences miss it too often."""
    random, held = np.random.default_rng(0), {60: 0, 600: 0}
    for _ in range(400):
        chance = np.repeat(random.choice([0.97, 0.5], size=60), 10)
        right = (random.random(600) < chance).astype(float)
        for units in held:
            n = significance.effective_number(frame(units, a=right).a)
            low, high = significance.wilson(right.mean(), n)
            held[units] += low <= 0.735 <= high
    assert 0.92 < held[60] / 400 < 0.98 and held[600] / 400 < 0.85


def test_runs_on_other_messages_are_refused():
    one = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"], "predicted": ["x", "x"]})
    good = correctness(iter([("lora", 123, one), ("head", 123, one)]))
    assert good.lora.tolist() == [1.0, 0.0]
    with pytest.raises(InputError, match="other messages"):
        correctness(iter([("lora", 123, one), ("head", 123, one.assign(text=["a", "c"]))]))
