"""Other right answers to the exercises of chapter 15 than the solution's."""

RIGHT = {
    "15.1": [
        """\
import statistics


def summary(accuracies):
    return statistics.mean(accuracies), statistics.stdev(accuracies)
""",
        """\
import math


def summary(accuracies):
    n, mean, squares = 0, 0.0, 0.0
    for a in accuracies:  # Welford's way: one pass
        n += 1
        delta = a - mean
        mean += delta / n
        squares += delta * (a - mean)
    return [mean, math.sqrt(squares / (n - 1))]
""",
        """\
import torch


def summary(accuracies):
    return torch.stack(torch.std_mean(torch.tensor(accuracies, dtype=torch.float64))).flip(0)
""",
    ],
    "15.2": [
        """\
import numpy as np
from scipy.stats import binomtest


def mcnemar_test(right_a, right_b):
    a, b = np.sum(right_a & ~right_b), np.sum(~right_a & right_b)
    return a, b, binomtest(int(a), int(a + b)).pvalue if a + b else 1
""",
        """\
import math


def mcnemar_test(right_a, right_b):
    a = sum(bool(x) and not y for x, y in zip(right_a, right_b))
    b = sum(bool(y) and not x for x, y in zip(right_a, right_b))
    p = 2 * sum(math.comb(a + b, i) * 0.5 ** (a + b) for i in range(0, min(a, b) + 1))
    return [a, b, p if p < 1 else 1.0]
""",
    ],
    "15.3": [
        """\
def step_bytes(frozen, trained, bits=32, optimiser="adamw"):
    weights = frozen * bits / 8 + 4 * trained
    gradients = 4 * trained
    state = 0
    if optimiser == "adamw":
        state = 8 * trained
    elif optimiser == "momentum":
        state = 4 * trained
    return weights + gradients + state
""",
        """\
import math

import numpy as np


def step_bytes(frozen, trained, bits=32, optimiser="adamw"):
    numbers = 2 + ["sgd", "momentum", "adamw"].index(optimiser)
    return np.int64(math.ceil(frozen * bits / 8)) + np.int64(4 * numbers * trained)
""",
    ],
    "15.4": [
        """\
import random


def interval(right_a, right_b, draws=2000):
    n, differences = len(right_a), []
    gain = [int(a) - int(b) for a, b in zip(right_a, right_b)]
    for _ in range(draws):
        differences.append(sum(random.choices(gain, k=n)) / n)
    differences.sort()
    return differences[int(0.025 * draws)], differences[int(0.975 * draws)]
""",
        """\
import torch


def interval(right_a, right_b, draws=2000):
    a, b = torch.from_numpy(right_a).double(), torch.from_numpy(right_b).double()
    found = []
    for _ in range(draws):
        rows = torch.randint(len(a), (len(a),))
        found.append(a[rows].mean() - b[rows].mean())
    return torch.stack(found).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
""",
        """\
import numpy as np


def interval(right_a, right_b, draws=2000):
    d = right_a.astype(int) - right_b.astype(int)
    n = len(d)
    counts = np.random.multinomial(n, [(d == s).mean() for s in (-1, 0, 1)], size=draws)
    return list(np.percentile((counts[:, 2] - counts[:, 0]) / n, [2.5, 97.5]))
""",
    ],
    "15.5": [
        """\
import numpy as np
from scipy.stats import binom


def power(n, a, b):
    total, m = 0.0, np.arange(n + 1)
    for count, chance in zip(m, binom.pmf(m, n, a + b)):  # how many disagreements there are
        if chance > 1e-9 and count:
            k = np.arange(count + 1)
            p = np.minimum(1, 2 * binom.cdf(np.minimum(k, count - k), count, 0.5))
            total += chance * binom.pmf(k, count, a / (a + b))[p < 0.05].sum()
    return total
""",
        """\
import random
from functools import lru_cache

from scipy.stats import binomtest


@lru_cache(None)
def p_value(k, l):
    return binomtest(k, k + l).pvalue if k + l else 1.0


def power(n, a, b):
    found = 0
    for _ in range(2000):
        draws = random.choices("ab-", [a, b, 1 - a - b], k=n)
        found += p_value(draws.count("a"), draws.count("b")) < 0.05
    return found / 2000
""",
    ],
}
