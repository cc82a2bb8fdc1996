"""The sweep of learning rates and the study of data sizes: what is tried, what is kept, and what the reports say."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import peft
from data import load_dataset
from data.near_duplicates import copies
from gpt2 import GPT2, GPT2Config, save_gpt2
from tuning import report, sizes, studies, sweep, trials
from tuning.trials import Bench, ClassifierBench, Trial, carry_out

GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "learning_rates"


@pytest.fixture
def tiny(tmp_path) -> str:
    save_gpt2(GPT2(GPT2Config(vocab_size=50257, n_positions=128, n_embd=16, n_layer=1, n_head=2)), tmp_path / "tiny")
    return str(tmp_path / "tiny")


@pytest.fixture
def few():
    """Eighty practice messages: 32 to train, 24 each to validate and test."""
    whole = load_dataset("practice")
    return dataclasses.replace(
        whole, train=whole.train[:32], validation=whole.validation[:24], test=whole.test[:24].reset_index(drop=True)
    )


def test_a_study_resumes_and_adds_without_repeating(tiny, few, tmp_path, monkeypatch):
    bench, file = (
        ClassifierBench(model=tiny, assets=None, datasets={0: few}, part="validation"),
        tmp_path / "results.csv",
    )
    wanted = [Trial("head", 1e-2, steps=8), Trial("lora", 1e-2, steps=8, option="rank=2")]
    first = carry_out(bench, wanted, file, jobs=1)
    assert set(first.method) == {"head", "lora"} and first.loss.notna().all() and (first.epochs == 2).all()
    monkeypatch.setattr(Bench, "run", lambda *_: pytest.fail("was repeated"))
    assert carry_out(bench, wanted, file, jobs=1).equals(trials.read(file))
    monkeypatch.undo()
    more = carry_out(bench, [*wanted, Trial("head", 1e-2, steps=8, seed=124)], file, jobs=1)
    assert len(more) == 3 and trials.settings_of(more) >= set(wanted)
    longer = carry_out(bench, [Trial("head", 1e-2, steps=9)], file, jobs=1)
    assert longer.steps.tolist() == [9] and len(trials.read(file)) == 4  # one study does not see another's rows


def test_a_trial_is_what_finetuning_gives_and_the_processes_do_not_matter(tiny, few, tmp_path):
    bench, wanted = (
        ClassifierBench(model=tiny, assets=None, datasets={0: few}, part="test"),
        [Trial("lora", 1e-2, steps=4), Trial("head", 1e-2, steps=4)],
    )
    one = carry_out(bench, wanted, tmp_path / "one.csv", jobs=1).drop(columns="seconds")
    two = carry_out(bench, wanted, tmp_path / "two.csv", jobs=2).drop(columns="seconds")
    assert one.equals(two)


def test_a_training_that_diverges_has_a_row_without_figures(tiny, few, tmp_path):
    bench = ClassifierBench(model=tiny, assets=None, datasets={0: few}, part="validation")
    table = carry_out(bench, [Trial("full", 1e30, steps=40)], tmp_path / "results.csv", jobs=1)
    assert table.loss.isna().all() and (table.trained > 0).all()
    assert len(carry_out(bench, [Trial("full", 1e30, steps=40)], tmp_path / "results.csv", jobs=1)) == 1


def test_smaller_training_sets_begin_the_larger_ones(tiny, few, tmp_path):
    bench = ClassifierBench(model=tiny, assets=None, datasets={7: few}, part="test")
    wanted = [Trial("head", 1e-2, steps=8, split=7, messages=count) for count in (8, 0)]
    table = carry_out(bench, wanted, tmp_path / "results.csv", jobs=1).set_index("messages")
    assert table.n_train.to_dict() == {8: 8, 0: 32} and table.epochs.to_dict() == {8: 8, 0: 2}


def test_the_grid_goes_on_beyond_its_ends():
    assert [f"{sweep.beyond(rate, up=True):g}" for rate in (1e-4, 3e-4, 1e-1, 0.3)] == ["0.0003", "0.001", "0.3", "1"]
    assert [f"{sweep.beyond(rate, up=False):g}" for rate in (1e-4, 3e-4, 1e-1)] == ["3e-05", "0.0001", "0.03"]
    for low, high in zip(GRID, GRID[1:], strict=False):
        assert sweep.beyond(low, up=True) == high and sweep.beyond(high, up=False) == low


def test_no_message_of_the_sweep_is_in_a_reported_test_set_nor_nearly():
    free = studies.reserve(None)
    texts = pd.concat([free.train, free.validation])
    assert len(texts) == 1742 and free.test.empty and texts.text.is_unique
    assert abs(free.validation.label.mean() - free.train.label.mean()) < 0.01
    for seed in studies.REPORTED:
        assert not copies(texts, load_dataset("sms", "grouped", seed).test).any(axis=None)
    assert not copies(free.train, free.validation).any(axis=None)


def made_up(trial: Trial) -> dict:
    """A U-shaped curve: best at 1 for prompts, at 3e-3 for others, and at a third of it for another size."""
    best = 1.0 if trial.method == "prompt" else 3e-3 / (3 if trial.option else 1)
    return {"loss": 0.1 * math.exp(0.2 * math.log(trial.lr / best) ** 2), "accuracy": 0.9, "f1": 0.8, "seconds": 1.0}


def test_the_sweep_tries_the_grid_then_beyond_then_another_size():
    done: dict[Trial, dict] = {}

    def carry_out(wanted):
        done.update({trial: made_up(trial) for trial in wanted})
        return pd.DataFrame([dataclasses.asdict(trial) | row for trial, row in done.items()])

    table = sweep.sweep(["lora", "prompt", "full"], lambda method: GRID, [1, 2], 10, True, carry_out)
    tried = table.groupby(["method", "option"]).lr.apply(lambda rates: sorted(set(rates)))
    assert tried["full", ""] == tried["lora", ""] == sorted(GRID)
    assert tried["prompt", ""] == sorted([*GRID, 0.3, 1.0])  # two steps beyond, and no more
    assert tried["lora", "rank=2"] == [1e-3, 3e-3, 1e-2] and "full" not in {m for m, option in tried.index if option}
    assert (table.groupby(["method", "option", "lr"]).size() == 2).all()  # each seed
    losses = sweep.mean_losses(table)
    assert sweep.best_rate(losses["lora", ""]) == 3e-3


def test_a_rate_at_which_a_seed_diverged_is_not_chosen():
    rows = [("full", "", 1e-3, 0.2), ("full", "", 1e-3, 0.2), ("full", "", 1e-2, 0.01), ("full", "", 1e-2, math.nan)]
    losses = sweep.mean_losses(pd.DataFrame(rows, columns=["method", "option", "lr", "loss"]))
    assert sweep.best_rate(losses["full", ""]) == 1e-3


def test_the_optimum_lies_between_the_grid():
    rates = np.array(GRID)
    losses = pd.Series(0.1 * np.exp(0.3 * np.log(rates / 2e-3) ** 2), index=rates)
    assert report.optimum(losses) == pytest.approx(2e-3)
    assert report.optimum(losses[losses.index <= 1e-3]) == pytest.approx(1e-3)  # still falling: the end, not beyond


def test_the_default_learning_rates_are_those_that_the_sweep_chose():
    losses = sweep.mean_losses(trials.read(RESULTS / "results.csv"))
    chosen = {method: sweep.best_rate(losses[method, ""]) for method in peft.METHODS}
    assert chosen == {name: method.lr for name, method in peft.METHODS.items()}


def test_the_report_of_the_sweep_is_made_from_its_results():
    text = (RESULTS / "report.md").read_text(encoding="utf-8")
    losses = sweep.mean_losses(trials.read(RESULTS / "results.csv"))
    for method, known in peft.METHODS.items():
        row = next(line for line in text.split("\n") if line.startswith(f"| `{method}` |"))
        assert f"| {known.lr:g} |" in row and f"| {losses[method, '', known.lr]:.3f} |" in row


def test_every_size_option_is_one_of_its_method():
    for method in peft.METHODS:
        name, _, value = sweep.size_option(method).partition("=")
        assert not name or int(value) != peft.METHODS[method].options[name].default


def test_each_beginning_has_the_shares_of_the_whole(few):
    rows = pd.DataFrame({"text": [f"text {i}" for i in range(160)], "label": [1] * 20 + [0] * 140})
    train = sizes.evenly(dataclasses.replace(few, train=rows)).train
    for count in sizes.sizes_of(160):
        assert train.label[:count].sum() == count // 8
    assert sizes.sizes_of(160) == [8, 16, 32, 64, 128, 160] and sizes.sizes_of(128) == [8, 16, 32, 64, 128]


def test_the_study_of_sizes_says_only_what_its_intervals_show(tmp_path):
    def row(method, split, n_train, f1):
        return {"method": method, "split": split, "n_train": n_train, "accuracy": f1, "f1": f1}

    rows = []
    for split, noise in enumerate((-0.01, 0.0, 0.01)):
        rows += [row("TF-IDF", split, 8, 0.1 + noise), row("TF-IDF", split, 16, 0.9 + noise)]
        rows += [row("lora", split, 8, 0.6 + 1.2 * noise), row("lora", split, 16, 0.9 - noise)]
        rows += [
            row("lora, random weights", split, 8, 0.1 - noise),
            row("lora, random weights", split, 16, 0.5 + noise),
        ]
    table = pd.DataFrame(rows)
    said = sizes.reading(table)
    assert "`lora` against TF-IDF: better at 8." in said
    assert "`lora, random weights` against TF-IDF: worse at 16." in said
    assert "`lora`, pretrained against random weights: better at 8, 16." in said
    facts = {"command": "c", "model": "m", "seeds": "0", "steps": 1, "machine": "x"}
    text = sizes.write_report(tmp_path, table, facts).read_text(encoding="utf-8")
    assert "60.0 ± 1.2" in text and (tmp_path / "sizes.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "key, value",
    [("task", "text"), ("model", "gpt2"), ("data", "practice"), ("steps", 99)],
    ids=lambda value: str(value),
)
def test_a_folder_belongs_to_one_sweep(key, value, command, tiny, tmp_path):
    settings = {"task": "classification", "model": tiny, "data": "sms", "steps": 4} | {key: value}
    (tmp_path / "tuning.json").write_text(json.dumps({"settings": settings}))
    line = command("tune", "--model", tiny, "--steps", 4, "--out", tmp_path).one_line(2)
    assert f"holds a study with --{key} {value}, not " in line and len(list(tmp_path.iterdir())) == 2


def test_a_report_is_on_what_was_tuned(command, tmp_path, monkeypatch):
    assert "no sweep" in command("tune", "--report-only", "--task", "text", "--out", tmp_path / "r").one_line(2)
    table = [dataclasses.asdict(Trial("lora", lr, steps=2)) | {"loss": 2 + lr, "epochs": 1} for lr in GRID]
    table = pd.DataFrame(table).reindex(columns=[*trials.SETTINGS, *trials.MEASURED]).fillna({"seconds": 1.0})
    table.to_csv(tmp_path / "results.csv", index=False)
    facts = {"model": "m", "command": "c", "machine": "x"}
    settings = {"task": "text", "model": "gone", "data": "practice", "steps": 2}
    (tmp_path / "tuning.json").write_text(json.dumps({"settings": settings, "facts": facts, "before": None}))
    assert command("tune", "--report-only", "--out", tmp_path).status == 0
    assert "learning rates for writing" in (tmp_path / "report.md").read_text(encoding="utf-8").split("\n")[0]


def test_trials_are_on_the_cpu(command, tmp_path):
    assert "--device has no effect here" in command("tune", "--device", "cuda", "--out", tmp_path / "r").one_line(2)


@pytest.mark.slow
def test_the_commands_from_end_to_end(command, tiny, few, tmp_path, monkeypatch):
    study = dataclasses.replace(studies.classifying(few), grid=(1e-3, 3e-3, 1e-2))
    monkeypatch.setattr(studies, "classifying", lambda dataset: study)
    monkeypatch.setattr(sweep, "BEYOND", 0)
    monkeypatch.setattr("comparison.forgetting.WINDOWS", 2)
    monkeypatch.setattr(studies, "reserve", lambda assets: dataclasses.replace(few, test=few.test[:0]))
    general = tmp_path / "text.txt"
    general.write_text("The cat sat on the mat, and the dog looked at it. " * 2000, encoding="utf-8")
    arguments = ["--methods", "full,lora", "--steps", 4, "--seeds", 1, "--model", tiny, "--general-text", general]
    result = command("tune", *arguments, "--sizes", "--out", tmp_path / "tuning")
    assert result.status == 0, result.err
    text = (tmp_path / "tuning" / "report.md").read_text(encoding="utf-8")
    assert "--sizes" in text and str(tmp_path) not in text and "ten times" in text and "`lora`" in text
    assert (tmp_path / "tuning" / "rates.png").exists() and (tmp_path / "tuning" / "forgetting.png").exists()
    before = (tmp_path / "tuning" / "results.csv").read_bytes()
    assert command("tune", "--report-only", "--model", tiny, "--out", tmp_path / "tuning").status == 0
    assert (tmp_path / "tuning" / "results.csv").read_bytes() == before
    command("tune", "--report-only", "--model", tiny, "--out", tmp_path / "none").one_line(2)

    monkeypatch.setattr("data.load_dataset", lambda *arguments: few)
    monkeypatch.setattr("tuning.sizes.SMALLEST", 16)
    arguments = ["--methods", "lora", "--steps", 2, "--seeds", 2, "--model", tiny]
    result = command("data_sizes", *arguments, "--out", tmp_path / "sizes")
    assert result.status == 0, result.err
    text = (tmp_path / "sizes" / "report.md").read_text(encoding="utf-8")
    assert "lora, random weights" in text and "TF-IDF" in text and str(tmp_path) not in text
    other = command("data_sizes", *arguments, "--model", "practice", "--out", tmp_path / "sizes")
    assert "holds a study with --model" in other.one_line(2)
    assert "--device has no effect" in command("data_sizes", "--device", "cpu").one_line(2)
