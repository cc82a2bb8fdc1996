"""What every script needs: our packages first on the path, errors as one line, and a parser that helps.

Import this before gpt2, peft or data. It puts the repository root first on ``sys.path``, because ``peft`` and ``data``
are also names of other people's packages.
"""

import sys

MINIMUM_PYTHON = (3, 11)
if sys.version_info < MINIMUM_PYTHON:  # noqa: UP036 - before anything that an older Python does not understand
    sys.stderr.write("error: this needs Python %d.%d or newer, and this is " % MINIMUM_PYTHON)  # noqa: UP031
    sys.stderr.write("%d.%d (%s)\n" % (sys.version_info[0], sys.version_info[1], sys.executable))  # noqa: UP031
    sys.exit(2)

import argparse  # noqa: E402
import contextlib  # noqa: E402
import io  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import shlex  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any, NoReturn  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
for package in ("gpt2", "peft", "data"):
    found = find_spec(package)
    where = found.origin if found else None
    if where is None or not Path(where).is_relative_to(ROOT):
        place = where or "nowhere"
        sys.exit(
            f"error: `import {package}` finds {place}, not {ROOT / package}; start the script from a whole checkout"
        )

from gpt2.errors import InputError, RunError  # noqa: E402 - only now does the path find them

if TYPE_CHECKING:
    from gpt2.checkpoints.hub import Checkpoint

SEED_LIMIT = 2**32


class Parser(argparse.ArgumentParser):
    """argparse, with wrong usage reported in one line and the description kept as it is laid out."""

    options: set[str] = set()  # of this process's command, such as --batch-size

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)
        self.add_argument("--debug", action="store_true", help="show the full traceback of an error")

    def parse_known_args(self, *arguments, **keywords) -> Any:
        Parser.options = set(self._option_string_actions)
        found, rest = super().parse_known_args(*arguments, **keywords)
        for action in self._actions:
            given = getattr(found, action.dest, None)
            takes_texts = not action.option_strings and action.nargs in ("*", argparse.SUPPRESS)
            if (given == "" != action.default or isinstance(given, list) and "" in given) and not takes_texts:
                name = "/".join(action.option_strings) or action.metavar or action.dest
                self.error(f"{name} is empty, as an unset variable of the shell is; give a value or leave it out")
        return found, rest

    def refuse_unused(self, args: argparse.Namespace, used: object, why: str, *names: str) -> None:
        """Unless they are ``used``, report options that were given: without a word, one would think that they were."""
        for name in names if not used else ():
            if getattr(args, name) != self.get_default(name):
                self.error(f"--{name.replace('_', '-')} has no effect {why}; leave it out")

    def error(self, message: str) -> NoReturn:
        takes_texts = any(action.nargs == "*" for action in self._get_positional_actions())
        if takes_texts and message.startswith("unrecognized arguments: -"):
            message += "; a text that begins with - goes last, behind --"
        elif message.endswith("expected one argument"):
            message += " (one that begins with - is joined to its option by =)"
        line = f"error: {message}; see {self.prog} --help\n"
        self.exit(2, line if is_first_process() else None)


MOST_SETTINGS = 10  # files of settings, each named in the one before


def with_settings(arguments: list[str], depth: int = 0) -> list[str]:
    """Arguments in which ``@FILE`` stands for those in a file: as many a line as you like, quoted as for a shell, and
    comments behind #. Raises InputError for a file that cannot be read."""
    found = []
    for argument in arguments:
        if not argument.startswith("@"):
            found.append(argument)
            continue
        try:
            if depth == MOST_SETTINGS:
                raise ValueError("settings files that name each other")
            found += with_settings(
                shlex.split(Path(argument[1:]).read_text(encoding="utf-8"), comments=True), depth + 1
            )
        except InputError:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot read the settings {argument}: {reason}; name a file behind the @") from error
    return found


def positive_int(text: str) -> int:
    """Type of an option: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """Type of an option: a whole number that NumPy takes as a seed too."""
    if not text.isdecimal() or int(text) >= SEED_LIMIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {SEED_LIMIT - 1}")
    return int(text)


def methods(text: str) -> list[str]:
    """Type of an option: ``all`` or a comma-separated list of method names, in teaching order."""
    import peft

    wanted = list(peft.METHODS) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in peft.METHODS:
            raise argparse.ArgumentTypeError(f"unknown method {name!r}; choose among {', '.join(peft.METHODS)}")
    if not wanted:
        raise argparse.ArgumentTypeError("no method is named; give a list such as head,lora,full, or all")
    return [name for name in peft.METHODS if name in wanted]


def add_task_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--task``."""
    parser.add_argument(
        "--task",
        choices=("classification", "text"),
        default="classification",
        help="what is learned: as by finetune_spam.py, or to write, as by finetune_text.py (default: %(default)s)",
    )


def writing_methods(parser: Parser, chosen: list[str], option: str = "--methods") -> list[str]:
    """Those of ``chosen`` that can learn to write; ``all`` leaves out the others, a name of them is an error."""
    import peft

    able = [name for name in chosen if not peft.METHODS[name].head_only]
    if len(able) < len(chosen) < len(peft.METHODS):
        unable = next(name for name in chosen if name not in able)
        parser.error(f"{option}: {unable} trains a classification head only, and a model that writes has none")
    return able


def add_model_arguments(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """Add ``--model``, ``--assets`` and ``--device``."""
    parser.add_argument(
        "--model",
        default=default,
        metavar="NAME|PATH",
        help="auto (gpt2 if it is available, else practice), gpt2, gpt2-medium, gpt2-large, gpt2-xl, practice, or a "
        "folder or .safetensors file in the Hugging Face layout; random:NAME for random weights in the shape of NAME "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--assets",
        metavar="FOLDER",
        help="local folder to look in before any download, as in FOLDER/gpt2/model.safetensors, "
        "FOLDER/sms-spam/SMSSpamCollection and FOLDER/imdb/aclImdb_v1.tar.gz (default: the environment variable "
        "GPT2_PEFT_ASSETS)",
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: a GPU if any"
    )


def add_data_arguments(parser: argparse.ArgumentParser, protocol: str) -> None:
    """``protocol``: the default."""
    parser.add_argument(
        "--data",
        default="auto",
        metavar="NAME|FILE",
        help="auto (the SMS Spam Collection if available, else practice), sms, imdb (50,000 film reviews, 84 MB to "
        "download), practice (2,000 bundled messages), "
        "unseen-words or unseen-order (bundled tasks that counting words cannot solve), or your own table: "
        ".csv, .tsv, .jsonl or .parquet (default: %(default)s)",
    )
    parser.add_argument("--text-column", default="text", help="of your own table (default: %(default)s)")
    parser.add_argument("--label-column", default="label", help="of your own table (default: %(default)s)")
    parser.add_argument(
        "--protocol",
        default=protocol,
        choices=("published", "strict", "grouped"),
        help="split of the SMS data: that of Raschka's book; duplicates removed and natural ratio; or that with "
        "near-copies in one part. Of imdb: Raschka's; that of its authors; or that with films in one part (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--group-near-duplicates", action="store_true", help="of your own table: keep near-copies in one part"
    )
    parser.add_argument("--group-column", metavar="NAME", help="of your own table: keep rows of one value in one part")
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="of your own table: equal texts may lie in different parts"
    )
    parser.add_argument("--split-column", metavar="NAME", help="of your own table: says train, validation or test")
    parser.add_argument("--validation-data", metavar="FILE", help="a table to validate on (default: 10 %% of --data)")
    parser.add_argument("--test-data", metavar="FILE", help="a table to test on (default: 20 %% of --data)")
    parser.add_argument("--encoding", default="utf-8", help="of your own table, such as cp1252 (default: %(default)s)")


def choose_model(arguments: argparse.Namespace) -> "Checkpoint":
    """The checkpoint to use; says in two lines when ``auto`` had to settle for the practice model, and why."""
    from gpt2.checkpoints.hub import find_checkpoint

    checkpoint = find_checkpoint(arguments.model, arguments.assets)
    for note in checkpoint.notes if is_first_process() else ():
        print(note, flush=True)
    return checkpoint


def command_line(script: str, *arguments: object) -> str:
    """A command of ours to show: quoted for the shell, and with the script's path as seen from the working folder."""
    path = ROOT / "scripts" / script
    return quoted("python", os.path.relpath(path) if Path.cwd().is_relative_to(ROOT) else path, *arguments)


def say(text: str) -> None:
    """Print a line of a long command. A reader who has had enough, such as ``head``, does not end the work."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def quoted(*words: object) -> str:
    """Words of a command as a shell understands them, spaces and quotation marks included."""
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join(list(map(str, words)))


def is_first_process() -> bool:
    """Of the processes that torchrun starts one speaks, for what is wrong with a command is wrong in all of them."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK") == "0"


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Asked to end (SIGTERM; SIGHUP when the terminal closes, unless nohup is in use), do as when interrupted by
    Ctrl-C: record it, stop workers, remove temporary files."""
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    before = {number: signal.getsignal(number) for number in known}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(main: Callable[[list[str]], int | None]) -> None:
    """Call ``main(arguments)`` and exit: 0 fine, 1 a failed run, 2 wrong usage or input, 130 interrupted."""
    arguments = sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows ? instead of failing
    try:
        with terminable():
            sys.exit(main(arguments) or 0)
    except (InputError, RunError) as error:
        if "--debug" in arguments:
            raise
        fail(with_option(error), 2 if isinstance(error, InputError) else 1, everywhere=False)
    except KeyboardInterrupt:
        fail("interrupted", 130, everywhere=False, prefix="")
    except BrokenPipeError:  # the reader of our output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - a bug of ours, or a full disk: still one line
        if "--debug" in arguments:
            raise
        fail(f"{describe(error)} (--debug shows where)", 1)


def with_option(error: InputError | RunError) -> str:
    """The sentence of an error. An argument of ours that it blames, such as ``batch_size``, is shown as this command's
    option, ``--batch-size``."""
    argument, message = getattr(error, "argument", None) or "", str(error)
    option = f"--{argument.replace('_', '-')}"
    if option not in Parser.options:
        return message
    named, found = re.subn(rf"\b{argument}\b", option, message, count=1)
    return named if found else f"{message} ({option})"


def describe(error: Exception) -> str:
    """An error that is not ours, in one line: a file and what is wrong with it, or the name of the error."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(f"{type(error).__name__}: {error}".split())


def fail(message: str, status: int, everywhere: bool = True, prefix: str = "error: ") -> None:
    """Print one line on standard error and exit with this status."""
    if everywhere or is_first_process():
        print(prefix + message, file=sys.stderr)
    sys.exit(status)
