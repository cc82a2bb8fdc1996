"""Fine-tuning a classifier: one training loop for every method.

Which parameters train is decided before (they require grad); the loop only follows that. Under torchrun several
processes share each batch and take the same steps as one would. The loop knows a model and batches:
``train`` and ``validation`` are any objects with

    shuffled(seed, epoch)   the batches of an epoch: (tokens (B, T), lengths (B,), labels (B,))
    by_length()             every message once, to evaluate on: (places in the data, batch), in any order
    len()                   batches in an epoch
"""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from gpt2.classifier import classify
from gpt2.devices import autocast, to_device
from gpt2.errors import InputError, RunError
from gpt2.metrics import classification_metrics
from gpt2.training.distributed import data_parallel, is_main, own_share, sum_over_processes, world_size

CHECK_EVERY = 10  # steps between looks at the loss: each look makes a GPU wait


@dataclass(frozen=True)
class Recipe:
    """How to train, whatever is trained. The defaults are ours; BOOK and SOURCE_NOTES repeat published runs."""

    lr: float  # AdamW's learning rate, at its highest
    epochs: int = 5
    weight_decay: float = 0.01
    decay_everything: bool = False  # False: matrices only, as nothing is gained by shrinking biases and norm gains
    warmup: float = 0.1  # share of all steps in which the learning rate rises from 0
    schedule: str = "cosine"  # then falls to 0 along a cosine, or stays "constant"
    clip: float | None = 1.0  # largest norm of all gradients together
    pooling: str = "last"  # which token the head reads, see gpt2/classifier.py
    keep_best: bool = True  # end with the weights of the epoch that was best on the validation data
    seed: int = 123

    def __post_init__(self):
        checks = {
            "lr": self.lr > 0 and math.isfinite(self.lr),
            "epochs": self.epochs >= 1,
            "weight_decay": self.weight_decay >= 0 and math.isfinite(self.weight_decay),
            "warmup": 0 <= self.warmup < 1,
            "schedule": self.schedule in ("cosine", "constant"),
            "seed": 0 <= self.seed < 2**32,
        }
        for name, good in checks.items():
            if not good:
                raise InputError(f"{name} {getattr(self, name)!r} is out of range", argument=name)


BOOK = Recipe(  # Raschka, "Build a Large Language Model (From Scratch)", 2024, chapter 6 and appendix E
    lr=5e-5,
    weight_decay=0.1,
    decay_everything=True,
    warmup=0.0,
    schedule="constant",
    clip=None,
    pooling="last-position",
    keep_best=False,
)
# A 2024 article on PEFT with GPT-2 124M (91.44/93.29/90.33 for selective, 100.00/96.64/98.00 for LoRA). It does not
# state its settings: they are taken to be the book's. Its LoRA is that of the draft of appendix E of May 2024, which
# trains for six epochs (scripts/finetune_spam.py has what belongs to a method).
SOURCE_NOTES = BOOK


@dataclass
class Progress:
    """How far a run has come: what a checkpoint keeps besides the model's current weights."""

    epoch: int = 0  # epochs finished
    history: list[dict] = field(default_factory=list)  # one row an epoch; row 0 is before training
    best: dict[str, Tensor] = field(default_factory=dict)  # trainable weights of the best epoch so far
    seconds_training: float = 0.0  # without evaluations

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
    train,
    validation,
    recipe: Recipe,
    device: torch.device,
    around_evaluation: Callable[[nn.Module], contextlib.AbstractContextManager] = contextlib.nullcontext,
    batching: str = "padded",
    features: Callable | None = None,
    progress: Progress | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    after_epoch: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Train what requires grad in ``model``; leave it with the best epoch's weights (``recipe.keep_best``) or the last.

    around_evaluation   context a method wants around evaluations, such as merged weights
    batching, features  how class logits are computed, see ``classify``: the same ones for more or less work
    progress, optimizer where an interrupted run stood (see gpt2/training/runs.py); a new run starts without
    after_epoch         called with the progress after each epoch, to save or show it

    Raises RunError when the loss is no longer a finite number.
    """
    model.to(device)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = optimizer or make_optimizer(model, recipe)
    progress = progress or Progress()
    total_steps = recipe.epochs * len(train)
    forward = data_parallel(model, classify)
    if not progress.history:
        with around_evaluation(model):
            metrics, _ = evaluate(model, validation, device, recipe.pooling, None, batching, features)
        progress.history.append(history_row(0, math.nan, math.nan, metrics, 0.0))

    for epoch in range(progress.epoch, recipe.epochs):
        torch.manual_seed(recipe.seed + 1000 * epoch)  # for dropout: a resumed run draws what it would have drawn
        model.train()
        start = time.perf_counter()
        losses, sizes, correct = [], [], []
        bar = tqdm(
            train.shuffled(recipe.seed, epoch),
            total=len(train),
            desc=f"epoch {epoch + 1}/{recipe.epochs}",
            unit="step",
            leave=False,
            disable=None if is_main() else True,
        )
        for i, batch in enumerate(bar):
            tokens, lengths, labels = to_device(own_share(*batch), device)
            size = len(batch[2])  # of all processes together
            step = epoch * len(train) + i
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * lr_factor(recipe, step, total_steps)

            with autocast(device):
                logits = forward(tokens, lengths, recipe.pooling, batching, features)  # (B, classes)
            loss = F.cross_entropy(logits.float(), labels, reduction="sum") / size  # this process's part of the mean
            optimizer.zero_grad()
            (loss * world_size()).backward()  # the sum of all parts, where DistributedDataParallel takes the mean
            if recipe.clip:
                nn.utils.clip_grad_norm_(trainable.values(), recipe.clip)
            optimizer.step()

            losses.append(loss.detach())
            correct.append((logits.detach().argmax(dim=-1) == labels).sum())
            sizes.append(size)
            if (i + 1) % CHECK_EVERY == 0 or i + 1 == len(train):
                recent = sum_over_processes(torch.stack(losses[-CHECK_EVERY:])).mean().item()
                bar.set_postfix(loss=f"{recent:.3f}")
                if not math.isfinite(recent):
                    bar.close()
                    raise RunError(
                        f"the loss is {recent} in epoch {epoch + 1}: training has diverged; "
                        f"try a learning rate of {recipe.lr / 10:.0e}, a tenth of the present one"
                    )
        seconds = time.perf_counter() - start
        progress.seconds_training += seconds

        with around_evaluation(model):
            metrics, _ = evaluate(model, validation, device, recipe.pooling, None, batching, features)
        train_loss = mean_over_messages(sum_over_processes(torch.stack(losses)), sizes)
        train_accuracy = sum_over_processes(torch.stack(correct)).sum().item() / sum(sizes)
        progress.history.append(history_row(epoch + 1, train_loss, train_accuracy, metrics, seconds))
        progress.epoch = epoch + 1
        if recipe.keep_best and progress.best_row is progress.history[-1]:
            progress.best = {name: p.detach().cpu().clone() for name, p in trainable.items()}
        after_epoch(progress)

    restore_best(model, progress)
    return progress


def mean_over_messages(losses: Tensor, sizes: list[int]) -> float:
    """The mean loss of a message, from the mean losses of batches (steps,) and how many messages each has. A mean over
    batches would let the messages of a small last batch count for more than the others."""
    return (losses.cpu() @ torch.tensor(sizes, dtype=losses.dtype)).item() / sum(sizes)


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
    parameters = dict(model.named_parameters())
    for name, value in progress.best.items():
        parameters[name].copy_(value)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019) over what requires grad; only matrices decay, unless told otherwise."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trainable if recipe.decay_everything or p.dim() >= 2]
    others = [p for p in trainable if not (recipe.decay_everything or p.dim() >= 2)]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr, fused=True)


def lr_factor(recipe: Recipe, step: int, total: int) -> float:
    """What the learning rate is multiplied by at ``step`` of ``total``: a linear rise, then constant or a cosine."""
    rise = max(1, round(recipe.warmup * total))
    if recipe.warmup and step < rise:
        return (step + 1) / rise
    if recipe.schedule == "constant":
        return 1.0
    done = (step - rise) / max(1, total - rise) if recipe.warmup else step / total
    return 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches,
    device: torch.device,
    pooling: str = "last",
    positive: int | None = None,
    batching: str = "padded",
    features: Callable | None = None,
) -> tuple[dict, np.ndarray]:
    """Metrics (fractions; ``loss`` in nats per message) and the class probabilities (n, classes), in order.

    ``positive`` is the class that precision, recall and F1 are about; None averages over the classes. ``batching`` and
    ``features``: as in ``classify``.
    """
    was_training = model.training
    model.eval()
    order, all_logits, all_labels = [], [], []
    bar = tqdm(batches.by_length(), desc="evaluating", total=len(batches), unit="batch", leave=False, disable=None)
    for places, batch in bar:
        tokens, lengths, labels = to_device(batch, device)
        with autocast(device):
            all_logits.append(classify(model, tokens, lengths, pooling, batching, features).float())
        all_labels.append(labels)
        order += places
    model.train(was_training)
    back = torch.tensor(order).argsort()  # where each message of the data went
    logits, labels = torch.cat(all_logits).cpu()[back], torch.cat(all_labels).cpu()[back]
    probabilities = logits.softmax(dim=-1).numpy()
    metrics = classification_metrics(labels.numpy(), probabilities, positive)
    return metrics | {"loss": F.cross_entropy(logits, labels).item()}, probabilities
