"""Several processes on one machine, started by torchrun: the same run as with one, and errors that are said once.

PyTorch takes seconds to start in every process, so one launch of torchrun carries out the commands of all tests.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from torch.distributed import TCPStore

SCRIPTS = Path(__file__).parents[2] / "scripts"
SEVERAL = """
import json, os, sys
from pathlib import Path

import finetune_spam

kept = []
for name, (port, arguments) in json.loads(Path("commands.json").read_text()).items():
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{stream}.{os.environ['RANK']}", os.O_WRONLY | os.O_CREAT), number)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.argv = ["finetune_spam.py", *arguments]
    try:
        finetune_spam.cli.run(finetune_spam.main)
    except SystemExit as ended:
        kept.append(ended)  # and with it a group of processes in which one failed: to tidy it up can take for ever
        Path(f"{name}.status.{os.environ['RANK']}").write_text(str(ended.code))
    sys.stdout.flush()
os._exit(0)
"""
WRONG = {"unknown": (["--method", "nope"], 2), "out of range": (["--lr", "-1"], 2), "diverges": (["--lr", "1e30"], 1)}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done() -> dict:
    return {}


@pytest.fixture
def launched(command, table, columns, monkeypatch, tmp_path_factory, done) -> SimpleNamespace:
    """What two processes did: ``folder`` of the runs, ``settings`` of the good ones, and ``said(command, stream)``, the
    texts of both processes."""
    if not done:
        folder = tmp_path_factory.mktemp("torchrun")
        start = ["--model", "practice", "--data", table, *columns]
        settings = {  # 42 messages in batches of 41: in each epoch's second batch one of the processes has no message
            "whole": [*start, "--epochs", 2, "--batch-size", 41],
            "resumed": [*start, "--epochs", 2, "--method", "head"],
        }
        experiment = importlib.import_module("common.experiment").Experiment
        after = experiment.after_epoch

        def stop(self, progress):
            after(self, progress)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(experiment, "after_epoch", stop)
            assert command("finetune_spam", *settings["resumed"], "--out", folder / "resumed").status == 130

        commands = settings | {name: [*start, "--epochs", 1, *arguments] for name, (arguments, _) in WRONG.items()}
        # Processes find each other in a store; each command gets one of its own, on a port that the system chose.
        stores = {name: TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for name in commands}
        jobs = {name: (stores[name].port, [*map(str, c), "--out", str(folder / name)]) for name, c in commands.items()}
        (folder / "commands.json").write_text(json.dumps(jobs), encoding="utf-8")
        (folder / "several.py").write_text(SEVERAL, encoding="utf-8")
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPTS)}
        how = {"cwd": folder, "env": os.environ | environment, "capture_output": True, "text": True, "timeout": 1800}
        ended = subprocess.run([*launcher, "several.py"], **how)
        assert ended.returncode == 0, ended.stderr

        def said(name: str, stream: str) -> list[str]:
            return [(folder / f"{name}.{stream}.{rank}").read_text(encoding="utf-8") for rank in range(2)]

        done.update(folder=folder, settings=settings, said=said)
    return SimpleNamespace(**done)


def same(launched, command, name: str) -> tuple[dict, dict]:
    """The metrics of the run and of the same one in one process, after a look at their histories."""
    assert launched.said(name, "status") == ["0", "0"], launched.said(name, "err")
    alone = launched.folder / f"{name}, one process"
    assert command("finetune_spam", *launched.settings[name], "--out", alone).status == 0
    one, two = (pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (alone, launched.folder / name))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)
    one, two = (json.loads((run / "metrics.json").read_text()) for run in (alone, launched.folder / name))
    return one, two


def test_two_processes_give_the_result_of_one(launched, command):
    assert "".join(launched.said("whole", "out")).count("Results in") == 1  # one of them speaks
    one, two = same(launched, command, "whole")
    assert two["test"]["loss"] == pytest.approx(one["test"]["loss"], rel=1e-4)
    assert two["test"]["accuracy"] == one["test"]["accuracy"] and two["status"] == "finished"


def test_the_processes_go_on_together_after_an_interruption(launched, command):
    """A run of one process, stopped after its first epoch, is finished by two."""
    assert "Resuming" in "".join(launched.said("resumed", "out"))
    same(launched, command, "resumed")


@pytest.mark.parametrize("name", WRONG)
def test_an_error_is_said_once(launched, name):
    lines = [line for text in launched.said(name, "err") for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, launched.said(name, "err")
    assert launched.said(name, "status") == [str(WRONG[name][1])] * 2
