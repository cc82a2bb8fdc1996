"""Other right answers to the exercises of chapter 10 than the solution's."""

RIGHT = {
    "10.1": [
        """\
import torch


def alpha_for_the_library(alpha, rank):
    return alpha / torch.sqrt(torch.tensor(float(rank))) * rank
""",
        """\
import numpy as np


def alpha_for_the_library(alpha, rank):
    return np.float32(alpha) * np.sqrt(np.float32(rank))
""",
    ],
    "10.2": [
        """\
import torch


def dora_weight(W, A, B, m, s):
    V = W + s * torch.einsum("or,ri->oi", B, A)
    return torch.nn.functional.normalize(V, dim=1) * m.unsqueeze(1)
""",
        """\
import torch


def dora_weight(W, A, B, m, s):
    V = W + s * (B @ A)
    return torch.stack([length * row / row.square().sum().sqrt() for length, row in zip(m, V)])
""",
    ],
    "10.3": [
        """\
import torch


def dylora_delta(A, B, alpha, b):
    return sum(torch.outer(B[:, i], A[i]) for i in range(b)) * alpha / b
""",
        """\
import torch


def dylora_delta(A, B, alpha, b):
    used = torch.arange(len(A)) < b
    return (B * used) @ A * alpha / used.sum()
""",
    ],
    "10.4": [
        """\
import torch
from torch import nn

from peft.lora import LoRALayer


class DoRALink(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        out, width = linear.weight.shape
        self.lora = LoRALayer(width, out, rank, alpha)
        self.magnitude = nn.Parameter(torch.linalg.norm(linear.weight.data, dim=1, keepdim=True))

    def forward(self, W):
        V = W + self.lora.scale * self.lora.B @ self.lora.A
        return self.magnitude * nn.functional.normalize(V, dim=1)
""",
        """\
import torch
from torch import nn

from peft.lora import LoRALayer


class DoRALink(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.lora = LoRALayer(linear.weight.size(1), linear.weight.size(0), rank, alpha)
        self.register_parameter("magnitude", nn.Parameter(linear.weight.detach().square().sum(1).sqrt()))

    def forward(self, W):
        V = W + self.lora.delta()
        return torch.diag(self.magnitude / V.norm(dim=1)) @ V
""",
    ],
    "10.5": [
        """\
import torch
import torch.nn.functional as F
from torch import nn


class Conv2dWithLoRA(nn.Module):
    def __init__(self, conv, rank, alpha):
        super().__init__()
        for p in conv.parameters():
            p.requires_grad = False
        self.conv, self.rank, self.alpha = conv, rank, alpha
        self.A = nn.Parameter(torch.randn(rank, conv.in_channels, *conv.kernel_size) * 0.1)
        self.B = nn.Parameter(torch.zeros(conv.out_channels, rank, 1, 1))

    def forward(self, x):
        low = F.conv2d(x, self.A, stride=self.conv.stride, padding=self.conv.padding)
        return self.conv(x) + self.alpha / self.rank * F.conv2d(low, self.B)

    def merged(self):
        c = self.conv
        new = nn.Conv2d(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, bias=c.bias is not None)
        new.load_state_dict(c.state_dict())
        delta = self.B.flatten(1) @ self.A.flatten(1)
        new.weight.data += self.alpha / self.rank * delta.view_as(new.weight)
        return new
""",
        """\
import copy

import torch
from torch import nn


class Conv2dWithLoRA(nn.Module):
    def __init__(self, conv, rank, alpha):
        super().__init__()
        self.conv = conv
        conv.requires_grad_(False)
        self.down = nn.Conv2d(conv.in_channels, rank, conv.kernel_size, conv.stride, conv.padding, bias=False)
        self.up = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
        self.up.weight.data.fill_(0)
        self.factor = alpha / rank

    def forward(self, x):
        return self.conv(x) + self.factor * self.up(self.down(x))

    def merged(self):
        new = copy.deepcopy(self.conv)
        with torch.no_grad():
            for o in range(new.out_channels):
                for r in range(len(self.down.weight)):
                    new.weight[o] += self.factor * self.up.weight[o, r, 0, 0] * self.down.weight[r]
        return new
""",
    ],
}
