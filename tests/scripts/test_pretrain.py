"""The pretraining command, end to end: what it leaves, how it continues after a kill, and what it says to bad input."""

import importlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gpt2 import load_gpt2

ROOT = Path(__file__).parents[2]
SMALL = "--layers 1 --width 16 --heads 2 --context 16 --batch-size 4 --accumulate 2 --lr 0.02 --sampled 200".split()


@pytest.fixture
def texts(tmp_path) -> Path:
    """A folder with three hundred little stories of four sentences."""
    draw = random.Random(0)
    names, deeds, places = ["Ann", "Ben", "Cid"], ["sings", "sleeps", "reads"], ["at home", "in town", "by the sea"]
    stories = [
        " ".join(f"{draw.choice(names)} {draw.choice(deeds)} {draw.choice(places)}." for _ in range(4))
        for _ in range(300)
    ]
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "stories.txt").write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    return folder


@pytest.fixture
def options(texts, tmp_path) -> list:
    return ["--texts", texts, "--cache", tmp_path / "cache", "--held-out", 0.1, *SMALL, "--device", "cpu"]


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_it_learns_and_leaves_everything(command, options, tmp_path):
    out = tmp_path / "run"
    result = command("pretrain", *options, "--steps", 150, "--every", 50, "--prompt", "Ann", "--out", out)
    assert result.status == 0, result.err
    history = pd.read_csv(out / "history.csv")
    assert history.step.tolist() == [0, 50, 100, 150]
    assert history.held_out_loss.iloc[0] > 10  # log 50,257 = 10.8
    assert history.held_out_loss.iloc[-1] < 2.5  # the words alone have an entropy of about 2.9
    assert (history.bits_per_byte > 0).all() and history.tokens.iloc[-1] == 150 * 4 * 2 * 16
    metrics = metrics_of(out)
    assert (metrics["status"], metrics["step"]) == ("finished", 150)
    assert metrics["held_out_loss"] == pytest.approx(history.held_out_loss.iloc[-1])
    assert load_gpt2(out / "model").config.n_embd == 16
    samples = (out / "samples.txt").read_text(encoding="utf-8")
    assert samples.count("== step ") == 4 and "\nAnn" in samples
    assert (out / "curves.png").stat().st_size > 5000
    assert not (out / "state.safetensors").exists()
    assert "bits per byte" in result.out and "minutes left" in result.out

    again = command("pretrain", *options, "--steps", 150, "--every", 50, "--out", out)
    assert "holds a finished run" in again.one_line(2)

    longer = ["--texts", tmp_path / "texts", "--cache", tmp_path / "cache", "--steps", 2, "--from", out / "model"]
    result = command("pretrain", *longer, "--device", "cpu", "--out", tmp_path / "longer")
    assert result.status == 0, result.err
    assert pd.read_csv(tmp_path / "longer" / "history.csv").held_out_loss.iloc[0] < 2.5  # continues, not from scratch


@pytest.mark.slow
def test_a_killed_run_goes_on_and_equals_an_uninterrupted_one(command, options, stop_at_first_state, tmp_path):
    settings = [*options, "--steps", 30, "--every", 6]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    threads = str(torch.get_num_threads())  # other threads sum in another order: not the same bit by bit
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "pretrain.py", *map(str, settings), "--out", killed],
        env=os.environ | {"OMP_NUM_THREADS": threads} | stop_at_first_state("os.getpid()", "SIGKILL"),
        stdout=subprocess.DEVNULL,
    )
    state = killed / "state.safetensors"
    assert state.is_file()
    with safe_open(state, framework="pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] < 30
    assert metrics_of(killed)["status"] == "running"

    other = command("pretrain", *settings, "--out", killed, "--seed", 7)
    assert "interrupted run with another seed" in other.one_line(2)
    resumed = command("pretrain", *settings, "--out", killed)
    assert resumed.status == 0 and "Resuming after step" in resumed.out
    assert command("pretrain", *settings, "--out", whole).status == 0
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (killed, whole))
    assert all((a[name] == b[name]).all() for name in b) and a.keys() == b.keys()
    a, b = (pd.read_csv(folder / "history.csv").drop(columns="tokens_per_second") for folder in (killed, whole))
    pd.testing.assert_frame_equal(a, b)


def test_help_explains_every_option(command):
    result = command("pretrain", "--help")
    assert result.status == 0
    for option in "--texts --from --steps --accumulate --sampled --full-share --held-out --precision --out".split():
        assert option in result.out
    assert "torchrun" in result.out and "exactly as if it had never stopped" in result.out


@pytest.mark.parametrize(
    "wrong, message",
    [
        ([], "--steps"),
        (["--steps", "0"], "not a whole number of at least 1"),
        (["--steps", "5", "--lr", "-1"], "--lr is -1.0, expected a number above 0"),
        (["--steps", "5", "--sampled", "-5"], "--sampled is -5, expected a whole number of at least 0"),
        (["--steps", "5", "--held-out", "0"], "share to hold out is 0.0"),
        (["--steps", "5", "--texts", "nowhere.txt"], "no text nowhere.txt"),
        (["--steps", "5", "--context", "9000"], "too few for a context of 9000"),
        (["--steps", "5", "--heads", "3"], "not divisible by n_head 3"),
        (["--steps", "5", "--model", "huge"], "unknown size 'huge'"),
        (["--steps", "5", "--from", "practice"], "brings its own shape"),
    ],
)
def test_bad_input_gets_one_line(wrong, message, command, options, tmp_path):
    assert message in command("pretrain", *options, *wrong, "--out", tmp_path / "run").one_line(2)
    assert not (tmp_path / "run").exists()  # so the corrected command may use the same folder


def test_no_text_at_all(command, monkeypatch):
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    assert "--texts" in command("pretrain", "--steps", 5).one_line(2)


def test_divergence_is_a_failed_run(command, options, tmp_path):
    result = command("pretrain", *options, "--steps", 20, "--lr", "1e30", "--out", tmp_path / "run")
    assert "diverged" in result.one_line(1)
    assert metrics_of(tmp_path / "run")["status"] == "failed"


def test_any_exception_leaves_failed_and_says_how_to_resume(command, options, tmp_path, monkeypatch):
    real = importlib.import_module("common.pretraining_run").PretrainingRun.write_history

    def write_history(self, progress):
        if progress.step == 8:
            raise OSError(28, "No space left on device", str(self.folder / "history.csv"))
        real(self, progress)

    out = tmp_path / "run"
    settings = [*options, "--steps", 12, "--every", 4, "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr("common.pretraining_run.PretrainingRun.write_history", write_history)
        line = command("pretrain", *settings).one_line(1)
    assert f"{out / 'history.csv'}: No space left on device" in line
    assert f"The same command with --out {out} resumes after step 8." in line
    assert metrics_of(out)["status"] == "failed"
    assert json.loads((out / "config.json").read_text())["versions"]["torch"] == torch.__version__
    done = command("pretrain", *settings)
    assert done.status == 0 and "Resuming after step 8." in done.out
