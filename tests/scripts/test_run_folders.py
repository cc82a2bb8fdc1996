"""A run's folder, whatever happens: it resumes what was started and nothing else, and never stays "running"."""

import functools
import importlib
import json
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import gpt2
from gpt2 import GPT2, GPT2Config, load_gpt2, save_gpt2
from gpt2.files import write_json
from gpt2.training.runs import open_run

ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of a process, and /proc")


def status_of(folder: Path) -> str:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["status"]


@pytest.fixture
def arguments(table, columns, tmp_path) -> list:
    return ["--method", "head", "--data", table, *columns, "--epochs", 3, "--out", tmp_path / "run"]


@pytest.fixture
def stopped_by(command, arguments, monkeypatch):
    """Function: an exception, raised after the second epoch of a run -> the command's result."""

    def stop(error: BaseException):
        experiment = importlib.import_module("common.experiment").Experiment
        real = experiment.after_epoch

        def after_epoch(self, progress):
            real(self, progress)
            if progress.epoch == 2:
                raise error

        with monkeypatch.context() as patch:
            patch.setattr(experiment, "after_epoch", after_epoch)
            return command("finetune_spam", *arguments)

    return stop


def change_text(file: Path) -> None:
    table = pd.read_csv(file)
    table.loc[3, "message"] = "another message"
    table.to_csv(file, index=False)


def change_label(file: Path) -> None:
    table = pd.read_csv(file)
    table.loc[3, "topic"] = "music"
    table.to_csv(file, index=False)


@pytest.mark.parametrize("change", [change_text, change_label])
def test_other_texts_or_labels_are_refused(change, stopped_by, command, arguments, table, tmp_path):
    stopped_by(KeyboardInterrupt())
    before = table.read_bytes()
    change(table)
    line = command("finetune_spam", *arguments).one_line(2)
    assert "the texts or labels have changed since" in line and str(tmp_path / "run") in line
    table.write_bytes(before)
    resumed = command("finetune_spam", *arguments)
    assert resumed.status == 0 and "after epoch 2 of 3" in resumed.out


def test_another_base_in_the_same_place_is_refused(stopped_by, command, arguments, tmp_path):
    arguments += ["--model", tmp_path / "base"]
    model = load_gpt2("practice")
    save_gpt2(model, tmp_path / "base")
    stopped_by(KeyboardInterrupt())
    with torch.no_grad():
        model.h[0].mlp.fc_in.weight[0, 0] += 1
    save_gpt2(model, tmp_path / "base")
    assert "the base model's weights have changed since" in command("finetune_spam", *arguments).one_line(2)


def test_versions_are_recorded_and_others_are_not_refused(stopped_by, command, arguments, tmp_path):
    stopped_by(KeyboardInterrupt())
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    now = {"python": platform.python_version(), "torch": torch.__version__, "project": gpt2.__version__}
    assert config["versions"] == now
    file.write_text(json.dumps(config | {"versions": {"python": "3.99", "torch": "9", "project": "9"}}))
    assert command("finetune_spam", *arguments).status == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "/disk/file"), ValueError("a bug\nof ours")])
def test_any_exception_leaves_failed_and_one_line_that_says_how_to_resume(error, stopped_by, tmp_path):
    line = stopped_by(error).one_line(1)
    assert status_of(tmp_path / "run") == "failed"
    assert f"The same command with --out {tmp_path / 'run'} resumes after epoch 2." in line
    assert "/disk/file: No space left on device" in line or "ValueError: a bug of ours" in line


@LINUX
def test_a_full_disk_names_file_and_folder(command, arguments, tmp_path):
    """A limit on the size of files stands in for a full disk: the state with full fine-tuning does not fit."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        result = command("finetune_spam", *arguments, "--method", "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file = tmp_path / "run" / "state.safetensors"
    assert f"error: {file}: File too large. The same command with --out {tmp_path / 'run'}" in result.one_line(1)
    assert status_of(tmp_path / "run") == "failed" and not list((tmp_path / "run").glob(".state*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])  # SIGHUP: the terminal was closed
def test_a_signal_leaves_interrupted(name, command, arguments, tmp_path):
    arguments[arguments.index("--epochs") + 1] = 10**9  # it ends by the signal only, however fast the machine is
    started = [sys.executable, ROOT / "scripts" / "finetune_spam.py", *map(str, arguments)]
    heard = functools.partial(signal.signal, getattr(signal, name), signal.SIG_DFL)  # nohup lets children ignore SIGHUP
    process = subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    try:
        while not (tmp_path / "run" / "state.safetensors").is_file() and process.poll() is None:
            time.sleep(0.01)
        second = command("finetune_spam", *arguments)
        assert "another process is running in it" in second.one_line(2)
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=1800)
    finally:  # where something above fails, nothing else would end it
        process.kill()
        process.wait()
    assert process.returncode == 130 and "resumes after epoch" in errors and "Traceback" not in errors
    assert status_of(tmp_path / "run") == "interrupted"


def test_resuming_removes_what_a_kill_left_half_written(stopped_by, command, arguments, tmp_path):
    stopped_by(KeyboardInterrupt())
    left = [tmp_path / "run" / name for name in (".curves-a1b2c3d4.png", ".state-_xyz0123.safetensors")]
    for file in left:
        file.write_bytes(b"half")
    own = tmp_path / "run" / ".notes"
    own.write_text("mine")
    assert command("finetune_spam", *arguments).status == 0
    assert not any(file.exists() for file in left) and own.exists()


def test_only_the_main_process_removes_what_is_half_written(monkeypatch, tmp_path):
    """The others look into the folder while the main process already writes there."""
    write_json(tmp_path / "config.json", {"seed": 1})
    (tmp_path / ".metrics-a1b2c3d4.json").write_text("{")
    monkeypatch.setattr("gpt2.training.runs.is_main", lambda: False)
    open_run(tmp_path, {"seed": 1})
    assert (tmp_path / ".metrics-a1b2c3d4.json").exists()
    monkeypatch.undo()
    open_run(tmp_path, {"seed": 1})
    assert not (tmp_path / ".metrics-a1b2c3d4.json").exists()


@LINUX
def test_nothing_of_the_state_stays_mapped(tmp_path):
    from gpt2.training.finetune import Progress, Recipe, make_optimizer
    from gpt2.training.runs import load_state, save_state

    model = GPT2(GPT2Config(vocab_size=97, n_positions=8, n_embd=8, n_layer=1, n_head=1))
    optimizer = make_optimizer(model, Recipe(lr=1e-3))
    model(torch.zeros(1, 4, dtype=torch.long)).sum().backward()
    optimizer.step()
    best = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    save_state(tmp_path / "state.safetensors", model, optimizer, Progress(epoch=1, best=best))
    optimizer = make_optimizer(model, Recipe(lr=1e-3))
    progress = load_state(tmp_path / "state.safetensors", model, optimizer)
    assert progress.best and "state.safetensors" not in Path("/proc/self/maps").read_text()


def test_a_reader_that_leaves_early_does_not_undo_a_finished_run(command, arguments, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    experiment = importlib.import_module("common.classifying").ClassifierExperiment

    def print_report(self, outcome, metrics, note):
        raise RuntimeError("nobody reads")  # like BrokenPipeError, for which ``command`` has no pipe

    monkeypatch.setattr(experiment, "print_report", print_report)
    command("finetune_spam", *arguments)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["status"] == "finished" and metrics["test"]["n"] > 0
    assert not (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.parametrize("value", ["nan", "-1"])
def test_room_for_features_that_is_no_size_gets_one_line_and_no_folder(value, command, arguments, tmp_path):
    result = command("finetune_spam", *arguments, f"--feature-memory={value}")
    assert "--feature-memory is" in result.one_line(2) and not (tmp_path / "run").exists()
