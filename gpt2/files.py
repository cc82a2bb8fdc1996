"""Atomic writes: into a temporary file beside the target, which then takes the target's name."""

import contextlib
import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from gpt2.errors import InputError

NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", -1))  # what a disk may say
TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}(\.\w+)?")  # the names that atomic_write gives to unfinished files


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces ``path``, on any error it disappears.

    Raises InputError when the folder cannot be written to, OSError with the path when the disk gets full on the way.
    """
    path = Path(path)
    with refused_if_not_writable(path):
        if path.is_dir():
            raise IsADirectoryError(21, "a folder of that name is in the way")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)  # one step on every system: readers see the old file or the new one
    except (OSError, SafetensorError) as error:
        number = error_number(error)
        if number is None or number not in NO_ROOM:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def refused_if_not_writable(path: Path, argument: str = "out") -> Iterator[None]:
    """Around the making of a file or folder: what the system says against it becomes an InputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {path}: {reason}; choose another folder", argument) from error


def error_number(error: Exception) -> int | None:
    """The system's number of an error; safetensors' errors have it in their text only."""
    if isinstance(error, OSError):
        return error.errno
    within = re.search(r"\(os error (\d+)\)", str(error))
    return int(within[1]) if within else None


def remove_unfinished(folder: Path) -> None:
    """Delete the temporary files that a killed process left in ``folder``. No other process may be writing there."""
    for file in folder.rglob(".*"):
        if TEMPORARY.fullmatch(file.name) and file.is_file():
            file.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict) -> None:
    """Write ``content`` as indented JSON, by an atomic write."""
    with atomic_write(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # of half characters JSON knows \udcff
