"""Measuring arms side by side: each in its own process, taking turns.

    round 1    published ▓▓▓       transformers ▓▓▓▓▓▓▓    ours ▓▓▓▓           one computes, the others sleep
    round 2    transformers ▓▓▓▓▓▓▓    ours ▓▓▓▓    published ▓▓▓              the order turns
    …

So a machine that is slower for a while is slower for all.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gpt2.errors import RunError

PUBLISHED, LIBRARY, OURS = "published", "transformers + peft", "ours"  # the arms
OUR_MODULE, LIBRARY_MODULE = "benchmarking.arms", "benchmarking.hugging_face"  # what workers run
SCRIPTS = Path(__file__).resolve().parents[1]


class Worker:
    """The parent's end of a worker (see worker.py). ``job`` is what the worker reads on starting."""

    def __init__(self, name: str, module: str, job: dict, folder: Path):
        self.name = name
        job_file = folder / f"{name}.json"
        job_file.write_text(json.dumps(job), encoding="utf-8")
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(job_file)],  # -P: not the working folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment(module),
            text=True,
            encoding="utf-8",
        )
        assert self.process.stdin and self.process.stdout  # pipes, as asked
        self.input, self.output = self.process.stdin, self.process.stdout
        try:
            self.about = self.answer()  # its first line, when it is ready
        except BaseException:
            self.close()
            raise

    def ask(self, **message) -> dict:
        try:
            print(json.dumps(message), file=self.input, flush=True)
        except OSError:  # it is gone; its answer, or the lack of it, says why
            pass
        return self.answer()

    def answer(self) -> dict:
        """The worker's next line. Raises RunError, in one line, when it failed or is gone."""
        line = self.output.readline()
        if not line:
            raise RunError(
                f"arm {self.name}: its process ended with status {self.process.wait()} ({self.last_words()})"
            )
        try:
            message = json.loads(line)
        except ValueError:
            message = {"error": f"it answered {line.strip()[:80]!r}, which is not JSON"}
        if "error" in message:
            raise RunError(f"arm {self.name}: {message['error']}")
        return message

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing; was its memory taken away?"

    def hang_up(self) -> None:
        """Ask it to end, by having no more to say."""
        with contextlib.suppress(OSError):
            self.input.close()

    def close(self) -> None:
        """End it, and wait until its memory is free again."""
        self.hang_up()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()
        self.errors.close()


def environment(module: str) -> dict:
    """This process's, offline, with scripts/ on PYTHONPATH. Our packages are on it for our modules only: for the
    library's they would hide its ``peft``."""
    paths = [Path(path).resolve() for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    ours = [SCRIPTS] if module.startswith(LIBRARY_MODULE) else [SCRIPTS, SCRIPTS.parent]
    elsewhere = [path for path in paths if path not in (SCRIPTS, SCRIPTS.parent)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*ours, *elsewhere])), "HF_HUB_OFFLINE": "1"}


@contextlib.contextmanager
def started(jobs: dict[str, tuple[str, dict]], folder: Path, bar: tqdm) -> Iterator[dict[str, Worker]]:
    """Workers by name, started one after the other; all are ended, whatever happens."""
    workers: dict[str, Worker] = {}
    try:
        for name, (module, job) in jobs.items():
            bar.set_postfix_str(f"starting {name}")
            workers[name] = Worker(name, module, job, folder)
        yield workers
    finally:
        for worker in workers.values():
            worker.hang_up()
        for worker in workers.values():
            worker.close()


def measure(
    title: str, jobs: dict[str, tuple[str, dict]], steps: dict[str, int], rounds: int, folder: Path
) -> dict[str, dict]:
    """Run each arm's ``steps`` in ``rounds`` chunks, turn by turn; returns what each arm is, and its records.

    Where an arm keeps what frozen blocks give, its second pass over the same batches costs less than the first: then
    every arm makes two passes, so that "first epoch" and "later epoch" are known of each.
    """
    with tqdm(total=sum(steps.values()), desc=title, unit="step", disable=None) as bar:
        with started(jobs, folder, bar) as workers:
            passes = 2 if any(worker.about.get("frozen_blocks") for worker in workers.values()) else 1
            bar.total *= passes
            records = {name: [] for name in workers}
            for turn in range(passes * rounds):
                number, chunk = divmod(turn, rounds)
                for name in turned(list(workers), turn):
                    start, stop = bounds(steps[name], rounds)[chunk : chunk + 2]
                    if start < stop:
                        bar.set_postfix_str(name)
                        record = workers[name].ask(start=start, stop=stop)
                        records[name].append({"pass": number, "round": chunk, "start": start, "stop": stop} | record)
                        bar.update(stop - start)
            return {name: {"about": workers[name].about, "records": records[name]} for name in workers}


def bounds(steps: int, rounds: int) -> list[int]:
    """Where the rounds begin and end: [0, 33, 66, 98, 131] for 131 steps in 4 rounds."""
    return np.linspace(0, steps, rounds + 1).round().astype(int).tolist()


def turned(names: list[str], turn: int) -> list[str]:
    """The names in a circle, begun at ``turn``, so that no arm is always the first of a round."""
    turn %= len(names)
    return names[turn:] + names[:turn]


def summarise(arm: dict, steps: int, tokens: int, flops: tuple[int, int], peak: float) -> dict:
    """Seconds and memory of an arm. What was not run is scaled by the positions that go through its blocks.

    steps, tokens   in an epoch
    flops   needed for the first epoch and for each later one; ``peak``: the machine's, a second
    """
    passes = [[record for record in arm["records"] if record["pass"] == number] for number in (0, 1)]
    first = epoch_seconds(passes[0], arm["about"]["epoch_positions"])
    later = epoch_seconds(passes[1], arm["about"]["epoch_positions"]) if passes[1] else first
    in_rounds = [np.mean(record["seconds"]) for record in passes[0]]
    five = first + 4 * later
    return {
        "steps": sum(len(record["seconds"]) for record in passes[0]),
        "step_seconds": first / steps,
        "step_sd": float(np.std(in_rounds, ddof=1)) if len(in_rounds) > 1 else None,
        "first_epoch": first,
        "later_epoch": later,
        "five_epochs": five,
        "tokens_per_second": 5 * tokens / five,
        "positions_per_token": arm["about"]["epoch_positions"] / tokens,
        "loaded_mb": arm["about"]["loaded_mb"],
        "peak_mb": max(record["peak_mb"] for record in arm["records"]),
        "share_of_limit": (flops[0] + 4 * flops[1]) / peak / five,
    }


def epoch_seconds(records: list[dict], epoch_positions: int) -> float:
    """Seconds for a whole epoch, scaled from the positions of the steps that were run."""
    seconds = sum(sum(record["seconds"]) for record in records)
    return seconds * epoch_positions / sum(record["positions"] for record in records)


def losses(arm: dict) -> list[float]:
    """Of the first pass, step by step."""
    return [loss for record in arm["records"] if record["pass"] == 0 for loss in record["losses"]]


def disagreement(ours: dict, other: dict, at_most: int | None = None) -> tuple[int, float]:
    """Over how many first steps two arms on the same batches were compared, and their losses' largest relative
    difference."""
    pairs = list(zip(losses(ours), losses(other), strict=False))[:at_most]
    return len(pairs), max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs)
