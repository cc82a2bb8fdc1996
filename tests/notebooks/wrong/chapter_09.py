"""Typical wrong answers to the exercises of chapter 09: the checks must find each of them wrong."""

WRONG = {
    "09.1": [
        """
from torch import nn


def lora_parameters(model, rank):
    return sum(rank * m.in_features * m.out_features for m in model.modules() if isinstance(m, nn.Linear))
""",
        """
from torch import nn


def lora_parameters(model, rank):
    return sum(rank * (m.in_features + m.out_features) for m in model.children() if isinstance(m, nn.Linear))
""",
        """
from torch import nn


def lora_parameters(model, rank):
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return sum(rank * (m.in_features + m.out_features) + m.out_features for m in linears)
""",
    ],
    "09.2": [
        """
import torch


def best_rank(W, r):
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    return U[:, :r] @ Vh[:r]
""",
        """
import torch


def best_rank(W, r):
    low = torch.zeros_like(W)
    low[:r] = W[:r]
    return low
""",
        """
import torch


def best_rank(W, r):
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    return (U[:, -r:] * S[-r:]) @ Vh[-r:]
""",
    ],
    "09.3": [
        """
import torch
import torch.nn.functional as F


def lora_forward(x, W, b, A, B, alpha):
    return F.linear(x, W, b) + F.linear(F.linear(x, A), B)
""",
        """
import torch
import torch.nn.functional as F


def lora_forward(x, W, b, A, B, alpha):
    return F.linear(x, W, b) + F.linear(F.linear(x, A), B) * alpha
""",
        """
import torch
import torch.nn.functional as F


def lora_forward(x, W, b, A, B, alpha):
    return (F.linear(x, W, b) + F.linear(F.linear(x, A), B)) * (alpha / A.shape[0])
""",
        """
import torch.nn.functional as F


def lora_forward(x, W, b, A, B, alpha):
    return F.linear(x, W + alpha / A.shape[0] * B @ A, b)
""",
    ],
    "09.4": [
        """
import torch
from torch import nn


@torch.no_grad()
def merge(linear, A, B, scale):
    linear.weight += scale * B @ A
    return linear
""",
        """
import torch
from torch import nn


@torch.no_grad()
def merge(linear, A, B, scale):
    new = nn.Linear(linear.in_features, linear.out_features, bias=linear.bias is not None)
    new.weight.copy_(linear.weight + scale * B @ A)
    return new
""",
        """
import torch
from torch import nn


@torch.no_grad()
def merge(linear, A, B, scale):
    new = nn.Linear(linear.in_features, linear.out_features, bias=linear.bias is not None)
    new.weight.copy_(linear.weight + B @ A)
    if linear.bias is not None:
        new.bias.copy_(linear.bias)
    return new
""",
    ],
    "09.5": [
        """
import torch


def lora_gradients(x, W, A, B, s, dy):
    z = x @ A.T
    dz = dy @ B
    return dz.T @ x, dy.T @ z, dy @ W + dz @ A
""",
        """
import torch


def lora_gradients(x, W, A, B, s, dy):
    z = x @ A.T
    dz = s * dy @ B
    return dz.T @ x, s * dy.T @ z, dz @ A
""",
        """
import torch


def lora_gradients(x, W, A, B, s, dy):
    z = x @ A.T
    dz = s * dy @ B
    return x.T @ dz, s * z.T @ dy, dy @ W + dz @ A
""",
        """
def lora_gradients(x, W, A, B, s, dy):
    dW = dy.T @ x
    return s * B.T @ dW, s * dW @ A.T, dy @ (W + s * B @ A)
""",
    ],
}
