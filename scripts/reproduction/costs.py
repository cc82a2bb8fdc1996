"""What a row trains, how many operations it takes and how much memory, computed from shapes (nothing is loaded)."""

import copy
import functools
from collections.abc import Iterable
from dataclasses import dataclass

import psutil
import torch
from torch.utils.benchmark import Timer

import peft
from benchmarking.flops import operations
from comparison.memory import activations
from gpt2.classifier import add_classification_head
from gpt2.config import SIZES
from gpt2.devices import autocast
from gpt2.model import GPT2
from reproduction.evidence import MESSAGES, messages_of
from reproduction.rows import Row

POSITIONS = {"longest": 120, "none": 31}  # of a message: padded, or its tokens on average; context: those of the row
SIDE = 2048  # of the square matrices that measure the machine
SHARE = 0.5  # of that speed, which training reaches: norms, GELU and the optimizer take their time too
LIBRARIES_MB = 500  # Python, PyTorch and the others, after their import


@dataclass(frozen=True)
class Cost:
    """Of one row, with the row's own model."""

    trained: int  # parameters
    total: int
    operations: float  # of all epochs and the final evaluation: multiplications and additions in matrix products
    memory_mb: float  # weights, gradients, AdamW's means, activations, libraries


@functools.cache
def shapes(size: str) -> GPT2:
    """A classifier of this size on PyTorch's meta device: shapes without memory."""
    with torch.device("meta"):
        return add_classification_head(GPT2(SIZES[size]))


@functools.cache
def cost(
    method: str, rank: int, blocks: int, size: str, positions: int, batch: int, epochs: int, seen: int, messages: int
) -> Cost:
    """Of one set of settings; the rows share many. ``positions``: of a message; ``seen``: training messages in an
    epoch; ``messages``: in all parts."""
    config = SIZES[size]
    options = {"lora": {"rank": rank}, "selective": {"blocks": blocks}}.get(method, {})
    model = copy.deepcopy(shapes(size))
    total = sum(p.numel() for p in model.parameters())
    with torch.device("meta"):
        peft.apply(model, method, **options)
    trained = sum(p.numel() for p in peft.trainable_parameters(model).values())
    weights = sum(p.numel() for p in model.parameters())
    training = operations(model, positions, range(len(model.h))) if epochs else 0
    reached = {"head": 0, "selective": blocks}.get(method, len(model.h))  # blocks that gradients pass
    kept = batch * positions * activations(config, rank) * reached / len(model.h) if epochs else 0
    model.requires_grad_(False)
    evaluating = operations(model, positions, range(len(model.h))) * (messages if epochs else 3 * seen)
    numbers = weights + (3 * trained if epochs else 0) + kept
    return Cost(trained if epochs else 0, total, training * seen * epochs + evaluating, 4e-6 * numbers + LIBRARIES_MB)


def cost_of(row: Row) -> Cost:
    """What a row costs on its own model."""
    rank, blocks = int(row.options.get("rank", 0)), int(row.options.get("blocks", 0))
    epochs, seen = row.epochs if row.trains else 0, messages_of(row, "train")
    positions, messages = POSITIONS.get(row.padding, row.max_length), sum(MESSAGES[row.data].values())
    return cost(row.method, rank, blocks, row.model, positions, row.batch_size, epochs, seen, messages)


def machine_speed(device: torch.device) -> float:
    """Operations a second of a large matrix product, in the precision that training uses there."""
    a, b = torch.rand(SIDE, SIDE, device=device), torch.rand(SIDE, SIDE, device=device)
    with autocast(device):
        measured = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads()).blocked_autorange(
            min_run_time=0.5
        )
    return 2 * SIDE**3 / measured.median


def seconds_expected(operations: float, speed: float) -> float:
    """A rough estimate. Right within a factor of two on a CPU; a GPU waits for its small batches and takes longer."""
    return operations / (speed * SHARE)


def duration(seconds: float) -> str:
    """``40 s``, ``7 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def memory_of(device: torch.device) -> float:
    """MB that this machine has for a run: free ones of a GPU, else those that programs can have."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 1e6
    return psutil.virtual_memory().available / 1e6


def too_large(chosen: Iterable[Row], device: torch.device) -> list[str]:
    """Sentences about rows that will probably not fit into this machine's memory."""
    room = memory_of(device)
    needs = [(row, cost_of(row).memory_mb) for row in chosen]
    return [
        f"Careful: {row.id} will probably not fit: training {row.model} takes about {needed / 1000:,.1f} GB, and "
        f"{room / 1000:,.1f} GB are free."
        for row, needed in needs
        if needed > room
    ]
