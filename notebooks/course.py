"""What all chapters share: finding the model, showing source code, and exercises that check themselves.

from course import begin, check, show_source
begin(MODEL)                       # says early what is missing, and returns the model's name or path
check("09.1", my_lora_forward)     # prints right, or what to look at; never raises
"""

import importlib
import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "COURSE_RESULTS"  # environment: a file to which each check adds a line, for the grader
CHECKS: dict[str, Callable[..., None]] = {}  # "09.1" -> the function that looks at an answer


class Wrong(Exception):
    """An answer is not right yet. The message is a hint: what to look at, not what to write."""


def exercise(name: str) -> Callable:
    """Decorator: this function checks the answers to exercise ``name``, such as "09.1". It returns when they are right
    and raises Wrong with a hint when they are not; whatever else it raises is shown as an error in the answer."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        CHECKS[name] = function
        return function

    return register


def check(name: str, *answers: object) -> bool:
    """Is the exercise solved? Prints so in one line. An empty or a broken answer is wrong too, and raises nothing."""
    importlib.import_module(f"checks.chapter_{name.split('.')[0]}")
    hint = None
    if any(answer is None or answer is ... for answer in answers):
        hint = "nothing here yet: replace the ... by your answer and run the cell again"
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                CHECKS[name](*answers)
        except Wrong as wrong:
            hint = str(wrong)
        except Exception as error:  # noqa: BLE001 - the answer is somebody's first try
            hint = f"your code stopped with {type(error).__name__}: {error}"
    print(f"{name}  right" if hint is None else f"{name}  not yet: {hint}")
    if RESULTS in os.environ:
        with open(os.environ[RESULTS], "a", encoding="utf-8") as file:
            file.write(json.dumps({"exercise": name, "right": hint is None, "hint": hint}) + "\n")
    return hint is None


def begin(model: str = "practice") -> str:
    """Prepare a chapter: quiet, repeatable, and with a sentence about what is missing. Returns the model's source."""
    import torch

    from gpt2.devices import fit_threads
    from gpt2.errors import InputError, RunError
    from gpt2.hub import find_checkpoint

    torch.manual_seed(123)
    try:
        checkpoint = find_checkpoint(model)
    except (InputError, RunError) as error:
        raise SystemExit(f"{error}") from None
    if checkpoint.name == "practice":
        fit_threads(128)
        print("Model: practice, the bundled GPT-2 (7.7 million parameters). Everything below was run with it.")
    else:
        print(f"Model: {model}. The outputs shown in this chapter are the practice model's; yours will differ.")
    return checkpoint.source


def show_source(thing: object) -> None:
    """Print the real source code of a class or function, as it stands in the package."""
    file = Path(inspect.getsourcefile(thing)).resolve()
    lines, first = inspect.getsourcelines(thing)
    name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file.name
    print(f"# {name.as_posix() if isinstance(name, Path) else name}, line {first}\n" + "".join(lines).rstrip())
