"""The folders of runs as commands see them: a name for a new one, and the fine-tuned model of a finished one."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli import quoted

if TYPE_CHECKING:
    from gpt2 import GPT2


def new_folder(kind: str) -> Path:
    """runs/2026-01-31-143005-lora, with a number behind it if that is taken."""
    name = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{kind}"
    candidates = (Path("runs") / f"{name}{suffix}" for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    return next(folder for folder in candidates if not folder.exists())


def read_run(run: Path) -> dict:
    """The settings of a run that has an adapter. Raises InputError when the folder is something else."""
    from gpt2.errors import InputError
    from gpt2.training.runs import read_json

    config = read_json(run / "config.json")
    if not {"model", "classes", "pooling", "max_length", "pad_to"} <= config.keys():
        raise InputError(f"{run} is not the folder of a run: no usable config.json in it; see finetune_spam.py")
    if not (run / "adapter").is_dir():
        out = quoted("--out", run)
        raise InputError(f"{run} has no adapter yet: its run was not finished; repeat its command with {out}")
    return config


def load_run(run: Path, assets: str | None, **changes) -> "tuple[GPT2, dict]":
    """The fine-tuned model of a run folder, and the run's settings; ``changes`` are options of its method."""
    import peft
    from gpt2.checkpoints.weights import load_gpt2

    config = read_run(run)
    model = peft.load(load_gpt2(config["model"], assets), run / "adapter", **changes)
    return model.eval(), config
