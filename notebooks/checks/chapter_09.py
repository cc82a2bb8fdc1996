"""Checks of chapter 09: LoRA."""

import torch
import torch.nn.functional as F
from torch import nn

from checks import Computed, close, returned, tensor_of, whole_number
from course import Wrong, exercise
from peft.lora import LinearWithLoRA


@exercise("09.1")
def lora_parameters(function):
    inner = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.LayerNorm(9), nn.Linear(9, 4, bias=False))
    flat = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3))
    nested = nn.Sequential(nn.Embedding(11, 5), inner, nn.Linear(4, 3))
    for model in (flat, nested):
        linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
        for rank in (1, 4):
            answer = whole_number(function(model, rank))
            right = sum(rank * (m.in_features + m.out_features) for m in linears)
            if answer == right:
                continue
            if answer == sum(rank * m.in_features * m.out_features for m in linears):
                raise Wrong("these are two thin matrices, A (r, in) and B (out, r): count their numbers")
            if answer == sum(rank * (m.in_features + m.out_features) for m in model.children() if type(m) is nn.Linear):
                raise Wrong("linear layers deeper inside the model are missing")
            if answer > right:
                raise Wrong(f"too many: {answer} for rank {rank}; does a bias, a norm or an embedding get a LoRA?")
            raise Wrong(f"too few: {answer} for rank {rank}; count A (r, in) and B (out, r) of every linear layer")
        if [m for m in model.modules() if isinstance(m, nn.Linear)] != linears or any(
            isinstance(m, LinearWithLoRA) for m in model.modules()
        ):
            raise Wrong("the model was changed")


@exercise("09.2")
def best_rank(function):
    for shape in ((7, 5), (5, 9)):
        W = torch.randn(shape)
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
        for r in (1, 3, 5):
            answer = tensor_of(function(W.clone(), r), shape, f"for W {shape} and r = {r}, the answer")
            if close(answer, (U[:, :r] * S[:r]) @ Vh[:r]):
                continue
            if close(answer, U[:, :r] @ Vh[:r]):
                raise Wrong("the directions are right; how strong is each?")
            rank = torch.linalg.matrix_rank(answer, atol=1e-4).item()
            if rank > r:
                raise Wrong(f"asked for rank {r}, the answer's rank is {rank}")
            best, error = S[r:].square().sum().sqrt(), (W - answer).norm()
            raise Wrong(
                f"the rank is right, but {error:.2f} away from W, where {best:.2f} is possible (W {shape}, r = {r})"
            )


@exercise("09.3")
def lora_forward(function):
    for lead, bias in (((6,), True), ((2, 3), False), ((), True)):
        W, A, B, x = torch.randn(4, 5), torch.randn(3, 5), torch.randn(4, 3), torch.randn(*lead, 5)
        b, alpha = (torch.randn(4) if bias else None), 7.0
        plain, change, s = F.linear(x, W, b), x @ A.T @ B.T, alpha / 3
        with Computed(W, A, B, x, never=[B @ A, s * B @ A, W + s * B @ A]) as computed:
            answer = function(x, W, b, A, B, alpha)
        answer = tensor_of(answer, plain.shape, f"for x {tuple(x.shape)}, the answer")
        if close(answer, plain + s * change):
            if computed.built:
                raise Wrong("the numbers are right, but the product B A is built on the way; move the brackets")
            continue
        if close(answer, plain + change):
            raise Wrong("the scale is missing")
        if close(answer, plain + alpha * change):
            raise Wrong("the scale is alpha here; with the scaling asked for it also depends on the rank")
        if close(answer, plain + alpha / max(A.shape[1], B.shape[0]) * change) or close(
            answer, plain + alpha / 4 * change
        ):
            raise Wrong("the scale divides by a number that is not the rank: which side of A is it?")
        if close(answer, s * (plain + change)):
            raise Wrong("the frozen layer's own output is scaled too")
        if close(answer, s * change):
            raise Wrong("this is the change alone; the frozen layer's output is missing")
        if b is not None and close(answer, plain - b + s * change):
            raise Wrong("the bias is missing")
        raise Wrong("the shape is right, the numbers are not; compare W x + s B A x term by term")


@exercise("09.4")
def merge(function):
    for bias in (True, False):
        linear, A, B, s = nn.Linear(5, 4, bias=bias), torch.randn(2, 5), torch.randn(4, 2), 1.7
        before, x = [p.detach().clone() for p in linear.parameters()], torch.randn(6, 5)
        expected = linear(x) + s * (x @ A.T @ B.T)
        answer = returned(function(linear, A, B, s))
        if any(not torch.equal(p, q) for p, q in zip(linear.parameters(), before, strict=True)):
            raise Wrong("the layer that was given has changed; build a new one")
        if not isinstance(answer, nn.Linear):
            raise Wrong(f"return an nn.Linear, not {type(answer).__name__}")
        if answer is linear:
            raise Wrong("return a new layer, not the one that was given")
        if answer.weight.shape != linear.weight.shape:
            raise Wrong(f"the weight has shape {tuple(answer.weight.shape)}, expected {tuple(linear.weight.shape)}")
        if not close(answer.weight, linear.weight + s * B @ A):
            forgot = close(answer.weight, linear.weight + B @ A)
            raise Wrong("the scale is missing" if forgot else "the new weight is not W + s B A")
        if answer.weight.data_ptr() == linear.weight.data_ptr():
            raise Wrong("the new weight shares its memory with the old one")
        if bias and answer.bias is None:
            raise Wrong("the bias is gone")
        if not close(answer(x), expected):
            raise Wrong(
                "the weight is right; what about the bias?" if bias else "no bias was given, and yours adds one"
            )


@exercise("09.5")
def lora_gradients(function):
    x, W, A, B = torch.randn(6, 5), torch.randn(4, 5), torch.randn(3, 5), torch.randn(4, 3)
    dy, s = torch.randn(6, 4), 0.6
    tracked = [t.clone().requires_grad_() for t in (A, B, x)]
    a, b, inputs = tracked
    right = dict(
        zip(("dA", "dB", "dx"), torch.autograd.grad(inputs @ W.T + s * (inputs @ a.T @ b.T), tracked, dy), strict=True)
    )
    with torch.inference_mode(), Computed(x, W, A, B, dy) as computed:  # autograd has no say in here
        answer = function(x, W, A, B, s, dy)
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        raise Wrong("return three tensors: dA, dB, dx")
    if any(value is None or value is ... for value in answer):
        raise Wrong("one of the three is still empty")
    for (name, expected), value in zip(right.items(), answer, strict=True):
        value = tensor_of(value, expected.shape, f"{name}, like every gradient, has its tensor's shape: yours")
        if close(value, expected):
            continue
        if name != "dx" and close(value * s, expected):
            raise Wrong(f"{name}: the scale is missing")
        if name != "dx" and close(value, expected * s):
            raise Wrong(f"{name}: the scale is applied twice")
        if name == "dx" and (close(value, expected - dy @ W) or close(value, (expected - dy @ W) / s)):
            raise Wrong("dx: x goes two ways to y, and one of them is missing")
        if name == "dx" and close(value, dy @ W):
            raise Wrong("dx: this is the way through W; x also goes through A and B")
        raise Wrong(f"{name}: the shape is right, the numbers are not; find dz first, for z = x Aᵀ")
    if computed.shapes & {(4, 5), (5, 4)}:
        raise Wrong("all three are right, but a matrix as large as W is built on the way; move the brackets")
