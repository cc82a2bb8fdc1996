"""Several processes on one machine, started by torchrun: the same run as with one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


def finetune_spam(launcher: list[str], *arguments: object) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(ROOT / "scripts" / "finetune_spam.py"), *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(table, columns, tmp_path):
    """42 messages to train on in batches of 41: in each epoch's second batch one of the processes has no message."""
    settings = ["--model", "practice", "--data", table, *columns, "--epochs", 2, "--batch-size", 41]
    finetune_spam([], *settings, "--out", tmp_path / "one")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    printed = finetune_spam(launcher, *settings, "--out", tmp_path / "two")
    assert printed.count("Results in") == 1  # one of them speaks

    one, two = (pd.read_csv(tmp_path / run / "history.csv").drop(columns="seconds") for run in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)
    one, two = (json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two"))
    assert two["test"]["loss"] == pytest.approx(one["test"]["loss"], rel=1e-4)
    assert two["test"]["accuracy"] == one["test"]["accuracy"] and two["status"] == "finished"


@pytest.mark.slow
def test_the_processes_go_on_together_after_an_interruption(table, columns, tmp_path):
    """A run of one process, stopped after its first epoch, is finished by two."""
    settings = ["--model", "practice", "--data", table, *columns, "--epochs", 2, "--method", "head"]
    stop = "import sys, finetune_spam; from common import experiment; after = experiment.Experiment.after_epoch\n"
    stop += "def stop(self, progress):\n    after(self, progress)\n    raise KeyboardInterrupt\n"
    stop += "experiment.Experiment.after_epoch = stop\nfinetune_spam.cli.run(finetune_spam.main)"
    interrupted = subprocess.run(
        [sys.executable, "-c", stop, *map(str, [*settings, "--out", tmp_path / "two"])],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert interrupted.returncode == 130, interrupted.stderr
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert "Resuming" in finetune_spam(launcher, *settings, "--out", tmp_path / "two")
    finetune_spam([], *settings, "--out", tmp_path / "one")
    one, two = (pd.read_csv(tmp_path / run / "history.csv").drop(columns="seconds") for run in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)
