"""The learning-rate range test: a hundred steps with a rising learning rate, to see which rates a model can take.

    loss                                      The rate grows by the same factor in every step. While it is too small the
    ──────────╮                               loss stays, then it falls, and where the rate is too large it rises again.
              ╲               ╱
               ╲____       __╱                Smith, 2017, "Cyclical Learning Rates for Training Neural Networks",
                    ╲_____╱                   section 3.3 (there the rate grows by the same amount)
    1e-6     1e-4     1e-2      1             learning rate

The losses of single batches jump, so a running mean is looked at. It lags behind, and the best rate for a whole run is
smaller than the largest rate that lowers the loss for a few steps. So the suggestion is a tenth of the rate where the
running mean is lowest (fast.ai's rule). It is a first guess: a short test cannot see what a long run does.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gpt2.errors import InputError

STEPS = 100
LOWEST, HIGHEST = 1e-6, 1.0
SMOOTHING = 0.9  # share of the running mean that is kept at each step
DIVERGED = 3.0  # times the lowest running mean: higher than that, the test ends
SAFETY = 10  # the suggestion is the best rate divided by this
Item = TypeVar("Item")


@dataclass
class LRRange:
    """What a range test saw: one entry a step."""

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    mean: float = 0.0

    def add(self, rate: float, loss: float) -> bool:
        """Note a step's loss, measured before its weights changed; False when there is no use in going on."""
        self.rates.append(rate)
        self.losses.append(loss)
        self.mean = SMOOTHING * self.mean + (1 - SMOOTHING) * loss
        self.smoothed.append(self.mean / (1 - SMOOTHING ** len(self.losses)))  # the mean started at 0: as in Adam
        return math.isfinite(loss) and self.smoothed[-1] <= DIVERGED * min(self.smoothed)

    @property
    def best(self) -> int:
        """The step with the lowest running mean."""
        return min(range(len(self.smoothed)), key=lambda i: (not math.isfinite(self.smoothed[i]), self.smoothed[i]))

    @property
    def suggestion(self) -> float:
        """A learning rate to start with."""
        return self.rates[self.best] / SAFETY


def lr_range_test(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[Item], Tensor],
    batches: Iterable[Item],
    steps: int = STEPS,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    clip: float | None = None,
) -> LRRange:
    """Take up to ``steps`` steps of a fresh ``optimizer``, with learning rates from ``lowest`` to ``highest``, and put
    the weights back. ``loss_of(batch)``: a scalar; ``clip``: the largest norm of all gradients together.

    Raises InputError when there are fewer than two batches or the rates do not rise.
    """
    if not 0 < lowest < highest or steps < 2:
        raise InputError(f"a range test goes up, in two steps or more; not from {lowest} to {highest} in {steps}")
    trained = [p for p in model.parameters() if p.requires_grad]
    before, was_training = [p.detach().clone() for p in trained], model.training
    found, factor = LRRange(), (highest / lowest) ** (1 / (steps - 1))
    model.train()
    try:
        some = itertools.islice(batches, steps)
        for step, batch in enumerate(tqdm(some, "range test", steps, unit="step", leave=False, disable=None)):
            rate = lowest * factor**step
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss = loss_of(batch)
            if not found.add(rate, loss.item()):
                break
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(trained, clip)
            optimizer.step()
    finally:
        optimizer.zero_grad()
        model.train(was_training)
        with torch.no_grad():
            for parameter, value in zip(trained, before, strict=True):
                parameter.copy_(value)
    if len(found.rates) < 2:
        raise InputError(f"a range test needs two batches or more, and a finite loss; it saw {found.losses}")
    return found


def chart(found: LRRange, lines: int = 20, width: int = 50) -> str:
    """The running mean as lines of text, one for every few steps: learning rate, loss, a bar."""
    finite = [value for value in found.smoothed if math.isfinite(value)]
    low, high = min(finite), min(max(finite), 2 * finite[0])  # what has diverged need not fit
    every = math.ceil(len(found.rates) / lines)
    shown = []
    for start in range(0, len(found.rates), every):
        i = found.best if start <= found.best < start + every else start
        value, mark = found.smoothed[i], "  <- lowest" if i == found.best else ""
        share = min(1.0, (value - low) / (high - low)) if math.isfinite(value) and high > low else 1.0
        shown.append(f"{found.rates[i]:8.1e}  {value:7.3f}  {'#' * max(1, round(share * width))}{mark}")
    return "\n".join(["      lr     loss", *shown])
