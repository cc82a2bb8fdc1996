"""LoRA: the formula in float64, its scales and starts, counts, targets, and merging."""

import math

import pytest
import torch
from torch import nn

import peft
from gpt2.errors import InputError
from peft.lora import EmbeddingWithLoRA, LinearWithLoRA, LoRALayer, replace_linear_with_lora
from peft.merging import to_plain


def count(model) -> int:
    return sum(parameter.numel() for parameter in peft.trainable_parameters(model).values())


def random_layer(**options) -> LinearWithLoRA:
    torch.manual_seed(0)
    layer = LinearWithLoRA(nn.Linear(10, 6), rank=2, alpha=3, **options)
    nn.init.normal_(layer.lora.B)
    return layer


@pytest.mark.parametrize(
    "scaling, scale", [("alpha/rank", 3 / 2), ("alpha", 3), ("alpha/sqrt(rank)", 3 / math.sqrt(2))]
)
def test_the_formula_in_float64(scaling, scale):
    layer, x = random_layer(scaling=scaling), torch.randn(4, 5, 10)
    W, b, A, B = (t.detach().double() for t in (layer.linear.weight, layer.linear.bias, layer.lora.A, layer.lora.B))
    expected = x.double() @ W.T + b + scale * (x.double() @ A.T @ B.T)
    torch.testing.assert_close(layer(x).double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(to_plain(layer)(x).double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(layer.lora.delta().double(), scale * B @ A, atol=1e-6, rtol=0)


def test_starts():
    torch.manual_seed(0)
    kaiming, normal = LoRALayer(400, 300, 16, 1), LoRALayer(400, 300, 16, 1, init="normal")
    assert not kaiming.B.any() and not normal.B.any()
    assert kaiming.A.abs().max() <= 1 / math.sqrt(400) and kaiming.A.abs().max() > 0.99 / math.sqrt(400)
    assert normal.A.std().item() == pytest.approx(1 / math.sqrt(16), rel=0.05)


@pytest.mark.parametrize("init", ["kaiming-rank", "normal"])
def test_starts_of_the_reference_recipe_are_drawn_as_in_rank(init):
    """Appendix E stores A as (in, rank). PyTorch then takes the rank for the width: ±1/4 instead of ±1/20."""
    torch.manual_seed(3)
    ours = LoRALayer(400, 300, 16, 1, init=init).A
    torch.manual_seed(3)
    if init == "normal":
        theirs = torch.randn(400, 16) / math.sqrt(16)
    else:
        theirs = nn.init.kaiming_uniform_(torch.empty(400, 16), a=math.sqrt(5))
        assert 0.99 / 4 < ours.abs().max() <= 1 / 4
    torch.testing.assert_close(ours, theirs.T)


def test_dropout_acts_on_the_update_only_and_only_in_training():
    layer, x = random_layer(dropout=0.5), torch.randn(4, 10)
    assert torch.equal(layer.eval()(x), layer(x))
    assert not torch.equal(layer.train()(x), layer(x))
    nn.init.zeros_(layer.lora.B)
    assert torch.equal(layer(x), layer.linear(x))


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"rank": 0}, "rank is 0"),
        ({"rank": 2.5}, "rank is 2.5"),
        ({"scaling": "beta"}, "unknown scaling"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"init": "zeros"}, "unknown init"),
        ({"target_modules": "nothing"}, "no module is called 'nothing'"),
        ({"layers_to_transform": "0-9"}, "blocks 0 to 1"),
        ({"bottleneck": 4}, "lora has no option 'bottleneck'"),
    ],
)
def test_wrong_options_get_one_sentence(options, sentence, new_model):
    with pytest.raises(InputError, match=sentence):
        peft.apply(new_model(), "lora", **options)


@pytest.mark.parametrize("rank, expected", [(8, 1_333_264), (16, 2_666_528)])
@pytest.mark.parametrize("method", ["lora", "rslora", "dylora", "minlora"])
def test_counts_for_gpt2_124m(method, rank, expected, gpt2_124m):
    assert count(peft.apply(gpt2_124m, method, rank=rank)) == expected


@pytest.mark.parametrize("method", ["lora", "rslora", "dylora", "minlora", "qlora"])
def test_count_is_the_formula(method, new_model):
    model = new_model()
    expected = sum(5 * (m.in_features + m.out_features) for m in model.modules() if isinstance(m, nn.Linear))
    assert count(peft.apply(model, method, rank=5)) == expected


@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "dylora", "minlora", "qlora"])
def test_train_head(method, new_model):
    model = peft.apply(new_model(), method, train_head=True)
    trained = peft.trainable_parameters(model)
    assert {name for name in trained if name.startswith("lm_head")} == {"lm_head.weight", "lm_head.bias"}
    assert type(model.lm_head) is nn.Linear


def test_targets_and_layers(new_model):
    def changed(**options):
        model = peft.apply(new_model(), "lora", **options)
        return {name for name, m in model.named_modules() if isinstance(m, LinearWithLoRA | EmbeddingWithLoRA)}

    assert changed(target_modules="q_proj,v_proj") == {f"h.{i}.attn.{n}_proj" for i in (0, 1) for n in "qv"}
    assert changed(target_modules="h.1.mlp.*") == {"h.1.mlp.fc_in", "h.1.mlp.fc_out"}
    assert changed(target_modules="fc_in", layers_to_transform="1") == {"h.1.mlp.fc_in"}
    assert changed(target_modules="wte,q_proj", layers_to_transform=None) == {
        "wte",
        "h.0.attn.q_proj",
        "h.1.attn.q_proj",
    }
    assert len(changed()) == 2 * 6 + 1


def test_a_language_model_head_is_only_taken_when_named(new_model):
    model = peft.apply(new_model("language modelling"), "lora")
    assert type(model.lm_head) is nn.Linear
    named = peft.apply(new_model("language modelling"), "lora", target_modules="lm_head")
    assert isinstance(named.lm_head, LinearWithLoRA) and named.lm_head.linear.weight is named.wte.weight


def test_lora_on_the_embedding(new_model, randomise, tokens):
    model = new_model()
    before = model(tokens)
    peft.apply(model, "lora", target_modules="wte")
    assert torch.equal(model(tokens), before)
    randomise(model)
    changed = model(tokens)
    assert not torch.allclose(changed, before, atol=1e-2)
    peft.merge(model)
    torch.testing.assert_close(model(tokens), changed, atol=1e-4, rtol=1e-4)


def test_merging_on_any_model_of_ones_own():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2, bias=False))
    assert replace_linear_with_lora(model, rank=1, alpha=1) == ["0", "2"]
    x = torch.randn(3, 5)
    before = model(x)
    torch.testing.assert_close(peft.merge(model)(x), before)
    with pytest.raises(InputError, match="merged already"):
        peft.merge(model)
    with pytest.raises(InputError, match="not merged"):
        peft.unmerge(peft.unmerge(model))
