"""The runs of a comparison: which there are, where their folders lie, and how they are carried out.

    OUT/comparison.json            what is compared: model, data, protocol, epochs, added rows; the machine and the
                                   commands
    OUT/runs/lora-123/             row and seed: a run folder of the script that trains (gpt2/training/runs.py), and its
                                   output.txt

Every run is a process of its own, because peak memory is a property of a process, and because one that fails must not
take the others with it.
"""

import dataclasses
import datetime
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from common.cli import ROOT
from comparison.rows import Row
from comparison.settings import Run, RunSettings
from gpt2.errors import InputError
from gpt2.files import write_json
from gpt2.training.run_files import read_json

FIRST_SEED = 123
MOST_SEEDS = 1000
POLL_SECONDS = 0.1


@dataclass
class Running:
    """A run under way."""

    run: Run
    process: subprocess.Popen
    started: float = field(default_factory=time.perf_counter)


def seeds(count: int) -> range:
    """The seeds of a comparison, ``count`` of them. Raises InputError for more than MOST_SEEDS."""
    if count > MOST_SEEDS:
        raise InputError(f"seeds is {count}; choose at most {MOST_SEEDS:,}", "seeds")
    return range(FIRST_SEED, FIRST_SEED + count)


def all_runs(rows: Sequence[Row], count: int) -> list[Run]:
    """Seed by seed, so that an early stop leaves comparable rows."""
    return [Run(row, seed) for seed in seeds(count) for row in rows]


def folder_of(out: Path, run: Run) -> Path:
    """Where a run leaves its files."""
    return out / "runs" / run.name


def finished(out: Path, run: Run, model: str) -> bool:
    """Has this run written its metrics? Raises InputError when it was made with other settings than its row has now."""
    folder = folder_of(out, run)
    if read_json(folder / "metrics.json").get("status") != "finished":
        return False
    changed = run.row.contradiction(read_json(folder / "config.json"), model)
    if changed:
        raise InputError(f"{folder}: the row {run.row.name} now has {changed}; delete this folder, or rename the row")
    return True


def open_comparison(out: Path, settings: RunSettings, rows: Sequence[Row], command: str, machine: dict) -> None:
    """Start a results folder, or resume one, and note the ``rows`` that are no method with default options. Raises
    InputError when it holds a comparison of something else."""
    file = out / "comparison.json"
    record = read_json(file)
    now = dataclasses.asdict(settings)
    if (task := record.get("task", settings.task)) != settings.task:
        raise InputError(f"{out} holds a comparison of --task {task}; name another folder with --out")
    before = settings.later() | record.get("settings", now)
    changed = sorted(key for key in now if before.get(key) != now[key])
    if changed:
        key = changed[0]
        raise InputError(
            f"{out} holds a comparison with another {key} ({before.get(key)!r}, now {now[key]!r}); repeat "
            "its settings to resume, or name another folder with --out"
        )
    started = record.get("started", f"{datetime.date.today():%Y-%m-%d}")
    commands = list(dict.fromkeys(map(without_folders, [*record.get("commands", []), command])))
    added = {row.name: {"about": row.about} | row.stated(settings.model) for row in rows if row.about}
    record |= {"task": settings.task, "settings": now, "started": started, "commands": commands, "machine": machine}
    write_json(file, record | {"rows": record.get("rows", {}) | added, "runs": record.get("runs", {})})


def without_folders(command: str) -> str:
    """A command as others can repeat it. ``--assets`` says where data lie on one machine and changes no result; of an
    absolute path the part inside this checkout remains, or the name."""
    words, kept = shlex.split(command), []
    for before, word in zip(["", *words], words, strict=False):
        path = Path(word)
        if path.is_absolute():
            word = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        if "--assets" not in (before, word) and not word.startswith("--assets="):
            kept.append(word)
    return shlex.join(kept)


def carry_out(out: Path, runs: Sequence[Run], settings: RunSettings, assets: str | None, jobs: int) -> dict[str, str]:
    """Do all runs that are not finished, ``jobs`` at a time; return {name: why it failed}.

    Interrupted, it stops them and raises KeyboardInterrupt; the same command then resumes after each one's last epoch.
    """
    waiting, total = [run for run in runs if not finished(out, run, settings.model)], len(runs)
    if len(waiting) < total:
        print(f"{total - len(waiting)} of {total} runs are finished already.", flush=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    where = ["--assets", assets] if assets else []
    running: list[Running] = []
    failures: dict[str, str] = {}
    bar = tqdm(total=total, initial=total - len(waiting), desc="runs", unit="run", disable=None)
    try:
        with bar:
            while waiting or running:
                while waiting and len(running) < jobs:
                    run = waiting.pop(0)
                    running.append(start(out, run, settings, where, threads))
                for one in ended(running):
                    running.remove(one)
                    line, why = outcome(out, one, settings)
                    if why:
                        failures[one.run.name] = why
                    else:
                        remember(out, one.run, jobs, threads)
                    bar.update()
                    bar.write(line)
                    sys.stdout.flush()
                time.sleep(POLL_SECONDS)
    finally:
        stop(running)
    return failures


def start(out: Path, run: Run, settings: RunSettings, where: Sequence[str], threads: int) -> Running:
    """Start a run as a process of its own, which writes to output.txt in its folder."""
    folder = folder_of(out, run)
    folder.mkdir(parents=True, exist_ok=True)
    script = str(ROOT / "scripts" / settings.script)
    command = [sys.executable, script, *settings.arguments(run), *where, "--out", str(folder)]
    # Threads that wait must sleep: where several processes share the cores, spinning ones take the others' time.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    with open(folder / "output.txt", "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    return Running(run, process)


def ended(running: Sequence[Running]) -> list[Running]:
    """Those whose process is over."""
    return [one for one in running if one.process.poll() is not None]


def outcome(out: Path, one: Running, settings: RunSettings) -> tuple[str, str | None]:
    """The line to show for a run that has ended, and why it failed, if it did."""
    folder, seconds = folder_of(out, one.run), time.perf_counter() - one.started
    metrics = read_json(folder / "metrics.json")
    if one.process.returncode == 0 and metrics.get("status") == "finished":
        trained = f"{metrics['trainable_parameters']:,} parameters trained"
        return f"{one.run.name}: {settings.figures(metrics)}, {trained}, {seconds:.0f} s", None
    lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").strip().split("\n")
    said = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] or "no output")
    why = f"{said.removeprefix('error: ')} (exit status {one.process.returncode})"
    return f"{one.run.name}: FAILED, {why}", why


def remember(out: Path, run: Run, jobs: int, threads: int) -> None:
    """Note under what conditions a run's seconds were measured."""
    record = read_json(out / "comparison.json")
    record.setdefault("runs", {})[run.name] = {"jobs": jobs, "threads": threads}
    write_json(out / "comparison.json", record)


def stop(running: Sequence[Running]) -> None:
    """End what is still under way; each run keeps its last finished epoch."""
    for one in running:
        one.process.terminate()
    for one in running:
        one.process.wait()


def finished_runs(out: Path) -> list[Path]:
    """The folders of all finished runs, of this command and of earlier ones."""
    folders = sorted((out / "runs").glob("*/"))
    return [folder for folder in folders if read_json(folder / "metrics.json").get("status") == "finished"]
