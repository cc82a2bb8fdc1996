"""Where a run's learning rate comes from, as it says in its first lines; and --find-lr, which trains nothing."""

import importlib
import json

import pytest

import peft
from gpt2 import GPT2, GPT2Config, save_gpt2


@pytest.mark.parametrize(
    ("arguments", "width", "source"),
    [
        ([], 128, "tuned on the practice model"),
        ([], 64, "not tuned on this model: rule lr x 128/width"),
        ([], 768, "not tuned on this model: Hu et al. (2021), microsoft/LoRA examples/NLG"),
        (["--method", "prompt"], 1600, "not tuned on this model: juny116/eff_tl results/benchmark.md"),
        (["--lr", "0.1"], 768, "given by --lr"),
        (["--recipe", "book"], 768, "recipe book"),
    ],
)
def test_a_run_says_where_its_learning_rate_comes_from(arguments, width, source, command):
    module = importlib.import_module("finetune_spam")
    args, _ = module.parse(arguments)
    assert module.lr_source(args, width) == source


def test_the_first_lines_and_the_settings_say_it_too(command, table, columns, tmp_path):
    save_gpt2(GPT2(GPT2Config(vocab_size=50257, n_positions=64, n_embd=32, n_layer=1, n_head=2)), tmp_path / "model")
    out = tmp_path / "run"
    arguments = ["--model", tmp_path / "model", "--method", "head", "--data", table, *columns, "--epochs", 1]
    result = command("finetune_spam", *arguments, "--out", out)
    assert result.status == 0, result.err
    lr = peft.METHODS["head"].lr * 128 / 32
    assert f"lr {lr:.2g}, not tuned on this model: rule lr x 128/width\n" in result.out
    assert json.loads((out / "config.json").read_text())["lr_source"].endswith("rule lr x 128/width")
    assert "docs/learning_rates_published.md" in command("finetune_spam", "--help").out


def test_find_lr_prints_draws_and_leaves_no_run(command, table, columns, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", "practice", "--data", table, *columns]
    result = command("finetune_spam", *arguments, "--find-lr", "pictures/lr.png")
    assert result.status == 0, result.err
    assert "Suggestion: --lr " in result.out and "<- lowest" in result.out and "nothing was trained" in result.out
    assert "epoch" not in result.out and "tuned on the practice model" in result.out
    assert [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png")] == ["pictures/lr.png"]
    assert not (tmp_path / "runs").exists()
    again = command("finetune_spam", *arguments, "--method", "head", "--find-lr")
    assert again.status == 0 and [file.name[-17:] for file in (tmp_path / "runs").iterdir()] == ["-head-find-lr.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--lr", "0.1", "--find-lr"], "--lr is for training"),
        (["--out", "run", "--find-lr"], "--out is for training"),
        (["--epochs", "2", "--find-lr"], "--epochs is for training"),
        (["--find-lr", "lr.jpg"], "ends with .png"),
    ],
)
def test_options_that_the_test_would_not_follow_are_refused(arguments, sentence, command, table, columns):
    assert sentence in command("finetune_spam", "--data", table, *columns, *arguments).one_line(2)
