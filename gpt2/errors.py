"""What a person did wrong, or what went wrong with a run, in one sentence each.

Code anywhere raises these two; only the scripts catch them, print the sentence on standard error, and exit.
The sentence says what was found, where, and what to do next.
"""


class InputError(ValueError):
    """Wrong usage or unusable input (a file, a row, an option): exit status 2."""


class RunError(RuntimeError):
    """The input was fine, but the run could not be finished: exit status 1."""
