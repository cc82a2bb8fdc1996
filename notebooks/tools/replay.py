"""A check, seen in one process and judged in another.

In the submission's process a check runs with a ``Recorder`` in place of each function that is an answer. It calls the
function and writes down, as plain data (plain.py), what came back and what the call changed in its arguments. In the
grader's process the same check runs again with a ``Replay`` of that record: it gets what the function gave, and no
line of the submission runs there. So the verdict is the course's own, whatever the submission has done to its process.
"""

import contextlib
import random
import sys
from collections.abc import Callable, Iterator

import numpy as np

from tools import plain


class Mismatch(Exception):
    """The record does not fit what the check asks for."""


class Recorder:
    """Behaves as ``function`` and keeps a record of its calls. It draws from random streams of its own, so that the
    check draws the same inputs whatever the function draws."""

    def __init__(self, function: Callable):
        self.function, self.calls, self.trouble, self.stream = function, [], "", None

    def __getattr__(self, name: str) -> object:  # such as __globals__ and __name__
        return getattr(self.__dict__["function"], name)

    def __call__(self, *arguments: object, **options: object) -> object:
        with unseen():
            changes = plain.Changes([list(arguments), options])
        with self.own_stream():
            result = self.function(*arguments, **options)
            if isinstance(result, plain.STREAMS):
                result = list(result)  # a generator can be read only once, and the record is the first to do so
        try:
            with unseen():
                done = changes.since_then()
                self.calls.append([done, plain.encode(result, changes.known)])
        except (plain.Unplain, RecursionError) as problem:
            self.trouble = f"the answer returns or leaves behind {problem}, which cannot be handed over to the check"
        return result

    @contextlib.contextmanager
    def own_stream(self) -> Iterator[None]:
        check = streams()
        put_streams(self.stream or check)
        try:
            yield
        finally:
            self.stream = streams()
            put_streams(check)

    def record(self) -> dict:
        return {"calls": self.calls, "trouble": self.trouble}


class Replay:
    """A function that gives what a record holds, call by call."""

    def __init__(self, record: dict):
        self.calls, self.trouble = iter(record["calls"]), record["trouble"]

    def __call__(self, *arguments: object, **options: object) -> object:
        call = next(self.calls, None)
        if call is None:
            raise Mismatch(self.trouble or "the check asks for more than the record holds")
        known = plain.parts([list(arguments), options])
        plain.apply(call[0], known)
        return plain.decode(call[1], known)


def record(answers: tuple) -> tuple[list, Callable[[], list]]:
    """The answers for a check in this process, and what gives their record once the check is over."""
    seen = [Recorder(a) if callable(a) and not isinstance(a, type) else a for a in answers]

    def records() -> list:
        with unseen():
            return [a.record() if isinstance(a, Recorder) else {"value": encoded(a)} for a in seen]

    return seen, records


def encoded(answer: object) -> object:
    try:
        return plain.encode(answer, [])
    except plain.Unplain:
        return None  # such as a class, whose check is not repeated


def replayed(records: list) -> list:
    return [Replay(each) if "calls" in each else plain.decode(each["value"], []) for each in records]


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """What happens within is not the answer's: a check that watches PyTorch's operations does not see it."""
    torch = sys.modules.get("torch")
    if not torch:
        yield
        return
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes(), torch.no_grad():
        yield


def streams() -> tuple:
    torch = sys.modules.get("torch")
    return random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None


def put_streams(states: tuple) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    if states[2] is not None:
        sys.modules["torch"].set_rng_state(states[2])
