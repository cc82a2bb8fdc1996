"""The range test: on a quadratic, where the rate at which gradient descent diverges is known; and on a network."""

import itertools
import math

import pytest
import torch
from torch import nn

from gpt2.errors import InputError
from gpt2.training.lr_range import LRRange, chart, lr_range_test


class Quadratic(nn.Module):
    """f(w) = h w² / 2. Gradient descent multiplies w by 1 - lr h, and diverges where lr > 2 / h."""

    def __init__(self, h: float):
        super().__init__()
        self.h, self.w = h, nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        return self.h * self.w**2 / 2


def range_of(h: float, **options) -> tuple[Quadratic, LRRange]:
    model = Quadratic(h)
    optimizer = torch.optim.SGD(model.parameters(), lr=99.0)
    return model, lr_range_test(model, optimizer, lambda _: model(), itertools.count(), **options)


@pytest.mark.parametrize("h", [3.0, 20.0, 250.0])
def test_the_loss_turns_where_gradient_descent_diverges(h):
    _, found = range_of(h, steps=200)
    factor = found.rates[1] / found.rates[0]
    turned = found.losses.index(min(found.losses)) - 1  # a loss is measured before its own step
    assert 1 / factor < found.rates[turned] / (2 / h) < factor
    assert found.suggestion < 2 / h


def test_the_rates_rise_by_one_factor_between_the_bounds():
    _, found = range_of(0.5, steps=50, lowest=1e-5, highest=1e-2)
    assert len(found.rates) == 50
    assert found.rates[0] == 1e-5 and found.rates[-1] == pytest.approx(1e-2)
    assert found.rates[7] / found.rates[6] == pytest.approx(found.rates[31] / found.rates[30])


def test_it_ends_when_the_loss_explodes_or_is_no_number():
    _, found = range_of(1e5, steps=200)
    assert len(found.rates) < 200 and all(map(math.isfinite, found.losses))
    model = Quadratic(1.0)
    losses = iter([1.0, 0.5, math.nan, 0.1])
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    found = lr_range_test(model, optimizer, lambda _: 0 * model() + next(losses), itertools.count())
    assert len(found.losses) == 3 and found.best == 1


def test_the_running_mean_is_the_one_of_adam():
    found = LRRange()
    for loss in (2.0, 1.0, 4.0):
        found.add(1e-3, loss)
    weights = [0.1 * 0.9**2, 0.1 * 0.9, 0.1]
    assert found.smoothed[0] == pytest.approx(2.0)
    assert found.smoothed[2] == pytest.approx(sum(w * x for w, x in zip(weights, found.losses, strict=True)) / 0.271)


def test_weights_mode_and_frozen_parameters_are_left_as_they_were():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 2)).eval()
    model[0].requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    x, y = torch.randn(16, 4), torch.randint(2, (16,))

    def loss_of(_: int) -> torch.Tensor:
        assert model.training
        return nn.functional.cross_entropy(model(x), y)

    found = lr_range_test(model, torch.optim.AdamW(trained), loss_of, range(40), steps=40, clip=1.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert min(found.losses) < found.losses[0]

    def stopped(step: int) -> torch.Tensor:
        if step == 3:
            raise KeyboardInterrupt
        return loss_of(step)

    with pytest.raises(KeyboardInterrupt):
        lr_range_test(model, torch.optim.AdamW(trained), stopped, range(40))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({"lowest": 1.0, "highest": 0.1}, range(9)),
        ({"steps": 1}, range(9)),
        ({}, range(1)),
        ({"lowest": 0.0}, range(9)),
    ],
)
def test_what_cannot_be_tested_is_refused(options, batches):
    model = Quadratic(1.0)
    with pytest.raises(InputError, match="range test"):
        lr_range_test(model, torch.optim.SGD(model.parameters(), lr=1.0), lambda _: model(), batches, **options)


def test_the_chart_has_a_line_for_every_few_steps_and_marks_the_lowest():
    _, found = range_of(20.0)
    lines = chart(found).splitlines()
    assert lines[0].split() == ["lr", "loss"] and 10 <= len(lines) - 1 <= 20
    (marked,) = [line for line in lines if line.endswith("<- lowest")]
    assert marked.split()[0] == f"{found.rates[found.best]:.1e}"
    assert max(len(line.split("#", 1)[-1]) for line in lines[1:]) <= 60
