"""The scripts, called as a person calls them, but without starting a new Python each time."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
        cli, module = importlib.import_module("_cli"), importlib.import_module(script)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.run(module.main)
        return Result(ended.value.code, *capsys.readouterr())

    return call


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
