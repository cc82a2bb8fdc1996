"""Other right answers to the exercises of chapter 13 than the solution's."""

RIGHT = {
    "13.1": [
        """\
import numpy as np


def ia3_parameters(C, L, queries):
    return np.sum([C, C, 4 * C] + [C] * queries) * L
""",
        """\
def ia3_parameters(C, L, queries):
    total = 0
    for _ in range(L):
        for width in (C, C, 4 * C, C if queries else 0):
            total += width
    return float(total)
""",
    ],
    "13.2": [
        """\
import torch


def merge_output(W, b, scale):
    return torch.diag(scale) @ W, torch.mul(b, scale)


def merge_input(W, b, scale):
    return W @ torch.diag(scale), b.clone()
""",
        """\
def merge_output(W, b, scale):
    W *= scale.unsqueeze(-1)
    b *= scale
    return [W, b]


def merge_input(W, b, scale):
    W *= scale
    return [W, b]
""",
    ],
    "13.3": [
        """\
import copy

import torch


def fold_norm(norm, linear):
    new = copy.deepcopy(linear)
    new.weight.data = linear.weight.data @ torch.diag(norm.weight.data)
    new.bias.data += linear.weight.data @ norm.bias.data
    return new
""",
        """\
import torch
from torch import nn


def fold_norm(norm, linear):
    new = nn.Linear(linear.in_features, linear.out_features)
    new.weight = nn.Parameter((linear.weight * norm.weight[None, :]).detach())
    new.bias = nn.Parameter(linear(norm.bias[None])[0].detach())
    return new
""",
    ],
    "13.4": [
        """\
import torch


def best_factors(X, Y):
    factors = []
    for x, y in zip(X.T, Y.T):
        factors.append(float(x @ y / (x @ x)) if x.any() else 1.0)
    return torch.tensor(factors)
""",
        """\
import torch


def best_factors(X, Y):
    factors = torch.linalg.lstsq(X.T[..., None], Y.T[..., None]).solution.flatten()
    factors[(X == 0).all(dim=0)] = 1
    return factors
""",
        """\
import torch


def best_factors(X, Y):
    return torch.nan_to_num((X * Y).sum(0) / (X * X).sum(0), nan=1.0)
""",
    ],
    "13.5": [
        """\
import torch
from torch import nn


def my_ia3(model):
    def scaled_output(scale):
        return lambda module, args, output: output * scale

    def scaled_input(scale):
        def hook(module, args):
            return args[0] * scale

        return hook

    every = []
    for block in model.h:
        C = model.config.n_embd
        l = {"k": nn.Parameter(torch.ones(C)), "v": nn.Parameter(torch.ones(C)), "ff": nn.Parameter(torch.ones(4 * C))}
        block.attn.k_proj.register_forward_hook(scaled_output(l["k"]))
        block.attn.v_proj.register_forward_hook(scaled_output(l["v"]))
        block.mlp.fc_out.register_forward_pre_hook(scaled_input(l["ff"]))
        every.append(l)
    return every
""",
        """\
from functools import partial

import torch
from torch import nn


def times(scale, module, args, output):
    return scale * output


def my_ia3(model):
    result = ()
    for block in model.h:
        own = nn.ParameterDict()
        for name, part in (("k", block.attn.k_proj), ("v", block.attn.v_proj), ("ff", block.mlp.act)):
            n = block.mlp.fc_in.out_features if name == "ff" else part.out_features
            own[name] = nn.Parameter(torch.full((n,), 1.0))
            part.register_forward_hook(partial(times, own[name]))
        result += (own,)
    return result
""",
    ],
}
