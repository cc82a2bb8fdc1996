"""The benchmark of learning to write: both arms compute the same losses on the same batches."""

import json

import pytest
import torch

from benchmarking import writing
from benchmarking.methods import library_missing
from benchmarking.rounds import LIBRARY, OURS, losses
from gpt2 import GPT2, GPT2Config
from gpt2.checkpoints.weights import save_gpt2

TINY = GPT2Config(vocab_size=50257, n_positions=96, n_embd=32, n_layer=2, n_head=2)


@pytest.mark.slow
def test_both_arms_learn_the_same(command, tmp_path):
    torch.manual_seed(0)
    save_gpt2(GPT2(TINY), tmp_path / "tiny")
    out = tmp_path / "page.md"
    arguments = ["--model", tmp_path / "tiny", "--methods", "--writing", "--steps", 3, "--rounds", 2, "--out", out]
    result = command("benchmark", *arguments)
    assert result.status == 0, result.err
    page = out.read_text(encoding="utf-8")
    measured = json.loads((tmp_path / "results" / "page.json").read_text(encoding="utf-8"))["writing"]
    assert list(measured) == ["lora", "full"]
    for method, found in measured.items():
        assert f"| `{method}` | {OURS} |" in page
        assert found["data"]["pairs"] == 24 and 0 < found["data"]["targets"] < found["data"]["tokens"]
        assert len(writing.step_seconds(found["arms"][OURS])) == 3
        assert all(writing.memory(arm) > 0 for arm in found["arms"].values())
    blocks = sum(a + b for a, b in [*[(32, 32)] * 4, (32, 128), (128, 32)])
    assert measured["lora"]["arms"][OURS]["about"]["trained"] == TINY.n_layer * 8 * blocks  # not the tied head
    if library_missing():
        pytest.skip("transformers or peft is not installed: their arm was left out, as it should be")

    full, lora = (measured[method]["arms"] for method in ("full", "lora"))
    assert full[LIBRARY]["about"]["trained"] == full[OURS]["about"]["trained"]  # the head is the embedding in both
    assert lora[LIBRARY]["about"]["peft_layers"] == 4 * TINY.n_layer
    assert losses(lora[OURS])[0] == pytest.approx(losses(lora[LIBRARY])[0], abs=1e-4)  # B is 0: the same start
    assert losses(full[OURS]) == pytest.approx(losses(full[LIBRARY]), abs=1e-4)  # and the same steps


def test_the_report_gives_medians_and_ratios():
    def arm(seconds: float, loss: float, peak: float) -> dict:
        record = {"pass": 0, "seconds": [seconds, seconds, 3 * seconds], "losses": [loss] * 3, "peak_mb": peak}
        record["cpu_seconds"] = [seconds / 2] * 3
        return {"about": {"before_mb": 100.0, "trained": 7, "transformers": "5", "peft": "0"}, "records": [record] * 2}

    data = {"name": "practice", "batch": 8, "pairs": 48, "tokens": 480, "targets": 120}
    arms = {LIBRARY: arm(0.4, 2.00001, 500.0), OURS: arm(0.2, 2.0, 300.0)}
    text = writing.report({name: {"arms": arms, "data": data} for name in ("lora", "full")})
    assert "Over all steps of `full`, the losses differ by at most 1.0e-05." in text
    assert "practice: 6 steps of 8 pairs, 10.0 tokens a pair on average, of which 2.5 are target" in text
    theirs = "0.400 (0.400 to 1.000) | 2.00 (2.00 to 2.00) | 0.200 (0.200 to 0.200) | 2.00 (2.00 to 2.00)"
    assert f"| `lora` | {LIBRARY} | {theirs} | 400 | 2.00 | 2.000010 | 1.0e-05 | 7 |" in text
    times = "0.200 (0.200 to 0.500) | 1.00 | 0.100 (0.100 to 0.100) | 1.00"
    assert f"| `lora` | {OURS} | {times} | 200 | 1.00 | 2.000000 |" in text
