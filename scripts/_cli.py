"""What every script needs: our packages first on the path, errors as one line, and a parser that helps.

Import this before gpt2, peft or data. It puts the repository root first on ``sys.path``, because ``peft`` and ``data``
are also names of other people's packages.
"""

import argparse
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
for package in ("gpt2", "peft", "data"):
    found = find_spec(package)
    if found is None or not Path(found.origin).is_relative_to(ROOT):
        where = found.origin if found else "nowhere"
        sys.exit(
            f"error: `import {package}` finds {where}, not {ROOT / package}; start the script from a whole checkout"
        )

from gpt2.errors import InputError, RunError  # noqa: E402 - only now does the path find them


class Parser(argparse.ArgumentParser):
    """argparse, with wrong usage reported in one line and the description kept as it is laid out."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)
        self.add_argument("--debug", action="store_true", help="show the full traceback of an error")

    def error(self, message: str):
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_model_arguments(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    parser.add_argument(
        "--model",
        default=default,
        metavar="NAME|PATH",
        help="auto (gpt2 if it can be had, else practice), gpt2, gpt2-medium, gpt2-large, gpt2-xl, practice, or a "
        "folder or .safetensors file in the Hugging Face layout (default: %(default)s)",
    )
    parser.add_argument(
        "--assets",
        metavar="FOLDER",
        help="local folder to look in before any download, as in FOLDER/gpt2/model.safetensors and "
        "FOLDER/sms-spam/SMSSpamCollection (default: the environment variable GPT2_PEFT_ASSETS)",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))


def choose_model(arguments: argparse.Namespace):
    """The checkpoint to use; says in two lines when ``auto`` had to settle for the practice model, and why."""
    from gpt2.hub import find_checkpoint

    checkpoint = find_checkpoint(arguments.model, arguments.assets)
    for note in checkpoint.notes:
        print(note, flush=True)
    return checkpoint


def run(main: Callable[[list[str]], int | None]) -> None:
    """Call ``main(arguments)`` and exit: 0 fine, 1 a failed run, 2 wrong usage or input, 130 interrupted."""
    arguments = sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal that lacks a character shows ? instead of failing
    try:
        sys.exit(main(arguments) or 0)
    except (InputError, RunError) as error:
        if "--debug" in arguments:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - a bug of ours, or a full disk: still one line
        if "--debug" in arguments:
            raise
        print(f"error: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        sys.exit(1)
