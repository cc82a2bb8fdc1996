"""Which base is this? A model, its copies in 16 bits, and other models."""

import pytest
import torch

from gpt2.checkpoints.fingerprints import fingerprints, plain_name, same_base, uncompiled


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_copy_in_16_bits_is_the_same_base(tiny_model, precision):
    original = fingerprints(tiny_model)
    half = fingerprints(tiny_model.to(getattr(torch, precision)))
    assert half.keys() == {"float32", precision} and half[precision] == original[precision]
    assert same_base(original, half) and same_base(half, original) and same_base(half, half)
    with torch.no_grad():
        tiny_model.wpe.weight[0, 0] += 1
    other = fingerprints(tiny_model)
    assert not same_base(original, other) and not same_base(half, other)
    assert not same_base({"float32": "", "else": None}, half)  # a file may hold anything


def test_two_bases_that_round_to_one_are_two(tiny_model):
    before = fingerprints(tiny_model)
    with torch.no_grad():
        tiny_model.wpe.weight[0, 0] *= 1 + 1e-6
    after = fingerprints(tiny_model)
    assert before["bfloat16"] == after["bfloat16"] and not same_base(before, after)


def test_names_and_modules_without_torch_compile(tiny_model):
    assert plain_name("_orig_mod.h.0._orig_mod.ln_1.weight") == "h.0.ln_1.weight"
    assert uncompiled(torch.compile(tiny_model, backend="eager")) is tiny_model is uncompiled(tiny_model)
