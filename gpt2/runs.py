"""A run's folder: what was asked for, how it went, and where to go on after an interruption.

config.json          every setting, enough to repeat the run and to use its result
metrics.json         the figures; ``status`` is running, interrupted, failed or finished
history.csv          one row an epoch, row 0 before training
curves.png, confusion.png
adapter/             what was learned
state.safetensors    after each epoch, until the run is finished: weights, optimiser, history
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from gpt2.errors import InputError
from gpt2.files import whole_file, write_json
from gpt2.finetune import Progress
from gpt2.weights import open_safetensors

STATE_FILE = "state.safetensors"


def open_run(folder: Path, config: dict) -> bool:
    """Make the folder of a new run and return False, or find an interrupted run of the same settings: True.

    Raises InputError when the folder cannot be written or holds another run.
    """
    if (folder / "config.json").is_file():
        if read_json(folder / "metrics.json").get("status") == "finished":
            raise InputError(f"{folder} holds a finished run; name another folder with --out, or delete this one")
        before = read_json(folder / "config.json")
        changed = sorted(key for key in before.keys() | config.keys() if before.get(key) != config.get(key))
        if changed:
            raise InputError(
                f"{folder} holds an interrupted run with another {changed[0]} ({before.get(changed[0])!r}, now "
                f"{config.get(changed[0])!r}); repeat its settings to go on, or name another folder with --out"
            )
        return (folder / STATE_FILE).is_file()
    write_json(folder / "config.json", config)
    return False


def read_json(path: Path) -> dict:
    """A JSON object, or {} when the file is not there. Raises InputError when it is damaged."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return content
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); delete its folder and run again") from error


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress) -> None:
    """Write everything that training needs to go on as if it had never stopped. ``progress``: any dataclass of what
    JSON can say; tensors in an attribute ``best`` are kept as tensors."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            tensors[f"model/{name}"] = parameter.detach()
            for key, value in optimizer.state[parameter].items():
                tensors[f"optimizer/{name}/{key}"] = value
    notes = {key: value for key, value in vars(progress).items() if key != "best"}
    tensors |= {f"best/{name}": value for name, value in getattr(progress, "best", {}).items()}
    with whole_file(path) as temporary:
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"progress": json.dumps(notes)},
        )


@torch.no_grad()
def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, kind: type = Progress):
    """Read what ``save_state`` wrote into ``model`` and ``optimizer``; returns the progress, which is of this ``kind``.

    Raises InputError when it does not fit.
    """
    with open_safetensors(path) as file:
        try:
            progress = kind(**json.loads(file.metadata()["progress"]))
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(file.get_tensor(f"model/{name}"))
                    optimizer.state[parameter] = {}
            for key in file.keys():  # noqa: SIM118 - safe_open is not a dict
                kind, name, *rest = key.split("/")
                if kind == "optimizer":
                    parameter = model.get_parameter(name)
                    value = file.get_tensor(key)
                    optimizer.state[parameter][rest[0]] = value if rest[0] == "step" else value.to(parameter.device)
                elif kind == "best":
                    progress.best[name] = file.get_tensor(key)
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(f"{path} does not fit this run ({error}); delete its folder and start again") from error
    return progress


def write_history(folder: Path, progress: Progress) -> None:
    """history.csv and curves.png."""
    from gpt2.plots import plot_curves

    history = pd.DataFrame(progress.history)
    with whole_file(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False)
    with whole_file(folder / "curves.png") as temporary:
        plot_curves(history, temporary)


def write_confusion(folder: Path, labels: Sequence[int], probabilities: np.ndarray, classes: Sequence[str]) -> None:
    """confusion.png: how often the test messages of each class (row) were called which (column)."""
    from gpt2.metrics import confusion
    from gpt2.plots import plot_confusion

    table = confusion(labels, probabilities.argmax(axis=1), len(classes))
    with whole_file(folder / "confusion.png") as temporary:
        plot_confusion(table, classes, temporary, f"{len(labels):,} test messages")


def without_nan(value):
    """JSON has no NaN: None stands for a figure that does not exist."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
