"""Typical wrong answers to the exercises of chapter 10: the checks must find each of them wrong."""

WRONG = {
    "10.1": [
        """\
def alpha_for_the_library(alpha, rank):
    return alpha / rank
""",
        """
def alpha_for_the_library(alpha, rank):
    return alpha / rank**0.5
""",
        """
def alpha_for_the_library(alpha, rank):
    return alpha * rank
""",
    ],
    "10.2": [
        """
import torch


def dora_weight(W, A, B, m, s):
    V = W + s * B @ A
    return m[:, None] * V / V.norm()
""",
        """
import torch


def dora_weight(W, A, B, m, s):
    V = W + B @ A
    return m[:, None] * V / V.norm(dim=1, keepdim=True)
""",
        """
import torch


def dora_weight(W, A, B, m, s):
    return m[:, None] * W / W.norm(dim=1, keepdim=True) + s * B @ A
""",
    ],
    "10.3": [
        """
import torch


def dylora_delta(A, B, alpha, b):
    return B[:, :b] @ A[:b] * (alpha / len(A))
""",
        """
import torch


def dylora_delta(A, B, alpha, b):
    return B[:, -b:] @ A[-b:] * (alpha / b)
""",
        """
import torch


def dylora_delta(A, B, alpha, b):
    return B[:, b - 1 : b] @ A[b - 1 : b] * (alpha / b)
""",
    ],
    "10.4": [
        """
from torch import nn

from peft.lora import LoRALayer


class DoRALink(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.lora = LoRALayer(linear.in_features, linear.out_features, rank, alpha)
        self.magnitude = linear.weight.detach().norm(dim=1)

    def forward(self, W):
        V = W + self.lora.delta()
        return self.magnitude[:, None] * V / V.norm(dim=1, keepdim=True)
""",
        """
import torch
from torch import nn

from peft.lora import LoRALayer


class DoRALink(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.lora = LoRALayer(linear.in_features, linear.out_features, rank, alpha)
        self.magnitude = nn.Parameter(torch.ones(linear.out_features))

    def forward(self, W):
        V = W + self.lora.delta()
        return self.magnitude[:, None] * V / V.norm(dim=1, keepdim=True)
""",
        """
from torch import nn

from peft.lora import LoRALayer


class DoRALink(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.lora = LoRALayer(linear.in_features, linear.out_features, rank, alpha)
        self.magnitude = nn.Parameter(linear.weight.detach().norm(dim=1))

    def forward(self, W):
        return self.magnitude[:, None] * W / W.norm(dim=1, keepdim=True) + self.lora.delta()
""",
    ],
    "10.5": [
        """
import copy

import torch
from torch import nn


class Conv2dWithLoRA(nn.Module):
    def __init__(self, conv, rank, alpha):
        super().__init__()
        self.conv = conv.requires_grad_(False)
        self.scale = alpha / rank
        self.A = nn.Conv2d(conv.in_channels, rank, conv.kernel_size, padding=conv.padding, bias=False)
        self.B = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
        nn.init.zeros_(self.B.weight)

    def forward(self, x):
        return self.conv(x) + self.B(self.A(x)) * self.scale

    def merged(self):
        return copy.deepcopy(self.conv)
""",
        """
import copy

import torch
from torch import nn


class Conv2dWithLoRA(nn.Module):
    def __init__(self, conv, rank, alpha):
        super().__init__()
        self.conv = conv.requires_grad_(False)
        self.scale = alpha / rank
        how = {"stride": conv.stride, "padding": conv.padding, "bias": False}
        self.A = nn.Conv2d(conv.in_channels, rank, conv.kernel_size, **how)
        self.B = nn.Conv2d(rank, conv.out_channels, 1, bias=False)

    def forward(self, x):
        return self.conv(x) + self.B(self.A(x)) * self.scale

    def merged(self):
        return copy.deepcopy(self.conv)
""",
        """
import copy

import torch
from torch import nn


class Conv2dWithLoRA(nn.Module):
    def __init__(self, conv, rank, alpha):
        super().__init__()
        self.conv = conv
        self.scale = alpha / rank
        how = {"stride": conv.stride, "padding": conv.padding, "bias": False}
        self.A = nn.Conv2d(conv.in_channels, rank, conv.kernel_size, **how)
        self.B = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
        nn.init.zeros_(self.B.weight)

    def forward(self, x):
        return self.conv(x) + self.B(self.A(x)) * self.scale

    @torch.no_grad()
    def merged(self):
        new = copy.deepcopy(self.conv)
        new.weight += torch.einsum("or,rikl->oikl", self.B.weight[:, :, 0, 0], self.A.weight)
        return new
""",
        """
import copy

import torch
from torch import nn


class Conv2dWithLoRA(nn.Module):
    def __init__(self, conv, rank, alpha):
        super().__init__()
        self.conv = conv.requires_grad_(False)
        self.alpha = alpha
        how = {"stride": conv.stride, "padding": conv.padding, "bias": False}
        self.A = nn.Conv2d(conv.in_channels, rank, conv.kernel_size, **how)
        self.B = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
        nn.init.zeros_(self.B.weight)

    def forward(self, x):
        return self.conv(x) + self.B(self.A(x)) * self.alpha

    @torch.no_grad()
    def merged(self):
        new = copy.deepcopy(self.conv)
        new.weight += self.alpha * torch.einsum("or,rikl->oikl", self.B.weight[:, :, 0, 0], self.A.weight)
        return new
""",
    ],
}
