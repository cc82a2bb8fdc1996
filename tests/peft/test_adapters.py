"""Adapters: the formula in float64, where they stand, and counts."""

import pytest
import torch
from torch import nn

import peft
from gpt2.errors import InputError
from peft.adapters import NONLINEARITIES, BottleneckAdapter, ParallelAdapter, SerialAdapter

COUNTS = {"adapter": 1_200_386, "adapter-pfeiffer": 600_962, "adapter-parallel": 600_962}
FUNCTIONS = {  # as the textbook writes them
    "relu": lambda x: x.clamp(min=0),
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": lambda x: 2 / (1 + torch.exp(-2 * x)) - 1,
}


def random_adapter(**options) -> BottleneckAdapter:
    torch.manual_seed(0)
    adapter = BottleneckAdapter(6, bottleneck=4, **options)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    return adapter


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_the_formula_in_float64(nonlinearity):
    adapter, x = random_adapter(nonlinearity=nonlinearity, scale=0.3), torch.randn(2, 5, 6)
    down, up = adapter.down.double(), adapter.up.double()
    inner = FUNCTIONS[nonlinearity](x.double() @ down.weight.T + down.bias)
    expected = 0.3 * (inner @ up.weight.T + up.bias)
    torch.testing.assert_close(adapter(x.double()), expected)
    linear = nn.Linear(6, 6).double()
    y = linear(x.double())
    inner = FUNCTIONS[nonlinearity](y @ down.weight.T + down.bias)
    torch.testing.assert_close(SerialAdapter(linear, adapter)(x.double()), y + 0.3 * (inner @ up.weight.T + up.bias))
    torch.testing.assert_close(ParallelAdapter(linear, adapter)(x.double()), y + expected)


@pytest.mark.parametrize("method", COUNTS)
def test_counts(method, gpt2_124m, new_model):
    def count(model):
        return sum(parameter.numel() for parameter in peft.trainable_parameters(model).values())

    assert count(peft.apply(gpt2_124m, method, bottleneck=32)) == COUNTS[method]
    C, L, m, k = 24, 2, 5, 3
    per_block = 2 if method == "adapter" else 1
    trained = count(peft.apply(new_model(), method, bottleneck=m))
    assert trained == L * per_block * (2 * C * m + C + m) + (C + 1) * k


def test_where_they_stand(new_model):
    def places(method):
        model = peft.apply(new_model("language modelling"), method)
        return {name for name, m in model.named_modules() if isinstance(m, SerialAdapter | ParallelAdapter)}

    assert places("adapter") == {f"h.{i}.{name}" for i in (0, 1) for name in ("attn.out_proj", "mlp.fc_out")}
    assert places("adapter-pfeiffer") == {"h.0.mlp.fc_out", "h.1.mlp.fc_out"}
    assert places("adapter-parallel") == {"h.0.mlp", "h.1.mlp"}


@pytest.mark.parametrize("method", COUNTS)
def test_a_scale_of_zero_switches_them_off(method, new_model, randomise, tokens):
    model = peft.apply(new_model(), method, adapter_scale=0.0)
    before = new_model()(tokens)
    randomise(model)
    model.lm_head.load_state_dict(new_model().lm_head.state_dict())
    torch.testing.assert_close(model(tokens), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options, sentence", [({"bottleneck": 0}, "bottleneck is 0"), ({"nonlinearity": "sine"}, "choose one of relu")]
)
@pytest.mark.parametrize("method", COUNTS)
def test_wrong_options_get_one_sentence(method, options, sentence, new_model):
    with pytest.raises(InputError, match=sentence):
        peft.apply(new_model(), method, **options)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_not_finite_is_refused(scale):
    with pytest.raises(InputError, match="adapter_scale is"):
        BottleneckAdapter(8, scale=scale)
