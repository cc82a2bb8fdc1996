"""Reading a run's folder (gpt2/training/runs.py says what is in it). Apart, so that a command that only uses a run need
not import what training needs."""

import json
from pathlib import Path

from gpt2.errors import InputError

KEYS = {  # task -> what config.json must say, and the command that makes such a run
    "classifying": ({"model", "classes", "pooling", "max_length", "pad_to"}, "finetune_spam.py"),
    "writing": ({"model", "separator", "max_length"}, "finetune_text.py"),
}


def read_run(folder: Path, task: str | None = "classifying") -> dict:
    """The settings of a run of this task (None: of any) that has an adapter. Raises InputError when the folder is
    something else."""
    config = read_json(folder / "config.json")
    other = config.get("task", "classifying")
    task = task or (other if other in tuple(KEYS) else "classifying")
    keys, command = KEYS[task]
    if config and other != task:
        raise InputError(f"{folder} is a run for {other}, not for {task}; name one that {command} made")
    if not keys <= config.keys():
        raise InputError(f"{folder} is not the folder of a run: no usable config.json in it; see {command}")
    if not (folder / "adapter").is_dir():
        raise InputError(f"{folder} has no adapter yet: its run was not finished; repeat its command with this folder")
    return config


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
        raise InputError(f"{path} is damaged ({error}); delete this file and run again") from error
