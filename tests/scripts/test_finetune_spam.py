"""The main command, end to end: what it leaves, what it repeats exactly, and what it says to bad input."""

import importlib
import json
import os
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import peft
from gpt2 import GPT2, GPT2Config, save_gpt2
from gpt2.checkpoints.hub import PRACTICE_FOLDER

FIELDS = (
    "method model data protocol recipe seed epochs trainable_parameters total_parameters seconds seconds_training "
    "peak_memory_mb status train validation test"
).split()


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", peft.METHODS)
def test_every_method_runs_and_its_result_classifies(method, command, table, columns, tmp_path):
    out = tmp_path / "run"
    result = command("finetune_spam", "--method", method, "--data", table, *columns, "--epochs", 1, "--out", out)
    assert result.status == 0, result.err
    metrics = metrics_of(out)
    assert [field for field in FIELDS if field not in metrics] == []
    assert (metrics["method"], metrics["model"], metrics["status"]) == (method, "practice", "finished")
    assert 0 <= metrics["test"]["accuracy"] <= 1 and metrics["test"]["n"] == 12
    for file in ("config.json", "history.csv", "curves.png", "confusion.png", "predictions.csv"):
        assert (out / file).stat().st_size > 0
    assert not (out / "state.safetensors").exists()

    predictions = pd.read_csv(out / "predictions.csv")
    answer = command("classify", out, *predictions.text[:4])
    labels, probabilities, _ = zip(*(line.split("\t") for line in answer.out.splitlines()), strict=True)
    assert list(labels) == predictions.predicted[:4].tolist()
    assert [float(p.rstrip("%")) for p in probabilities] == pytest.approx((100 * predictions.probability[:4]), abs=0.11)


@pytest.mark.slow
def test_it_learns(command, table, columns, tmp_path):
    command("finetune_spam", "--data", table, *columns, "--epochs", 6, "--lr", 5e-3, "--out", tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history.train_loss.iloc[-1] < 0.5 < history.validation_loss.iloc[0]
    assert metrics_of(tmp_path / "run")["train"]["accuracy"] > 0.9


def test_two_runs_give_identical_numbers(command, table, columns, tmp_path):
    for name in ("a", "b"):
        command("finetune_spam", "--data", table, *columns, "--epochs", 2, "--dropout", 0.1, "--out", tmp_path / name)
    a, b = metrics_of(tmp_path / "a"), metrics_of(tmp_path / "b")
    assert all(a[part] == b[part] for part in ("train", "validation", "test"))
    assert load_file(tmp_path / "a/adapter/adapter_model.safetensors").keys()
    assert (tmp_path / "a/adapter/adapter_model.safetensors").read_bytes() == (
        tmp_path / "b/adapter/adapter_model.safetensors"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_an_interrupted_run_is_valid_and_goes_on_to_the_same_result(command, table, columns, tmp_path, monkeypatch):
    arguments = ["--data", table, *columns, "--epochs", 4, "--dropout", 0.1]
    out = tmp_path / "run"
    experiment = importlib.import_module("common.experiment").Experiment
    after = experiment.after_epoch

    def then_interrupt(self, progress):  # Ctrl-C after the first epoch, however fast the machine is
        after(self, progress)
        os.kill(os.getpid(), signal.SIGINT)

    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may be told to ignore it
    try:
        with monkeypatch.context() as patch:
            patch.setattr(experiment, "after_epoch", then_interrupt)
            done = command("finetune_spam", *arguments, "--out", out)
    finally:
        signal.signal(signal.SIGINT, heard)
    assert done.status == 130 and "resumes after epoch" in done.err and "Traceback" not in done.err
    assert metrics_of(out)["status"] == "interrupted"
    assert "no adapter yet" in command("classify", out, "hello").one_line(2)

    changed = command("finetune_spam", *arguments, "--lr", 1e-4, "--out", out)
    assert "another lr" in changed.one_line(2)
    resumed = command("finetune_spam", *arguments, "--out", out)
    assert resumed.status == 0 and "Resuming" in resumed.out
    command("finetune_spam", *arguments, "--out", tmp_path / "whole")
    same = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    history = [pd.read_csv(folder / "history.csv")[same] for folder in (out, tmp_path / "whole")]
    pd.testing.assert_frame_equal(*history, rtol=1e-4)
    assert metrics_of(out)["test"] == pytest.approx(metrics_of(tmp_path / "whole")["test"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe, epochs, rank, init", [("source-notes", 6, 8, "normal"), ("book", 5, 16, "kaiming-rank")]
)
def test_the_published_recipes_have_the_settings_of_their_sources(recipe, epochs, rank, init, command, tmp_path):
    words = [f"word{i % 7} " * (1 + i % 9) for i in range(50)]
    table = pd.DataFrame({"text": [f"{w} {i}" for i, w in enumerate(words)], "label": ["ham", "spam"] * 25})
    table.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "run"
    result = command("finetune_spam", "--recipe", recipe, "--data", tmp_path / "t.csv", "--out", out)
    assert result.status == 0, result.err
    config = json.loads((out / "config.json").read_text())
    expected = {"lr": 5e-5, "weight_decay": 0.1, "decay_everything": True, "warmup": 0.0, "schedule": "constant"}
    expected |= {"clip": None, "pooling": "last-position", "keep_best": False, "batch_size": 8, "seed": 123}
    assert (expected | {"epochs": epochs, "recipe": recipe}).items() <= config.items()
    assert config["pad_to"] == config["max_length"] > 10
    chosen = {
        "rank": rank,
        "alpha": float(rank),
        "scaling": "alpha",
        "init": init,
        "target_modules": "all",
        "dropout": 0.0,
    }
    assert chosen.items() <= config["options"].items()
    assert f"kept epoch {epochs} of {epochs}, the last" in result.out


@pytest.mark.slow
def test_the_untuned_model_is_measured_at_the_position_that_is_trained(command, tmp_path):
    table = pd.DataFrame({"text": [f"{'one two three ' * (i % 4)}{i}" for i in range(50)], "label": ["a", "b"] * 25})
    table.to_csv(tmp_path / "t.csv", index=False)
    losses = []
    for pooling in ("last-position", "first"):
        arguments = ["--recipe", "book", "--method", "head", "--epochs", 1, "--pooling", pooling]
        out = tmp_path / pooling
        assert command("finetune_spam", *arguments, "--data", tmp_path / "t.csv", "--out", out).status == 0
        losses.append(metrics_of(out)["untuned"]["train"]["loss"])
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.parametrize("recipe", ["source-notes", "book"])
def test_selective_takes_five_epochs_in_both_and_options_given_win(recipe, command):
    module = importlib.import_module("finetune_spam")
    for arguments, epochs in ((["--method", "selective"], 5), (["--method", "lora", "--epochs", "2"], 2)):
        args, _ = module.parse(["--recipe", recipe, *arguments])
        assert module.make_recipe(args, 768).epochs == epochs
    assert module.parse(["--recipe", recipe, "--rank", "4"])[1]["rank"] == 4
    assert "invalid choice: 'published'" in command("finetune_spam", "--recipe", "published").one_line(2)


def test_messages_longer_than_the_context_are_cut_counted_and_said(command, tmp_path):
    rows = [{"text": f"word {i} " * (400 if i == 3 else 2), "label": "ab"[i % 2]} for i in range(40)]
    pd.DataFrame(rows).to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    result = command(
        "finetune_spam", "--method", "head", "--data", tmp_path / "t.tsv", "--epochs", 1, "--out", tmp_path / "run"
    )
    assert result.status == 0 and "Truncated to 256 tokens: 1 of the messages." in result.out


def test_auto_says_in_two_lines_that_it_took_the_practice_model(command, table, columns, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    result = command(
        "finetune_spam", "--method", "head", "--data", table, *columns, "--epochs", 1, "--out", tmp_path / "r"
    )
    first, second = result.out.splitlines()[:2]
    assert "practice model" in first and "HF_HUB_OFFLINE" in first and "not those of GPT-2 124M" in second
    assert metrics_of(tmp_path / "r")["model"] == "practice"


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["--method", "loro"], 2, "unknown method 'loro'; choose one of full, head"),
        (["--method", "head", "--rank", "4"], 2, "--rank is no option of head"),
        (["--rank", "0"], 2, "rank is 0"),
        (["--rank", "many"], 2, "--rank"),
        (["--rank", "100000"], 2, "--rank 100000 would train 1,395,"),
        (["--method", "adapter", "--bottleneck", "1000000"], 2, "--bottleneck 1000000 would train"),
        (["--alpha", "nan"], 2, "alpha"),
        (["--target-modules", "w_proj"], 2, "no module is called 'w_proj'"),
        (["--epochs", "0"], 2, "--epochs"),
        (["--lr", "-1"], 2, "--lr is -1.0, expected a number above 0"),
        (["--model", "gpt3"], 2, "no model 'gpt3'"),
        (["--model", "gpt2"], 2, "gpt2 is not on this machine and cannot be downloaded"),
        (["--data", "nowhere.csv"], 2, "nowhere.csv"),
        (["--text-column", "nachricht"], 2, "nachricht"),
        (["--assets", "no-such-folder"], 2, "no-such-folder"),
        (["--device", "tpu"], 2, "--device"),
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--lr", "1e30"], 1, "diverged"),
        (["--seed", "-1"], 2, "--seed"),
        (["--seed", "-1.5"], 2, "--seed"),
        (["--seed", 2**64], 2, "argument --seed: '18446744073709551616' is not a whole number from 0 to 4294967295"),
        (["--split-seed", 2**32], 2, "--split-seed"),
        (["--weight-decay", "nan"], 2, "--weight-decay is nan, expected a number of at least 0"),
        (["--test-data", ""], 2, "--test-data is empty, as an unset variable of the shell is"),
        (["--out", ""], 2, "--out is empty"),
        (["--split-column", "topic"], 2, "the labels and the splits are both to come from column 'topic'"),
        (["--data", "practice"], 2, "--text-column is for a table of your own, not for practice"),
        (["--encoding", "idna"], 2, "--encoding 'idna' is not known for text files"),
    ],
)
def test_bad_input_gets_one_clear_line(arguments, status, said, command, table, columns, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    defaults = ["--model", "practice", "--data", table, *columns, "--epochs", 1, "--out", tmp_path / "run"]
    assert said in command("finetune_spam", *defaults, *arguments).one_line(status)


def test_a_smaller_vocabulary_than_the_tokenizers_is_refused_before_training(command, table, columns, tmp_path):
    save_gpt2(GPT2(GPT2Config(vocab_size=500, n_positions=16, n_embd=8, n_layer=1, n_head=1)), tmp_path / "small")
    arguments = ["--model", tmp_path / "small", "--data", table, *columns, "--out", tmp_path / "run"]
    line = command("finetune_spam", *arguments).one_line(2)
    assert "knows 500 tokens, but the tokenizer has 50,257" in line and not (tmp_path / "run").exists()


def test_it_says_and_records_which_epoch_was_best(command, table, columns, tmp_path):
    result = command("finetune_spam", "--data", table, *columns, "--epochs", 3, "--lr", 5e-3, "--out", tmp_path / "r")
    history = pd.read_csv(tmp_path / "r" / "history.csv").iloc[1:]
    best = history.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True]).epoch.iloc[0]
    assert f"kept epoch {best} of 3, best on validation" in result.out
    assert metrics_of(tmp_path / "r")["best_epoch"] == best
    assert "always food, test" in result.out


def test_a_system_that_tells_no_memory_stops_nothing(command, table, columns, tmp_path, monkeypatch):
    monkeypatch.setattr("common.experiment.peak_memory_mb", lambda device: None)
    arguments = ["--method", "head", "--data", table, *columns, "--epochs", 1, "--out", tmp_path / "run"]
    result = command("finetune_spam", *arguments)
    assert result.status == 0 and "peak memory unknown" in result.out
    assert metrics_of(tmp_path / "run")["peak_memory_mb"] is None


def test_a_diverged_run_says_failed(command, table, columns, tmp_path):
    command("finetune_spam", "--data", table, *columns, "--lr", "1e30", "--out", tmp_path / "run")
    assert metrics_of(tmp_path / "run")["status"] == "failed"


def test_an_out_that_cannot_be_written(command, table, columns, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = command("finetune_spam", "--data", table, *columns, "--out", tmp_path / "file" / "run")
    assert "cannot write" in result.one_line(2)


def test_a_finished_run_is_not_overwritten(command, table, columns, tmp_path):
    arguments = ["finetune_spam", "--method", "head", "--data", table, *columns, "--epochs", 1, "--out", tmp_path / "r"]
    assert command(*arguments).status == 0
    before = (tmp_path / "r" / "metrics.json").read_bytes()
    assert "holds a finished run" in command(*arguments).one_line(2)
    assert (tmp_path / "r" / "metrics.json").read_bytes() == before


def test_bad_checkpoints_are_named(command, table, columns, tmp_path):
    tensors = load_file(PRACTICE_FOLDER / "model.safetensors")
    name = next(name for name in tensors if name.endswith("h.2.mlp.c_fc.weight"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes((PRACTICE_FOLDER / "config.json").read_bytes())
    for change, said in (
        ({name: torch.full_like(tensors[name], float("nan"))}, "NaN"),
        ({name: tensors[name][:-1].clone()}, "shape"),
    ):
        save_file(tensors | change, folder / "model.safetensors")
        line = command("finetune_spam", "--model", folder, "--data", table, *columns).one_line(2)
        assert said in line and name in line
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "truncated or corrupt safetensors file" in command(
        "finetune_spam", "--model", folder, "--data", table, *columns
    ).one_line(2)


def test_help_teaches(command):
    result = command("finetune_spam", "--help")
    assert result.status == 0 and all(name in result.out for name in peft.METHODS)
    assert "--rank" in result.out and "inner dimension" in result.out
