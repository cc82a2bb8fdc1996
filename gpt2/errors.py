"""What a person did wrong, or what went wrong with a run, in one sentence each.

Code anywhere raises these two; only the scripts catch them, print the sentence on standard error, and exit.
The sentence says what was found, where, and what to do next.
"""

import math
import operator
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
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number <= most:
        wanted = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        argument = what if what.isidentifier() else None
        raise InputError(f"{what} is {value!r}, expected a whole number {wanted}", argument)
    return number
