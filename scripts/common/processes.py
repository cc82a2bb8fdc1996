"""Commands that torchrun may start several times: one process speaks, and has the run's folder."""

import argparse
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import torch

from common.runs import new_folder, write_command
from gpt2.devices import choose_device
from gpt2.training.distributed import agree, is_main, main_first, process_group
from gpt2.training.runs import locked, open_run


@contextlib.contextmanager
def one_speaks(device: str) -> Iterator[tuple[torch.device, contextlib.ExitStack]]:
    """The device that this process computes on, and a stack for what is held until the end. Of several processes only
    the main one prints."""
    with process_group(choose_device(device)) as own, contextlib.ExitStack() as stack:
        if not is_main():
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield own, stack


def open_folder(args: argparse.Namespace, config: dict, stack: contextlib.ExitStack) -> tuple[Path, bool]:
    """The run's folder, and whether an interrupted run resumes there. ``stack`` keeps its lock, which the main process
    has."""
    folder = Path(args.out or agree(str(new_folder(args.method))))
    with main_first():
        if is_main():
            stack.enter_context(locked(folder))
        resuming = open_run(folder, config)
        if is_main():
            write_command(folder, args.given)
    return folder, resuming
