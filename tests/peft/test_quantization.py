"""Quantisation: NF4's levels, a float64 reference, the round trip against int4, bits per weight, memory, gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from gpt2.errors import InputError
from peft.quantization import (
    MultiplyByQuantized,
    QuantizedLinear,
    QuantizedTensor,
    bits_per_weight,
    dynamic_levels,
    integer_levels,
    normal_float_levels,
)

PUBLISHED_NF4 = [  # Dettmers et al., 2023, appendix E
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
]
SHAPES = [(64, 64), (30, 70), (3, 5), (1, 1), (128, 513)]


def weight_of(shape) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02


def reference(x: np.ndarray, levels: list[float], block: int) -> np.ndarray:
    """Quantise and dequantise, number by number in float64."""
    flat, out = x.astype(np.float64).ravel(), []
    levels = np.array(levels)
    for start in range(0, len(flat), block):
        piece = flat[start : start + block]
        absmax = np.abs(piece).max()
        out += [levels[np.abs(levels - value / absmax).argmin()] * absmax if absmax else 0.0 for value in piece]
    return np.array(out).reshape(x.shape)


def test_nf4_levels_are_the_published_ones():
    assert normal_float_levels() == pytest.approx(PUBLISHED_NF4, abs=1e-6)
    assert normal_float_levels()[7] == 0 and len(set(normal_float_levels())) == 16


def test_the_other_levels():
    assert integer_levels(4) == tuple(i / 7 for i in range(-7, 8))
    assert len(integer_levels(8)) == 255
    dynamic = dynamic_levels()
    assert len(dynamic) == len(set(dynamic)) == 256 and list(dynamic) == sorted(dynamic)
    assert {0.0, 1.0} < set(dynamic) and min(dynamic) > -1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("levels, block", [(PUBLISHED_NF4, 64), (integer_levels(4), 64), (integer_levels(8), 70)])
def test_against_a_float64_reference(shape, levels, block):
    weight = weight_of(shape)
    ours = QuantizedTensor(weight, levels, block).dequantize()
    np.testing.assert_allclose(ours.numpy(), reference(weight.numpy(), levels, block), atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_double_quantisation_moves_little(shape):
    weight = weight_of(shape)
    once, twice = (QuantizedTensor(weight, PUBLISHED_NF4, 64, double).dequantize() for double in (False, True))
    assert twice.shape == once.shape
    assert (twice - once).abs().max() < 0.02 * once.abs().max()


def test_zeros_stay_zeros():
    for double in (False, True):
        assert not QuantizedTensor(torch.zeros(10, 13), PUBLISHED_NF4, 64, double).dequantize().any()


def test_nf4_beats_int4_on_normal_weights():
    weight = weight_of((256, 256))
    error = {
        name: (QuantizedTensor(weight, levels, 64).dequantize() - weight).square().mean().sqrt().item()
        for name, levels in {"nf4": normal_float_levels(), "int4": integer_levels(4), "int8": integer_levels(8)}.items()
    }
    assert error["int8"] < error["nf4"] < 0.9 * error["int4"]


@pytest.mark.parametrize(
    "bits, double, expected", [(4, True, 4 + 8 / 64 + 32 / (64 * 256)), (4, False, 4.5), (8, True, 8 + 32 / 256)]
)
def test_bits_per_weight(bits, double, expected):
    measured = bits_per_weight(QuantizedLinear(nn.Linear(256, 256), bits, double))
    assert measured == pytest.approx(expected, abs=1e-3)
    if bits == 4 and double:
        assert measured <= 4.13


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_its_gradient_use_the_dequantised_weight(bits, bias):
    torch.manual_seed(0)
    linear, x = nn.Linear(30, 7, bias=bias), torch.randn(2, 5, 30, requires_grad=True)
    quantised = QuantizedLinear(linear, bits)
    assert (quantised.in_features, quantised.out_features) == (30, 7) and quantised.weight.shape == (7, 30)
    plain = nn.functional.linear(x, quantised.weight, linear.bias)
    assert torch.equal(quantised(x), plain)
    upstream = torch.randn(2, 5, 7)
    (ours,) = torch.autograd.grad(quantised(x), x, upstream)
    (theirs,) = torch.autograd.grad(plain, x, upstream)
    torch.testing.assert_close(ours, theirs)
    assert not quantised.quantized.codes.is_floating_point() and (quantised.weight - linear.weight).abs().max() > 0


def test_the_dequantised_weight_does_not_live_until_backward(monkeypatch):
    quantised, x = QuantizedLinear(nn.Linear(30, 7)), torch.randn(2, 30, requires_grad=True)
    made, dequantize = [], QuantizedTensor.dequantize

    def watched(self):
        weight = dequantize(self)
        if weight.shape == (7, 30):
            made.append(StorageWeakRef(weight.untyped_storage()))
        return weight

    monkeypatch.setattr(QuantizedTensor, "dequantize", watched)
    y = quantised(x)
    assert len(made) == 1 and made[0].expired()  # gone after forward
    y.sum().backward()
    assert len(made) == 2  # computed again in backward
    kept = nn.functional.linear(x, quantised.weight)  # what autograd does by itself
    assert not made[2].expired() and kept.requires_grad


def test_gradcheck():
    quantised = QuantizedTensor(torch.randn(4, 6), normal_float_levels())
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: MultiplyByQuantized.apply(x, quantised), x)


def test_moves_and_saves_like_any_module():
    layers = [QuantizedLinear(nn.Linear(30, 7)) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert layers[0].to(torch.float64).weight.dtype == torch.float64
    assert not any("levels" in name for name in layers[0].state_dict())


def test_other_widths_are_refused():
    with pytest.raises(InputError, match="expected 4 or 8"):
        QuantizedLinear(nn.Linear(3, 3), bits=2)
