"""The processes of grading: one for each submission, and one in which the course judges what they hand over."""

import hashlib
import hmac
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from tools.files import python_path

WORKER, JUDGE = (Path(__file__).with_name(f"grading_{name}.py") for name in ("worker", "judge"))
KEY_BYTES = 32
LONGEST_LINE = 200_000_000  # bytes: the record of an answer
RUNNING: set[subprocess.Popen] = set()  # ended when grading is interrupted


@dataclass(frozen=True)
class Limits:
    cell: float = 120  # seconds for one cell
    notebook: float = 600  # seconds for all of it
    memory_mb: int = 4000


def run(cells: list[dict], original: Path, limits: Limits) -> tuple[list[dict], str]:
    """The results of the checks that were reached, and what kept the others from it."""
    key = secrets.token_bytes(KEY_BYTES)
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as scratch:
        job, report = Path(scratch) / "job.json", Path(scratch) / "report"
        work = Path(scratch) / "work"
        work.mkdir()
        task = {"cells": cells, "chapter": original.name[:2], "seconds": limits.cell, "memory_mb": limits.memory_mb}
        job.write_text(json.dumps(task))
        with open(report, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(WORKER), str(job)],
                cwd=work,
                env=surroundings(original) | {"IPYTHONDIR": scratch},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            RUNNING.add(process)
            try:
                with process.stdin:
                    process.stdin.write(key)
                status = process.wait(limits.notebook)
                problem = f"its process ended early (status {status})"
            except subprocess.TimeoutExpired:
                problem = f"stopped after {limits.notebook:g} s, the limit for a notebook"
            except BrokenPipeError:
                problem = "its process did not start"
            finally:
                end(process)
        return signed_lines(report, key, problem)


def surroundings(original: Path) -> dict[str, str]:
    return os.environ | {
        "JPY_SESSION_NAME": str(original),  # as in Jupyter
        "PYTHONPATH": python_path(original),
        "CUDA_VISIBLE_DEVICES": "-1",  # the practice model, on any machine
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def signed_lines(report: Path, key: bytes, problem: str) -> tuple[list[dict], str]:
    """The lines that the worker has signed; any other line is nobody's."""
    results = []
    with open(report, "rb") as lines:
        for line in lines:
            if len(line) > LONGEST_LINE:
                continue
            signature, _, text = line.rstrip(b"\n").partition(b" ")
            if not hmac.compare_digest(signature, hmac.digest(key, text, "sha256").hex().encode()):
                continue
            result = json.loads(text)
            if "failed" in result:
                return [], result["failed"]
            results.append(result)
    return results, problem


class Judge:
    """Repeats checks in a process where no submission runs. It has read the course before the first one starts."""

    def __init__(self, originals: list[Path]):
        self.environment = surroundings(originals[0])
        self.chapters = sorted({original.name[:2] for original in originals})
        self.turn = threading.Lock()
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(JUDGE), *self.chapters],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            start_new_session=True,
        )
        RUNNING.add(self.process)
        self.process.stdout.readline()  # "ready"

    def hint(self, result: dict) -> str | None:
        """What the check says to the record of these answers; None if they are right."""
        with self.turn:
            try:
                asked = {"exercise": result["exercise"], "records": result["records"]}
                self.process.stdin.write(json.dumps(asked) + "\n")
                self.process.stdin.flush()
                return json.loads(self.process.stdout.readline())["hint"]
            except (OSError, ValueError):
                end(self.process)
                self.start()
                return "the check cannot be repeated"


def fingerprint(notebooks: Path) -> dict[str, str]:
    """The files that decide about right and wrong -> the sum of what is in them."""
    files = [notebooks / "course.py", *(notebooks / "checks").glob("*.py"), *Path(__file__).parent.glob("*.py")]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def end(process: subprocess.Popen) -> None:
    """The process and whatever it has started."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    elif process.poll() is None:
        process.kill()
    process.wait()
    RUNNING.discard(process)
