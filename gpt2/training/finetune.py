"""Fine-tuning a classifier: one training loop for every method.

Which parameters train is decided before (they require grad); the loop only follows that. It knows a model and batches:
``train`` and ``validation`` are MessageBatches, or any objects with

    shuffled(seed, epoch)   the batches of an epoch: (tokens (B, T), lengths (B,), labels (B,))
    by_length(size)         every message once, to evaluate on: (indices in the data, batch), in any order
    first(count)            a few batches for the learning curve, where the recipe asks for one
    len()                   batches in an epoch

Under torchrun several processes share each batch and take the same steps as one would (gpt2/training/distributed.py).
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from gpt2.checkpoints.fingerprints import parameters_of
from gpt2.classifier import classify
from gpt2.devices import autocast, to_device
from gpt2.errors import RunError
from gpt2.metrics import classification_metrics
from gpt2.training.batching import MessageBatches, grouped
from gpt2.training.curve import LearningCurve, measure
from gpt2.training.distributed import data_parallel, is_main, own_share, sum_over_processes
from gpt2.training.frozen_features import FrozenFeatureCache, choose_batching
from gpt2.training.recipe import Recipe
from gpt2.training.reference import keep_generator, restore_generator

CHECK_EVERY = 10  # steps between looks at the loss: each look makes a GPU wait


@dataclass
class Progress:
    """How far a run has come: what a checkpoint keeps besides the model's current weights."""

    epoch: int = 0  # epochs finished
    history: list[dict] = field(default_factory=list)  # one row an epoch; row 0 is before training
    best: dict[str, Tensor] = field(default_factory=dict)  # trainable weights of the best epoch so far
    seconds_training: float = 0.0  # without evaluations
    curve: list[dict] = field(default_factory=list)  # one row a point, see gpt2/training/curve.py
    generator: str = ""  # state of the global random generator, where the recipe follows the reference

    @property
    def best_row(self) -> dict:
        """Highest validation accuracy; among equals the lowest loss."""
        return max(self.history[1:], key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))

    def kept(self, recipe: Recipe) -> str:
        """Which epoch's weights the model has after training, in words."""
        best = self.best_row["epoch"]
        if recipe.keep_best:
            return f"kept epoch {best} of {recipe.epochs}, best on validation"
        return f"kept epoch {recipe.epochs} of {recipe.epochs}, the last; epoch {best} was best on validation"


def finetune(
    model: nn.Module,
    train: MessageBatches,
    validation: MessageBatches,
    recipe: Recipe,
    device: torch.device,
    batching: str | None = None,
    features: FrozenFeatureCache | None = None,
    around_evaluation: Callable[[nn.Module], contextlib.AbstractContextManager] = contextlib.nullcontext,
    progress: Progress | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    after_epoch: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Train what requires grad in ``model``; leave it with the best epoch's weights (``recipe.keep_best``) or the last.

    batching, features  how class logits are computed, see ``classify``; None: what costs least on this device
    around_evaluation   context a method wants around evaluations, such as merged weights
    progress, optimizer where an interrupted run stood (see gpt2/training/runs.py); a new run starts without
    after_epoch         called with the progress after each epoch, to save or show it

    Raises RunError when the loss is no longer a finite number.
    """
    model.to(device)
    trainable = {name: p for name, p in parameters_of(model).items() if p.requires_grad}
    optimizer = optimizer or make_optimizer(model, recipe)
    progress = progress or Progress()
    if batching is None:
        batching, features = choose_batching(model, device, recipe.pooling)
    forward = data_parallel(model, classify)
    steps = math.ceil(len(train) / recipe.accumulate)  # in an epoch

    def validate() -> dict:
        with around_evaluation(model):
            return evaluate(model, validation, device, recipe.pooling, None, batching, features)[0]

    if features is not None:
        progress.seconds_training += features.fill(model, train, device, recipe.pooling)
    if not progress.history:
        progress.history.append(history_row(0, math.nan, math.nan, validate(), 0.0))

    look = functools.partial(
        measure, model, device=device, pooling=recipe.pooling, batching=batching, features=features
    )
    trained_on = progress.epoch * len(train)
    curve = LearningCurve(progress.curve, recipe.curve_every, look, train, validation, trained_on)
    for epoch in range(progress.epoch, recipe.epochs):
        if recipe.reference:
            restore_generator(progress, recipe.seed)
        else:
            torch.manual_seed(recipe.seed + 1000 * epoch)  # for dropout: a resumed run draws what it would have drawn
        model.train()
        start, running = time.perf_counter() - curve.seconds, RunningLoss(epoch, recipe, len(train))
        groups = grouped(train.shuffled(recipe.seed, epoch), recipe.accumulate)  # a step each
        for step, group in enumerate(groups, start=epoch * steps):
            for parameters in optimizer.param_groups:
                parameters["lr"] = recipe.lr_at(step, recipe.epochs * steps)
            optimizer.zero_grad()
            shares = [own_share(batch) for batch in group]  # with one process: the batch, and its messages
            size = sum(count for _, count in shares)
            if recipe.reference:  # there, a last group that is not full has smaller gradients
                size *= recipe.accumulate / len(group)
            for share, count in shares:
                tokens, lengths, labels = to_device(share, device)
                with autocast(device):
                    logits = forward(tokens, lengths, recipe.pooling, batching, features)  # (B, classes)
                loss = F.cross_entropy(logits.float(), labels, reduction="sum") / size
                loss.backward()  # adds to the gradients
                running.add(loss * size, logits, labels, count)
            if recipe.clip:
                nn.utils.clip_grad_norm_(trainable.values(), recipe.clip)
            curve.advance(len(group) - 1)
            optimizer.step()
            curve.advance(1)
        seconds = time.perf_counter() - curve.seconds - start
        curve.end_epoch()
        progress.seconds_training += seconds

        train_loss, train_accuracy = running.finish()
        progress.history.append(history_row(epoch + 1, train_loss, train_accuracy, validate(), seconds))
        progress.epoch = epoch + 1
        if recipe.reference:
            keep_generator(progress)
        if recipe.keep_best and progress.best_row is progress.history[-1]:
            progress.best = {name: p.detach().cpu().clone() for name, p in trainable.items()}
        after_epoch(progress)

    restore_best(model, progress)
    return progress


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


def history_row(epoch: int, train_loss: float, train_accuracy: float, validation: dict, seconds: float) -> dict:
    """One line of history.csv. Training figures are running means over the epoch, while the weights still moved."""
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "validation_loss": validation["loss"],
        "validation_accuracy": validation["accuracy"],
        "seconds": seconds,
    }


@torch.no_grad()
def restore_best(model: nn.Module, progress: Progress) -> None:
    """Put the best epoch's weights back, if they were kept."""
    parameters = parameters_of(model)
    for name, value in progress.best.items():
        parameters[name].copy_(value)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019) over what requires grad; only matrices decay, unless told otherwise."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trainable if recipe.decay_everything or p.dim() >= 2]
    others = [p for p in trainable if not (recipe.decay_everything or p.dim() >= 2)]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr, fused=True)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: MessageBatches,
    device: torch.device,
    pooling: str = "last",
    positive: int | None = None,
    batching: str | None = None,
    features: FrozenFeatureCache | None = None,
) -> tuple[dict, np.ndarray]:
    """Metrics (fractions; ``loss`` in nats per message) and the class probabilities (n, classes), in the data's order.

    ``positive`` is the class that precision, recall and F1 are about; None averages over the classes. ``batching`` and
    ``features``: as in ``finetune``.
    """
    batching = batching or choose_batching(model, device, pooling)[0]
    was_training = model.training
    model.eval()
    order, all_logits, all_labels = [], [], []
    bar = tqdm(batches.by_length(), desc="evaluating", total=len(batches), unit="batch", leave=False, disable=None)
    for indices, batch in bar:
        tokens, lengths, labels = to_device(batch, device)
        with autocast(device):
            all_logits.append(classify(model, tokens, lengths, pooling, batching, features).float())
        all_labels.append(labels)
        order += indices
    model.train(was_training)
    back = torch.tensor(order).argsort()  # where each message of the data is now
    logits, labels = torch.cat(all_logits).cpu()[back], torch.cat(all_labels).cpu()[back]
    probabilities = logits.softmax(dim=-1).numpy()
    metrics = classification_metrics(labels.numpy(), probabilities, positive)
    return metrics | {"loss": F.cross_entropy(logits, labels).item()}, probabilities
