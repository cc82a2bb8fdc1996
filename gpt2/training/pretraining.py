"""Pretraining: predict the next token of a long text, millions of times (Radford et al., 2019).

    a step:  batch_size windows ─► model ─► loss ─► gradient ┐
             …                                               ├─► mean ─► clip ─► AdamW
             batch_size windows ─► model ─► loss ─► gradient ┘   (`accumulate` of them, over all processes)

Everything random about a step (which windows, which words a sampled softmax draws) follows from the seed and the step's
number alone. So a run that was interrupted resumes as if it had not been, and N processes take the steps of one.
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

from gpt2.errors import InputError, RunError, number, whole_number
from gpt2.model import GPT2
from gpt2.training.distributed import data_parallel, is_main, rank, sum_over_processes, world_size
from gpt2.training.sampled_softmax import NegativeSampler, sampled_cross_entropy
from gpt2.training.windows import Windows, windows_at

WORDS = 1  # what is drawn: part of the seed, so that other draws (gpt2/training/windows.py) do not repeat these
LOOK_EVERY = 10  # steps between looks at the loss: each look makes a GPU wait


@dataclass(frozen=True)
class PretrainingRecipe:
    """How to pretrain. The defaults suit a model a few hundred wide."""

    steps: int
    lr: float = 1e-3  # AdamW's learning rate, at its highest
    batch_size: int = 8  # windows computed at a time
    accumulate: int = 8  # batches, over all processes, whose gradients make one step
    warmup: float = 0.02  # share of the steps in which the learning rate rises from 0; then it falls along a cosine
    final_lr: float = 0.05  # to this share of the highest
    weight_decay: float = 0.1
    clip: float = 1.0  # largest norm of all gradients together
    sampled: int = 0  # draws of the sampled softmax; 0: the full softmax throughout
    full_share: float = 0.15  # of the steps, the last ones, have the full softmax all the same
    every: int = 100  # steps to the next evaluation
    evaluation_windows: int = 256  # of the held-out text, while training, always the same; after it, all
    precision: str = "float32"  # of matrix products, or bfloat16; weights and optimizer stay in float32
    seed: int = 123

    def __post_init__(self):
        number("lr", self.lr, above=0)
        number("warmup", self.warmup, least=0, below=1)
        number("final_lr", self.final_lr, least=0, most=1)
        number("weight_decay", self.weight_decay, least=0)
        number("clip", self.clip, above=0)
        whole_number("sampled", self.sampled, least=0)
        number("full_share", self.full_share, least=0, most=1)
        whole_number("seed", self.seed, least=0, most=2**32 - 1)
        if self.accumulate % world_size():
            raise InputError(
                f"accumulate is {self.accumulate}, which {world_size()} processes cannot share equally", "accumulate"
            )

    @property
    def sampled_steps(self) -> int:
        return self.steps - round(self.full_share * self.steps) if self.sampled else 0

    def lr_at(self, step: int) -> float:
        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return self.lr * (step + 1) / rise
        done = (step - rise) / max(1, self.steps - rise)
        return self.lr * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass
class PretrainingProgress:
    """How far a run has come: what a checkpoint keeps besides weights and optimizer."""

    step: int = 0  # steps taken
    history: list[dict] = field(default_factory=list)  # one row an evaluation; row 0 is before training
    seconds_training: float = 0.0  # without evaluations


def next_token_loss(model: GPT2, windows: Tensor, drawn: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """windows (B, T + 1) -> mean loss; with ``drawn`` words and log weights, an estimate of it."""
    h = model.hidden_states(windows[:, :-1]).flatten(0, 1)  # (B T, C)
    targets = windows[:, 1:].flatten()  # (B T,)
    if drawn is not None:
        return sampled_cross_entropy(h, targets, model.lm_head.weight, *drawn)
    return F.cross_entropy(model.lm_head(h).float(), targets)


def pretraining_optimizer(model: GPT2, recipe: PretrainingRecipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019); matrices decay, biases and norm gains do not; β₂ = 0.95 as for GPT-3."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95), fused=True)


def pretrain(
    model: GPT2,
    windows: Windows,
    held_out: np.ndarray,
    bytes_per_token: float,
    recipe: PretrainingRecipe,
    optimizer: torch.optim.Optimizer,
    progress: PretrainingProgress,
    compiled: bool = False,
    after_evaluation: Callable[[PretrainingProgress], None] = lambda progress: None,
) -> float:
    """Train ``model``, on the device where it is, from ``progress.step`` to ``recipe.steps``; then its loss on all of
    the held-out text, in nats per token.

    windows, held_out    the text to train on, and the token numbers (n,) to measure on; ``bytes_per_token`` is that of
                         the latter, for bits per byte
    optimizer, progress  new ones, or those of the checkpoint to resume from; both are changed in place
    after_evaluation     called every ``recipe.every`` steps and at the end, in every process, to save and show

    Raises RunError when the loss is no longer a finite number.
    """
    counts = np.bincount(windows.tokens, minlength=model.config.vocab_size)
    sampler = NegativeSampler(counts, recipe.sampled) if recipe.sampled else None
    loss_of = data_parallel(model, torch.compile(next_token_loss) if compiled else next_token_loss)
    tokens_per_step = recipe.batch_size * recipe.accumulate * windows.context

    def measure(train_loss: float, speed: float) -> None:
        loss = held_out_loss(model, held_out, recipe, recipe.evaluation_windows)
        row = {"step": progress.step, "tokens": progress.step * tokens_per_step, "train_loss": train_loss}
        row |= {"held_out_loss": loss, "bits_per_byte": loss / math.log(2) / bytes_per_token}
        row |= {"lr": recipe.lr_at(progress.step), "tokens_per_second": speed}
        progress.history.append(row)
        after_evaluation(progress)

    if not progress.history:
        measure(math.nan, math.nan)
    model.train()
    bar = tqdm(total=recipe.steps, initial=progress.step, unit="step", disable=None if is_main() else True)
    losses, start = [], time.perf_counter()
    for step in range(progress.step, recipe.steps):
        losses.append(take_step(loss_of, windows, sampler, optimizer, recipe, step))
        progress.step = step + 1
        speed = len(losses) * tokens_per_step / (time.perf_counter() - start)
        bar.update()
        if progress.step % LOOK_EVERY == 0:
            recent = torch.stack(losses[-LOOK_EVERY:]).mean().item()
            bar.set_postfix_str(f"loss {recent:.3f}, {speed:,.0f} tokens/s")
        if progress.step % recipe.every == 0 or progress.step == recipe.steps:
            train_loss = torch.stack(losses).mean().item()
            if not math.isfinite(train_loss):
                bar.close()
                raise RunError(
                    f"the loss is {train_loss} before step {progress.step}: training has diverged; "
                    f"start again with a smaller learning rate, such as {recipe.lr / 3:.0e}"
                )
            progress.seconds_training += time.perf_counter() - start
            measure(train_loss, speed)
            losses, start = [], time.perf_counter()
    bar.close()
    return held_out_loss(model, held_out, recipe)


def take_step(
    loss_of: nn.Module,
    windows: Windows,
    sampler: NegativeSampler | None,
    optimizer: torch.optim.Optimizer,
    recipe: PretrainingRecipe,
    step: int,
) -> Tensor:
    """One step of the optimizer, on the windows that ``step`` stands for; returns their mean loss, a scalar tensor."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    device = parameters[0].device
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr_at(step)
    mine = range(rank(), recipe.accumulate, world_size())  # which of the step's batches this process computes
    total = torch.zeros((), device=device)
    for i in mine:
        batch = windows.batch(step * recipe.accumulate + i, recipe.batch_size).to(device)
        drawn = None
        if sampler is not None and step < recipe.sampled_steps:
            drawn = tuple(part.to(device) for part in sampler.draw((recipe.seed, WORDS, step, i)))
        wait = world_size() > 1 and i != mine[-1]  # the processes exchange gradients once a step, not once a batch
        with loss_of.no_sync() if wait else contextlib.nullcontext():
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                loss = loss_of(batch, drawn)
            (loss / len(mine)).backward()
        total += loss.detach()
    nn.utils.clip_grad_norm_(parameters, recipe.clip)
    optimizer.step()
    optimizer.zero_grad()
    return sum_over_processes(total) / recipe.accumulate


@torch.no_grad()
def held_out_loss(model: GPT2, tokens: np.ndarray, recipe: PretrainingRecipe, limit: int | None = None) -> float:
    """Mean loss in nats per token, full softmax and float32, over windows of ``tokens`` that do not overlap.

    ``limit``: only so many windows, evenly spread and the same each time. Processes share the work.
    """
    context = min(model.config.n_positions, len(tokens) - 1)
    starts = np.arange(0, len(tokens) - context, context)
    if limit is not None and limit < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, limit).round().astype(int)]
    device, was_training = model.wte.weight.device, model.training
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64)  # loss, windows
    for part in np.array_split(starts, math.ceil(len(starts) / recipe.batch_size))[rank() :: world_size()]:
        loss = next_token_loss(model, windows_at(tokens, part, context).to(device)).item()
        sums += torch.tensor([loss * len(part), len(part)])
    model.train(was_training)
    if world_size() > 1:  # on the device, where processes exchange; Apple GPUs, always alone, have no float64
        sums = sum_over_processes(sums.to(device))
    return (sums[0] / sums[1]).item()
