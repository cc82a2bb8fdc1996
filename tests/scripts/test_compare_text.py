"""The comparison of methods that learn to write, and the sweep of their learning rates."""

import json
from pathlib import Path

import pandas as pd
import pytest

import peft
from common.writing import evenly_spaced
from comparison.settings import Run, Settings, TextSettings
from comparison.text_ranks import PAPER
from comparison.text_results import NEAREST, UNTUNED, compare_with
from data.text_pairs import load_pairs
from gpt2 import GPT2, GPT2Config, save_gpt2
from peft.learning_rates import WRITING
from tuning import studies, sweep, trials
from tuning.trials import Trial, WritingBench, carry_out

RESULTS = Path(__file__).parents[2] / "docs" / "results"
WRITING_METHODS = [name for name, method in peft.METHODS.items() if not method.head_only]


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    save_gpt2(GPT2(GPT2Config(vocab_size=50257, n_positions=128, n_embd=16, n_layer=1, n_head=2)), tmp_path / "small")
    return tmp_path / "small"


@pytest.mark.slow
@pytest.mark.usefixtures("runs_in_this_process")
def test_a_comparison_from_end_to_end(command, small, tmp_path):
    out, added = tmp_path / "results", tmp_path / "lora-rank2.toml"
    added.write_text('method = "lora"\nabout = "Rank 2."\noptions = {rank = 2}\n')
    general = tmp_path / "english.txt"
    general.write_text("It was the best of times, it was the worst of times. " * 100)
    shared = ["--task", "text", "--model", small, "--epochs", 1, "--max-pairs", 24, "--evaluation-pairs", 8]
    shared += ["--test-sources", 4, "--num-beams", 2, "--general-text", general, "--out", out]
    result = command("compare_methods", *shared, "--methods", "full,lora", "--seeds", 2, "--experiments", added)
    assert result.status == 0, result.err
    assert "full-123: perplexity " in result.out and ", BLEU " in result.out

    runs = pd.read_csv(out / "results.csv")
    assert runs.run.tolist() == [f"{row}-{seed}" for row in ("full", "lora", "lora-rank2") for seed in (123, 124)]
    assert runs["rank"].tolist()[2:] == [8, 8, 2, 2] and runs.rank_swept.dropna().tolist() == [2, 2]
    for row in runs.itertuples():
        metrics = json.loads((out / "runs" / row.run / "metrics.json").read_text())
        assert set(metrics["written"]) == {"model"}  # the baselines are the report's
        assert row.test_bleu == pytest.approx(metrics["written"]["model"]["bleu"])
        assert row.test_perplexity == pytest.approx(metrics["test"]["perplexity"])
        assert row.validation_loss == pytest.approx(metrics["validation"]["loss"])
    assert runs[runs.rank_swept.isna()].general_loss_after.notna().all()

    report, outputs = ((out / name).read_text(encoding="utf-8") for name in ("report.md", "outputs.md"))
    assert str(tmp_path) not in report
    for expected in (
        f"| *{UNTUNED}* |",
        f"| *{NEAREST}* |",
        "| `full` |",
        "## Rank of LoRA",
        "| 2 | ",
        "Hu et al.: BLEU",
    ):
        assert expected in report, expected
    assert outputs.count("| people (") == outputs.count("| `lora` |") == outputs.count("\n## ") >= 4
    assert all((out / name).stat().st_size > 10_000 for name in ("parameters.png", "ranks.png"))

    for arguments in (["--methods", "lora", "--data", "sms"], ["--methods", "head"], ["--protocol", "strict"]):
        refused = command("compare_methods", *shared, *arguments)
        assert refused.status == 2 and refused.err.count("\n") == 1
    assert "holds a comparison of --task text" in command("compare_methods", "--data", "practice", "--out", out).err


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--task", "text", "--methods", "head"], "head trains a classification head only"),
        (["--task", "text", "--protocol", "strict"], "--protocol has no effect with --task text"),
        (["--task", "text", "--check-memory"], "--check-memory has no effect with --task text"),
        (["--task", "text", "--data", "nowhere"], "no pairs named 'nowhere'"),
        (["--num-beams", "2"], "--num-beams has no effect without --task text"),
        (["--task", "songs"], "invalid choice: 'songs'"),
    ],
)
def test_bad_usage_gets_one_line(arguments, part, command, tmp_path):
    assert part in command("compare_methods", *arguments, "--out", tmp_path / "r").one_line(2)
    assert not (tmp_path / "r").exists()


def test_a_plain_text_has_nothing_to_compare(command, tmp_path):
    (tmp_path / "plain.txt").write_text("A line of text.\n" * 2000)
    result = command("compare_methods", "--task", "text", "--data", tmp_path / "plain.txt", "--out", tmp_path / "r")
    assert "is a plain text" in result.one_line(2) and not (tmp_path / "r").exists()


@pytest.mark.parametrize("content, part", [(b"too short", "too short"), (b"\xff" * 9999, "must be UTF-8")])
def test_general_text_is_read_before_anything_is_trained(content, part, command, small, tmp_path):
    (tmp_path / "general.txt").write_bytes(content)
    given = ["--task", "text", "--model", small, "--methods", "lora", "--general-text", tmp_path / "general.txt"]
    assert part in command("compare_methods", *given, "--out", tmp_path / "r").one_line(2)
    assert not (tmp_path / "r").exists()


def test_a_row_of_a_method_that_cannot_write_is_left_out(command, small, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("comparison.runs.carry_out", lambda out, runs, *_: started.extend(runs) or {})
    (tmp_path / "m.toml").write_text('method = "head"\nabout = "A head."\n')
    given = ["--task", "text", "--data", "practice", "--model", small, "--methods", "lora", "--seeds", 1]
    result = command("compare_methods", *given, "--experiments", tmp_path / "m.toml", "--out", tmp_path / "r")
    assert "m (head trains a classification head only)" in result.out and [run.name for run in started] == ["lora-123"]


def test_what_a_run_is_told():
    row = Run(sweep_row("lora-rank4"), 124)
    settings = TextSettings(model="practice", data="e2e", epochs=1, device="cpu", max_pairs=100)
    told = " ".join(settings.arguments(row))
    assert "--data e2e" in told and "--max-pairs 100" in told
    assert told.endswith("--method=lora --rank=4 --seed=124 --no-baselines")
    assert settings.task != Settings.task and "max_pairs" in TextSettings.later()


def sweep_row(name: str):
    from comparison.rows import read_row

    return read_row(Path(__file__).parents[2] / "experiments" / "ranks-writing" / f"{name}.toml")


def test_a_difference_is_shown_where_each_seed_shows_it():
    references = [[f"the sky over town {i} is blue and the wind is weak"] for i in range(40)]
    good = [group[0] for group in references]
    poor = [f"{text.split()[0]} town {i}" for i, text in enumerate(good)]
    rows = [("best", 1), ("best", 2), ("same", 1), ("same", 2), ("poor", 1), ("poor", 2)]
    runs = pd.DataFrame([{"row": row, "run": f"{row}-{seed}", "seed": seed} for row, seed in rows])
    written = {f"{row}-{seed}": poor if row == "poor" else good for row, seed in rows}
    found = compare_with("best", None, runs, written, references).set_index("row")
    assert found.differs.to_dict() == {"same": False, "poor": True} and found.difference["poor"] < -50
    against = compare_with(NEAREST, poor, runs, written, references).set_index("row")
    assert against.differs.to_dict() == {"best": True, "same": True, "poor": False}


def test_evenly_spaced_things_are_from_the_whole():
    assert evenly_spaced(10, 5) == [0, 2, 4, 6, 8] and evenly_spaced(3, 5) == [0, 1, 2] and evenly_spaced(0, 5) == []


# --- learning rates


def test_a_trial_of_writing_resumes_and_is_judged_by_validation_pairs(small, tmp_path, monkeypatch):
    bench = WritingBench(model=str(small), assets=None, pairs=load_pairs("practice"))
    wanted, file = [Trial("lora", 1e-2, steps=3), Trial("full", 1e30, steps=3)], tmp_path / "results.csv"
    table = carry_out(bench, wanted, file, jobs=1).set_index("method")
    assert table.n_train.tolist() == [24, 24] and table.epochs.tolist() == [1, 1]
    assert 5 < table.loss["lora"] < 12 and table.f1.isna().all()
    monkeypatch.setattr(WritingBench, "run", lambda *_: pytest.fail("was repeated"))
    assert carry_out(bench, wanted, file, jobs=1).equals(trials.read(file))


def test_every_method_is_tried_at_the_same_multiples_of_its_rate():
    study = studies.writing(load_pairs("practice"))
    assert study.rates("lora") == [1e-3, 3e-3, 1e-2] and study.rates("full") == [3e-4, 9e-4, 3e-3]


def test_the_default_learning_rates_for_writing_are_those_that_the_sweep_chose():
    losses = sweep.mean_losses(trials.read(RESULTS / "learning_rates_writing" / "results.csv"))
    chosen = {method: sweep.best_rate(losses[method, ""]) for method in losses.index.unique("method")}
    assert WRITING == chosen | {"minlora": chosen["lora"]}  # which computes the same
    assert set(WRITING) == set(WRITING_METHODS)
    for name, lr in WRITING.items():
        assert peft.METHODS[name].learning_rate(128, writing=True) == lr
        assert peft.METHODS[name].learning_rate(768, writing=True) == peft.METHODS[name].learning_rate(768)
    assert peft.METHODS["lora"].learning_rate(256, writing=True) == WRITING["lora"] / 2


# --- the published results


def test_the_report_is_made_from_its_results():
    runs = pd.read_csv(RESULTS / "e2e" / "results.csv")
    text = (RESULTS / "e2e" / "report.md").read_text(encoding="utf-8")
    assert (
        set(runs[runs.rank_swept.isna()].row) == set(WRITING_METHODS) and runs.groupby("row").seed.nunique().min() == 3
    )
    for row, part in runs[runs.rank_swept.isna()].groupby("row"):
        assert f"| `{row}` | {part.test_bleu.mean():.2f} ± {part.test_bleu.std():.2f} |" in text
    swept = runs[(runs.method == "lora") & (runs.row.str.startswith("lora"))]
    assert sorted(swept["rank"].unique()) == [1, 2, 4, 8, 16, 32, 64] == sorted(PAPER)
    for rank, part in swept.groupby("rank"):
        assert f"| {part.validation_loss.mean():.3f} ± {part.validation_loss.std():.3f} |" in text, rank
