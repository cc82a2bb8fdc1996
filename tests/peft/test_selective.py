"""Methods that train parts of the model as it is: which parts, and how many numbers."""

import pytest
import torch

import peft
from gpt2.errors import InputError

COUNTS = {"full": 124_441_346, "head": 1_538, "selective": 7_090_946, "bitfit": 103_682, "layernorm": 39_938}


def count(model) -> int:
    return sum(parameter.numel() for parameter in peft.trainable_parameters(model).values())


@pytest.mark.parametrize("method", COUNTS)
def test_counts_for_gpt2_124m(method, gpt2_124m):
    assert count(peft.apply(gpt2_124m, method)) == COUNTS[method]


@pytest.mark.parametrize("shape", ["small", "deeper", "wider"])
def test_counts_are_the_formulas(shape, new_model):
    C, L, k = new_model(shape=shape).config.n_embd, new_model(shape=shape).config.n_layer, 3
    head = (C + 1) * k
    assert count(peft.apply(new_model(shape=shape), "head")) == head
    for blocks in range(L + 1):
        trained = count(peft.apply(new_model(shape=shape), "selective", blocks=blocks))
        assert trained == head + 2 * C + blocks * (12 * C * C + 13 * C)
    assert count(peft.apply(new_model(shape=shape), "bitfit")) == head + (11 * L + 1) * C
    assert count(peft.apply(new_model(shape=shape), "layernorm")) == head + (4 * L + 2) * C


def test_selective_trains_blocks_from_the_top(new_model):
    model = peft.apply(new_model(shape="deeper"), "selective", blocks=2)
    assert {name.split(".")[1] for name in peft.trainable_parameters(model) if name.startswith("h.")} == {"3", "4"}


@pytest.mark.parametrize("blocks", [-1, 3])
def test_blocks_that_do_not_exist(blocks, new_model):
    with pytest.raises(InputError, match="from 0 to 2"):
        peft.apply(new_model(), "selective", blocks=blocks)


def test_modules_to_save(new_model, tokens):
    model = peft.apply(new_model(), "lora", modules_to_save="wpe,ln_f")
    trained = peft.trainable_parameters(model)
    assert {"wpe.weight", "ln_f.weight", "ln_f.bias"} <= set(trained)
    model(tokens).sum().backward()
    assert model.wpe.weight.grad is not None and model.wte.weight.grad is None


def test_a_language_model_has_no_head_to_train(new_model):
    with pytest.raises(InputError, match="classification head first"):
        peft.apply(new_model("language modelling"), "head")


def test_training_changes_nothing_but_what_is_selected(new_model, tokens):
    model = peft.apply(new_model(), "bitfit")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(peft.trainable_parameters(model).values(), lr=0.1)
    model(tokens).square().sum().backward()
    optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(peft.trainable_parameters(model))
