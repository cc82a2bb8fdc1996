"""Checks of chapter 20: choosing a rank."""

import torch

from checks import Computed, close, number, returned, tensor_of, whole_number
from course import Wrong, exercise


@exercise("20.1")
def rank_for_budget(function):
    for shapes, budget in (
        ([(10, 10)], 60),
        ([(10, 10)], 79),
        ([(12, 4), (4, 12), (30, 10)], 1000),
        ([(128, 128)] * 4 + [(512, 128), (128, 512)], 55_296),
        ([(8, 5), (6, 3)], 21),
    ):
        answer = whole_number(function(list(shapes), budget))
        sides, cells = sum(m + n for m, n in shapes), sum(m * n for m, n in shapes)
        right = budget // sides
        if answer == right:
            continue
        if answer > right and answer == -(-budget // sides):
            raise Wrong("at most the budget: this rank trains a few numbers more")
        if answer == budget // cells:
            raise Wrong("a layer has two thin factors, with r (in + out) numbers together, not r times in · out")
        if answer == budget // max(m + n for m, n in shapes):
            raise Wrong("the budget is for all layers together")
        raise Wrong(f"shapes {shapes} with a budget of {budget}: you return {answer}, expected {right}")


@exercise("20.2")
def singular_values(function):
    for (m, n, r), s in (((9, 7, 3), 0.5), ((6, 11, 2), 2.0), ((12, 8, 5), 0.25)):
        A, B = torch.randn(r, n, dtype=torch.float64), torch.randn(m, r, dtype=torch.float64)
        right = torch.linalg.svdvals(s * B @ A)[:r]
        with Computed(A, B) as computed:
            answer = tensor_of(function(A, B, s), (r,), "the singular values")
        if computed.shapes & {(m, n), (n, m)}:
            raise Wrong("a matrix as large as ΔW was built on the way; work with matrices of r rows or columns")
        if close(answer, right):
            continue
        if close(answer.sort(descending=True).values, right):
            raise Wrong("these are the right values, but the largest comes first")
        if close(answer * s, right) or close(answer, right * s):
            raise Wrong("the scale should be in there once")
        if close(answer.abs().sort(descending=True).values, right.square()):
            raise Wrong("these are the squares of the singular values")
        if close(answer, s * torch.linalg.svdvals(B) * torch.linalg.svdvals(A)):
            raise Wrong("the singular values of a product are not the products of the factors' singular values")
        raise Wrong("the shape is right, the values are not; which matrix of shape (r, r) has the same ones?")


@exercise("20.3")
def chance(function):
    for d, i, j in ((128, 1, 1), (100, 20, 5), (128, 1, 64), (768, 8, 64), (16, 16, 16), (50, 4, 4)):
        answer = number(function(d, i, j))
        if abs(answer - max(i, j) / d) < 1e-6:
            continue
        if abs(answer - i * j / d) < 1e-6:
            raise Wrong("this is the expected sum of the squares; φ also divides by the smaller of i and j")
        if abs(answer - min(i, j) / d) < 1e-6:
            raise Wrong("more directions on one side hold more of the other: does yours grow with them?")
        if abs(answer - 1 / d) < 1e-6:
            raise Wrong("this is the mean of one squared entry; there are i · j of them")
        raise Wrong(f"d = {d}, i = {i}, j = {j}: you return {answer:.4g}, expected {max(i, j) / d:.4g}")


@exercise("20.4")
def cut(function):
    for (m, n, r), s, k in (((9, 7, 4), 0.5, 2), ((6, 11, 3), 2.0, 1), ((8, 8, 5), 0.25, 3)):
        A, B = torch.randn(r, n), torch.randn(m, r)
        answer = returned(function(A.clone(), B.clone(), s, k))
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise Wrong("return two tensors: new_A and new_B")
        if any(value is None or value is ... for value in answer):
            raise Wrong("one of the two is still empty")
        new_A, new_B = (
            tensor_of(value, shape, name)
            for value, shape, name in zip(answer, ((k, n), (m, k)), ("new_A", "new_B"), strict=True)
        )
        U, S, Vh = torch.linalg.svd(B @ A, full_matrices=False)
        right, product = (U[:, :k] * S[:k]) @ Vh[:k], new_B.float() @ new_A.float()
        if close(product, right, 1e-3):
            continue
        if close(product, s * right, 1e-3):
            raise Wrong("the scale is applied once more later: the new factors should not contain it")
        if close(product, B[:, :k] @ A[:k], 1e-3):
            raise Wrong("the first rows of A are not the strongest directions: training does not sort them")
        if close(product, U[:, :k] @ Vh[:k], 1e-3):
            raise Wrong("the singular values are missing")
        if close(product, (U[:, :k] * S[:k].square()) @ Vh[:k], 1e-3):
            raise Wrong("the singular values are in both factors; once is enough")
        raise Wrong("the shapes are right, but another matrix of this rank is closer to s B A")
