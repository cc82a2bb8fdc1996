"""One submission, run in this process: started by grading.py, never by a person.

    python grading_worker.py job.json          # {"cells": [{"id", "source", "exercise"}, …], "seconds", "memory_mb"}

The cells run as a notebook's do, one after another in one namespace; a cell that fails or takes too long is left and
the next one runs. What they print goes nowhere, so that a flood of output costs nothing. To the real standard output
goes one line of JSON for each check cell. The results of a check are taken from a file whose name only that check
knows, and the name ``check`` is put right before it: this stops accidents and easy forgeries, not a determined one.
"""

import _thread
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path


def main(file: str) -> None:
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    sys.path[0] = ""  # as in a kernel: the working directory, not scripts/
    report = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    limit_memory(job["memory_mb"])
    folder = Path(file).absolute().parent  # a submission may go elsewhere, or remove the folder it is in

    shell = make_shell()
    seconds, errors = {}, {}  # exercise -> of its own cell
    check = None
    for cell in job["cells"]:
        name = cell["exercise"]
        is_check = cell["id"].startswith("check-")
        results = tempfile.NamedTemporaryFile("r", dir=folder, delete=False) if is_check else contextlib.nullcontext()
        with results as lines:
            if is_check:
                os.environ["COURSE_RESULTS"] = lines.name
                shell.user_ns["check"] = check
            started = time.monotonic()
            # The setup cell is the course's own, and an interrupt while it imports PyTorch can crash the process.
            error = run_cell(shell, cell["source"], threading.TIMEOUT_MAX if cell["id"] == "setup" else job["seconds"])
            took = time.monotonic() - started
            os.environ.pop("COURSE_RESULTS", None)
            verdict = json.loads((lines.readlines() or ["{}"])[-1]) if is_check else {}
        if cell["id"] == "setup":
            if error:
                print(json.dumps({"failed": f"the setup cell stopped: {error}"}), file=report)
                return
            check = shell.user_ns["check"]
        elif is_check:
            line = {"exercise": name, "right": bool(verdict.get("right")), "hint": verdict.get("hint") or ""}
            line["error"] = "" if verdict.get("exercise") == name and not error else errors.get(name) or error
            print(json.dumps({**line, "seconds": seconds.get(name, 0) + took}), file=report)
        elif name:
            seconds[name], errors[name] = took, error
    report.flush()
    os._exit(0)  # whatever threads and exit handlers the submission leaves behind


def make_shell():
    """What a kernel runs cells with: magics, top-level await and display() work."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    return InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))


def run_cell(shell, source: str, seconds: float) -> str | None:
    """None, or what stopped the cell, in one line."""
    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if not done.wait(seconds):
            late.set()
            while True:  # again and again: `except: continue` swallows an interrupt
                interrupt()
                if done.wait(0.3):
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    error = None
    try:
        watcher.start()
        try:
            result = shell.run_cell(source)
            error = result.error_before_exec or result.error_in_exec
        finally:
            done.set()
            watcher.join()
    except KeyboardInterrupt:  # it came when the cell was just over, or IPython was at work
        pass
    if late.is_set():
        return f"stopped after {seconds:g} s, the limit for a cell"
    if error is None:
        return None
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an exception of the submission's own
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}"[:300]


def interrupt() -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # ends a sleep too
    else:
        _thread.interrupt_main()


def limit_memory(megabytes: int) -> None:
    """Where the system can: Linux holds a process to it; macOS takes note and does nothing; Windows cannot."""
    try:
        import resource
    except ImportError:
        return
    for kind, limit in ((resource.RLIMIT_DATA, megabytes * 10**6), (resource.RLIMIT_FSIZE, 10**9)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1])
