"""DyLoRA: truncation, the rank's draw, the frozen variant, and that small ranks do work after training."""

import pytest
import torch

import peft
from gpt2.errors import InputError
from peft.dylora import DyLoRALayer, RankDial, set_rank
from peft.lora import LoRALayer

RANK = 4


@pytest.fixture
def model(new_model, randomise):
    return randomise(peft.apply(new_model(), "dylora", rank=RANK, alpha=3))


def layers_of(model) -> list[DyLoRALayer]:
    return [module for module in model.modules() if isinstance(module, DyLoRALayer)]


@pytest.mark.parametrize("rank", range(1, RANK + 1))
def test_rank_b_is_the_lora_of_the_first_b_rows_and_columns(rank, model, tokens, new_model):
    set_rank(model, rank)
    lora = peft.apply(new_model(), "lora", rank=rank, alpha=3)  # scale alpha / rank: the paper's alpha / b
    theirs = [module for module in lora.modules() if isinstance(module, LoRALayer)]
    with torch.no_grad():
        for cut, whole in zip(theirs, layers_of(model), strict=True):
            cut.A.copy_(whole.A[:rank])
            cut.B.copy_(whole.B[:, :rank])
    torch.testing.assert_close(model(tokens), lora(tokens), atol=1e-5, rtol=1e-5)
    merged = peft.merge(model)(tokens)
    torch.testing.assert_close(merged, lora(tokens), atol=1e-4, rtol=1e-4)


def test_training_draws_every_rank_one_for_all_layers(model, tokens):
    seen = set()
    model.train()
    for _ in range(60):
        model(tokens)
        ranks = {layer.dial.drawn for layer in layers_of(model)}
        assert len(ranks) == 1
        seen |= ranks
    assert seen == {1, 2, 3, 4}
    model.eval()
    assert torch.equal(model(tokens), model(tokens))  # evaluation uses the full rank


def test_the_draw_follows_the_seed(model, tokens):
    def draws():
        torch.manual_seed(7)
        return [(model(tokens), layers_of(model)[0].dial.drawn)[1] for _ in range(8)]

    model.train()
    assert draws() == draws()


def test_rows_beyond_the_rank_get_no_gradient(model, tokens):
    model.train()(tokens).sum().backward()
    drawn = layers_of(model)[0].dial.drawn
    for layer in layers_of(model):
        assert not layer.A.grad[drawn:].any() and not layer.B.grad[:, drawn:].any()
        assert layer.A.grad[:drawn].any(dim=1).all() and layer.B.grad[:, :drawn].any(dim=0).all()


def test_frozen_trains_row_and_column_b_alone():
    dial = RankDial(RANK)
    layer = DyLoRALayer(5, 6, RANK, 1.0, dial, leads=True, frozen=True)
    torch.nn.init.normal_(layer.B)
    layer(torch.randn(3, 5)).sum().backward()
    others = [row for row in range(RANK) if row != dial.drawn - 1]
    assert layer.A.grad[dial.drawn - 1].all() and not layer.A.grad[others].any()
    assert layer.B.grad[:, dial.drawn - 1].any() and not layer.B.grad[:, others].any()


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_frozen_holds_against_momentum_and_weight_decay(optimizer, new_model, tokens):
    torch.manual_seed(0)
    model = peft.apply(new_model(), "dylora", rank=RANK, frozen=True).train()
    momentum = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    optimizer = optimizer(peft.trainable_parameters(model).values(), lr=0.1, weight_decay=0.1, **momentum)
    drawn = set()
    for _ in range(12):
        before = [(layer.A.detach().clone(), layer.B.detach().clone()) for layer in layers_of(model)]
        optimizer.zero_grad()
        model(tokens).square().mean().backward()
        optimizer.step()
        b = layers_of(model)[0].dial.drawn
        drawn.add(b)
        others = [row for row in range(RANK) if row != b - 1]
        for layer, (A, B) in zip(layers_of(model), before, strict=True):
            assert torch.equal(layer.A[others], A[others]) and torch.equal(layer.B[:, others], B[:, others])
            assert not torch.equal(layer.A[b - 1], A[b - 1]) and not torch.equal(layer.B[:, b - 1], B[:, b - 1])
    assert len(drawn) == RANK


def test_after_training_small_ranks_work_better_than_a_cut_lora(new_model, tokens):
    """The reason for the method: cut from rank 8 to 2, DyLoRA keeps what it has learned and LoRA does not."""

    def loss(model):
        return torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten() % 3).item()

    def trained(method):
        torch.manual_seed(0)
        model = peft.apply(new_model(), method, rank=8, alpha=8).train()
        optimizer = torch.optim.AdamW(peft.trainable_parameters(model).values(), lr=5e-3)
        for _ in range(150):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten() % 3).backward()
            optimizer.step()
        return model.eval()

    dylora, lora = trained("dylora"), trained("lora")
    assert loss(lora) < 0.01
    set_rank(dylora, 2)
    for layer in (module for module in lora.modules() if isinstance(module, LoRALayer)):
        layer.A.data, layer.B.data = layer.A.data[:2], layer.B.data[:, :2]
    assert loss(dylora) < 0.1 * loss(lora)


@pytest.mark.parametrize("rank", [0, RANK + 1])
def test_ranks_it_was_not_trained_for(rank, model):
    with pytest.raises(InputError, match="trained for ranks 1 to 4"):
        set_rank(model, rank)


def test_a_merged_model_has_no_rank_to_set(model):
    with pytest.raises(InputError, match="unmerge it first"):
        set_rank(peft.merge(model), 1)
