"""QLoRA: what is quantised, what it equals, loading in full precision, and the refusal to merge."""

import pytest
import torch
from torch import nn

import peft
from gpt2.errors import InputError
from peft.lora import LinearWithLoRA
from peft.quantization import QuantizedLinear, bits_per_weight, quantize_linear_layers


@pytest.mark.parametrize("target", ["all", "q_proj,v_proj"])
def test_every_linear_layer_of_the_blocks_is_quantised(target, new_model):
    model = peft.apply(new_model(), "qlora", target_modules=target)
    assert sum(isinstance(module, QuantizedLinear) for module in model.modules()) == 2 * 6
    assert not any(type(module) is nn.Linear for module in model.h.modules())
    head = model.lm_head.linear if target == "all" else model.lm_head
    assert type(head) is nn.Linear
    assert sum(isinstance(module, LinearWithLoRA) for module in model.modules()) == (13 if target == "all" else 4)


@pytest.mark.parametrize("bits, double_quant", [(4, True), (4, False), (8, True)])
@pytest.mark.parametrize("use", ["classification", "language modelling"])
def test_is_lora_on_a_quantised_base(bits, double_quant, use, new_model, randomise, tokens):
    model = peft.apply(new_model(use), "qlora", bits=bits, double_quant=double_quant)
    base = new_model(use)
    quantize_linear_layers(base.h, bits, double_quant)
    torch.testing.assert_close(model(tokens), base(tokens), atol=1e-5, rtol=1e-5)  # untrained: the quantised base
    randomise(model)
    lora = peft.apply(new_model(use), "lora")
    with torch.no_grad():
        for name, parameter in peft.trainable_parameters(lora).items():
            parameter.copy_(model.get_parameter(name))
        for name, module in lora.h.named_modules():
            if isinstance(module, LinearWithLoRA):
                module.linear.weight.copy_(model.h.get_submodule(name).linear.weight)
    torch.testing.assert_close(model(tokens), lora(tokens), atol=1e-5, rtol=1e-5)


def test_eight_bits_are_nearer_to_the_base_than_four(new_model, tokens):
    base = new_model()(tokens)
    far, near = (peft.apply(new_model(), "qlora", bits=bits)(tokens) for bits in (4, 8))
    assert (near - base).abs().mean() < 0.3 * (far - base).abs().mean()


def test_quantize_false_is_plain_lora_and_merges(new_model, randomise, tokens):
    model = randomise(peft.apply(new_model(), "qlora", quantize=False))
    before = model(tokens)
    torch.testing.assert_close(peft.merge(model)(tokens), before, atol=1e-4, rtol=1e-4)


def test_merging_is_refused_with_what_to_do(new_model):
    with pytest.raises(InputError, match="quantize=False"):
        peft.merge(peft.apply(new_model(), "qlora"))


def test_memory_of_gpt2_124m(gpt2_124m):
    peft.apply(gpt2_124m, "qlora")
    assert bits_per_weight(gpt2_124m) <= 4.13
    assert sum(parameter.numel() for parameter in peft.trainable_parameters(gpt2_124m).values()) == 1_333_264


def test_wrong_bits(new_model):
    with pytest.raises(InputError, match="bits is 3, expected 4 or 8"):
        peft.apply(new_model(), "qlora", bits=3)


@pytest.mark.parametrize("method", ["full", "selective", "lora", "rslora", "dora", "dylora", "minlora", "qlora"])
def test_what_changes_linear_layers_refuses_a_base_that_is_quantised_already(method, new_model):
    """Each would find nothing but the head, or train all but the quantised weights, without a word."""
    model = new_model()
    quantize_linear_layers(model.h)
    with pytest.raises(InputError, match="linear layers are quantised.* and qlora, which quantises it itself"):
        peft.apply(model, method)
    assert peft.apply(model, "adapter").peft.method == "adapter"  # adds layers, and changes none


def test_selective_trains_the_blocks_that_are_not_quantised(new_model):
    model = new_model()
    quantize_linear_layers(model.h[0])
    trained = peft.trainable_parameters(peft.apply(model, "selective", blocks=1))
    assert "h.1.attn.q_proj.weight" in trained
