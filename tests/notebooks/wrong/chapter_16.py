"""Typical wrong answers to the exercises of chapter 16."""

WRONG = {
    "16.1": [
        """
from safetensors.torch import load_file


def numbers_in(folder):
    tensors = load_file(f"{folder}/adapter_model.safetensors").values()
    return len(tensors), sum(float((tensor == 0).float().mean()) for tensor in tensors) / len(tensors)
""",
        """
from safetensors.torch import load_file


def numbers_in(folder):
    tensors = load_file(f"{folder}/adapter_model.safetensors").values()
    count = sum(tensor.numel() for tensor in tensors)
    return count, sum(float((tensor == 0).float().mean()) for tensor in tensors) / len(tensors)
""",
        """
from safetensors.torch import load_file


def numbers_in(folder):
    tensors = load_file(f"{folder}/adapter_model.safetensors").values()
    return sum(tensor.numel() for tensor in tensors), sum(int((tensor == 0).sum()) for tensor in tensors)
""",
    ],
    "16.2": [
        """
import torch


@torch.no_grad()
def merged_linear(layer):
    layer.linear.weight += layer.lora.scale * layer.lora.B @ layer.lora.A
    return layer.linear
""",
        """
import torch
from torch import nn


@torch.no_grad()
def merged_linear(layer):
    new = nn.Linear(layer.linear.in_features, layer.linear.out_features, bias=layer.linear.bias is not None)
    new.weight.copy_(layer.linear.weight + layer.lora.B @ layer.lora.A)
    if layer.linear.bias is not None:
        new.bias.copy_(layer.linear.bias)
    return new
""",
        """
import torch
from torch import nn


@torch.no_grad()
def merged_linear(layer):
    new = nn.Linear(layer.linear.in_features, layer.linear.out_features, bias=layer.linear.bias is not None)
    new.weight.copy_(layer.linear.weight + layer.lora.scale * layer.lora.B @ layer.lora.A)
    return new
""",
    ],
    "16.3": [
        """
import torch


def mixed_rows(x, linear, loras, tasks):
    rows = [linear(row) + (0 if loras[t] is None else loras[t](row)) for t, row in zip(tasks.tolist(), x)]
    return torch.stack(rows)
""",
        """
def mixed_rows(x, linear, loras, tasks):
    y = linear(x)
    for lora in loras:
        if lora is not None:
            y = y + lora(x)
    return y
""",
        """
import torch


def mixed_rows(x, linear, loras, tasks):
    y = linear(x)
    groups = []
    for task, lora in enumerate(loras):
        rows = tasks == task
        groups.append(y[rows] if lora is None else y[rows] + lora(x[rows]))
    return torch.cat(groups)
""",
    ],
    "16.4": [
        """\
import torch


def add(first, second, w1, w2):
    delta = w1 * first.delta() + w2 * second.delta()
    U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
    r = len(first.A) + len(second.A)
    return Vh[:r], U[:, :r] * S[:r]
""",
        """
def add(first, second, w1, w2):
    return w1 * first.A + w2 * second.A, w1 * first.B + w2 * second.B
""",
        """
import torch


def add(first, second, w1, w2):
    return torch.cat([first.A, second.A]), torch.cat([w1 * first.B, w2 * second.B], dim=1)
""",
        """
import torch


def add(first, second, w1, w2):
    A = torch.cat([w1 * first.A, w2 * second.A])
    return A, torch.cat([w1 * first.scale * first.B, w2 * second.scale * second.B], dim=1)
""",
    ],
    "16.5": [
        """
import torch


def fuse(q, k, v):
    present = [lora for lora in (q, k, v) if lora is not None]
    return torch.cat([lora.A for lora in present]), torch.block_diag(*(lora.B * lora.scale for lora in present))
""",
        """
import torch


def fuse(q, k, v):
    width = next(lora.A.shape[1] for lora in (q, k, v) if lora is not None)
    B = [torch.zeros(width, 0) if lora is None else lora.B for lora in (q, k, v)]
    return torch.cat([lora.A for lora in (q, k, v) if lora is not None]), torch.block_diag(*B)
""",
        """
import torch


def fuse(q, k, v):
    present = [lora for lora in (q, k, v) if lora is not None]
    B = torch.cat([lora.B * lora.scale for lora in present], dim=1)
    return torch.cat([lora.A for lora in present]), torch.cat([B, B, B])
""",
    ],
}
