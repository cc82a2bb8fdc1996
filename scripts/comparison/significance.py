"""Is a difference between two classifiers real? They were asked about the same messages, so count the disagreements.

    b messages that A has right and B wrong, c the other way round; where both agree there is nothing to learn.

McNemar's exact test: if A and B were equally good, each disagreement would be the toss of a coin, and so

    p = P(a split at least as uneven as b : c among b + c tosses), SciPy's exact binomial test

Not all messages are independent: ten sentences of one word are right or wrong together, and so is a message that stands
in the test sets of several seeds. What belongs together is a unit, and everything here counts units:

Sign-flip test: if A and B were equally good, what a unit says for A, it could as well say for B. So the signs of the
units' differences are flipped, in all ways, and p is the share of ways in which their sum is at least as far from 0 as
it was. It is exact, needs no distribution, and is McNemar's test where each unit is one message.

Paired bootstrap: draw the units anew, with replacement, many times; the middle 95 % of the accuracy differences are an
interval for the true one.

Wilson's interval of one accuracy, with the effective number of messages: so many independent ones would have its
variance.

Holm's correction: with 190 pairs, 5 % of which would look different by luck alone, the smallest p counts 190-fold, the
next 189-fold, and so on.

Wilson, 1927; Fisher, 1935, section 21 (sign flips); McNemar, 1947; Holm, 1979; Efron & Tibshirani, 1993; Dietterich,
1998. Clusters and the effective number: Kish, 1965.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binom, binomtest

DRAWS = 2000
LEVEL = 0.05


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p of a split ``only_a`` : ``only_b`` of the disagreements; 1 when there are none."""
    return binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0


def sign_flip(differences: np.ndarray) -> float:
    """Two-sided exact p of paired ``differences``, whole numbers, one a unit: of the 2ⁿ ways to give them signs, the
    share whose sum is at least as far from 0. Flips are fair because units are independent and, if both classifiers are
    equally good, each is as likely to favour one as the other (Fisher, 1935)."""
    sizes, counts = np.unique(np.abs(differences[differences != 0]).astype(int), return_counts=True)
    chances = np.ones(1)  # of the sums from -T to T
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):  # a binomial number of them is positive
        of_size = np.zeros(2 * size * count + 1)
        of_size[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, of_size)
    sums = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, float(chances[np.abs(sums) >= abs(int(differences.sum()))].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the given order: comparable with the level as if only one test had been made."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def bootstrap(differences: np.ndarray, counts: np.ndarray, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of mean differences: low and high, (pairs,) each.

    differences, counts   (units, pairs): the sum of a pair's differences over a unit's messages, and how many there are
    """
    n = len(differences)
    random = np.random.default_rng(0)
    drawn = random.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)  # how often each unit is drawn
    with np.errstate(invalid="ignore"):  # a pair without a common message has no interval
        means = (drawn @ differences) / (drawn @ counts)  # (draws, pairs)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def compare_all(correct: pd.DataFrame) -> pd.DataFrame:
    """Every pair of columns of ``correct``, better one first; one row a pair.

    ``correct`` has a column for each classifier and a row for each test message of each seed, indexed by (seed,
    position, unit): 1 right, 0 wrong, NaN where there is no run with that seed.

    Columns: a, b, n, difference (of accuracies), low and high (95 %, bootstrap), a_only and b_only (messages that only
    one has right), p (sign flips), p_holm, differs.
    """
    rows, sums, counts = [], [], []
    units = correct.index.get_level_values("unit")
    for a, b in itertools.combinations(correct.columns, 2):
        both = correct[[a, b]].dropna()
        if both.empty:
            continue
        if both[b].mean() > both[a].mean():
            a, b = b, a
        difference = correct[a] - correct[b]
        sums.append(difference.fillna(0).groupby(units).sum().to_numpy())
        counts.append(difference.notna().groupby(units).sum().to_numpy())
        rows.append(
            {
                "a": a,
                "b": b,
                "n": len(both),
                "difference": float(difference.mean()),
                "a_only": int((difference == 1).sum()),
                "b_only": int((difference == -1).sum()),
                "p": sign_flip(sums[-1]),
            }
        )
    table = pd.DataFrame(rows, columns=["a", "b", "n", "difference", "a_only", "b_only", "p"])
    low, high = bootstrap(np.array(sums).T, np.array(counts).T) if rows else ([], [])
    table.insert(4, "low", low)
    table.insert(5, "high", high)
    table["p_holm"] = holm(table.p.tolist())
    table["differs"] = table.p_holm < LEVEL
    return table


def pair(table: pd.DataFrame, one: str, other: str) -> pd.Series | None:
    """The row of ``compare_all`` about these two, whichever came out better."""
    found = table[((table.a == one) & (table.b == other)) | ((table.a == other) & (table.b == one))]
    return None if found.empty else found.iloc[0]


def effective_number(right: pd.Series) -> float:
    """How many independent messages would say as much as these, of which ``right`` says 1 or 0, indexed as in
    ``compare_all``: p (1 - p) / variance, the variance of a mean of whole units, Σ (right - p n)² / N² over units of n.
    At most as many as there are messages, and the number of units where all or none are right."""
    units = right.dropna().groupby(level="unit").agg(["sum", "size"])
    n = units["size"].sum()
    accuracy = units["sum"].sum() / n
    variance = ((units["sum"] - accuracy * units["size"]) ** 2).sum() / n**2
    return min(float(n), accuracy * (1 - accuracy) / variance) if variance > 0 else float(len(units))


def standard_error(accuracy: float, n: float) -> float:
    """Of an accuracy measured on n independent messages: √(p (1 - p) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / n)


def wilson(accuracy: float, n: float) -> tuple[float, float]:
    """95 % interval of an accuracy measured on n independent messages: the values that these do not rule out."""
    z = 1.96
    middle = (accuracy + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
