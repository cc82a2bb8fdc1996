"""The learning curve: loss and accuracy while training, on a few batches of the training and of the validation data.

after batch          0    50   100   150 …        a point every ``recipe.curve_every`` batches, and one after each
training loss     2.15  0.62  0.52  0.56          epoch; over BATCHES batches of either part, in evaluation mode
validation loss   2.39  0.64  0.56  0.49          (these: Raschka, 2024, chapter 6)
"""

import time
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.classifier import classify
from gpt2.devices import autocast, to_device
from gpt2.training.batching import Batch, MessageBatches

BATCHES = 5  # of each part, as in the reference recipe (Raschka, 2024)


@torch.no_grad()
def measure(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device,
    pooling: str = "last",
    batching: str = "padded",
    features: Callable[..., tuple[Tensor, int]] | None = None,
) -> dict[str, float]:
    """Loss (nats per message), accuracy (a fraction) and number n of the messages in these batches. ``pooling``,
    ``batching`` and ``features``: as in ``classify``."""
    was_training = model.training
    model.eval()
    loss, correct, n = torch.zeros(()), 0, 0
    for batch in batches:
        tokens, lengths, labels = to_device(batch, device)
        with autocast(device):
            logits = classify(model, tokens, lengths, pooling, batching, features).float()
        loss += F.cross_entropy(logits, labels, reduction="sum").cpu()
        correct += int((logits.argmax(dim=-1) == labels).sum())
        n += len(labels)
    model.train(was_training)
    return {"loss": loss.item() / n, "accuracy": correct / n, "n": n}


class LearningCurve:
    """Adds points to ``points``, which a run keeps (lines of curve.csv), as training advances."""

    def __init__(
        self,
        points: list[dict],
        every: int,
        look: Callable[[Iterable[Batch]], dict[str, float]],
        train: MessageBatches,
        validation: MessageBatches,
        batches: int = 0,
    ):
        self.points, self.every = points, every
        self.look = look  # ``measure``, with the model and all that stays the same filled in
        self.parts = {"train": train, "validation": validation}
        self.batches = batches  # trained on so far
        self.seconds = 0.0  # that measuring took

    def advance(self, batches: int) -> None:
        """So many more batches were trained on: measure if a point is due, the first one after the first batch."""
        for number in range(self.batches, self.batches + batches):
            if self.every and number % self.every == 0:
                self.add_point(number)
        self.batches += batches

    def end_epoch(self) -> None:
        """Measure after an epoch."""
        if self.every:
            self.add_point(self.batches - 1)

    def add_point(self, batch: int) -> None:
        """Measure now, after batch number ``batch``, counted from 0."""
        start = time.perf_counter()
        point: dict[str, float] = {"batch": batch}
        for name, part in self.parts.items():
            values = self.look(part.first(BATCHES))
            point |= {f"{name}_loss": values["loss"], f"{name}_accuracy": values["accuracy"]}
        self.points.append(point)
        self.seconds += time.perf_counter() - start
