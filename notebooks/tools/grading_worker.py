"""One submission, run in this process: started by grading.py, never by a person.

    python grading_worker.py job.json          # {"cells": [{"id", "source", "exercise"}, …], "seconds", "memory_mb"}

The cells run as a notebook's do, one after another in one namespace; a cell that fails or takes too long is left and
the next one runs. What they print goes nowhere, so that a flood of output costs nothing. To the real standard output
goes one line of JSON for each check cell: what the check says here, and the record of the answers with which the grader
repeats it in its own process (replay.py). Each line is signed with a key that comes on standard input.
"""

import _thread
import contextlib
import hmac
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

KEY_BYTES = 32


def main(file: str) -> None:
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    sys.path[0] = ""  # as in a kernel: the working directory, not tools/
    say = reporter(sys.stdin.buffer.read(KEY_BYTES))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    limit_memory(job["memory_mb"])

    shell = make_shell()
    seconds, errors = {}, {}  # exercise -> of its own cell
    witness = seen = None
    for cell in job["cells"]:
        name = cell["exercise"]
        is_check = cell["id"].startswith("check-")
        if is_check:
            shell.user_ns["check"], seen = witness()
        started = time.monotonic()
        # The setup cell is the course's own, and an interrupt while it imports PyTorch can crash the process.
        error = run_cell(shell, cell["source"], threading.TIMEOUT_MAX if cell["id"] == "setup" else job["seconds"])
        took = time.monotonic() - started
        if cell["id"] == "setup":
            if error:
                say({"failed": f"the setup cell stopped: {error}"})
                return
            with shell.builtin_trap:  # IPython has names of its own among the builtins while a cell runs
                witness = prepare(job["chapter"])
        elif is_check:
            shell.user_ns.pop("check", None)
            line = {"exercise": name, "right": False, "hint": "", "records": [], "error": errors.get(name) or error}
            if seen and not error:
                line |= seen[-1]
            say({**line, "seconds": seconds.get(name, 0) + took})
        elif name:
            seconds[name], errors[name] = took, error
    os._exit(0)  # whatever threads and exit handlers the submission leaves behind


def prepare(chapter: str):
    """Take hold of the course's checks before the submission's first line. Returns what makes, for each check cell, a
    function in place of course.check and the list to which it adds what it has seen."""
    import course

    course.look(f"{chapter}.0", ())  # imports the chapter's checks
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from tools import guard, replay

    look, record, replaced = course.look, replay.record, guard.Guard().replaced

    def witness():
        seen = []

        def check(name: str, *answers: object) -> None:
            before = replaced()
            answers, records = record(answers)
            hint = look(name, tuple(answers))
            line = {"right": hint is None, "hint": hint or "", "records": records() if hint is None else []}
            if name_of_it := before or replaced():
                words = f"the submission replaces {name_of_it}, on which the check relies"
                line |= {"right": False, "hint": "", "error": words}
            seen.append({"error": "", **line})

        return check, seen

    return witness


def reporter(key: bytes):
    """say(line): one signed line to the real standard output. Only ``main`` may call it."""
    signer, out, caller = hmac.new(key, digestmod="sha256"), os.dup(1), sys._getframe(1).f_code
    dumps, write = json.dumps, os.write

    def say(line: dict) -> None:
        if sys._getframe(1).f_code is not caller:
            raise PermissionError("only the grader reports")
        text = dumps(line).encode()
        signature = signer.copy()
        signature.update(text)
        text = memoryview(signature.hexdigest().encode() + b" " + text + b"\n")
        while text:
            text = text[write(out, text) :]

    return say


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
