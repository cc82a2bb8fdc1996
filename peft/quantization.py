"""Quantisation: store a frozen weight in four bits instead of 32 (QLoRA, Dettmers et al., 2023, arXiv:2305.14314).

Cut the weights into blocks of 64, divide each block by its largest absolute value, and replace every number by the
index of the nearest of sixteen fixed levels:

     weights       0.021  -0.043   0.002 …      block of 64
     / absmax      0.49   -1.00    0.05  …      absmax 0.043 is kept
     nearest       0.44   -1.00    0.08  …      of the sixteen levels
     index          12      0       8    …      two to a byte: 4 bits a weight

**NormalFloat (NF4).** Trained weights are close to normally distributed, so evenly spaced levels (int4) spend most of
their codes on values that hardly occur. NF4 puts the levels at quantiles of the normal distribution, so that all are
used about equally often, with an exact zero.

**Double quantisation.** One float32 absmax per 64 weights costs 32/64 = 0.5 bits a weight. So the absmax values are
quantised themselves: their mean is subtracted, and the rest is stored in 8 bits, in blocks of 256:

     bits per weight = 4 + 8/64 + 32/(64 · 256) = 4.127         instead of 4 + 32/64 = 4.5

The paper calls these 8 bits FP8; its code uses the *dynamic* data type (Dettmers, 2015, arXiv:1511.04561), rebuilt
below, in which a number near zero has many exponent and few fraction bits, and a number near one the reverse.

The trade-off: an eighth of the memory for frozen weights; each forward and backward turns the codes back into numbers,
which costs time; and the model computes with weights that are up to a few percent off.
"""

import functools
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.errors import InputError, unexpected
from peft.merging import why_not_mergeable
from peft.registry import QUANTISED_BASE


@functools.cache
def normal_float_levels() -> tuple[float, ...]:
    """The sixteen levels of NF4, ascending from -1 to 1: seven negative, zero, eight positive.

    Quantiles of the normal distribution at evenly spaced probabilities on either side of one half, which gives zero,
    divided by the largest. The quantile of probability 1 would be infinite, so the outermost stands at 1 - ε, with ε
    halfway between 1/32 and 1/30: half a step of sixteen, and of fifteen, levels. This is how the published table
    was made (bitsandbytes, functional.py: ``create_normal_map(offset=0.9677083)``, which is 1 - ε); the paper's
    equation 4 alone, the midpoints of neighbouring quantiles, does not give it.
    """
    outermost = 1 - (1 / 32 + 1 / 30) / 2
    quantile = NormalDist().inv_cdf

    def half(count: int) -> list[float]:  # count levels above zero, from the outermost probability down to one half
        return [quantile(outermost + (0.5 - outermost) * i / count) for i in range(count)]

    positive, negative = half(8), half(7)
    return tuple(level / positive[0] for level in [*(-x for x in negative), 0.0, *reversed(positive)])


@functools.cache
def dynamic_levels() -> tuple[float, ...]:
    """The 256 levels of the dynamic 8-bit type: for e = 0 … 6, 2ᵉ evenly spaced values between 10^(e-7) and 10^(e-6),
    with both signs; and 0 and 1."""
    levels = [0.0, 1.0]
    for e in range(7):
        for i in range(2**e):
            middle = 0.1 + 0.9 * (i + 0.5) / 2**e  # of the i-th of 2ᵉ pieces of 0.1 … 1
            levels += [middle * 10.0 ** (e - 6), -middle * 10.0 ** (e - 6)]
    return tuple(sorted(levels))


def integer_levels(bits: int) -> tuple[float, ...]:
    """Evenly spaced levels, symmetric about zero: int4 has -7/7 … 7/7, int8 -127/127 … 127/127."""
    most = 2 ** (bits - 1) - 1
    return tuple(i / most for i in range(-most, most + 1))


class QuantizedTensor(nn.Module):
    """A tensor of any shape as codes into a table of at most 256 levels, with one absmax per block, in buffers.

    levels   ascending, within -1 … 1; sixteen or fewer are packed two to a byte
    block    numbers that share an absmax; the last block may be shorter
    double   quantise the absmax values too
    """

    def __init__(self, tensor: Tensor, levels: tuple[float, ...], block: int = 64, double: bool = False):
        super().__init__()
        self.shape, self.block = tensor.shape, block
        # The table belongs to the method and not to this tensor: no part of a checkpoint, nor counted as its bits.
        table = torch.tensor(levels, dtype=torch.float32, device=tensor.device)
        self.register_buffer("levels", table, persistent=False)
        x = tensor.detach().float().flatten()
        x = F.pad(x, (0, -len(x) % block)).view(-1, block)  # (blocks, block)
        absmax = x.abs().amax(dim=1)
        scaled = x / absmax.clamp_min(torch.finfo(x.dtype).tiny)[:, None]  # a block of zeros stays zero
        codes = torch.bucketize(scaled, (table[1:] + table[:-1]) / 2)  # between two midpoints lies the nearest level
        codes = codes.flatten()[: tensor.numel()].to(torch.uint8)
        self.packed = len(levels) <= 16
        if self.packed:
            codes = F.pad(codes, (0, len(codes) % 2))
            codes = codes[0::2] << 4 | codes[1::2]
        self.register_buffer("codes", codes)
        if double:
            self.register_buffer("mean", absmax.mean())
            self.absmax = QuantizedTensor(absmax - self.mean, dynamic_levels(), block=256)
        else:
            self.register_buffer("absmax", absmax)

    def dequantize(self) -> Tensor:
        """The tensor in float32, as near as the levels come."""
        codes, count = self.codes, self.shape.numel()
        if self.packed:
            codes = torch.stack([codes >> 4, codes & 15], dim=1).flatten()[:count]
        absmax = self.absmax.dequantize() + self.mean if isinstance(self.absmax, nn.Module) else self.absmax
        x = F.pad(self.levels[codes.int()], (0, -count % self.block)).view(-1, self.block) * absmax[:, None]
        return x.flatten()[:count].view(self.shape)


class MultiplyByQuantized(torch.autograd.Function):
    """y = x Wᵀ with a quantised W: x (…, in), W (out, in) -> y (…, out).

    For the gradient of x, g W, autograd would keep the dequantised W of every layer from forward until backward: all
    the memory that quantisation has saved. This keeps the codes and dequantises a second time instead.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantized: QuantizedTensor) -> Tensor:
        ctx.quantized = quantized
        return F.linear(x, quantized.dequantize().to(x.dtype))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g @ ctx.quantized.dequantize().to(g.dtype), None  # W is frozen: no gradient for it


class QuantizedLinear(nn.Module):
    """A frozen nn.Linear whose weight is quantised: x (…, in) -> x Wᵀ + b (…, out). The bias is kept as it is.

    bits           4 (NF4 in blocks of 64) or 8 (int8, one absmax per row)
    double_quant   quantise the absmax values too (with 4 bits; with 8 there are few)
    """

    def __init__(self, linear: nn.Linear, bits: int = 4, double_quant: bool = True):
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        if bits == 4:
            self.quantized = QuantizedTensor(linear.weight, normal_float_levels(), block=64, double=double_quant)
        elif bits == 8:
            self.quantized = QuantizedTensor(linear.weight, integer_levels(8), block=linear.in_features)
        else:
            raise unexpected("bits", bits, "4 or 8")

    @property
    def weight(self) -> Tensor:
        """W (out, in), computed anew at every reading."""
        return self.quantized.dequantize()

    def forward(self, x: Tensor) -> Tensor:
        y = MultiplyByQuantized.apply(x, self.quantized)
        return y if self.bias is None else y + self.bias


@why_not_mergeable.register
def _(layer: QuantizedLinear) -> str:
    return QUANTISED_BASE


def quantize_linear_layers(model: nn.Module, bits: int = 4, double_quant: bool = True) -> None:
    """Replace every nn.Linear inside ``model`` by a QuantizedLinear, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            model.set_submodule(name, QuantizedLinear(module, bits, double_quant))


def refuse_quantized(model: nn.Module) -> None:
    """Raise InputError when a linear layer inside ``model`` is quantised: its codes cannot train, and a method that
    looks for nn.Linear would pass over it without a word."""
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        raise InputError(
            "this model's linear layers are quantised, and this method changes them; take the full-precision model, "
            "and qlora, which quantises it itself"
        )


def bits_per_weight(module: nn.Module) -> float:
    """What the quantised tensors inside a module take in memory, in bits for each of their numbers."""
    tensors = [m.quantized for m in module.modules() if isinstance(m, QuantizedLinear)]
    stored = sum(buffer.nbytes for tensor in tensors for buffer in tensor.state_dict().values())
    return 8 * stored / sum(tensor.shape.numel() for tensor in tensors)
