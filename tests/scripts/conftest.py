"""The scripts, called as a person calls them, but without starting a new Python each time."""

import contextlib
import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@dataclass
class Result:
    """What a command left: its exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    def one_line(self, status: int) -> str:
        """The single line of an error, with this exit status."""
        assert self.status == status, self
        assert self.err.count("\n") == 1 and self.err.startswith("error: ") and "Traceback" not in self.err
        return self.err


@pytest.fixture
def command(monkeypatch, capsys) -> Callable:
    """command("classify", "runs/x", "text") -> Result; the network is off."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def call(script: str, *arguments: object) -> Result:
        cli, module = importlib.import_module("common.cli"), importlib.import_module(script)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.run(module.main)
        return Result(ended.value.code, *capsys.readouterr())

    return call


class InThisProcess:
    """In the place of subprocess.Popen: a run of a comparison in this process, over when it has been started. What
    processes add to it is tested where a comparison is interrupted."""

    def __init__(self, command: list[str], stdout, stderr, env):
        assert stderr == subprocess.STDOUT
        module = importlib.import_module(Path(command[1]).stem)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", command[1:])
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stdout):
                module.cli.run(module.main)
        self.returncode = ended.value.code

    def poll(self) -> int:
        return self.returncode


@pytest.fixture
def runs_in_this_process(monkeypatch) -> None:
    """The runs of a comparison start no processes."""
    processes = SimpleNamespace(Popen=InThisProcess, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr("comparison.runs.subprocess", processes)


@pytest.fixture(scope="session")
def runs_made(tmp_path_factory) -> tuple[Path, dict]:
    """Where ``trained`` keeps runs, and which: arguments -> folder."""
    return tmp_path_factory.mktemp("trained"), {}


@pytest.fixture
def trained(command, table, columns, runs_made, tmp_path) -> Callable[..., Path]:
    """trained("lora", "--rank", 4) -> the folder of a run of one epoch on ``table``, a copy of one's own to change.
    Tests that ask for the same run share its training."""
    folder, made = runs_made

    def trained(*arguments: object) -> Path:
        if arguments not in made:
            out = folder / str(len(made))
            common = ["--model", "practice", "--data", table, *columns, "--epochs", 1, "--out", out]
            result = command("finetune_spam", "--method", *arguments, *common)
            assert result.status == 0, result.err
            made[arguments] = out
        return Path(shutil.copytree(made[arguments], tmp_path / f"run {len(list(tmp_path.glob('run *')))}"))

    return trained


STOP = """
import os, signal, time

replace = os.replace

def replace_and_stop(source, target):
    replace(source, target)
    if os.path.basename(target) == "state.safetensors":
        os.kill({process}, signal.{signal})
        time.sleep(600)  # until the signal has done its work

os.replace = replace_and_stop
"""


@pytest.fixture
def stop_at_first_state(tmp_path) -> Callable[[str, str], dict[str, str]]:
    """stop_at_first_state("os.getpid()", "SIGKILL") -> environment for a command and those that it starts.

    The signal comes from within, right after the first state of a run is written: however slow or fast the machine
    is, the run is then in the middle.
    """

    def environment(process: str, signal: str) -> dict[str, str]:
        folder = tmp_path / "stop"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(STOP.format(process=process, signal=signal), encoding="utf-8")
        return {"PYTHONPATH": str(folder)}

    return environment


@pytest.fixture
def table(tmp_path) -> Path:
    """A little table of one's own: three topics, 20 messages each, columns message and topic."""
    words = {"food": "soup bread cheese apple", "sport": "goal match team race", "music": "song choir drum piano"}
    rows = [
        {"message": f"{first} and {second} number {i}", "topic": topic}
        for topic, vocabulary in words.items()
        for i, (first, second) in enumerate(zip((vocabulary.split() * 5), (vocabulary.split()[::-1] * 5), strict=True))
    ]
    file = tmp_path / "topics.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


@pytest.fixture
def columns() -> list[str]:
    return ["--text-column", "message", "--label-column", "topic"]
