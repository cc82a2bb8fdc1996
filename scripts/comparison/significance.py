"""Is a difference between two classifiers real? They were asked about the same messages, so count the disagreements.

    b messages that A has right and B wrong, c the other way round; where both agree there is nothing to learn.

McNemar's exact test: if A and B were equally good, each disagreement would be the toss of a coin, and so

    p = P(a split at least as uneven as b : c among b + c tosses), SciPy's exact binomial test

Paired bootstrap: draw the test messages anew, with replacement, many times; the middle 95 % of the accuracy
differences are an interval for the true one. A message that stands in the test sets of several seeds is drawn with all
its appearances, because they are not independent.

Holm's correction: with 190 pairs, 5 % of which would look different by luck alone, the smallest p counts 190-fold, the
next 189-fold, and so on.

McNemar, 1947; Dietterich, 1998; Efron & Tibshirani, 1993; Holm, 1979.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

DRAWS = 2000
LEVEL = 0.05


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p of a split ``only_a`` : ``only_b`` of the disagreements; 1 when there are none."""
    return binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the given order: comparable with the level as if only one test had been made."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def bootstrap(differences: np.ndarray, counts: np.ndarray, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of mean differences: low and high, (pairs,) each.

    differences, counts   (messages, pairs): the sum of a pair's differences over a message's appearances, and how many
                          appearances there are
    """
    n = len(differences)
    random = np.random.default_rng(0)
    drawn = random.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)  # how often each message is drawn
    with np.errstate(invalid="ignore"):  # a pair without a common message has no interval
        means = (drawn @ differences) / (drawn @ counts)  # (draws, pairs)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def compare_all(correct: pd.DataFrame) -> pd.DataFrame:
    """Every pair of columns of ``correct``, better one first; one row a pair.

    ``correct`` has a column for each method and a row for each test message of each seed, indexed by (seed, position,
    text): 1 right, 0 wrong, NaN where that method has no run with that seed.

    Columns: a, b, n, difference (of accuracies), low and high (95 %, bootstrap), a_only and b_only (right where the
    other is wrong), p (McNemar), p_holm, differs.
    """
    rows, sums, counts = [], [], []
    texts = correct.index.get_level_values("text")
    for a, b in itertools.combinations(correct.columns, 2):
        both = correct[[a, b]].dropna()
        if both.empty:
            continue
        if both[b].mean() > both[a].mean():
            a, b = b, a
        difference = correct[a] - correct[b]
        a_only, b_only = int((difference == 1).sum()), int((difference == -1).sum())
        rows.append(
            {
                "a": a,
                "b": b,
                "n": len(both),
                "difference": float(difference.mean()),
                "a_only": a_only,
                "b_only": b_only,
                "p": mcnemar(a_only, b_only),
            }
        )
        sums.append(difference.fillna(0).groupby(texts).sum().to_numpy())
        counts.append(difference.notna().groupby(texts).sum().to_numpy())
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


def standard_error(accuracy: float, n: int) -> float:
    """Of an accuracy measured on n messages: √(p (1 - p) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / n)
