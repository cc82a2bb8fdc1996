"""Typical wrong answers to chapter 20: each must be found wrong."""

BUDGET = """
import math


def rank_for_budget(shapes, budget):
    return {answer}
"""

VALUES = """
import torch


def singular_values(A, B, s):
    return {answer}
"""

CORE = "s * torch.linalg.qr(B).R @ torch.linalg.qr(A.T).R.T"

CUT = """
import torch


def cut(A, B, s, k):
    U, S, Vh = torch.linalg.svd(B @ A, full_matrices=False)
    return {answer}
"""

WRONG = {
    "20.1": [
        BUDGET.format(answer="math.ceil(budget / sum(m + n for m, n in shapes))"),
        BUDGET.format(answer="budget // sum(m * n for m, n in shapes)"),
        BUDGET.format(answer="budget // max(m + n for m, n in shapes)"),
        BUDGET.format(answer="budget / sum(m + n for m, n in shapes)"),
    ],
    "20.2": [
        VALUES.format(answer="torch.linalg.svdvals(s * B @ A)[: len(A)]"),
        VALUES.format(answer="s * torch.linalg.svdvals(B) * torch.linalg.svdvals(A)"),
        VALUES.format(answer=f"torch.linalg.svdvals({CORE} / s)"),
        VALUES.format(answer=f"torch.linalg.svdvals({CORE}).square()"),
        VALUES.format(answer=f"torch.linalg.svdvals({CORE}).flip(0)"),
    ],
    "20.3": [
        "def chance(d, i, j):\n    return i * j / d\n",
        "def chance(d, i, j):\n    return min(i, j) / d\n",
        "def chance(d, i, j):\n    return 1 / d\n",
        "def chance(d, i, j):\n    return j / d\n",
    ],
    "20.4": [
        CUT.format(answer="A[:k], B[:, :k]"),
        CUT.format(answer="Vh[:k], s * U[:, :k] * S[:k]"),
        CUT.format(answer="Vh[:k], U[:, :k]"),
        CUT.format(answer="S[:k, None] * Vh[:k], U[:, :k] * S[:k]"),
        CUT.format(answer="U[:, :k] * S[:k], Vh[:k]"),
    ],
}
