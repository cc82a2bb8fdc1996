"""Several processes that train one model together, as torchrun starts them. With one process nothing here acts.

    torchrun --nproc-per-node 2 scripts/pretrain.py …

        process 0: windows 0, 2, 4, …  ─► gradients ─┐
                                                     ├─► mean of both ─► the same step in both processes
        process 1: windows 1, 3, 5, …  ─► gradients ─┘

torchrun tells each process in its environment how many there are (WORLD_SIZE), which one it is (RANK), and which GPU of
this machine is its own (LOCAL_RANK).
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from gpt2.errors import InputError

PATIENCE = timedelta(hours=6)  # how long one waits for another that is slow, or was put to sleep for a while


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes, if there are any, and leave them at the end. Yields the device to use.

    On GPUs each process gets its own (``cuda:LOCAL_RANK``) and they talk through nccl; on CPUs through gloo.
    Raises InputError when there are more processes than GPUs, or on a device that cannot be shared.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= there:
            raise InputError(f"more processes than the {there} GPUs of this machine; torchrun --nproc-per-node {there}")
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise InputError(f"several processes cannot share a {device.type} device; use --device cpu, or one process")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Is this the one process that prints and writes files?"""
    return rank() == 0


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Replace ``tensor``, in place, by its sum over all processes; every process must call this."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor
