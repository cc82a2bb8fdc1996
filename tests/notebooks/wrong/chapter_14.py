"""Typical wrong answers to the exercises of chapter 14."""

WRONG = {
    "14.1": [
        "def bits_per_weight(bits, block, second_block=None):\n    return bits + 32 / block\n",
        """
def bits_per_weight(bits, block, second_block=None):
    if second_block is None:
        return bits + 32 / block
    return bits + 8 / block + 32 / second_block
""",
        "def bits_per_weight(bits, block, second_block=None):\n    return bits + block / 32\n",
    ],
    "14.2": [
        """
def pack(codes):
    return codes[1::2] << 4 | codes[0::2]


def unpack(packed, n):
    import torch
    return torch.stack([packed & 15, packed >> 4], dim=1).flatten()[:n]
""",
        """
def pack(codes):
    return codes[0::2] << 4 | codes[1::2]


def unpack(packed, n):
    import torch
    return torch.cat([packed >> 4, packed & 15])[:n]
""",
        """
def pack(codes):
    import torch
    codes = torch.nn.functional.pad(codes, (0, len(codes) % 2))
    return codes[0::2] << 4 + codes[1::2]


def unpack(packed, n):
    return ...
""",
    ],
    "14.3": [
        """
import torch


def quantize_rows(W):
    scale = W.abs().amax(dim=1) / 127
    return (W / scale.clamp_min(1e-30)[:, None]).to(torch.int8), scale


def linear(x, codes, scale):
    return (x @ codes.to(x.dtype).T) * scale
""",
        """
import torch


def quantize_rows(W):
    scale = W.abs().amax(dim=1) / 127
    return (W / scale.clamp_min(1e-30)[:, None]).round().to(torch.int8), scale


def linear(x, codes, scale):
    return x @ codes.to(x.dtype).T
""",
        """
import torch


def quantize_rows(W):
    scale = W.abs().amax() / 127
    return (W / scale).round().to(torch.int8), scale


def linear(x, codes, scale):
    return (x @ codes.to(x.dtype).T) * scale
""",
    ],
    "14.4": [
        """
def normal_float(bits):
    most = 2 ** (bits - 1) - 1
    return [i / most for i in range(-most, most + 1)]
""",
        """
from peft.quantization import normal_float_levels


def normal_float(bits):
    return list(normal_float_levels())
""",
        """
from statistics import NormalDist


def normal_float(bits):
    quantile, n = NormalDist().inv_cdf, 2**bits
    levels = [quantile((i + 0.5) / n) for i in range(n)]
    return [level / levels[-1] for level in levels]
""",
    ],
    "14.5": [
        """
import torch


def fit(W, levels, block):
    x = W.reshape(-1, block)
    c = x.abs().amax(dim=1, keepdim=True).clamp_min(1e-30)
    return (levels[torch.bucketize(x / c, (levels[1:] + levels[:-1]) / 2)] * c).reshape(W.shape)
""",
        "def fit(W, levels, block):\n    return W\n",
        """
import torch


def fit(W, levels, block):
    x = W.reshape(-1, block)
    c = 0.9 * x.abs().amax(dim=1, keepdim=True).clamp_min(1e-30)
    return (levels[torch.bucketize(x / c, (levels[1:] + levels[:-1]) / 2)] * c).reshape(W.shape)
""",
    ],
}
