"""Other right answers to the exercises of chapter 16 than the solution's."""

RIGHT = {
    "16.1": [
        """\
import numpy as np
from safetensors.numpy import load_file


def numbers_in(folder):
    every = np.concatenate([a.ravel() for a in load_file(f"{folder}/adapter_model.safetensors").values()])
    return every.size, np.mean(every == 0)
""",
        """\
import os

import torch
from safetensors import safe_open


def numbers_in(folder):
    count = zeros = 0
    with safe_open(os.path.join(folder, "adapter_model.safetensors"), "pt") as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            count += tensor.numel()
            zeros += tensor.numel() - torch.count_nonzero(tensor)
    return [count, zeros / count]
""",
    ],
    "16.2": [
        """\
import copy


def merged_linear(layer):
    new = copy.deepcopy(layer.linear)
    new.weight.data += layer.lora.delta().detach()
    return new
""",
        """\
import torch
from torch import nn


def merged_linear(layer):
    W, b = layer.linear.weight.detach(), layer.linear.bias
    new = nn.Linear(W.shape[1], W.shape[0])
    new.weight = nn.Parameter(W + layer.lora.scale * (layer.lora.B @ layer.lora.A).detach())
    new.bias = nn.Parameter(torch.zeros(len(W)) if b is None else b.detach().clone())
    return new
""",
    ],
    "16.3": [
        """\
import torch


def mixed_rows(x, linear, loras, tasks):
    y = linear(x).clone()
    for i, task in enumerate(tasks.tolist()):
        if loras[task] is not None:
            y[i] = y[i] + loras[task](x[i])
    return y
""",
        """\
import torch


def mixed_rows(x, linear, loras, tasks):
    y = torch.nn.functional.linear(x, linear.weight, linear.bias)
    for task, lora in enumerate(loras):
        if lora is not None:
            y = y + lora(x) * (tasks == task)[:, None, None]
    return y
""",
        """\
def mixed_rows(x, linear, loras, tasks):
    y = linear(x)
    for task, lora in enumerate(loras):
        mask = tasks == task
        if lora is not None and mask.any():
            y[mask] += lora.scale * (x[mask] @ lora.A.T @ lora.B.T)
    return y
""",
    ],
    "16.4": [
        """\
import torch


def add(first, second, w1, w2):
    A = torch.vstack([w1 * first.scale * first.A, w2 * second.scale * second.A])
    return A, torch.hstack([first.B, second.B])
""",
        """\
import torch


def add(first, second, w1, w2):
    r1, r2 = len(first.A), len(second.A)
    A, B = torch.empty(r1 + r2, first.A.shape[1]), torch.empty(len(first.B), r1 + r2)
    A[:r1], A[r1:] = first.A, second.A
    B[:, :r1], B[:, r1:] = w1 * first.scale * first.B, w2 * second.scale * second.B
    return [A, B]
""",
    ],
    "16.5": [
        """\
import torch


def fuse(q, k, v):
    given = [(i, lora) for i, lora in enumerate((q, k, v)) if lora is not None]
    C = given[0][1].A.shape[1]
    R = sum(len(lora.A) for _, lora in given)
    B, start = torch.zeros(3 * C, R), 0
    for i, lora in given:
        end = start + len(lora.A)
        B[i * C : (i + 1) * C, start:end] = lora.scale * lora.B
        start = end
    return torch.cat([lora.A for _, lora in given]), B
""",
        """\
import torch


def fuse(q, k, v):
    As, Bs = [], []
    for i, lora in enumerate([q, k, v]):
        if lora is not None:
            zero = torch.zeros_like(lora.B)
            As.append(lora.A)
            Bs.append(torch.cat([lora.scale * lora.B if j == i else zero for j in range(3)]))
    return [torch.cat(As), torch.cat(Bs, dim=1)]
""",
    ],
}
