"""Other right answers to the exercises of chapter 20 than the solution's."""

RIGHT = {
    "20.1": [
        """\
def rank_for_budget(shapes, budget):
    rank = 0
    while sum((rank + 1) * (m + n) for m, n in shapes) <= budget:
        rank += 1
    return rank
""",
        """\
import numpy as np


def rank_for_budget(shapes, budget):
    return np.floor(budget / np.array(shapes).sum())
""",
    ],
    "20.2": [
        """\
import torch


def singular_values(A, B, s):
    squares = torch.linalg.eigvals(B.T @ B @ A @ A.T).real  # of a matrix that is not symmetric
    return s * squares.sort(descending=True).values.sqrt()
""",
        """\
import torch


def singular_values(A, B, s):
    _, S, Vh = torch.linalg.svd(B, full_matrices=False)
    return torch.linalg.svdvals(s * S[:, None] * (Vh @ A))
""",
    ],
    "20.3": [
        """\
def chance(d, i, j):
    return i * j / d / min(i, j)
""",
        """\
import torch


def chance(d, i, j):
    few, many = sorted((i, j))
    return torch.tensor(many, dtype=torch.float64) / d
""",
    ],
    "20.4": [
        """\
import torch


def cut(A, B, s, k):
    U, S, Vh = torch.linalg.svd(s * B @ A, full_matrices=False)
    root = (S[:k] / s).sqrt()
    return root[:, None] * Vh[:k], U[:, :k] * root
""",
        """\
import torch


def cut(A, B, s, k):
    directions = torch.linalg.eigh(A.T @ B.T @ B @ A).eigenvectors[:, -k:]  # the input directions, as columns
    return [directions.T, B @ (A @ directions)]
""",
    ],
}
