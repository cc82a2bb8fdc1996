"""The sweep of learning rates: the same grid for every method (tuning/studies.py).

    1. every method at every rate of the grid, default size, each seed
    2. where the best rate is at an end of what was tried, the next one beyond it, until it is not
    3. the method's size (rank, bottleneck, virtual tokens) at another value, at the best rate and its two neighbours

The best rate is the one with the lowest validation loss, on average over the seeds. A rate at which any seed diverged
cannot be it.
"""

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

import peft
from tuning.trials import Trial

OTHER_SIZE = {"rank": 2, "bottleneck": 8, "virtual_tokens": 5, "blocks": 2}  # a quarter of the default; two blocks
BEYOND = 2  # so many steps beyond an end of the grid, at most


def beyond(rate: float, up: bool) -> float:
    """The next rate of the grid, which goes 1, 3, 10, 30, …"""
    leading = f"{rate:.0e}"[0]
    factor = (3 if leading == "1" else 10 / 3) if up else (1 / 3 if leading == "3" else 3 / 10)
    return float(f"{rate * factor:.0e}")


def mean_losses(table: pd.DataFrame) -> pd.Series:
    """(method, option, lr) -> validation loss, the mean over the seeds; NaN where a seed diverged."""
    return table.groupby(["method", "option", "lr"]).loss.agg(lambda losses: losses.mean(skipna=False))


def best_rate(losses: pd.Series) -> float:
    """Of lr -> loss."""
    return float(losses.idxmin())


def size_option(method: str) -> str:
    """The other value of the method's size, as in ``rank=2``; "" where it has none."""
    options = peft.METHODS[method].options
    return next((f"{name}={value}" for name, value in OTHER_SIZE.items() if name in options), "")


def sweep(
    methods: Sequence[str],
    rates: Callable[[str], Sequence[float]],
    seeds: Iterable[int],
    steps: int,
    sizes: bool,
    carry_out: Callable[[list[Trial]], pd.DataFrame],
) -> pd.DataFrame:
    """Carry out the three stages of the sweep and return the table.

    ``rates``: method -> its grid; ``carry_out``: trials -> the table with them."""

    def trials(wanted: Iterable[tuple[str, float]], option: Callable[[str], str] = lambda method: "") -> list[Trial]:
        return [Trial(method, lr, steps, seed, option(method)) for seed in seeds for method, lr in wanted]

    table = carry_out(trials([(method, lr) for method in methods for lr in rates(method)]))
    for _ in range(BEYOND):
        losses = mean_losses(table)
        more = []
        for method in methods:
            of_method = losses[method, ""]
            best = best_rate(of_method)
            if best in (of_method.index.min(), of_method.index.max()):
                more.append((method, beyond(best, up=best == of_method.index.max())))
        if more:
            table = carry_out(trials(more))
    if sizes:
        losses = mean_losses(table)
        near = []
        for method in filter(size_option, methods):
            best = best_rate(losses[method, ""])
            near += [(method, lr) for lr in (beyond(best, False), best, beyond(best, True))]
        table = carry_out(trials(near, size_option))
    return table
