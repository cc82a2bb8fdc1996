"""The runs of a reproduction: which there are, and how they are carried out.

OUT/reproduction.json                 which weights, whole or smoke; the machine and the commands
OUT/runs/book-ch6-published-123/      row, protocol and seed: metrics.json and what else running.py leaves
"""

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.cli import say
from comparison.runs import seeds, without_folders
from data import imdb
from data.sms_spam import find_file
from gpt2.checkpoints.hub import Checkpoint, find_checkpoint, local_folder, unreachable
from gpt2.checkpoints.weights import load_gpt2
from gpt2.devices import choose_device
from gpt2.errors import InputError
from gpt2.files import write_json
from gpt2.training.run_files import read_json
from reproduction.costs import too_large
from reproduction.process import alone
from reproduction.rows import Row, every_row
from reproduction.running import Settings, folder_of, run_row

PROTOCOLS = {"published": ("published",), "grouped": ("grouped",), "both": ("published", "grouped")}


@dataclass(frozen=True)
class Run:
    """One row with one protocol and one seed."""

    row: Row
    protocol: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row.id}-{self.protocol}-{self.seed}"

    def folder(self, out: Path) -> Path:
        """Where it leaves its files."""
        return folder_of(out, self.row, self.protocol, self.seed)

    def metrics(self, out: Path) -> dict:
        """What it has written so far."""
        return read_json(self.folder(out) / "metrics.json")

    def finished(self, out: Path) -> bool:
        """Is it done?"""
        return self.metrics(out).get("status") == "finished"

    @property
    def source(self) -> "Run | None":
        """The run with the same settings, whose result this one copies."""
        return Run(every_row()[self.row.same_as], self.protocol, self.seed) if self.row.same_as else None


def all_runs(chosen: Sequence[Row], protocol: str, count: int) -> list[Run]:
    """Seed by seed and protocol by protocol, so that an early stop leaves comparable rows."""
    return [Run(row, name, seed) for seed in seeds(count) for name in PROTOCOLS[protocol] for row in chosen]


def open_folder(out: Path, weights: str, smoke: bool, command: str, machine: dict, data: str = "sms") -> None:
    """Start a results folder, or resume one. Raises InputError when it holds runs of another kind, or of other data."""
    record = read_json(out / "reproduction.json")
    now = {"weights": weights, "smoke": smoke}
    before = record.get("settings", now)
    if not isinstance(before, dict) or before.keys() != now.keys():
        raise InputError(f"{out / 'reproduction.json'} is damaged; delete this file, or name another folder with --out")
    if before != now:
        raise InputError(
            f"{out} holds runs of another kind ({kind(before)}, now {kind(now)}); repeat its options to resume, or "
            "name another folder with --out"
        )
    if record.get("data", data) != data:
        raise InputError(f"{out} holds rows of {record['data']}, and these are of {data}; name another folder", "out")
    commands = list(dict.fromkeys([*record.get("commands", []), without_folders(command)]))
    started = record.get("started", f"{datetime.date.today():%Y-%m-%d}")
    write_json(
        out / "reproduction.json",
        {"settings": now, "data": data, "started": started, "commands": commands, "machine": machine},
    )


def kind(settings: dict) -> str:
    """Such as ``--weights random --smoke``."""
    return f"--weights {settings['weights']}" + (" --smoke" if settings["smoke"] else "")


def cautions(runs: Sequence[Run], settings: Settings) -> list[str]:
    """What a person should know before the first run starts: stand-ins, and rows that are too large."""
    found = []
    if settings.weights != "pretrained" or settings.smoke:
        found.append("Careful: the accuracies will mean nothing as a reproduction; time and memory are real.")
    if settings.weights != "practice":
        waiting = {run.row.id: run.row for run in runs if not run.finished(settings.out)}
        found += too_large(waiting.values(), choose_device(settings.device))
    return found


def without_weights(runs: Sequence[Run], settings: Settings) -> dict[str, str]:
    """model -> why it is not available, or what is wrong with its files, for the pretrained models of ``runs``.
    Downloads nothing yet.

    Raises InputError when there is something for each of these models.
    """
    models = {run.row.model for run in runs if run.row.pretrained} if settings.weights == "pretrained" else set()
    missing: dict[str, str] = {}
    for model in models:
        if local_folder(model, settings.assets) is not None:
            why = wrong_weights(model, settings.assets)
            missing |= {model: why} if why else {}
        elif unreachable():
            try:
                find_weights(model, settings.assets)
            except InputError as error:
                missing[model] = str(error)
    if missing and len(missing) == len(models):
        raise InputError(missing[min(missing, key=len)], "assets")
    return missing


def wrong_weights(model: str, assets: str | None) -> str | None:
    """What is wrong with the weights on this machine, if anything: said once before the first row, not for each."""
    return alone(load_gpt2, model, assets)


def find_weights(model: str, assets: str | None) -> Checkpoint:
    """The weights of a published size. Raises InputError with a way on for this command when they are missing."""
    try:
        return find_checkpoint(model, assets)
    except InputError as error:
        way_on = str(error).replace("use the model 'practice'", "try it all with --weights practice")
        raise InputError(way_on, error.argument) from error


def unavailable(runs: Sequence[Run], settings: Settings) -> dict[str, str]:
    """model -> why its weights are not available. Nothing is written yet.

    Raises InputError or RunError when the messages are not available, or no model is.
    """
    waiting = [run for run in runs if not run.finished(settings.out)]
    for data in {run.row.data for run in waiting}:
        imdb.find_file(settings.assets) if data == "imdb" else find_file(settings.assets)
    return without_weights(waiting, settings)


def carry_out(runs: Sequence[Run], settings: Settings, missing: dict[str, str]) -> dict[str, str]:
    """Do all runs that are not finished; return {name: why it failed}. ``settings.protocol`` is replaced by each run's.
    ``missing``: the models that are unavailable.

    Interrupted, it stops the one under way and raises KeyboardInterrupt; the same command then resumes.
    """
    waiting = [run for run in runs if not run.finished(settings.out)]
    if len(waiting) < len(runs):
        say(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already.")
    failures: dict[str, str] = {}
    with tqdm(total=len(runs), initial=len(runs) - len(waiting), desc="rows", unit="row", disable=None) as bar:
        for run in waiting:
            bar.set_postfix_str(run.name)
            why = missing.get(run.row.model) if run.row.pretrained else None
            why = why or carry_out_one(run, settings)
            if why:
                failures[run.name] = why
            bar.update()
            with tqdm.external_write_mode():
                say(outcome(run, settings.out, why))
    return failures


def carry_out_one(run: Run, settings: Settings) -> str | None:
    """Train, resume or copy one row; why it failed, if it did."""
    source = run.source
    if source is None:
        why = alone(run_row, run.row, run.seed, settings_of(run, settings))
        return why or (None if run.finished(settings.out) else "it ended without a result")
    if not source.finished(settings.out):
        why = carry_out_one(source, settings)
        if why:
            return f"{source.name}, which has the same settings, failed: {why}"
    copied = {"row": run.row.id, "copied_from": source.row.id}
    write_json(run.folder(settings.out) / "metrics.json", source.metrics(settings.out) | copied)
    return None


def settings_of(run: Run, settings: Settings) -> Settings:
    """For run_row, which does one protocol."""
    return dataclasses.replace(settings, protocol=run.protocol)


def outcome(run: Run, out: Path, why: str | None) -> str:
    """The line to show for a run that has ended."""
    if why:
        return f"{run.name}: FAILED, {why}"
    metrics = run.metrics(out)
    if "copied_from" in metrics:
        return f"{run.name}: the settings are those of {metrics['copied_from']}, so its result is copied"
    accuracies = " / ".join(f"{metrics[part]['accuracy']:.2%}" for part in ("train", "validation", "test"))
    return f"{run.name}: {accuracies} (training, validation, test), {metrics['seconds']:.0f} s"


def summary(failures: dict[str, str], total: int) -> str:
    """One line about what failed, with the reason where all have the same."""
    reasons = set(failures.values())
    why = f": {reasons.pop()}" if len(reasons) == 1 else "; the lines above say why"
    names = ", ".join(failures) if len(failures) <= 5 else f"{', '.join(list(failures)[:5])} and others"
    return f"{len(failures)} of {total} runs failed ({names}){why}"
