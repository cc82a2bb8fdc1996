"""NF4 against bitsandbytes, QLoRA's own library, where its CPU build is installed; tests/peft/test_quantization.py
checks the same against the published table and a float64 reference in any case."""

import pytest
import torch

from peft.quantization import QuantizedTensor, dynamic_levels, integer_levels, normal_float_levels

functional = pytest.importorskip("bitsandbytes.functional", reason="bitsandbytes is not installed")
SHAPES = [(64, 300), (77, 13), (3, 5), (300, 768)]  # three of them not in whole blocks of 64, one an odd number


@pytest.fixture
def weight(request):
    return torch.randn(request.param, generator=torch.Generator().manual_seed(0)) * 0.02


def test_the_tables(agree):
    theirs = functional.get_4bit_type("nf4", device="cpu").cpu()
    agree("NF4's sixteen levels", "bitsandbytes", torch.tensor(normal_float_levels()), theirs, 1e-6)
    agree(
        "the dynamic type's 256 levels",
        "bitsandbytes",
        torch.tensor(dynamic_levels()),
        functional.create_dynamic_map(),
        1e-6,
    )


@pytest.mark.parametrize("weight", SHAPES, indirect=True, ids=str)
def test_nf4(weight, agree):
    codes, state = functional.quantize_4bit(weight, quant_type="nf4", blocksize=64)
    ours = QuantizedTensor(weight, normal_float_levels(), block=64)
    whole = weight.numel() // 2  # the last byte of an odd number holds half a byte of padding
    assert torch.equal(ours.codes[:whole], codes.flatten()[:whole])
    agree(
        f"NF4 {tuple(weight.shape)}", "bitsandbytes", ours.dequantize(), functional.dequantize_4bit(codes, state), 1e-6
    )


@pytest.mark.parametrize("weight", SHAPES, indirect=True, ids=str)
def test_nf4_with_double_quantisation(weight, agree):
    codes, state = functional.quantize_4bit(weight, quant_type="nf4", blocksize=64, compress_statistics=True)
    theirs = functional.dequantize_4bit(codes, state)
    ours = QuantizedTensor(weight, normal_float_levels(), block=64, double=True).dequantize()
    # An absmax that lies between two levels may round to either side: one step of the 8-bit type, rarely.
    same = (ours - theirs).abs() < 1e-6
    share = same.float().mean().item()
    assert share > 0.99
    what = f"NF4 {tuple(weight.shape)}, double quantisation, {share:.2%} of it"
    agree(what, "bitsandbytes", ours[same], theirs[same])


def test_int8(agree):
    weight = torch.randn(30, 70, generator=torch.Generator().manual_seed(0))
    codes, absmax, _ = functional.int8_vectorwise_quant(weight.half())
    ours = QuantizedTensor(weight.half(), integer_levels(8), block=70)
    agree("int8 codes", "bitsandbytes", ours.codes.view(30, 70).int() - 127, codes.int(), 0)
