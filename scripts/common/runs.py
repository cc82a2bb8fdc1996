"""The folders of runs as commands see them: a name for a new one."""

import datetime
from pathlib import Path


def new_folder(kind: str) -> Path:
    """runs/2026-01-31-143005-lora, with a number behind it if that is taken."""
    name = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{kind}"
    candidates = (Path("runs") / f"{name}{suffix}" for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    return next(folder for folder in candidates if not folder.exists())
