"""The comparison: runs that are shared, resumed and survive a failure; forgetting; the report and its pictures."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import peft
from comparison import forgetting, plots, sections
from comparison.rows import Row
from comparison.runs import all_runs, without_folders
from comparison.settings import Settings
from comparison.summary import rank_table
from gpt2 import GPT2, GPT2Config, load_gpt2, save_gpt2
from gpt2.classifier import add_classification_head
from gpt2.errors import InputError, RunError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def two_classes(tmp_path) -> Path:
    words = {"ham": "soup bread cheese apple", "spam": "goal match team race"}
    rows = [
        {"text": f"{first} and {second} number {i}", "label": label}
        for label, vocabulary in words.items()
        for i, (first, second) in enumerate(zip(vocabulary.split() * 5, vocabulary.split()[::-1] * 5, strict=True))
    ]
    file = tmp_path / "messages.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


@pytest.fixture
def small(tmp_path, monkeypatch) -> Iterator[Path]:
    """A small model, which the report also dissects in the place of GPT-2 124M. No corpus to measure forgetting on."""
    shape = GPT2Config(vocab_size=50257, n_positions=256, n_embd=32, n_layer=2, n_head=2)
    sections.taxonomy_section.cache_clear()
    monkeypatch.setattr(sections, "SIZES", {"gpt2": shape})
    monkeypatch.setattr(sections, "TABLE", ("gpt2",))
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    save_gpt2(GPT2(shape), tmp_path / "small")
    yield tmp_path / "small"
    sections.taxonomy_section.cache_clear()


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.usefixtures("runs_in_this_process")
def test_a_comparison_from_end_to_end(command, two_classes, small, tmp_path):
    out = tmp_path / "results"
    settings = ["--model", small, "--data", two_classes, "--epochs", 1, "--out", out]
    added = tmp_path / "rows"
    added.mkdir()
    (added / "lora-rank2.toml").write_text('method = "lora"\nabout = "Rank 2."\noptions = {rank = 2}\n')
    (added / "random-head.toml").write_text('method = "head"\nabout = "No pretraining."\nmodel = "random"\n')
    (added / "elsewhere.toml").write_text('method = "head"\nabout = "Of other data."\ndata = "unseen-words"\n')
    methods = ["--methods", "lora,head", "--seeds", 2]
    result = command("compare_methods", *methods, "--jobs", 2, "--experiments", added, *settings)
    assert result.status == 0, result.err
    assert "Left out, for this comparison has no place for them: elsewhere (data unseen-words).\n" in result.out

    every = pd.read_csv(out / "results.csv")
    rows = ["head", "random-head", "lora", "lora-rank2"]  # in teaching order, added ones behind
    assert every.run.tolist() == [f"{row}-{seed}" for row in rows for seed in (123, 124)]
    assert every.rank_swept.dropna().tolist() == [2, 2] and every.model[2] == f"random:{small}"
    assert every["head"].tolist() == ["trained"] * 4 + ["frozen + LoRA"] * 4
    assert every.merged.tolist() == ["nothing to merge"] * 4 + ["yes"] * 4
    table = every[every.row == every.method]
    for row in every.itertuples():
        metrics = metrics_of(out / "runs" / row.run)
        assert row.test_accuracy == pytest.approx(metrics["test"]["accuracy"])
        assert row.test_loss == pytest.approx(metrics["test"]["loss"])
        assert row.seconds_per_epoch == pytest.approx(metrics["seconds_training"])
        adapter = out / "runs" / row.run / "adapter"
        assert row.adapter_bytes == sum(file.stat().st_size for file in adapter.iterdir())
    texts = {run: pd.read_csv(out / "runs" / run / "predictions.csv").text.tolist() for run in table.run}
    assert texts["head-123"] == texts["lora-123"] != texts["head-124"] == texts["lora-124"]

    report = (out / "report.md").read_text(encoding="utf-8")
    means = every[every.rank_swept.isna()].groupby("row").test_accuracy.agg(["mean", "std"])
    for method, row in means.iterrows():
        assert f"| `{method}` | {100 * row['mean']:.2f} ± {100 * row['std']:.2f} |" in report
    for expected in (
        "TF-IDF + logistic regression",
        "majority class",
        "untuned model, random head",
        "no difference shown",
        "not measured",
        "## What memorising is worth",
        "| test accuracy, % | rank 2 | rank 8 |",
        "- `random-head`: No pretraining.",
        "% on random:small (`random-head`)",
        "`--check-memory`",
        "PyTorch",
        "seeds 123, 124",
        "--seeds 2 --jobs 2 --experiments rows",
        *(f"| `{method}` |" for method in peft.METHODS),
    ):
        assert expected in report, expected
    assert str(tmp_path) not in report
    assert all((out / name).stat().st_size > 10_000 for name in ("parameters.png", "time.png"))
    assert len(pd.read_csv(out / "pairs.csv")) == 6  # three rows and TF-IDF

    # What is finished stays; what fails does not stop the others and is reported.
    before = {run: (out / "runs" / run / "metrics.json").stat().st_mtime_ns for run in every.run}
    broken = out / "runs" / "bitfit-123"
    broken.mkdir()
    (broken / "config.json").write_text('{"method": "another"}', encoding="utf-8")
    result = command("compare_methods", "--methods", "head,lora,bitfit,layernorm", "--seeds", 1, *settings)
    assert result.status == 1 and result.err.count("\n") == 1 and "bitfit-123" in result.err
    assert "2 of 4 runs are finished already" in result.out and "layernorm-123: test accuracy" in result.out
    assert {run: (out / "runs" / run / "metrics.json").stat().st_mtime_ns for run in every.run} == before
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "- `bitfit-123`: " in report and "`layernorm` (1 of 2 seeds)" in report

    (added / "lora-rank2.toml").write_text('method = "lora"\nabout = "Rank 4."\noptions = {rank = 4}\n')
    result = command("compare_methods", *methods, "--experiments", added / "lora-rank2.toml", *settings)
    assert "lora-rank2-123: the row lora-rank2 now has rank 4, not 2; delete this folder" in result.one_line(2)

    result = command("compare_methods", "--methods", "head", *settings, "--epochs", 2)
    assert (result.status, result.err.count("\n")) == (2, 1) and "another epochs (1, now 2)" in result.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_an_interrupted_comparison_goes_on(command, two_classes, small, stop_at_first_state, tmp_path):
    out = tmp_path / "results"
    arguments = ["--model", small, "--seeds", 1, "--data", two_classes, "--epochs", 3, "--out", out]
    started = [sys.executable, ROOT / "scripts/compare_methods.py", "--methods", "head", *map(str, arguments)]
    stopping = os.environ | {"OMP_NUM_THREADS": "1"} | stop_at_first_state("os.getppid()", "SIGTERM")
    stopped = subprocess.run(started, capture_output=True, text=True, env=stopping)
    assert stopped.returncode == 130 and stopped.stderr.endswith("interrupted\n"), stopped.stderr
    assert (out / "runs" / "head-123" / "state.safetensors").is_file() and not (out / "results.csv").exists()

    done = command("compare_methods", "--methods", "head,layernorm", "--jobs", 2, *arguments)  # two processes at a time
    assert done.status == 0, done.err
    output = (out / "runs" / "head-123" / "output.txt").read_text(encoding="utf-8")
    assert "Resuming" in output
    for run in ("head-123", "layernorm-123"):
        assert metrics_of(out / "runs" / run)["status"] == "finished"


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--methods", "lora,nope"], "unknown method 'nope'"),
        (["--methods", ","], "no method is named"),
        (["--seeds", "0"], "'0' is not a whole number"),
        (["--report-only", "--out", "nowhere"], "holds no comparison"),
    ],
)
def test_bad_usage_gets_one_line(arguments, part, command):
    result = command("compare_methods", *arguments)
    assert (result.status, result.err.count("\n")) == (2, 1) and part in result.err


def test_without_a_network_and_without_data_all_runs_are_on_the_practice_messages(command, tmp_path, monkeypatch):
    """What ``auto`` stands for is settled once, and written down."""

    def no_network(*args, **options):
        raise RunError("no network")

    monkeypatch.setattr("data.sms_spam.find_file", no_network)
    monkeypatch.setattr("comparison.runs.carry_out", lambda *args: {})
    result = command("compare_methods", "--methods", "head", "--seeds", 1, "--out", tmp_path / "r")
    assert result.status == 0 and "The SMS Spam Collection is not available" in result.out
    assert json.loads((tmp_path / "r" / "comparison.json").read_text())["settings"]["data"] == "practice"


def test_a_second_comparison_in_the_same_folder_is_told_that_the_first_is_running(command, two_classes, tmp_path):
    from gpt2.training.runs import locked

    with locked(tmp_path / "r"):
        result = command("compare_methods", "--methods", "head", "--data", two_classes, "--out", tmp_path / "r")
    assert "another process is running in it" in result.one_line(2)


def test_runs_share_seeds():
    rows = [Row("head", "head"), Row("lora-rank4", "lora", (("rank", 4),), epochs=2)]
    runs = all_runs(rows, 2)
    assert [run.name for run in runs] == ["head-123", "lora-rank4-123", "head-124", "lora-rank4-124"]
    settings = Settings(model="practice", data="sms", protocol="grouped", epochs=5, device="cpu")
    told = " ".join(settings.arguments(runs[3]))
    assert told.endswith("--protocol grouped --method=lora --rank=4 --epochs=2 --seed=124 --split-seed=124")


def test_commands_are_shown_without_this_machines_folders():
    inside = (ROOT / "docs" / "results").as_posix()
    command = f"python scripts/compare_methods.py --assets /secret/assets --out {inside} --data /home/me/mine.csv"
    assert without_folders(command) == "python scripts/compare_methods.py --out docs/results --data mine.csv"


def test_a_sweep_is_of_one_method_and_one_learning_rate():
    rows = [("lora", None, 0.001), ("lora-rank4", 4, 0.003), ("lora-rank16", 16, 0.003), ("lora-rank2", 2, 0.001)]
    runs = [
        {"row": row, "method": "lora", "rank_swept": rank, "lr": lr, "seed": seed, "test_accuracy": 0.9}
        for row, rank, lr in [*rows, ("head", None, 0.01)]
        for seed in (123, 124)
        if (row, seed) != ("lora-rank2", 124)
    ]
    runs = pd.DataFrame([run | {"method": run["row"].partition("-")[0]} for run in runs])
    found = rank_table(runs)
    slow, fast = (f"lora, scaled by α/r, learning rate {lr}" for lr in (0.001, 0.003))
    columns = zip(found.sweep, found["rank"], found.row, found.seeds, strict=True)
    assert list(columns) == [
        (slow, 2, "lora-rank2", 1),
        (slow, 8, "lora", 1),  # only the seed that rank 2 has too
        (fast, 4, "lora-rank4", 2),
        (fast, 16, "lora-rank16", 2),
    ]
    assert rank_table(runs[runs.rank_swept.isna()]).empty


# --- forgetting


def test_the_language_head_comes_back(tmp_path):
    tokens = torch.randint(50_000, (2, 16), generator=torch.Generator().manual_seed(0))
    before = forgetting.loss_before("practice", None, tokens)
    for method in ("head", "full", "prompt"):
        model = add_classification_head(load_gpt2("practice"))
        peft.apply(model, method)
        with torch.no_grad():
            for parameter in peft.trainable_parameters(model).values():
                parameter.add_(0.1)
        peft.save(model, tmp_path / method)
        after = forgetting.loss_after("practice", None, tokens, tmp_path / method)
        assert (after == before) == (method == "head")
    with torch.no_grad():
        logits = load_gpt2("practice")(tokens)
    assert before == pytest.approx(F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).item())


def test_windows_are_full_and_always_the_same(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("\n".join(f"Line {i} of a long and quite ordinary English text." for i in range(4000)))
    rows = forgetting.windows([file])
    assert rows.shape == (forgetting.WINDOWS, forgetting.WIDTH) and rows.equal(forgetting.windows([file]))
    assert len({tuple(row) for row in rows.tolist()}) == forgetting.WINDOWS
    file.write_text("too short")
    with pytest.raises(InputError, match="too short"):
        forgetting.windows([file])
    with pytest.raises(InputError, match="no such file"):
        forgetting.find_texts(str(tmp_path / "missing.txt"), None)


# --- pictures


def test_lines_that_would_hide_each_other_share_a_label():
    lines = {"a": 0.25, "b": 0.9, "c": 0.252, "d": 0.251}
    assert plots.joined(lines, 0.02) == {"a; d; c": 0.252, "b": 0.9}


def test_points_that_would_hide_each_other_are_spread():
    places = plots.spread(pd.Series([100.0, 100.0, 102.0, 5000.0], index=list("abcd")))
    assert places["d"] == 5000 and len(set(places.round(3))) == 4
    assert places[["a", "b", "c"]].between(80, 130).all()


def test_labels_do_not_cover_each_other(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "score": 0.97 + 0.01 * random.standard_normal(20),
            "score_sd": 0.003,
            "family": "additive",
            "n": 10 ** random.uniform(2, 7, 20),
        },
        index=list(peft.METHODS),
    )
    labels = []
    real = plots.place_labels

    def place(figure, axes, *rest):
        real(figure, axes, *rest)
        labels.extend(text for text in axes.texts if text.get_text() in table.index)
        extents = [text.get_window_extent(figure.canvas.get_renderer()) for text in labels]
        clashes = [(i, j) for i in range(20) for j in range(i) if extents[i].overlaps(extents[j])]
        assert len(labels) == 20 and not clashes

    monkeypatch.setattr(plots, "place_labels", place)
    plots.scatter(table, "n", "parameters", tmp_path / "a.png", {"baseline": 0.96}, logarithmic=True)
    assert (tmp_path / "a.png").stat().st_size > 10_000
