"""The anatomy of runs: the report, its table and its picture; docs/commands.md."""

import pandas as pd
import pytest

import peft
from gpt2 import load_gpt2
from peft.anatomy import weight_changes

TEXT = "The river ran past the old mill, and the miller's daughter sat by the water and read. " * 100


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "general.txt"
    file.write_text("\n".join([TEXT] * 64), encoding="utf-8")
    return file


def test_the_report(trained, command, tmp_path, text):
    from comparison.forgetting import loss_after, loss_before, windows

    runs = {name: trained(name, *options) for name, options in (("lora", ("--rank", 4)), ("selective", ()))}
    result = command("anatomy", *runs.values(), "--out", tmp_path / "out", "--epsilon", 1.0, "--general-text", text)
    assert result.status == 0, result.err
    assert (tmp_path / "out" / "spectra.png").stat().st_size > 20_000
    layers = pd.read_csv(tmp_path / "out" / "anatomy.csv", dtype={"run": str})
    report = (tmp_path / "out" / "anatomy.md").read_text(encoding="utf-8")
    for method, run in runs.items():
        mine = layers[layers.run == run.name].set_index("layer")
        changes = weight_changes(peft.load(load_gpt2("practice"), run / "adapter"), load_gpt2("practice"))
        assert list(mine.index) == list(changes)
        for layer, change in changes.items():
            assert mine.relative_size[layer] == pytest.approx(change.relative_size)
        assert (mine.effective_rank <= 4.0001).all() == (method == "lora")
        assert (mine.intruders == 10).all()  # nothing has a cosine of one with another
        tokens = windows([text])
        pretrained, tuned = loss_before("practice", None, tokens), loss_after("practice", None, tokens, run / "adapter")
        assert f"| {run.name} | {pretrained:.3f} | {tuned:.3f} |" in report
    assert "| run | method | layers |" in report and "## Intruder dimensions of" in report


def test_without_intruders_nothing_changes(trained, command, tmp_path, text):
    run = trained("lora", "--rank", 4)
    result = command("anatomy", run, "--out", tmp_path / "out", "--epsilon", 0, "--general-text", text)
    assert result.status == 0, result.err
    losses = result.out.split("language loss ")[1].split()
    assert losses[2] == losses[4] and "0 intruders" in result.out


def test_without_a_general_text_the_report_says_so(trained, command, tmp_path, monkeypatch):
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    result = command("anatomy", trained("lora", "--rank", 4), "--out", tmp_path / "out")
    assert result.status == 0, result.err
    assert "the language loss was not measured" in (tmp_path / "out" / "anatomy.md").read_text(encoding="utf-8")


def test_what_it_refuses(trained, command, tmp_path):
    run = trained("adapter")
    said = command("anatomy", run, "--out", tmp_path / "out").one_line(2)
    assert "adapter has no ΔW to look at: an adapter's non-linearity" in said and str(run) in said
    assert "is not a number from 0 to 1" in command("anatomy", run, "--epsilon", "2").one_line(2)
    assert "8 runs are too many" in command("anatomy", *["x"] * 8).one_line(2)
    assert "not the folder of a run" in command("anatomy", tmp_path).one_line(2)
    assert not (tmp_path / "out").exists()
