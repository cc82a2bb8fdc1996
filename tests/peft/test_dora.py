"""DoRA: the formula in float64, the detached norm, the start, and counts."""

import pytest
import torch
from torch import nn

import peft
from peft.dora import LinearWithDoRA
from peft.merging import to_plain


@pytest.fixture
def layer() -> LinearWithDoRA:
    torch.manual_seed(0)
    layer = LinearWithDoRA(nn.Linear(10, 6), rank=2, alpha=3).double()
    nn.init.normal_(layer.lora.B)
    nn.init.uniform_(layer.magnitude, 0.5, 2)
    return layer


def test_the_formula(layer):
    x = torch.randn(4, 5, 10, dtype=torch.float64)
    V = layer.linear.weight + 3 / 2 * layer.lora.B @ layer.lora.A
    expected = x @ (layer.magnitude[:, None] * V / V.square().sum(1, keepdim=True).sqrt()).T + layer.linear.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(to_plain(layer)(x), expected)
    rows = to_plain(layer).weight.norm(dim=1)
    torch.testing.assert_close(rows, layer.magnitude.detach())  # the magnitude is the length of each row


def test_the_norm_is_a_constant_in_backward(layer):
    """Section 4.3: the gradient for V is m / ‖V‖ · ∂L/∂W', without the part that keeps the direction's length."""
    x, upstream = torch.randn(7, 10, dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64)
    layer(x).backward(upstream)
    V = (layer.linear.weight + layer.lora.delta()).detach()
    stretch = layer.magnitude.detach() / V.norm(dim=1)
    dV = stretch[:, None] * (upstream.T @ x)
    torch.testing.assert_close(layer.lora.B.grad, 1.5 * dV @ layer.lora.A.detach().T)
    torch.testing.assert_close(layer.lora.A.grad, 1.5 * layer.lora.B.detach().T @ dV)
    torch.testing.assert_close(layer.magnitude.grad, (upstream * (x @ V.T) / V.norm(dim=1)).sum(0))


def test_starts_as_the_linear_layer_itself_even_with_a_row_of_zeros():
    linear = nn.Linear(5, 4, bias=False)
    nn.init.zeros_(linear.weight[1])
    layer, x = LinearWithDoRA(linear, rank=2, alpha=2), torch.randn(3, 5)
    torch.testing.assert_close(layer(x), linear(x))
    layer(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in (layer.lora.A, layer.lora.B, layer.magnitude))


def test_counts(gpt2_124m, new_model):
    def count(model):
        return sum(parameter.numel() for parameter in peft.trainable_parameters(model).values())

    assert count(peft.apply(gpt2_124m, "dora", rank=8)) == 1_416_210
    model = new_model()
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    expected = sum(5 * (m.in_features + m.out_features) + m.out_features for m in linears)
    assert count(peft.apply(model, "dora", rank=5)) == expected


def test_dropout_falls_on_what_is_learned(layer):
    """h = W x + b + (m/‖V‖ - 1) W drop(x) + m/‖V‖ s B A drop(x), as in the code that the paper's authors published."""
    layer.lora.dropout.p = 0.5
    x = torch.randn(4, 10, dtype=torch.float64)
    torch.manual_seed(1)
    dropped = torch.nn.functional.dropout(x, 0.5)
    assert not torch.equal(dropped, x)
    W, stretch = layer.linear.weight, layer.magnitude / (layer.linear.weight + layer.lora.delta()).norm(dim=1)
    update = dropped @ (1.5 * layer.lora.B @ layer.lora.A).T
    expected = x @ W.T + layer.linear.bias + (stretch - 1) * (dropped @ W.T) + stretch * update
    torch.manual_seed(1)
    torch.testing.assert_close(layer.train()(x), expected)
