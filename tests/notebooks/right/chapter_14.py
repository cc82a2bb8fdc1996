"""Other right answers to the exercises of chapter 14 than the solution's."""

RIGHT = {
    "14.1": [
        """\
import numpy as np


def bits_per_weight(bits, block, second_block=None):
    if second_block:
        weights = block * second_block
        return np.float64(bits * weights + 8 * second_block + 32) / weights
    return np.float64(bits * block + 32) / block
""",
        """\
from fractions import Fraction


def bits_per_weight(bits, block, second_block=None):
    scale = Fraction(32) if second_block is None else 8 + Fraction(32, second_block)
    return float(bits + scale / block)
""",
    ],
    "14.2": [
        """\
import torch


def pack(codes):
    out = torch.zeros((len(codes) + 1) // 2, dtype=torch.uint8)
    for i, code in enumerate(codes.tolist()):
        out[i // 2] += code * 16 if i % 2 == 0 else code
    return out


def unpack(packed, n):
    codes = []
    for byte in packed.tolist():
        codes += divmod(byte, 16)
    return torch.tensor(codes[:n])
""",
        """\
import torch


def pack(codes):
    if codes.numel() % 2:
        codes = torch.cat([codes, codes.new_zeros(1)])
    pairs = codes.view(-1, 2)
    return pairs[:, 0] * 16 + pairs[:, 1]


def unpack(packed, n):
    out = torch.empty(2 * len(packed), dtype=torch.uint8)
    out[::2], out[1::2] = packed // 16, packed % 16
    return out[:n]
""",
    ],
    "14.3": [
        """\
import torch


def quantize_rows(W):
    codes, scales = [], []
    for row in W:
        s = row.abs().max() / 127
        scales.append(s)
        codes.append(torch.round(row / s) if s > 0 else torch.zeros_like(row))
    return torch.stack(codes).to(torch.int8), torch.stack(scales)


def linear(x, codes, scale):
    return scale * torch.einsum("...i,oi->...o", x, codes.float())
""",
        """\
import torch
import torch.nn.functional as F


def quantize_rows(W):
    largest = W.abs().max(dim=1).values
    scale = torch.where(largest > 0, largest, 127.0) / 127
    return torch.clamp((W / scale.unsqueeze(1) + 0.5).floor(), -127, 127).char(), scale


def linear(x, codes, scale):
    return F.linear(x, codes.to(torch.float32)) * scale
""",
    ],
    "14.4": [
        """\
import torch


def normal_float(bits):
    n = 2**bits
    p = 1 - 0.5 * (1 / (2 * n) + 1 / (2 * (n - 1)))
    up = torch.special.ndtri(torch.linspace(0.5, p, n // 2 + 1, dtype=torch.float64)[1:])
    down = -torch.special.ndtri(torch.linspace(0.5, p, n // 2, dtype=torch.float64)[1:]).flip(0)
    levels = torch.cat([down, torch.zeros(1, dtype=torch.float64), up])
    return levels / levels.max()
""",
        """\
import numpy as np
from scipy.stats import norm


def normal_float(bits):
    n = 2**bits
    p = 1 - (1 / (2 * n) + 1 / (2 * (n - 1))) / 2
    positive = norm.ppf(np.linspace(p, 0.5, n // 2 + 1)[:-1])
    negative = -norm.ppf(np.linspace(p, 0.5, n // 2)[:-1])
    return np.sort(np.r_[positive, 0, negative] / norm.ppf(p))
""",
    ],
    "14.5": [
        """\
import torch


def fit(W, levels, block):
    out = []
    for x in W.reshape(-1, block):
        if not x.any():
            out.append(x)
            continue
        best = None
        for c in x.abs().max() * torch.linspace(0.5, 1.2, 141):
            y = levels[(x[:, None] / c - levels).abs().argmin(1)] * c
            if best is None or (x - y).square().sum() < best[0]:
                best = (x - y).square().sum(), y
        out.append(best[1])
    return torch.stack(out).view_as(W)
""",
        """\
import torch


def fit(W, levels, block):
    x = W.reshape(-1, 1, block)
    c = x.abs().amax(dim=-1, keepdim=True) * torch.linspace(0.6, 1.2, 61)[None, :, None]
    nearest = ((x / c.clamp_min(1e-20))[..., None] - levels).abs().argmin(-1)
    y = levels[nearest]
    for _ in range(3):  # least squares for the scale, then the nearest levels again
        c = (x * y).sum(-1, keepdim=True) / y.square().sum(-1, keepdim=True).clamp_min(1e-20)
        y = levels[((x / c.clamp_min(1e-20))[..., None] - levels).abs().argmin(-1)]
    y = y * c
    best = (x - y).square().sum(-1).argmin(dim=1)
    return y[torch.arange(len(y)), best].reshape(W.shape)
""",
    ],
}
