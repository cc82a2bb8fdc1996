"""Other right answers to the exercises of chapter 11 than the solution's."""

RIGHT = {
    "11.1": [
        """\
import numpy as np


def adapter_parameters(C, L, m, method):
    per_block = {"adapter": 2, "adapter-pfeiffer": 1, "adapter-parallel": 1}[method]
    return np.int64(L * per_block) * (2 * C * m + C + m)
""",
        """\
from torch import nn


def adapter_parameters(C, L, m, method):
    one = sum(p.numel() for layer in (nn.Linear(C, m), nn.Linear(m, C)) for p in layer.parameters())
    return sum(one for _ in range(L)) + (sum(one for _ in range(L)) if method == "adapter" else 0)
""",
    ],
    "11.2": [
        """\
import torch
from torch import nn


class MyAdapter(nn.Module):
    def __init__(self, dim, bottleneck, scale=1.0):
        super().__init__()
        self.down, self.up = nn.Linear(dim, bottleneck), nn.Linear(bottleneck, dim)
        self.scale = nn.Parameter(torch.tensor(scale), requires_grad=False)
        nn.init.constant_(self.up.weight, 0)
        nn.init.constant_(self.up.bias, 0)

    def forward(self, x):
        return self.up(self.down(x).tanh()) * self.scale
""",
        """\
import torch
from torch import nn


class MyAdapter(nn.Module):
    def __init__(self, dim, bottleneck, scale=1.0):
        super().__init__()
        self.scale, self.down, self.up = scale, nn.Linear(dim, bottleneck), nn.Linear(bottleneck, dim)
        for parameter in (self.down.weight, self.down.bias, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, x):
        return self.up(self.down(x).tanh()) * self.scale
""",
        """\
from torch import nn


class MyAdapter(nn.Module):
    def __init__(self, dim, bottleneck, scale=1.0):
        super().__init__()
        self.s = scale
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)
        nn.init.normal_(self.down.weight, std=0.02)
        self.up.weight.data = 0 * self.up.weight.data
        self.up.bias.data = 0 * self.up.bias.data

    def forward(self, x):
        return self.s * nn.Sequential(self.down, nn.Tanh(), self.up)(x)
""",
    ],
    "11.3": [
        """\
import torch


def split(q, k, v, p_k, p_v):
    D, P = q.shape[1], len(p_k)
    scores = q @ torch.cat([p_k, k]).T / D**0.5
    weights = scores.softmax(dim=1)
    lam = weights[:, :P].sum(1, keepdim=True)
    return lam, scores[:, :P].softmax(1) @ p_v, scores[:, P:].softmax(1) @ v
""",
        """\
import math

import torch


def split(q, k, v, p_k, p_v):
    a, b = (q @ p_k.T) / math.sqrt(q.size(1)), (q @ k.T) / math.sqrt(q.size(1))
    top = torch.maximum(a.amax(1, keepdim=True), b.amax(1, keepdim=True))
    z_p, z_t = (a - top).exp().sum(1, keepdim=True), (b - top).exp().sum(1, keepdim=True)
    return [z_p / (z_p + z_t), torch.softmax(a, 1) @ p_v, torch.softmax(b, 1) @ v]
""",
    ],
    "11.4": [
        """\
import copy

import torch


def merge_linear_adapter(linear, down, up, scale):
    new = copy.deepcopy(linear)
    M = torch.eye(linear.out_features) + scale * up.weight @ down.weight
    new.weight.data = (M @ linear.weight).detach()
    new.bias.data = (M @ linear.bias + scale * up.weight @ down.bias + scale * up.bias).detach()
    return new
""",
        """\
import torch
from torch import nn


@torch.no_grad()
def merge_linear_adapter(linear, down, up, scale):
    def whole(x):
        y = linear(x)
        return y + scale * up(down(y))

    new = nn.Linear(linear.in_features, linear.out_features)
    bias = whole(torch.zeros(1, linear.in_features))
    new.bias.copy_(bias[0])
    new.weight.copy_((whole(torch.eye(linear.in_features)) - bias).T)
    return new
""",
    ],
    "11.5": [
        """\
from peft.adapters import SerialAdapter


def drop_adapters(model, below):
    found = []
    for i, block in enumerate(model.h):
        if i < below:
            for parent in (block.attn, block.mlp):
                for name, child in list(parent.named_children()):
                    if isinstance(child, SerialAdapter):
                        setattr(parent, name, child.linear)
                        found.append(name)
    return len(found)
""",
        """\
import numpy as np

from peft.adapters import SerialAdapter


def drop_adapters(model, below):
    names = [n for n, m in model.named_modules() if isinstance(m, SerialAdapter) and int(n.split(".")[1]) < below]
    for name in names:
        parent, _, last = name.rpartition(".")
        model.get_submodule(parent)._modules[last] = model.get_submodule(name).linear
    return np.int64(len(names))
""",
    ],
}
