"""The comparison: runs that are shared, resumed and survive a failure; statistics, memory, families and the report."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import peft
from gpt2 import GPT2, GPT2Config, load_gpt2
from gpt2.classifier import add_classification_head, classify
from gpt2.config import SIZES
from gpt2.errors import InputError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import _comparison_plots as plots  # noqa: E402
import _forgetting as forgetting  # noqa: E402
import _memory as memory  # noqa: E402
import _significance as significance  # noqa: E402
from _comparison_results import correctness  # noqa: E402
from _comparison_runs import Run, main_runs, sweep_runs, without_folders  # noqa: E402
from _taxonomy import MESSAGE_TOKENS, dissect  # noqa: E402


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


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_a_comparison_from_end_to_end(command, two_classes, tmp_path, monkeypatch):
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    out = tmp_path / "results"
    settings = ["--data", two_classes, "--epochs", 1, "--out", out]
    result = command("compare_methods", "--methods", "lora,head", "--seeds", 2, "--jobs", 2, *settings)
    assert result.status == 0, result.err

    table = pd.read_csv(out / "results.csv")
    assert table.run.tolist() == ["head-123", "head-124", "lora-123", "lora-124"]  # in teaching order
    assert table["head"].tolist() == ["trained"] * 2 + ["frozen + LoRA"] * 2
    assert table.merged.tolist() == ["nothing to merge"] * 2 + ["yes"] * 2
    for row in table.itertuples():
        metrics = metrics_of(out / "runs" / row.run)
        assert row.test_accuracy == pytest.approx(metrics["test"]["accuracy"])
        assert row.test_loss == pytest.approx(metrics["test"]["loss"])
        assert row.seconds_per_epoch == pytest.approx(metrics["seconds_training"])
        adapter = out / "runs" / row.run / "adapter"
        assert row.adapter_bytes == sum(file.stat().st_size for file in adapter.iterdir())
    texts = {run: pd.read_csv(out / "runs" / run / "predictions.csv").text.tolist() for run in table.run}
    assert texts["head-123"] == texts["lora-123"] != texts["head-124"] == texts["lora-124"]

    report = (out / "report.md").read_text(encoding="utf-8")
    means = table.groupby("method").test_accuracy.agg(["mean", "std"])
    for method, row in means.iterrows():
        assert f"| `{method}` | {100 * row['mean']:.2f} ± {100 * row['std']:.2f} |" in report
    for expected in (
        "TF-IDF + logistic regression",
        "majority class",
        "untuned model, random head",
        "no difference shown",
        "not measured",
        "`--rank-sweep`",
        "`--check-memory`",
        "PyTorch",
        "seeds 123, 124",
        "--seeds 2 --jobs 2",
        *(f"| `{method}` |" for method in peft.METHODS),
    ):
        assert expected in report, expected
    assert str(tmp_path) not in report
    assert all((out / name).stat().st_size > 10_000 for name in ("parameters.png", "time.png"))
    assert len(pd.read_csv(out / "pairs.csv")) == 3  # two methods and TF-IDF

    # What is finished stays; what fails does not stop the others and is reported.
    before = {run: (out / "runs" / run / "metrics.json").stat().st_mtime_ns for run in table.run}
    broken = out / "runs" / "bitfit-123"
    broken.mkdir()
    (broken / "config.json").write_text('{"method": "another"}', encoding="utf-8")
    result = command("compare_methods", "--methods", "head,lora,bitfit,layernorm", "--seeds", 1, *settings)
    assert result.status == 1 and result.err.count("\n") == 1 and "bitfit-123" in result.err
    assert "2 of 4 runs are finished already" in result.out and "layernorm-123: test accuracy" in result.out
    assert {run: (out / "runs" / run / "metrics.json").stat().st_mtime_ns for run in table.run} == before
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "- `bitfit-123`: " in report and "`layernorm` (1 of 2 seeds)" in report

    result = command("compare_methods", "--methods", "head", "--data", two_classes, "--epochs", 2, "--out", out)
    assert (result.status, result.err.count("\n")) == (2, 1) and "another epochs (1, now 2)" in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_an_interrupted_comparison_goes_on(two_classes, tmp_path):
    out = tmp_path / "results"
    arguments = ["--methods", "head", "--seeds", "1", "--data", two_classes, "--epochs", "12", "--out", out]
    started = [sys.executable, ROOT / "scripts/compare_methods.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    state, deadline = out / "runs" / "head-123" / "state.safetensors", time.monotonic() + 120
    while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.endswith("interrupted\n"), errors
    assert state.is_file() and not (out / "results.csv").exists()

    done = subprocess.run(started, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    output = (out / "runs" / "head-123" / "output.txt").read_text(encoding="utf-8")
    assert "Resuming" in output and metrics_of(out / "runs" / "head-123")["status"] == "finished"


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


def test_runs_share_seeds_and_the_sweep_uses_the_main_run():
    assert [run.name for run in main_runs(["head", "lora"], 2)] == ["head-123", "lora-123", "head-124", "lora-124"]
    names = [run.name for run in sweep_runs(1)]
    assert names[:4] == ["lora-rank1-123", "lora-rank2-123", "lora-rank4-123", "lora-123"] and len(names) == 14
    arguments = Run("lora", 124, (("rank", 4),)).arguments
    assert arguments == "--method lora --rank 4 --seed 124 --split-seed 124".split()


def test_commands_are_shown_without_this_machines_folders():
    inside = (ROOT / "docs" / "results").as_posix()
    command = f"python scripts/compare_methods.py --assets /secret/assets --out {inside} --data /home/me/mine.csv"
    assert without_folders(command) == "python scripts/compare_methods.py --out docs/results --data mine.csv"


# --- statistics


@pytest.mark.parametrize(
    "only_a, only_b, p",
    [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 22 / 1024), (9, 1, 22 / 1024), (0, 6, 2 / 64), (3, 4, 1.0)],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    assert significance.mcnemar(only_a, only_b) == pytest.approx(p)


def test_holm_by_hand():
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.6, 0.5]) == [1.0, 1.0]
    assert significance.holm([]) == []


def frame(**columns: list[float]) -> pd.DataFrame:
    """Answers to messages 0, 1, … of one seed."""
    n = len(next(iter(columns.values())))
    index = pd.MultiIndex.from_tuples([(123, i, f"text {i}") for i in range(n)], names=["seed", "position", "text"])
    return pd.DataFrame(columns, index=index)


def test_pairs_are_compared_message_by_message():
    good, bad = [1.0] * 10 + [1.0] * 10, [0.0] * 10 + [1.0] * 10
    table = significance.compare_all(frame(bad=bad, good=good, twin=good))
    row = significance.pair(table, "bad", "good")
    assert (row.a, row.b, row.n, row.difference, row.a_only, row.b_only) == ("good", "bad", 20, 0.5, 10, 0)
    assert row.p == pytest.approx(2 / 1024) and row.p_holm == pytest.approx(6 / 1024) and row.differs
    assert 0.2 < row.low < 0.5 < row.high < 0.8
    twins = significance.pair(table, "good", "twin")
    assert (twins.difference, twins.p, twins.low, twins.high) == (0, 1, 0, 0) and not twins.differs


def test_a_method_with_fewer_seeds_is_compared_on_what_both_answered():
    table = significance.compare_all(frame(a=[1.0, 1.0, 0.0, 1.0], b=[0.0, 1.0, math.nan, math.nan]))
    assert (table.n[0], table.difference[0], table.a_only[0]) == (2, 0.5, 1)


def test_the_bootstrap_interval_is_that_of_a_mean():
    differences = np.random.default_rng(1).integers(-1, 2, size=(400, 1)).astype(float)
    low, high = significance.bootstrap(differences, np.ones_like(differences), draws=4000)
    error = differences.std() / math.sqrt(400)
    assert low[0] == pytest.approx(differences.mean() - 1.96 * error, abs=0.15 * error)
    assert high[0] == pytest.approx(differences.mean() + 1.96 * error, abs=0.15 * error)


def test_standard_error_of_300_messages():
    assert significance.standard_error(0.955, 300) == pytest.approx(0.012, abs=2e-4)


def test_runs_on_other_messages_are_refused():
    one = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"], "predicted": ["x", "x"]})
    good = correctness(iter([("lora", 123, one), ("head", 123, one)]))
    assert good.lora.tolist() == [1.0, 0.0]
    with pytest.raises(InputError, match="other messages"):
        correctness(iter([("lora", 123, one), ("head", 123, one.assign(text=["a", "c"]))]))


# --- memory and taxonomy


@pytest.mark.parametrize("method", memory.METHODS)
def test_activations_are_what_autograd_keeps(method):
    B, T = 3, 16

    def kept(layers: int) -> int:
        torch.manual_seed(0)
        model = GPT2(GPT2Config(vocab_size=97, n_positions=64, n_embd=64, n_layer=layers, n_head=4))
        peft.apply(add_classification_head(model), method).train()
        own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
        tensors: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            tensors[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = classify(model, torch.randint(97, (B, T)), torch.full((B,), T))
            F.cross_entropy(logits, torch.zeros(B, dtype=torch.long))
        return sum(t.untyped_storage().nbytes() for key, t in tensors.items() if key not in own)

    config = GPT2Config(vocab_size=97, n_positions=64, n_embd=64, n_layer=1, n_head=4)
    rank = 0 if method == "full" else 8
    a_block = memory.activations(config, rank) - (config.n_embd + 2)
    assert kept(3) - kept(2) == 4 * B * T * a_block


def test_full_fine_tuning_takes_sixteen_bytes_a_parameter():
    full, lora, qlora = (memory.budget(SIZES["gpt2"], method, tokens=1000) for method in memory.METHODS)
    assert full.weights + full.gradients + full.optimiser == 16 * 124_441_346
    assert (lora.gradients, lora.optimiser) == (4 * 1_333_264, 8 * 1_333_264) == (qlora.gradients, qlora.optimiser)
    blocks = 12 * 12 * 768**2  # weights of linear layers
    assert lora.weights - qlora.weights == pytest.approx(blocks * (4 - 4.127 / 8), rel=1e-3)
    assert lora.activations == qlora.activations > full.activations  # LoRA saves none
    assert full.total == full.weights + full.gradients + full.optimiser + full.activations


def test_families_follow_from_the_code():
    tiny = GPT2Config(vocab_size=61, n_positions=48, n_embd=24, n_layer=2, n_head=3)
    found = {method: dissect(tiny, method) for method in peft.METHODS}
    families = {
        "selective": {"full", "head", "selective", "bitfit", "layernorm"},
        "reparametrised": {"lora", "rslora", "dora", "dylora", "minlora", "qlora", "ia3"},
        "additive": {"adapter", "adapter-pfeiffer", "adapter-parallel", "prompt", "p-tuning", "prefix", "p-tuning-v2"},
        "hybrid": {"mam"},
    }
    for family, members in families.items():
        assert {method for method, anatomy in found.items() if anatomy.family == family} == members
    for method, anatomy in found.items():
        assert (anatomy.head == "frozen + LoRA") == peft.METHODS[method].lora_head
        assert anatomy.mergeable != "yes" or anatomy.extra_flops_merged == 0
        assert anatomy.family != "selective" or anatomy.extra_flops == 0
    assert found["qlora"].mergeable == "no" and found["full"].trains == "everything" and found["head"].trains == "head"
    assert found["lora"].trains == "13 × LinearWithLoRA" and found["bitfit"].trains == (
        "12 × Linear bias, 5 × LayerNorm bias, head"
    )
    assert found["prefix"].stored_bytes == found["p-tuning-v2"].stored_bytes  # the network is dropped


def test_extra_operations_by_formula():
    config = GPT2Config(vocab_size=61, n_positions=64, n_embd=24, n_layer=2, n_head=3)
    C, L, head = 24, 2, 2 * 8 * (24 + 2) / MESSAGE_TOKENS  # the head reads one token of the message
    assert dissect(config, "lora").extra_flops == pytest.approx(L * 2 * 8 * (4 * 2 * C + 2 * 5 * C) + head)
    assert dissect(config, "adapter", {"bottleneck": 5}).extra_flops == L * 2 * (2 * 2 * C * 5)
    p = dissect(config, "p-tuning-v2", {"virtual_tokens": 6})
    assert p.extra_flops == L * 2 * 2 * C * 6  # every token looks at six keys and values more


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


def test_points_that_would_hide_each_other_are_spread():
    places = plots.spread(pd.Series([100.0, 100.0, 102.0, 5000.0], index=list("abcd")))
    assert places["d"] == 5000 and len(set(places.round(3))) == 4
    assert places[["a", "b", "c"]].between(80, 130).all()


def test_labels_do_not_cover_each_other(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "accuracy": 0.97 + 0.01 * random.standard_normal(20),
            "accuracy_sd": 0.003,
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
