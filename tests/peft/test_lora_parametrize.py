"""LoRA through parametrizations: equal to LinearWithLoRA in outputs, gradients and a training step; stacked; merged."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import peft
from peft.lora import LinearWithLoRA
from peft.merging import to_plain
from peft.minlora import LoRAParametrization, add_lora


def pair(new_model, randomise, use="classification", **options):
    """The same LoRA both ways."""
    wrapped = randomise(peft.apply(new_model(use), "lora", **options))
    chained = peft.apply(new_model(use), "minlora", **options)
    with torch.no_grad():
        for link, layer in zip(links_of(chained), links_of(wrapped), strict=True):
            link.lora.load_state_dict(layer.lora.state_dict())
    return wrapped, chained


def links_of(model) -> list:
    return [module for module in model.modules() if isinstance(module, LoRAParametrization | LinearWithLoRA)]


@pytest.mark.parametrize(
    "options", [{}, {"rank": 3, "alpha": 5, "scaling": "alpha"}, {"target_modules": "q_proj,fc_out"}]
)
@pytest.mark.parametrize("use", ["classification", "language modelling"])
def test_equals_linear_with_lora_through_a_training_step(use, options, new_model, randomise, tokens):
    wrapped, chained = pair(new_model, randomise, use, **options)
    torch.testing.assert_close(chained(tokens), wrapped(tokens), atol=1e-5, rtol=1e-5)
    for model in (wrapped, chained):
        optimizer = torch.optim.AdamW(peft.trainable_parameters(model).values(), lr=0.01)
        model(tokens).square().mean().backward()
        optimizer.step()
    for link, layer in zip(links_of(chained), links_of(wrapped), strict=True):
        torch.testing.assert_close(link.lora.A.grad, layer.lora.A.grad, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(link.lora.B.grad, layer.lora.B.grad, atol=1e-5, rtol=1e-4)


def test_several_on_one_weight_add_up():
    torch.manual_seed(0)
    linear = nn.Linear(6, 4)
    W = linear.weight.detach().clone()
    for rank in (1, 2, 3):
        add_lora(linear, rank, alpha=1.0)
    chain = linear.parametrizations.weight
    for link in chain:
        nn.init.normal_(link.lora.B)
    torch.testing.assert_close(linear.weight, W + sum(link.lora.delta() for link in chain))
    assert torch.equal(chain.original, W)
    x, plain = torch.randn(5, 6), to_plain(linear)
    assert type(plain) is nn.Linear
    torch.testing.assert_close(plain(x), linear(x))
    torch.testing.assert_close(parametrize.remove_parametrizations(linear, "weight")(x), plain(x))  # PyTorch's own way


def test_unmerge_gets_the_chain_back_and_copies_are_independent(new_model, randomise, tokens):
    model = randomise(peft.apply(new_model(), "minlora"))
    before, twin = model(tokens), copy.deepcopy(model)
    with peft.merged(model):
        assert not any(parametrize.is_parametrized(module) for module in model.modules())
    assert torch.equal(model(tokens), before)
    randomise(twin)
    torch.testing.assert_close(peft.merge(copy.deepcopy(twin))(tokens), twin(tokens), atol=1e-4, rtol=1e-4)
    assert torch.equal(model(tokens), before)
