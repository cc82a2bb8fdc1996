"""Other right answers to the exercises of chapter 09 than the solution's."""

RIGHT = {
    "09.1": [
        """\
import numpy as np
from torch import nn


def lora_parameters(model, rank):
    shapes = [m.weight.shape for m in model.modules() if type(m) is nn.Linear]
    return np.sum(shapes, dtype=np.int64) * rank
""",
        """\
from torch import nn


def lora_parameters(model, rank):
    total = 0
    for child in model.children():
        if isinstance(child, nn.Linear):
            out, width = child.weight.shape
            total += rank * width + out * rank
        else:
            total += lora_parameters(child, rank)
    return total
""",
        """\
import copy

from torch import nn

import peft


def lora_parameters(model, rank):
    from peft.lora import LoRALayer

    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return sum(p.numel() for m in linears for p in LoRALayer(m.in_features, m.out_features, rank, 1.0).parameters())
""",
    ],
    "09.2": [
        """\
import torch


def best_rank(W, r):
    U, S, V = torch.svd(W)
    return sum(S[i] * torch.outer(U[:, i], V[:, i]) for i in range(r))
""",
        """\
import numpy as np
import torch


def best_rank(W, r):
    U, S, Vh = np.linalg.svd(W.numpy())
    S[r:] = 0
    n = len(S)
    return torch.from_numpy(U[:, :n] @ np.diag(S) @ Vh[:n])
""",
        """\
import torch


def best_rank(W, r):
    values, vectors = torch.linalg.eigh((W.T @ W).double())
    V = vectors[:, -r:]
    return W.double() @ V @ V.T
""",
    ],
    "09.3": [
        """\
import torch
from torch import nn


def lora_forward(x, W, b, A, B, alpha):
    base = nn.Linear(*W.T.shape, bias=b is not None)
    down, up = (nn.Linear(*matrix.T.shape, bias=False) for matrix in (A, B))
    with torch.no_grad():
        base.weight.copy_(W)
        down.weight.copy_(A)
        up.weight.copy_(B)
        if b is not None:
            base.bias.copy_(b)
    return base(x) + up(down(x)) * alpha / len(A)
""",
        """\
import torch


def lora_forward(x, W, b, A, B, alpha):
    r = B.shape[1]
    y = torch.einsum("...i,oi->...o", x, W)
    if b is not None:
        y += b
    return y + torch.einsum("...i,ri,or->...o", x, A, B) * (alpha / r)
""",
        """\
def lora_forward(x, W, b, A, B, alpha):
    y = x @ W.t()
    if b is not None:
        y = y + b
    return y + ((x @ A.t()) * (alpha / A.size(0))) @ B.t()
""",
    ],
    "09.4": [
        """\
import copy

from torch import nn


def merge(linear, A, B, scale):
    new = copy.deepcopy(linear)
    new.weight.data += scale * (B @ A)
    return new
""",
        """\
import torch
from torch import nn


def merge(linear, A, B, scale):
    out, width = linear.weight.shape
    new = nn.Linear(width, out)
    new.weight = nn.Parameter(linear.weight.detach() + scale * torch.mm(B, A))
    new.bias = nn.Parameter(torch.zeros(out) if linear.bias is None else linear.bias.detach().clone())
    return new
""",
    ],
    "09.5": [
        """\
import torch


def lora_gradients(x, W, A, B, s, dy):
    d = dy.mm(B).mul(s)
    return [d.t().mm(x), torch.einsum("no,nr->or", dy, x.mm(A.t())) * s, dy.mm(W) + d.mm(A)]
""",
        """\
import torch


def lora_gradients(x, W, A, B, s, dy):
    dA, dB, rows = torch.zeros_like(A), torch.zeros_like(B), []
    for xn, dyn in zip(x, dy):
        z, dz = A @ xn, s * (B.T @ dyn)
        dB += s * torch.outer(dyn, z)
        dA += torch.outer(dz, xn)
        rows.append(W.T @ dyn + A.T @ dz)
    return dA, dB, torch.stack(rows)
""",
    ],
}
