"""Fine-tuning: one training loop for every method, and for both tasks, classifying and writing.

Which parameters train is decided before (they require grad); the loop only follows that. What is learned is a Task:
CLASSIFICATION, below, or WRITING (gpt2/training/writing.py). The loop knows a model and batches:
``train`` and ``validation`` are MessageBatches, or any objects with

    shuffled(seed, epoch)   the batches of an epoch: (tokens (B, T), lengths (B,), labels (B,); to write (B, T))
    by_length(size)         every message once, to evaluate on: (indices in the data, batch), in any order
    first(count)            a few batches for the learning curve, where the recipe asks for one
    len()                   batches in an epoch

Under torchrun several processes share each batch and take the same steps as one would (gpt2/training/distributed.py).
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.checkpoints.fingerprints import parameters_of
from gpt2.classifier import classify
from gpt2.devices import autocast, to_device
from gpt2.metrics import classification_metrics
from gpt2.training.batching import MessageBatches, grouped
from gpt2.training.curve import LearningCurve, measure
from gpt2.training.decision import AS_TRAINED, Decision
from gpt2.training.distributed import data_parallel, own_share
from gpt2.training.frozen_features import FrozenFeatureCache, choose_batching
from gpt2.training.prediction import predict
from gpt2.training.recipe import Recipe
from gpt2.training.reference import keep_generator, restore_generator
from gpt2.training.running_loss import RunningLoss


@dataclass
class Progress:
    """How far a run has come: what a checkpoint keeps besides the model's current weights."""

    epoch: int = 0  # epochs finished
    history: list[dict] = field(default_factory=list)  # one row an epoch; row 0 is before training
    best: dict[str, Tensor] = field(default_factory=dict)  # trainable weights of the best epoch so far
    seconds_training: float = 0.0  # without evaluations
    steps: list[dict] = field(default_factory=list)  # one row a batch: loss and accuracy of its messages
    curve: list[dict] = field(default_factory=list)  # one row a point, see gpt2/training/curve.py
    generator: str = ""  # state of the global random generator, where the recipe follows the reference
    best_by: str = "accuracy"  # which validation figure decides: accuracy, and among equals the loss; or loss alone

    @property
    def best_row(self) -> dict:
        """The epoch that is best on the validation data."""
        if self.best_by == "loss":
            return min(self.history[1:], key=lambda row: row["validation_loss"])
        return max(self.history[1:], key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))

    def kept(self, recipe: Recipe) -> str:
        """Which epoch's weights the model has after training, in words."""
        best = self.best_row["epoch"]
        if recipe.keep_best:
            return f"kept epoch {best} of {recipe.epochs}, best on validation"
        return f"kept epoch {recipe.epochs} of {recipe.epochs}, the last; epoch {best} was best on validation"


@dataclass(frozen=True)
class Task:
    """What is learned: how a batch becomes logits and answers, and how the model is evaluated."""

    forward: Callable[..., Tensor]  # (model, tokens, lengths, labels, pooling, batching, features) -> (n, classes)
    answers: Callable[[Tensor], Tensor]  # labels of a batch -> (n,), the right classes
    evaluate: Callable[..., dict]  # (model, batches, device, pooling, batching, features) -> loss, accuracy, …
    best_by: str  # see Progress


def class_logits(
    model: nn.Module, tokens: Tensor, lengths: Tensor, labels: Tensor, pooling: str, batching: str, features: Any
) -> Tensor:
    """(B, classes): a message has one answer, its class."""
    return classify(model, tokens, lengths, pooling, batching, features)


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
    task: Task | None = None,
) -> Progress:
    """Train what requires grad in ``model``; leave it with the best epoch's weights (``recipe.keep_best``) or the last.

    task                what is learned; None: CLASSIFICATION
    batching, features  how class logits are computed, see ``classify``; None: what costs least on this device
    around_evaluation   context a method wants around evaluations, such as merged weights
    progress, optimizer where an interrupted run stood (see gpt2/training/runs.py); a new run starts without
    after_epoch         called with the progress after each epoch, to save or show it

    Raises RunError when the loss is no longer a finite number.
    """
    model.to(device)
    trainable = {name: p for name, p in parameters_of(model).items() if p.requires_grad}
    optimizer = optimizer or make_optimizer(model, recipe)
    task = task or CLASSIFICATION
    progress = progress or Progress(best_by=task.best_by)
    if batching is None:
        batching, features = choose_batching(model, device, recipe.pooling)
    forward = data_parallel(model, task.forward)
    steps = math.ceil(len(train) / recipe.accumulate)  # in an epoch
    weights = class_weights(train.labels, device) if recipe.class_weight == "balanced" else None

    def validate() -> dict:
        with around_evaluation(model):
            return task.evaluate(model, validation, device, recipe.pooling, batching, features)

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
            shares = [own_share(batch) for batch in group]  # with one process: the batch, and its answers
            size = sum(count for _, count in shares)
            if recipe.reference:  # there, a last group that is not full has smaller gradients
                size *= recipe.accumulate / len(group)
            for share, count in shares:
                tokens, lengths, labels = to_device(share, device)
                with autocast(device):
                    logits = forward(tokens, lengths, labels, recipe.pooling, batching, features)  # (n, classes)
                answers = task.answers(labels)  # (n,); of messages n = B
                loss = F.cross_entropy(
                    logits.float(), answers, weights, reduction="sum", label_smoothing=recipe.label_smoothing
                )
                loss = loss / size
                loss.backward()  # adds to the gradients
                running.add(loss * size, logits, answers, count)
            if recipe.clip:
                nn.utils.clip_grad_norm_(trainable.values(), recipe.clip)
            curve.advance(len(group) - 1)
            optimizer.step()
            curve.advance(1)
        seconds = time.perf_counter() - curve.seconds - start
        curve.end_epoch()
        progress.seconds_training += seconds
        progress.steps += running.rows(epoch * steps)

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


def class_weights(labels: Sequence[int], device: torch.device) -> Tensor:
    """(classes,) n / (classes · count of the class): each class weighs the same in the loss, and a message 1 on
    average."""
    counts = torch.bincount(torch.tensor(labels))
    return (len(labels) / (len(counts) * counts)).to(device)


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


def evaluate(
    model: nn.Module,
    batches: MessageBatches,
    device: torch.device,
    pooling: str = "last",
    positive: int | None = None,
    batching: str | None = None,
    features: FrozenFeatureCache | None = None,
    decision: Decision = AS_TRAINED,
) -> tuple[dict, np.ndarray]:
    """Metrics (fractions; ``loss`` in nats per message) and the class probabilities (n, classes), in the data's order.

    ``positive`` is the class that precision, recall and F1 are about; None averages over the classes. ``batching`` and
    ``features``: as in ``finetune``. ``decision``: how sure the probabilities are, and which answer follows from them.
    """
    logits, labels = predict(model, batches, device, pooling, batching, features)
    logits = logits / decision.temperature
    probabilities = logits.softmax(dim=-1).numpy()
    answers = decision.answers(probabilities, positive)
    metrics = classification_metrics(labels.numpy(), probabilities, positive, answers)
    return metrics | {"loss": F.cross_entropy(logits, labels).item()}, probabilities


def class_metrics(
    model: nn.Module, batches: MessageBatches, device: torch.device, pooling: str, batching: str, features: Any
) -> dict:
    """The metrics of ``evaluate``, of no class in particular."""
    return evaluate(model, batches, device, pooling, None, batching, features)[0]


CLASSIFICATION = Task(class_logits, lambda labels: labels, class_metrics, "accuracy")
