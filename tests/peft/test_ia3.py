"""IA³: what is scaled, merging row by row and column by column, and counts."""

import pytest
import torch
from torch import nn

import peft
from peft.ia3 import ScaledInput, ScaledOutput
from peft.merging import to_plain


@pytest.mark.parametrize("bias", [True, False])
def test_scaled_layers(bias):
    torch.manual_seed(0)
    linear, x = nn.Linear(5, 4, bias=bias), torch.randn(3, 5)
    rows, columns = ScaledOutput(linear), ScaledInput(linear)
    assert torch.equal(rows(x), linear(x)) and torch.equal(columns(x), linear(x))  # ones at the start
    nn.init.normal_(rows.scale)
    nn.init.normal_(columns.scale)
    torch.testing.assert_close(rows(x), rows.scale * linear(x))
    torch.testing.assert_close(columns(x), linear(columns.scale * x))
    torch.testing.assert_close(to_plain(rows)(x), rows(x))
    torch.testing.assert_close(to_plain(columns)(x), columns(x))


@pytest.mark.parametrize("queries, scaled", [(False, "kv"), (True, "qkv")])
def test_what_is_scaled(queries, scaled, new_model):
    model = peft.apply(new_model("language modelling"), "ia3", queries=queries)
    expected = {f"h.{i}.attn.{part}_proj.scale" for i in (0, 1) for part in scaled}
    assert set(peft.trainable_parameters(model)) == expected | {"h.0.mlp.fc_out.scale", "h.1.mlp.fc_out.scale"}


@pytest.mark.parametrize("queries, per_block, gpt2", [(False, 6, 56_834), (True, 7, 66_050)])
def test_counts(queries, per_block, gpt2, gpt2_124m, new_model):
    def count(model):
        return sum(parameter.numel() for parameter in peft.trainable_parameters(model).values())

    assert count(peft.apply(gpt2_124m, "ia3", queries=queries)) == gpt2
    assert count(peft.apply(new_model(), "ia3", queries=queries)) == 2 * per_block * 24 + 25 * 3


def test_merging_with_queries(new_model, randomise, tokens):
    model = randomise(peft.apply(new_model(), "ia3", queries=True))
    before = model(tokens)
    torch.testing.assert_close(peft.merge(model)(tokens), before, atol=1e-4, rtol=1e-4)
    assert torch.equal(peft.unmerge(model)(tokens), before)
