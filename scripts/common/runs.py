"""The folders of runs as commands see them: a name for a new one."""

import datetime
import shlex
from pathlib import Path

from gpt2.files import atomic_write


def new_folder(kind: str) -> Path:
    """runs/2026-01-31-143005-lora, with a number behind it if that is taken."""
    name = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{kind}"
    candidates = (Path("runs") / f"{name}{suffix}" for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    return next(folder for folder in candidates if not folder.exists())


def write_command(folder: Path, arguments: list[str]) -> None:
    """command.txt: the arguments that a run was given, but for its folder. ``@FOLDER/command.txt`` repeats it."""
    lines: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if "--out" in (before, argument) or argument.startswith("--out="):
            continue
        if argument.startswith("--") or not lines:
            lines.append(shlex.quote(argument))
        else:
            lines[-1] += f" {shlex.quote(argument)}"
    with atomic_write(folder / "command.txt") as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")
