"""Typical wrong answers to the exercises of chapter 15."""

WRONG = {
    "15.1": [
        """\
import numpy as np


def summary(accuracies):
    return np.mean(accuracies), np.std(accuracies, ddof=1)
""",
        """\
def summary(accuracies):
    mean = sum(accuracies) / len(accuracies)
    return mean, sum(abs(a - mean) for a in accuracies) / len(accuracies)
""",
        """
def summary(accuracies):
    mean = sum(accuracies) / len(accuracies)
    return mean, (sum((a - mean) ** 2 for a in accuracies) / len(accuracies)) ** 0.5
""",
        """
def summary(accuracies):
    mean = sum(accuracies) / len(accuracies)
    return mean, sum((a - mean) ** 2 for a in accuracies) / (len(accuracies) - 1)
""",
    ],
    "15.2": [
        """
import math


def mcnemar_test(right_a, right_b):
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    n = only_a + only_b
    return only_a, only_b, sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n
""",
        """
import math


def mcnemar_test(right_a, right_b):
    wrong_a, wrong_b = int((~right_a).sum()), int((~right_b).sum())
    n = wrong_a + wrong_b
    return wrong_b, wrong_a, min(1.0, 2 * sum(math.comb(n, i) for i in range(min(wrong_a, wrong_b) + 1)) / 2**n)
""",
        """
import math


def mcnemar_test(right_a, right_b):
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    n = only_a + only_b
    return only_a, only_b, 2 * sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n
""",
    ],
    "15.3": [
        'def step_bytes(frozen, trained, bits=32, optimiser="adamw"):\n    return 16 * (frozen + trained)\n',
        """
def step_bytes(frozen, trained, bits=32, optimiser="adamw"):
    kept = {"adamw": 2, "momentum": 1, "sgd": 0}[optimiser]
    return (frozen + trained) * bits / 8 + 4 * trained * (1 + kept)
""",
        'def step_bytes(frozen, trained, bits=32, optimiser="adamw"):\n    return frozen * bits / 8 + 16 * trained\n',
    ],
    "15.4": [
        """\
import numpy as np


def interval(right_a, right_b, draws=2000):
    d = right_a.astype(float) - right_b.astype(float)
    half = 1.96 * d.std() / len(d) ** 0.5
    return d.mean() - half, d.mean() + half
""",
        """\
import numpy as np


def interval(right_a, right_b, draws=2000):
    d = right_a.astype(float) - right_b.astype(float)
    half = 1.96 * d.std() / len(d) ** 0.5
    return (max(d.mean() - half, 0.0) if d.mean() > 0 else d.mean() - half), d.mean() + half
""",
        """
import numpy as np


def interval(right_a, right_b, draws=2000):
    random, n = np.random.default_rng(0), len(right_a)
    a = right_a[random.integers(n, size=(draws, n))].mean(axis=1)
    b = right_b[random.integers(n, size=(draws, n))].mean(axis=1)
    low, high = np.quantile(a - b, [0.025, 0.975])
    return low, high
""",
        """
import numpy as np


def interval(right_a, right_b, draws=2000):
    n = len(right_a)
    indices = np.random.default_rng(0).integers(n, size=(draws, n))
    low, high = np.quantile((right_a[indices]).mean(axis=1) - (right_b[indices]).mean(axis=1), [0.05, 0.95])
    return low, high
""",
        """
import numpy as np


def interval(right_a, right_b, draws=2000):
    n = len(right_a)
    indices = np.random.default_rng(0).integers(n, size=(draws, n))
    low, high = np.quantile(right_b[indices].mean(axis=1) - right_a[indices].mean(axis=1), [0.025, 0.975])
    return low, high
""",
    ],
    "15.5": [
        """\
from scipy.stats import norm


def power(n, a, b):
    return norm.cdf((a - b) * n**0.5 - 1.96)
""",
        """
import math


def power(n, a, b):
    x, y = round(n * a), round(n * b)
    return float(2 * sum(math.comb(x + y, i) for i in range(min(x, y) + 1)) / 2 ** (x + y) < 0.05)
""",
        """
import math

import numpy as np


def power(n, a, b):
    x = np.random.default_rng(0).binomial(n, a / (a + b), size=1000)
    tails = [sum(math.comb(n, i) for i in range(min(k, n - k) + 1)) / 2**n for k in x.tolist()]
    return float(np.mean([2 * tail < 0.05 for tail in tails]))
""",
    ],
}
