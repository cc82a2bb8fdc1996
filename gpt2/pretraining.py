"""Pretraining: predict the next token of a long text, millions of times (Radford et al., 2019).

    train.bin  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
               offset └─window 0─┘└─window 1─┘└─window 2─┘…      each of T + 1 tokens: T inputs, and the same
                                                                 shifted by one as targets
    a step     batch_size x accumulate windows ─► mean gradient ─► clip ─► AdamW

Everything random about a step (which windows, which words a sampled softmax draws) follows from the seed and the step's
number alone. So a run that was interrupted goes on exactly as it would have, and N processes take the steps of one.
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
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from gpt2.distributed import is_main, rank, sum_over_processes, world_size
from gpt2.errors import InputError, RunError
from gpt2.model import GPT2
from gpt2.sampled_softmax import NegativeSampler, sampled_cross_entropy

WINDOWS, WORDS = 0, 1  # so that different draws from one seed do not repeat each other


@dataclass(frozen=True)
class Recipe:
    """How to pretrain. Step size and weight decay are for small models; GPT-3's paper lists those of large ones."""

    steps: int
    lr: float = 1e-3  # AdamW's step size, at its highest
    batch_size: int = 8  # windows computed at a time
    accumulate: int = 8  # times, over all processes, before the optimizer takes a step
    warmup: float = 0.02  # share of the steps in which the step size rises from 0; it then falls along a cosine
    final_lr: float = 0.05  # to this share of the highest
    weight_decay: float = 0.1  # of matrices
    clip: float = 1.0  # largest norm of all gradients together
    sampled: int = 0  # words drawn for the sampled softmax; 0: the full one throughout
    full_share: float = 0.15  # of the steps, the last ones, use the full softmax all the same
    evaluate_every: int = 100  # steps
    evaluation_windows: int = 256  # of the held-out text, while training; all of them at the end
    precision: str = "float32"  # or bfloat16, for matrix products; weights and optimizer stay in float32
    seed: int = 123

    def __post_init__(self):
        checks = {
            "lr": self.lr > 0 and math.isfinite(self.lr),
            "warmup": 0 <= self.warmup < 1,
            "final_lr": 0 <= self.final_lr <= 1,
            "weight_decay": self.weight_decay >= 0 and math.isfinite(self.weight_decay),
            "clip": self.clip > 0,
            "sampled": self.sampled >= 0,
            "full_share": 0 <= self.full_share <= 1,
            "seed": 0 <= self.seed < 2**32,
        }
        for name, good in checks.items():
            if not good:
                raise InputError(f"{name} {getattr(self, name)!r} is out of range; see --help")

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
class Progress:
    """How far a run has come: what a checkpoint keeps besides weights and optimizer."""

    step: int = 0  # steps taken
    history: list[dict] = field(default_factory=list)  # one row an evaluation; row 0 is before training
    seconds_training: float = 0.0  # without evaluations


class NextTokenLoss(nn.Module):
    """The model and its loss as one module, so that DistributedDataParallel and compile see the whole computation."""

    def __init__(self, model: GPT2):
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor, candidates: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """windows (B, T + 1) -> mean loss; estimated from ``candidates`` (words, log weights) if there are any."""
        h = self.model.hidden_states(windows[:, :-1]).flatten(0, 1)  # (B T, C)
        targets = windows[:, 1:].flatten()  # (B T,)
        if candidates is not None:
            return sampled_cross_entropy(h, targets, self.model.wte.weight, *candidates)
        return F.cross_entropy(self.model.lm_head(h).float(), targets)


class Windows:
    """Every epoch cuts the text anew, from a random offset, into windows that do not overlap, in random order."""

    def __init__(self, tokens: np.ndarray, context: int, seed: int):
        self.tokens, self.context, self.seed = tokens, context, seed
        self.per_epoch = (len(tokens) - context) // context  # one window less than fit, so that any offset is possible
        if self.per_epoch < 1:
            raise InputError(f"{len(tokens):,} tokens of text are too few for a context of {context}; add texts")
        self.order = functools.lru_cache(maxsize=2)(self.order)

    def order(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch start (per_epoch,)."""
        draw = np.random.default_rng((self.seed, WINDOWS, epoch))
        return draw.integers(self.context) + self.context * draw.permutation(self.per_epoch)

    def batch(self, first: int, count: int) -> Tensor:
        """Windows number ``first`` to ``first + count - 1`` of the whole run: (count, T + 1) int64."""
        places = (divmod(number, self.per_epoch) for number in range(first, first + count))
        return windows_at(self.tokens, [self.order(epoch)[place] for epoch, place in places], self.context)


def windows_at(tokens: np.ndarray, starts: list[int], context: int) -> Tensor:
    return torch.from_numpy(np.stack([tokens[start : start + context + 1] for start in starts]).astype(np.int64))


def make_optimizer(model: GPT2, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019); matrices decay, biases and norm gains do not. β₂ = 0.95 as in GPT-3."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95), fused=True)


def pretrain(
    model: GPT2,
    train: np.ndarray,
    held_out: np.ndarray,
    bytes_per_token: float,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    compiled: bool = False,
    after_evaluation: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Train ``model``, on the device where it is, from ``progress.step`` to ``recipe.steps``.

    train, held_out   token numbers (n,); bytes_per_token of the held-out text, for bits per byte
    optimizer, progress   new ones, or those of the checkpoint to go on from
    after_evaluation  called every ``evaluate_every`` steps and at the end, in every process, to save and show

    Raises InputError when text, batch or processes do not fit, RunError when the loss is no longer a finite number.
    """
    if recipe.accumulate % world_size():
        raise InputError(f"--accumulate {recipe.accumulate} cannot be shared equally by {world_size()} processes")
    device = model.wte.weight.device
    windows = Windows(train, model.config.n_positions, recipe.seed)
    counts = np.bincount(train, minlength=model.config.vocab_size)
    sampler = NegativeSampler(counts, recipe.sampled) if recipe.sampled else None
    loss_of: nn.Module = NextTokenLoss(model)
    if compiled:
        loss_of = torch.compile(loss_of)
    if world_size() > 1:
        loss_of = DistributedDataParallel(loss_of)  # averages the gradients of all processes as they are computed
    mine = range(rank(), recipe.accumulate, world_size())  # which of a step's batches this process computes

    def measure(train_loss: float, seconds: float) -> None:
        limit = None if progress.step == recipe.steps else recipe.evaluation_windows
        loss = evaluate(model, held_out, recipe, limit)
        tokens = recipe.batch_size * recipe.accumulate * model.config.n_positions
        row = {
            "step": progress.step,
            "tokens": progress.step * tokens,
            "train_loss": train_loss,
            "held_out_loss": loss,
            "bits_per_byte": loss / math.log(2) / bytes_per_token,
            "lr": recipe.lr_at(progress.step),
            "tokens_per_second": recipe.evaluate_every * tokens / seconds if seconds else math.nan,
        }
        progress.history.append(row)
        progress.seconds_training += seconds
        after_evaluation(progress)

    if not progress.history:
        measure(math.nan, 0.0)
    model.train()
    start, losses = time.perf_counter(), []
    bar = tqdm(total=recipe.steps, initial=progress.step, unit="step", disable=None if is_main() else True)
    for step in range(progress.step, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(step)
        total = torch.zeros((), device=device)
        for number in mine:
            batch = windows.batch((step * recipe.accumulate + number) * recipe.batch_size, recipe.batch_size)
            candidates = None
            if step < recipe.sampled_steps:
                candidates = tuple(part.to(device) for part in sampler.draw((recipe.seed, WORDS, step, number)))
            last = number == mine[-1]  # only then do the processes talk to each other
            with contextlib.nullcontext() if last or world_size() == 1 else loss_of.no_sync():
                with mixed_precision(device, recipe.precision):
                    loss = loss_of(batch.to(device, non_blocking=True), candidates)
                (loss / len(mine)).backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(sum_over_processes(total) / recipe.accumulate)
        progress.step = step + 1
        bar.update()
        if progress.step % 10 == 0:  # looking at the loss makes a GPU wait
            speed = len(losses) * recipe.batch_size * recipe.accumulate * model.config.n_positions
            speed /= time.perf_counter() - start
            bar.set_postfix_str(f"loss {torch.stack(losses[-10:]).mean().item():.3f}, {speed:,.0f} tokens/s")
        if progress.step % recipe.evaluate_every == 0 or progress.step == recipe.steps:
            train_loss = torch.stack(losses).mean().item()
            if not math.isfinite(train_loss):
                raise RunError(
                    f"the loss is {train_loss} at step {progress.step}: training has diverged; go on from the last "
                    f"checkpoint with a smaller step size, such as --lr {recipe.lr / 3:.0e}"
                )
            measure(train_loss, time.perf_counter() - start)
            start, losses = time.perf_counter(), []
    bar.close()
    return progress


def mixed_precision(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


@torch.no_grad()
def evaluate(model: GPT2, tokens: np.ndarray, recipe: Recipe, limit: int | None = None) -> float:
    """Mean loss of ``model`` in nats per token, full softmax and float32, over windows of ``tokens`` that do not overlap.

    ``limit``: only so many windows, evenly spread, the same ones each time. Processes share the work.
    """
    context = min(model.config.n_positions, len(tokens) - 1)
    starts = np.arange(0, len(tokens) - context, context)
    if limit is not None and limit < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, limit).round().astype(int)]
    device, was_training = model.wte.weight.device, model.training
    model.eval()
    loss_of, sums = NextTokenLoss(model), torch.zeros(2, dtype=torch.float64)  # loss, windows
    for part in np.array_split(starts, math.ceil(len(starts) / recipe.batch_size))[rank() :: world_size()]:
        loss = loss_of(windows_at(tokens, part, context).to(device))
        sums += torch.tensor([loss.item() * len(part), len(part)])
    model.train(was_training)
    sums = sum_over_processes(sums.to(device))
    return (sums[0] / sums[1]).item()
