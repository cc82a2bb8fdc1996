"""What all chapters share: finding the model, showing source code, and exercises that check themselves.

from course import begin, check, show_source
MODEL, device = begin("auto")      # chooses the model; makes the chapter quiet and repeatable; says what is missing
check("09.1", my_lora_forward)     # prints right, or what to look at; never raises
command("scripts/reproduce.py", "--list")      # one of the repository's commands, as in a terminal
"""

import contextlib
import functools
import importlib
import importlib.util
import inspect
import json
import os
import random
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]
CHECKS: dict[str, Callable[..., None]] = {}  # "09.1" -> the function that looks at an answer
INSIDE: set[str] = set()  # exercises whose check needs the answer itself: a class, or hooks that it leaves behind
SETTINGS = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
SETTINGS["PYTORCH_ENABLE_MPS_FALLBACK"] = "1"  # what PyTorch cannot do on an Apple GPU, it does on the CPU
SECONDS_TO_END = 5.0  # for a command that was interrupted
LONGEST_HINT = 400  # characters: an error message can hold a whole tensor


class Wrong(Exception):
    """An answer is not right yet. The message is a hint: what to look at, not what to write."""


class Verdict(int):
    """True or false; as the last value of a cell it shows nothing, since the check has printed its line."""

    def _ipython_display_(self) -> None:
        pass


def exercise(name: str, inside: bool = False) -> Callable:
    """Decorator: this function checks the answers to exercise ``name``, such as "09.1". It returns when they are right
    and raises Wrong with a hint when they are not. Any other exception is shown as an error in the answer.

    The grader repeats a check in a process of its own, with a record of what the answer's functions returned and
    changed. ``inside``: it cannot, because the answer is a class, or leaves hooks behind.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        CHECKS[name] = function
        if inside:
            INSIDE.add(name)
        return function

    return register


def check(name: str, *answers: object) -> Verdict:
    """Is the exercise solved? Prints so in one line. An empty or a broken answer is wrong too, and raises nothing.

    The check leaves no trace: what the answer prints, its warnings and its random draws have no effect on the cells
    that follow.
    """
    hint = look(name, answers)
    print(f"{name}  right" if hint is None else f"{name}  not yet: {hint}")
    return Verdict(hint is None)


def look(name: str, answers: tuple) -> str | None:
    """None if the answers are right, else the hint, in one line."""
    if any(answer is None or answer is ... for answer in answers):
        return "nothing here yet: replace the ... by your answer and run the cell again"
    try:
        importlib.import_module(f"checks.chapter_{str(name).split('.')[0]}")
        examine = CHECKS[name]
    except (ImportError, KeyError):
        return "there is no such exercise: is the number in check(...) the one in the heading above?"
    try:
        with _without_a_trace():
            examine(*answers)
    except Wrong as wrong:
        return _one_line(wrong)
    except (Exception, SystemExit, GeneratorExit) as error:  # the answer is somebody's first try
        return _one_line(error, f"your code stopped with {type(error).__name__}: ")
    return None


def _one_line(error: BaseException, start: str = "") -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an exception of the answer's own, with a broken __str__
        text = "(its message cannot be shown)"
    text = start + text
    return text if len(text) <= LONGEST_HINT else text[:LONGEST_HINT] + " …"


@contextlib.contextmanager
def _without_a_trace() -> Iterator[None]:
    """No output, no warnings, no change of torch's gradient mode; all random generators afterwards as before."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")  # not imported only for this
    undo = [functools.partial(random.setstate, random.getstate())]
    random.seed(0)  # the same verdict each time
    if numpy:
        undo.append(functools.partial(numpy.random.set_state, numpy.random.get_state()))
        numpy.random.seed(0)
    if torch:
        undo.append(functools.partial(torch.set_rng_state, torch.get_rng_state()))
        undo.append(functools.partial(torch.set_grad_enabled, torch.is_grad_enabled()))
        torch.manual_seed(0)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for action in undo:
            action()


def begin(model: str = "auto") -> "tuple[str, torch.device]":
    """Prepare a chapter: quiet, repeatable, with the course's packages first on the path.

    Returns the name of the model and the device to compute on. ``auto`` is GPT-2 124M where there is an NVIDIA GPU and
    the weights are on this machine or can be downloaded, else the bundled practice model. One line says which it is,
    and why. If something is missing, stop at once with a sentence about it.
    """
    sys.path[:0] = [str(ROOT), str(ROOT / "notebooks")]
    _require_packages()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm in a Jupyter without widgets

    import numpy
    import torch

    from gpt2.checkpoints.hub import find_checkpoint
    from gpt2.devices import choose_device, describe, fit_threads
    from gpt2.errors import InputError, RunError

    random.seed(123)
    numpy.random.seed(123)
    torch.manual_seed(123)
    gpu = torch.cuda.is_available()
    try:
        checkpoint = find_checkpoint(model if gpu or model != "auto" else "practice")
        # The practice model gains little from a GPU, and the chapters have not been tried on Apple's.
        device = choose_device("auto" if gpu or checkpoint.name != "practice" else "cpu")
    except (InputError, RunError) as error:
        raise SystemExit(f"{error}") from None
    torch.set_float32_matmul_precision("highest")  # no TF32: chapters compare results to the last digits
    if checkpoint.name == "practice":
        config = json.loads((checkpoint.path / "config.json").read_text(encoding="utf-8"))
        fit_threads(config["n_embd"])
        shape = f"{config['n_layer']} blocks, width {config['n_embd']}"
        why = "as you chose" if model == "practice" else "because there is no NVIDIA GPU here"
        first = f"Model: practice, the bundled small GPT-2 ({shape}), {why}."
        print(*(checkpoint.notes[:1] or [first]), f"Device: {device}.")  # the notes say why GPT-2 is not available
    else:
        why = "because its weights and a GPU are available" if model == "auto" else "as you chose"
        print(f"Model: {checkpoint.source}, {why}. Device: {describe(device)}.")
        print("Outputs that are stored in the chapters are the practice model's; yours will differ.")
    return checkpoint.name or checkpoint.source, device


def _require_packages() -> None:
    """Stop with a sentence if a package is missing, or if another one of the same name as ours would be imported."""
    if "google.colab" in sys.modules:  # its machines are new each time
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-r", str(ROOT / "requirements.txt")])
        importlib.invalidate_caches()
    missing = [name for name in ("torch", "tiktoken", "pandas", "sklearn", "matplotlib") if not _installed(name)]
    if missing:
        raise SystemExit(f"Not installed: {', '.join(missing)}. Run: pip install -r {ROOT / 'requirements-course.txt'}")
    for name in ("gpt2", "peft", "data"):
        found = importlib.util.find_spec(name).origin
        if not Path(found or "").is_relative_to(ROOT):
            raise SystemExit(
                f"`import {name}` finds {found}, not the course's. Restart the kernel, run this cell first."
            )


def _installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def show_source(thing: object) -> None:
    """Print the real source code of a class or function, as it stands in the package."""
    thing = inspect.unwrap(thing)  # @torch.no_grad() and the like stand in another file
    file = Path(inspect.getsourcefile(thing)).resolve()
    lines, first = inspect.getsourcelines(thing)
    name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name
    print(f"# {name}, line {first}\n" + "".join(lines).rstrip())


def command(script: str, *arguments: object) -> None:
    """Run one of the repository's commands in its folder, and show what it prints as it comes, errors too.

    To stop it, interrupt the cell: the command records where it is, and KeyboardInterrupt is raised. A command that
    fails has said why in its last line; nothing is raised then, so the cells below still run.
    """
    words = [script, *map(str, arguments)]
    print("$ python", shlex.join(words))
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    with process:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
        except KeyboardInterrupt:
            # Jupyter interrupts the command, too; where it does not, the command ends when it is asked to.
            try:
                rest, _ = process.communicate(timeout=SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.terminate()
                rest, _ = process.communicate()
            print(rest, end="", flush=True)
            raise
