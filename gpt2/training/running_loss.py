"""Loss and accuracy while the weights still move: batch by batch, and over an epoch."""

import math

import torch
from torch import Tensor
from tqdm import tqdm

from gpt2.errors import RunError
from gpt2.training.distributed import is_main, sum_over_processes
from gpt2.training.recipe import Recipe

CHECK_EVERY = 10  # steps between looks at the loss: each look makes a GPU wait


class RunningLoss:
    """Loss and accuracy over the messages of an epoch while the weights still move, and the progress bar that shows it.

    Numbers stay on the device, and are looked at every CHECK_EVERY steps. They lie in one tensor: a small tensor kept
    from each step would sit where the step's large ones were, and the memory between could not be used again. Raises
    RunError when the loss is not finite.
    """

    def __init__(self, epoch: int, recipe: Recipe, steps: int):
        self.epoch, self.recipe = epoch, recipe
        self.table: Tensor | None = None  # (2, steps): loss and right answers, sums over a batch
        self.sizes: list[float] = []
        title, hidden = f"epoch {epoch + 1}/{recipe.epochs}", None if is_main() else True
        self.bar = tqdm(total=steps, desc=title, unit="step", leave=False, disable=hidden)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, size: float) -> None:
        """``loss``: the sum over the ``size`` messages of a batch."""
        if self.table is None:
            self.table = torch.zeros(2, self.bar.total, device=loss.device)
        self.table[0, len(self.sizes)] = loss.detach()
        self.table[1, len(self.sizes)] = (logits.detach().argmax(dim=-1) == labels).sum()
        self.sizes.append(size)
        self.bar.update()
        if len(self.sizes) % CHECK_EVERY == 0 or len(self.sizes) == self.bar.total:
            recent = self.mean(0, CHECK_EVERY)
            self.bar.set_postfix(loss=f"{recent:.3f}")
            if not math.isfinite(recent):
                self.bar.close()
                raise RunError(
                    f"the loss is {recent} in epoch {self.epoch + 1}: training has diverged; "
                    f"try a learning rate of {self.recipe.lr / 10:.0e}, a tenth of the present one"
                )

    def mean(self, row: int, last: int | None = None) -> float:
        """The mean over the messages of the ``last`` steps (default: all), of all processes: of the loss (row 0) or of
        right answers (row 1)."""
        assert self.table is not None  # a step has been added
        first = 0 if last is None else max(0, len(self.sizes) - last)
        total = sum_over_processes(self.table[row, first : len(self.sizes)].sum())
        messages = sum_over_processes(torch.tensor(float(sum(self.sizes[first:])), device=total.device))
        return (total / messages).item()

    def finish(self) -> tuple[float, float]:
        """Loss and accuracy of the epoch."""
        self.bar.close()
        return self.mean(0), self.mean(1)

    def rows(self, batches_before: int) -> list[dict[str, float]]:
        """A row for each batch of the epoch: ``step`` counts all batches, ``loss`` and ``accuracy`` are of its messages
        before the step that it made."""
        assert self.table is not None
        sizes = sum_over_processes(torch.tensor(self.sizes, device=self.table.device))
        means = (sum_over_processes(self.table.clone()) / sizes).tolist()
        return [
            {"step": batches_before + i, "loss": loss, "accuracy": accuracy}
            for i, (loss, accuracy) in enumerate(zip(*means, strict=True), start=1)
        ]
