"""A run's folder: what was asked for, how it went, and where it resumes after an interruption.

config.json          every setting, enough to repeat the run and to use its result; hashes of the data and the base
metrics.json         the figures; ``status`` is running, interrupted, failed or finished
history.csv          one row an epoch, row 0 before training
steps.csv            one row a batch: loss and accuracy
curves.png, confusion.png
adapter/             what was learned
state.safetensors    after each epoch, until the run is finished: weights, optimiser, history
.lock                held by the process that writes here
"""

import contextlib
import json
import math
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from gpt2 import __version__
from gpt2.checkpoints.fingerprints import parameters_of
from gpt2.checkpoints.weights import open_safetensors
from gpt2.errors import InputError
from gpt2.files import atomic_write, refused_if_not_writable, remove_unfinished, write_json
from gpt2.training.distributed import is_main
from gpt2.training.finetune import Progress
from gpt2.training.run_files import read_json

STATE_FILE = "state.safetensors"
HASHES = {  # settings that are sha256 sums, and what has changed when they differ
    "data_sha256": "the texts or labels have changed since",
    "base_sha256": "the base model's weights have changed since",
}
WRITING_OPTIONS = ("max_new_tokens", "num_beams", "length_penalty", "no_repeat_ngram_size", "test_sources")
RECORDED = ("versions", "lr_source", *WRITING_OPTIONS)  # a run may resume under others: they do not change training


def versions() -> dict[str, str]:
    """What a run was made with."""
    return {"python": platform.python_version(), "torch": torch.__version__, "project": __version__}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into ``folder``; the lock ends with the process, however that ends.

    Raises InputError when the folder cannot be written or another process has it.
    """
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    with refused_if_not_writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise InputError(
                f"{folder}: another process is running in it; wait for it, or name another folder", "out"
            ) from error
        except NotImplementedError:  # a network disk without locks
            pass
    try:
        yield
    finally:
        lock.release()


def open_run(folder: Path, config: dict) -> bool:
    """Start a new run and return False, or find an interrupted run of the same settings, data and base: True.

    The folder should be ``locked``. Raises InputError when it cannot be written or holds another run.
    """
    if (folder / "config.json").is_file():
        if read_json(folder / "metrics.json").get("status") == "finished":
            raise InputError(f"{folder} holds a finished run; name another folder, or delete this one", "out")
        before = read_json(folder / "config.json")
        keys = (before.keys() | config.keys()) - set(RECORDED)
        changed = sorted((key for key in keys if before.get(key) != config.get(key)), key=lambda key: key in HASHES)
        if changed:  # settings first: another table has other texts too
            key = changed[0]
            what = f" with another {key} ({before.get(key)!r}, now {config.get(key)!r}); repeat its settings to resume"
            if key in HASHES:
                what = f", but {HASHES[key]}; restore what it began with"
            raise InputError(f"{folder} holds an interrupted run{what}, or name another folder", "out")
        if is_main():  # another process may come here while the main one already writes
            remove_unfinished(folder)
        return (folder / STATE_FILE).is_file()
    write_json(folder / "config.json", config)
    return False


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Any) -> None:
    """Write everything that training needs to resume as if it had never stopped. ``progress``: any dataclass of what
    JSON can say; tensors in an attribute ``best`` are kept as tensors."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters_of(model).items():
        if parameter.requires_grad:
            tensors[f"model/{name}"] = parameter.detach()
            for key, value in optimizer.state[parameter].items():
                tensors[f"optimizer/{name}/{key}"] = value
    notes = {key: value for key, value in vars(progress).items() if key != "best"}
    tensors |= {f"best/{name}": value for name, value in getattr(progress, "best", {}).items()}
    with atomic_write(path) as temporary:
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"progress": json.dumps(notes)},
        )


@torch.no_grad()
def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, kind: type = Progress) -> Any:
    """Read what ``save_state`` wrote into ``model`` and ``optimizer``; returns the progress, which is of this ``kind``.

    What is kept is copied: a tensor that stays mapped to the file would keep Windows from replacing it. Raises
    InputError when the state does not fit.
    """
    parameters = parameters_of(model)
    with open_safetensors(path, "delete its folder and start again") as file:
        try:
            progress = kind(**json.loads(file.metadata()["progress"]))
            for name, parameter in parameters.items():
                if parameter.requires_grad:
                    parameter.copy_(file.get_tensor(f"model/{name}"))
                    optimizer.state[parameter] = {}
            for key in file.keys():  # noqa: SIM118 - safe_open is not a dict
                kind, name, *rest = key.split("/")
                if kind == "optimizer":
                    parameter = parameters[name]
                    value = file.get_tensor(key).clone()
                    optimizer.state[parameter][rest[0]] = value if rest[0] == "step" else value.to(parameter.device)
                elif kind == "best":
                    progress.best[name] = file.get_tensor(key).clone()
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(f"{path} does not fit this run ({error}); delete its folder and start again") from error
    return progress


def write_history(folder: Path, progress: Progress) -> None:
    """history.csv, steps.csv and curves.png; curve.csv where the recipe asks for a learning curve."""
    from gpt2.training.plots import plot_curves

    history = pd.DataFrame(progress.history)
    with atomic_write(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False)
    for name, rows in (("steps", progress.steps), ("curve", progress.curve)):
        if rows:
            with atomic_write(folder / f"{name}.csv") as temporary:
                pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.6g")
    with atomic_write(folder / "curves.png") as temporary:
        plot_curves(history, pd.DataFrame(progress.steps), temporary)


def write_confusion(folder: Path, labels: np.ndarray, answers: np.ndarray, classes: Sequence[str]) -> str | None:
    """confusion.png: how often the test messages of each class (row) were called which (column). Returns what a
    person should know about the picture."""
    from gpt2.metrics import confusion
    from gpt2.training.plots import plot_confusion

    table = confusion(labels, answers, len(classes))
    with atomic_write(folder / "confusion.png") as temporary:
        return plot_confusion(table, classes, temporary, f"{len(labels):,} test messages")


def without_nan(value: Any) -> Any:
    """JSON has no NaN: None stands for a figure that does not exist."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
