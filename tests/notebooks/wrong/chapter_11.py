"""Typical wrong answers to chapter 11: each must be found wrong."""

ADAPTER = """
import torch
from torch import nn


class MyAdapter(nn.Module):
    def __init__(self, dim, bottleneck, scale=1.0):
        super().__init__()
        self.scale = scale
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)
        {start}

    def forward(self, x):
        return {output}
"""
UP = "nn.init.zeros_(self.up.weight), nn.init.zeros_(self.up.bias)"
BOTH = f"{UP}, nn.init.zeros_(self.down.weight), nn.init.zeros_(self.down.bias)"

SPLIT = """
import torch


def split(q, k, v, p_k, p_v):
    scale = {scale}
    prefix, text = (q @ p_k.T / scale).exp(), (q @ k.T / scale).exp()
    z_prefix, z_text = prefix.sum(dim=-1, keepdim=True), text.sum(dim=-1, keepdim=True)
    return {lam}, prefix / z_prefix @ p_v, text / z_text @ v
"""

MERGE = """
import torch
from torch import nn


@torch.no_grad()
def merge_linear_adapter(linear, down, up, scale):
    merged = nn.Linear(linear.in_features, linear.out_features)
    change = {change}
    merged.weight.copy_(linear.weight + change @ linear.weight)
    merged.bias.copy_({bias})
    return merged
"""

DROP = """
from peft.adapters import SerialAdapter


def drop_adapters(model, below):
    dropped = 0
    for block in model.h[{blocks}]:
        {body}
    return dropped
"""

WRONG = {
    "11.1": [
        """\
import gpt2
import peft


def adapter_parameters(C, L, m, method):
    model = peft.apply(gpt2.GPT2(gpt2.GPT2Config(11, 12, C, L, 2)), method, bottleneck=m)
    return sum(p.numel() for p in peft.trainable_parameters(model).values())
""",
        "def adapter_parameters(C, L, m, method):\n    return L * 2 * C * m * (2 if method == 'adapter' else 1)\n",
        "def adapter_parameters(C, L, m, method):\n    return L * (2 * C * m + C + m)\n",
        "def adapter_parameters(C, L, m, method):\n    return (2 * C * m + C + m) * (1 + (method == 'adapter'))\n",
    ],
    "11.2": [
        """\
import torch
from torch import nn


class MyAdapter(nn.Module):
    def __init__(self, dim, bottleneck, scale=1.0):
        super().__init__()
        self.scale, self.down, self.up = scale, nn.Linear(dim, bottleneck), nn.Linear(bottleneck, dim)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x):
        return self.scale * self.up(torch.tanh(self.down(x)))
""",
        ADAPTER.format(start=UP, output="self.up(torch.tanh(self.down(x)))"),
        ADAPTER.format(start="pass", output="self.scale * self.up(torch.tanh(self.down(x)))"),
        ADAPTER.format(start=BOTH, output="self.scale * self.up(torch.tanh(self.down(x)))"),
        ADAPTER.format(start=UP, output="x + self.scale * self.up(torch.tanh(self.down(x)))"),
    ],
    "11.3": [
        SPLIT.format(scale="1.0", lam="z_prefix / (z_prefix + z_text)"),
        SPLIT.format(scale="q.size(-1) ** 0.5", lam="z_text / (z_prefix + z_text)"),
        SPLIT.format(scale="q.size(-1) ** 0.5", lam="z_prefix / (z_prefix + z_text)"),
    ],
    "11.4": [
        """\
import copy

import torch


def merge_linear_adapter(linear, down, up, scale):
    new = copy.deepcopy(linear)
    M = scale * up.weight @ down.weight
    new.weight.data = (M @ linear.weight).detach()
    new.bias.data = (M @ linear.bias + scale * up.weight @ down.bias + scale * up.bias).detach()
    return new
""",
        MERGE.format(change="scale * up.weight @ down.weight", bias="linear.bias"),
        MERGE.format(
            change="up.weight @ down.weight",
            bias="linear.bias + change @ linear.bias + up.weight @ down.bias + up.bias",
        ),
    ],
    "11.5": [
        DROP.format(blocks=":below + 1", body="block.mlp.fc_out = block.mlp.fc_out.linear; dropped += 1"),
        DROP.format(blocks=":below", body="block.mlp.fc_out = block.mlp.fc_out.linear; dropped += 1"),
        DROP.format(blocks=":below", body="dropped += 1"),
    ],
}
