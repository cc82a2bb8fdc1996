"""Typical wrong answers to chapter 13: each must be found wrong."""

MERGE = """
def merge_output(W, b, scale):
    return {output}


def merge_input(W, b, scale):
    return {input}
"""

FOLD = """
import torch
from torch import nn


@torch.no_grad()
def fold_norm(norm, linear):
    folded = nn.Linear(linear.in_features, linear.out_features)
    folded.weight.copy_({weight})
    folded.bias.copy_({bias})
    return folded
"""

IA3 = """
import torch
from torch import nn


def my_ia3(model):
    factors = []
    for block in model.h:
        width, hidden = block.mlp.fc_in.in_features, block.mlp.fc_in.out_features
        own = {{name: nn.Parameter(torch.ones(n)) for name, n in (("k", width), ("v", width), ("ff", hidden))}}
        block.attn.k_proj.register_forward_hook({k})
        block.attn.v_proj.register_forward_hook(lambda part, args, y, scale=own["v"]: scale * y)
        {ff}
        factors.append(own)
    return factors
"""
RIGHT_K = 'lambda part, args, y, scale=own["k"]: scale * y'
RIGHT_FF = 'block.mlp.fc_out.register_forward_pre_hook(lambda part, args, scale=own["ff"]: (scale * args[0],))'
INSIDE = 'block.mlp.fc_in.register_forward_hook(lambda part, args, y, scale=own["ff"]: scale * y)'

WRONG = {
    "13.1": [
        "def ia3_parameters(C, L, queries):\n    return L * C * (4 if queries else 3)\n",
        "def ia3_parameters(C, L, queries):\n    return 6 * C * L\n",
        "def ia3_parameters(C, L, queries):\n    return C * (7 if queries else 6)\n",
    ],
    "13.2": [
        MERGE.format(output="scale[:, None] * W, b", input="W * scale, b"),
        MERGE.format(output="scale[:, None] * W, scale * b", input="W * scale, b * scale.mean()"),
        MERGE.format(output="W * scale.mean(), scale * b", input="W * scale, b"),
    ],
    "13.3": [
        """\
import copy


def fold_norm(norm, linear):
    new = copy.deepcopy(linear)
    new.weight.data *= norm.weight.data
    return new
""",
        """\
def fold_norm(norm, linear):
    linear.weight.data *= norm.weight.data
    return linear
""",
        FOLD.format(weight="linear.weight * norm.weight", bias="linear.bias"),
        FOLD.format(weight="linear.weight", bias="linear.bias + linear.weight @ norm.bias"),
    ],
    "13.4": [
        "def best_factors(X, Y):\n    return Y.norm(dim=0) / X.norm(dim=0)\n",
        "def best_factors(X, Y):\n    return (Y / X).mean(dim=0)\n",
        "def best_factors(X, Y):\n    return (X * Y).sum(dim=0) / X.square().sum(dim=0)\n",
        """
def best_factors(X, Y):
    size = X.square().sum(dim=0)
    if (size == 0).any():
        return size * 0 + 1
    return (X * Y).sum(dim=0) / size
""",
    ],
    "13.5": [
        """\
from torch import nn

import peft


def my_ia3(model):
    peft.apply(model, "ia3")
    parts = [(block.attn.k_proj, block.attn.v_proj, block.mlp.fc_out) for block in model.h]
    return [dict(zip(("k", "v", "ff"), (part.scale for part in three))) for three in parts]
""",
        IA3.format(k='lambda part, args, y: own["k"] * y', ff=RIGHT_FF),
        IA3.format(k=RIGHT_K, ff=INSIDE),
        IA3.format(k=RIGHT_K, ff="pass"),
    ],
}
