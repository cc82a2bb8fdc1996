"""Several processes that train one model together, as torchrun starts them; with one process nothing happens here.

    torchrun --nproc-per-node 2 scripts/pretrain.py …

        process 0: windows 0, 2, 4, …  ─► gradients ─┐
                                                     ├─► mean of both ─► the same step in both processes
        process 1: windows 1, 3, 5, …  ─► gradients ─┘

torchrun tells each process in its environment how many there are (WORLD_SIZE), which one it is (RANK), and which GPU of
this machine is its own (LOCAL_RANK).
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gpt2.errors import InputError
from gpt2.language import IGNORED

T = TypeVar("T")

TIMEOUT = timedelta(hours=6)  # how long one waits for another that is slow, or was put to sleep for a while


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes, if there are any, and leave them at the end. Yields the device to use.

    On GPUs each process gets its own (``cuda:LOCAL_RANK``) and they talk through nccl; on CPUs through gloo.
    Raises InputError, in all processes alike, when there are more processes than GPUs, or on a device that cannot be
    shared.
    """
    if processes() == 1:
        yield device
        return
    if device.type == "cuda":
        number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if int(os.environ.get("LOCAL_WORLD_SIZE", number + 1)) > there:
            raise InputError(f"more processes than the {there} GPUs of this machine; torchrun --nproc-per-node {there}")
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise InputError(f"several processes cannot share a {device.type} device; use cpu, or one process", "device")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def processes() -> int:
    """How many there are, from the environment: 1 unless torchrun, or something like it, started this one.

    Raises InputError for a WORLD_SIZE that is no number, or stands alone, left behind by something else.
    """
    text = os.environ.get("WORLD_SIZE", "").strip() or "1"
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"the environment variable WORLD_SIZE is {text!r}, not a number of processes; unset it")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if int(text) > 1 and missing:
        raise InputError(
            f"the environment variable WORLD_SIZE says {text} processes, but {missing[0]} is not set; start them with "
            "torchrun, or unset WORLD_SIZE"
        )
    return int(text)


def world_size() -> int:
    """How many processes train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Is this the one process that prints and writes files?"""
    return rank() == 0


def agree(value: T) -> T:
    """The main process's ``value`` in every process."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """The main process does it alone, such as a download; when it is done, the others do it too. When it fails there,
    the others end without a word, for the main process says why."""
    if not is_main() and not agree(None):
        sys.exit(2)
    fine = False
    try:
        yield
        fine = True
    finally:
        if is_main():
            agree(fine)


def own_share(batch: tuple[Tensor, Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor, Tensor], float]:
    """This process's messages of a batch (tokens, lengths, labels), every world_size-th, and how many answers each
    process has to give on average: the divisor that makes the mean over processes of their losses the batch's mean
    loss. A process without any takes a message that counts for nothing: with the label -100, which cross entropy leaves
    out."""
    tokens, lengths, labels = batch
    size, mine = int((labels != IGNORED).sum()) / world_size(), slice(rank(), None, world_size())
    if rank() < len(labels):
        return (tokens[mine], lengths[mine], labels[mine]), size
    return (tokens[:1], lengths[:1], torch.full_like(labels[:1], IGNORED)), size


class DataParallel(nn.Module):
    """``forward(model, …)`` as one module, because DistributedDataParallel works on modules: it runs the same forward
    pass in every process, and replaces each gradient by its mean over all processes while backward still runs."""

    def __init__(self, model: nn.Module, how: Callable[..., Tensor]):
        super().__init__()
        self.model, self.how = model, how

    def forward(self, *arguments) -> Tensor:
        return self.how(self.model, *arguments)


def data_parallel(model: nn.Module, how: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``how`` with ``model`` filled in; with several processes its gradients are means over all of them."""
    if not dist.is_initialized():
        return functools.partial(how, model)
    return nn.parallel.DistributedDataParallel(DataParallel(model, how))


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Replace ``tensor``, in place, by its sum over all processes; every process must call this."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor
