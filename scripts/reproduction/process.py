"""One call in a process of its own: its peak memory is its own, and if the system kills it, the others go on."""

import contextlib
import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from common.cli import describe, terminable
from gpt2.errors import InputError, RunError

KILLED = 9  # the signal of a system that runs out of memory; Windows has none


def alone(function: Callable, *arguments: object) -> str | None:
    """Call ``function`` in a new process and wait; None when it is fine, else why it failed, in one line.

    Interrupted, it asks the process to end, waits until that has written what it knows, and raises KeyboardInterrupt.
    """
    context = new_process()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=call, args=(sender, function, arguments))
    process.start()
    sender.close()  # of the two copies the child's remains, so its end is noticed
    try:
        said = receive(receiver)
        process.join()
    except BaseException:
        process.terminate()
        process.join()
        raise
    if said is not None or process.exitcode == 0:
        return said
    if process.exitcode == 130:
        raise KeyboardInterrupt
    return ended(process.exitcode or 0)


def new_process() -> Any:
    """How a process starts: never as a copy of this one, whose threads and GPU it would inherit. Where the system can,
    as a copy of one that has done nothing but import what all rows need, which saves seconds a row."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reproduction.running"])
    return context


def receive(receiver: Connection) -> str | None:
    """What the process says in the end; None if nothing."""
    try:
        return receiver.recv()
    except EOFError:
        return None


def ended(status: int) -> str:
    """How a process ended that said nothing."""
    if status == -KILLED:
        return "the system killed it, probably because memory ran out"
    return f"it ended with exit status {status}"


def call(sender: Connection, function: Callable, arguments: tuple) -> None:
    """In the new process: what went wrong goes to the other one, as a sentence."""
    said = None
    try:
        with terminable():
            function(*arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except (InputError, RunError) as error:
        said = str(error)
    except Exception as error:  # noqa: BLE001 - a bug of ours, or a full disk: the other rows are still worth trying
        said = describe(error)
    with contextlib.suppress(BrokenPipeError):  # the other process was killed
        sender.send(said)
