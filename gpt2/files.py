"""Files are written whole or not at all: into a file beside the target, which then takes the target's name."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from gpt2.errors import InputError

TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}(\.\w+)?")  # the names that whole_file gives to unfinished files


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces ``path``, on any error it disappears.

    Raises InputError when the folder cannot be written to, OSError with the path when the disk gets full on the way.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "a folder of that name is in the way")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {path}: {reason}; choose another folder with --out") from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)  # one step on every system: readers see the old file or the new one
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.filename and Path(error.filename) != temporary:
            raise  # about another file, which it names
        raise OSError(getattr(error, "errno", None), reason_of(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def reason_of(error: Exception) -> str:
    """No space left on device: safetensors' errors hold the system's words between others."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    within = re.search(r"(?:I/O error: )?([^:]*) \(os error \d+\)", str(error))
    return within[1].strip() if within else str(error)


def remove_unfinished(folder: Path) -> None:
    """Delete the temporary files that a killed process left in ``folder``. No other process may be writing there."""
    for file in folder.rglob(".*"):
        if TEMPORARY.fullmatch(file.name) and file.is_file():
            file.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict) -> None:
    """Write ``content`` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
