"""How much do a few hundred messages prove? Counts behind published accuracies, intervals, and a test of two of them.

An accuracy is a count: k of n messages right. Published ones are rounded to 0.01 %, which is finer than one message of
1,045, so the count can be found again: 95.67 % of 300 is 287.

    Wilson's interval    the accuracies for which k of n would not be a surprise at the 95 % level; SciPy's
    Fisher's exact test  the chance that two shares differ at least as much as these do, if the accuracy behind both is
                         the same; SciPy's

Two runs of one row answer the same messages, but nobody published the single answers, so a paired test (McNemar) is
impossible. Fisher's test takes the messages for different ones. Answers to the same messages agree more often than
that, so Fisher's test errs on one side: it says "no difference shown" too often, not too rarely.

Wilson, 1927; Fisher, 1922.
"""

from scipy.stats import binomtest, fisher_exact

from comparison.significance import LEVEL
from reproduction.rows import SPLITS, Row, rows

UNTUNED = 80  # messages: the first ten batches of eight
MESSAGES = {
    "sms": {"train": 1_045, "validation": 149, "test": 300},
    "imdb": {"train": 35_000, "validation": 5_000, "test": 10_000},
}
ROUNDING = 0.5001e-4  # a published accuracy is rounded to 0.01 %


def messages_of(row: Row, part: str) -> int:
    """How many messages a published accuracy is of. The training loader drops its last, incomplete batch."""
    if not row.trains:
        return UNTUNED
    n = MESSAGES[row.data][part]
    return n - (n % row.batch_size if part == "train" else 0)


def published_count(row: Row, part: str) -> int | None:
    """How many messages were right, or None where no whole number gives the published accuracy."""
    accuracy, n = row.published[part], messages_of(row, part)
    if accuracy is None:
        return None
    count = round(accuracy * n)
    return count if abs(count / n - accuracy) <= ROUNDING else None


def impossible() -> list[tuple[str, str]]:
    """(row, part) of every published accuracy that no whole number of messages gives."""
    return [
        (row.id, part)
        for row in rows().values()
        for part in SPLITS
        if row.published[part] is not None and published_count(row, part) is None
    ]


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of the accuracy behind ``right`` of ``n``."""
    low, high = binomtest(right, n).proportion_ci(method="wilson")
    return float(low), float(high)


def fisher(right: int, n: int, other_right: int, other_n: int) -> float:
    """Two-sided p that two shares come from one accuracy."""
    return float(fisher_exact([[right, n - right], [other_right, other_n - other_right]]).pvalue)


def smallest_shown(right: int, n: int, tests: int = 1) -> float:
    """The smallest drop below ``right`` of ``n`` that would be shown with as many messages, when ``tests`` are made:
    what is finer, such numbers cannot tell."""
    lower = next((k for k in range(right, -1, -1) if fisher(right, n, k, n) * tests < LEVEL), 0)
    return (right - lower) / n
