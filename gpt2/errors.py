"""What a person did wrong, or what went wrong with a run, in one sentence each.

Code anywhere raises these two; only the scripts catch them, print the sentence on standard error, and exit.
The sentence says what was found, where, and what to do next.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any


class InputError(ValueError):
    """Wrong usage or unusable input (a file, a row, an option): exit status 2.

    argument   which argument of the caller is wrong, such as "batch_size"; a command shows it as --batch-size
    """

    def __init__(self, message: str, argument: str | None = None):
        super().__init__(message)
        self.argument = argument


class RunError(RuntimeError):
    """The input was fine, but the run could not be finished: exit status 1."""


def whole_number(what: str, value: Any, least: int = 1, most: float = math.inf) -> int:
    """An option's value as an int, NumPy's whole numbers too. Raises InputError for anything else."""
    try:
        found = operator.index(value)
    except TypeError:
        found = None
    if found is None or isinstance(value, bool) or not least <= found <= most:
        wanted = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise unexpected(what, value, f"a whole number {wanted}")
    return found


def number(
    what: str,
    value: Any,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> float:
    """An option's value as a float, NumPy's numbers too. Raises InputError for anything else, and outside the limits:
    ``least`` and ``most`` are allowed, ``above`` and ``below`` are not. Infinity never is."""
    try:
        found = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not (least <= found <= most and above < found < below):
        limits = {"of at least": least, "above": above, "at most": most, "below": below}
        wanted = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
        raise unexpected(what, value, f"a number {wanted}" if wanted else "a finite number")
    return found


def one_of(what: str, value: Any, choices: Sequence) -> Any:
    """An option's value, if it is one of ``choices``. Raises InputError for anything else."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise unexpected(what, value, " or ".join(map(repr, choices)))
    return value


def unexpected(what: str, value: Any, wanted: str) -> InputError:
    """The error for an option with a value that is not what is ``wanted``."""
    return InputError(f"{what} is {value!r}, expected {wanted}", what if what.isidentifier() else None)
