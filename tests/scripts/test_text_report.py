"""The report on methods that learn to write, from run folders of all kinds: few, odd, damaged."""

import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from comparison.text_results import NEAREST, UNTUNED
from gpt2.text_metrics import measure

MACHINE = dict.fromkeys(("processor", "system", "python", "torch"), "x") | {"cores": 2}
SETTINGS = {"model": "practice", "data": "mine.csv", "epochs": 1, "device": "cpu", "max_pairs": None}
SETTINGS |= {"evaluation_pairs": 1000, "num_beams": 1, "source_column": "source", "target_column": "target"}
LOSSES = {part: {"loss": 1.0, "perplexity": 2.7} for part in ("train", "validation", "test")}
ODD = ["a | b", "two\nlines", "<b>bold</b> 😀", "007"]


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """compared({"lora-123": (4, texts), …}, sources) -> a results folder; the numbers are ranks."""
    monkeypatch.delenv("GPT2_PEFT_ASSETS", raising=False)
    out = tmp_path / "results"

    def write(file: Path, content: object) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")

    def compared(runs: dict[str, tuple[int | None, list[str]]], sources: list[str]) -> Path:
        references = [[source] for source in sources]
        conditions = {name: {"jobs": 1, "threads": 1} for name in runs}
        record = {"task": "text", "settings": SETTINGS | {"encoding": "utf-8"}, "machine": MACHINE, "runs": conditions}
        write(out / "comparison.json", record | {"started": "today", "commands": ["compare"]})
        named = {name: {"texts": sources, **measure(sources, references)} for name in (UNTUNED, NEAREST)}
        write(out / "baselines.json", {"sources": sources, "named": named})
        for name, (rank, texts) in runs.items():
            row, seed = name.rsplit("-", 1)
            folder = out / "runs" / name
            config = {"lr": 0.1, "weight_decay": 0.0, "batch_size": 8, "method": row.split("-")[0], "model": "practice"}
            metrics = {"status": "finished", "seed": int(seed), "options": {"rank": rank} if rank else {}, "epochs": 1}
            metrics |= {"trainable_parameters": 10, "total_parameters": 100, "data": "mine.csv", "best_epoch": 1}
            metrics |= {"seconds_training": 1.0, "peak_memory_mb": 10.0, "sources": len(sources)}
            written = {"model": measure(texts, references) | {"half_width": 1.0}}
            write(folder / "config.json", config)
            write(folder / "metrics.json", config | metrics | LOSSES | {"written": written})
            write(folder / "adapter" / "adapter_model.safetensors", "")
            table = pd.DataFrame({"source": sources, "written": texts})
            table = table.assign(references=[json.dumps(group) for group in references])
            table.to_csv(folder / "generated.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
        return out

    return compared


@pytest.fixture
def report(command):
    return lambda out: command("compare_methods", "--report-only", "--out", out)


@pytest.mark.parametrize("sources", [["001", "002", "3"], ODD, ["one"], [f"town {i}" for i in range(9)]])
@pytest.mark.parametrize("texts", [ODD, ["1", "2", "3", "4"], [""] * 4], ids=["odd", "numbers", "empty"])
def test_texts_may_be_anything(texts, sources, compared, report):
    written = (texts * 3)[: len(sources)]
    out = compared({"lora-123": (None, written), "bitfit-123": (None, sources)}, sources)
    result = report(out)
    assert result.status == 0 and not result.err, result
    outputs = (out / "outputs.md").read_text(encoding="utf-8")
    headings = [line for line in outputs.splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings)) == min(5, len(sources))  # no source twice
    tables = [line for line in outputs.splitlines() if line.startswith("|")]
    assert len(tables) == len(headings) * (2 + 2 + 2 + 1) and "<b>" not in outputs
    assert " 001" in outputs or sources[0] != "001"


@pytest.mark.parametrize(
    "runs",
    [
        {"lora-123": (None, ODD)},  # one row has no order
        {"lora-123": (None, ODD), "lora-124": (None, ODD), "bitfit-124": (None, ODD)},  # a run is missing
        {"lora-rank4-123": (4, ODD), "lora-124": (None, ODD)},  # the first seed has a rank only
    ],
)
def test_few_runs_make_a_report(runs, compared, report):
    out = compared(runs, ODD)
    result = report(out)
    assert result.status == 0 and not result.err, result
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "nan" not in text and "at most 1,000 pairs" in text


def test_conditions_that_nobody_noted(compared, report):
    out = compared({"lora-123": (None, ODD), "bitfit-123": (None, ODD)}, ODD)
    for noted, part in (({"lora-123": {"jobs": 1, "threads": 2}}, "each; of some not"), ({}, "runs of some not")):
        record = json.loads((out / "comparison.json").read_text()) | {"runs": noted}
        (out / "comparison.json").write_text(json.dumps(record))
        assert report(out).status == 0 and part in (out / "report.md").read_text(encoding="utf-8")


def test_ranks_alone_are_no_comparison(compared, report):
    assert "a sweep over ranks only" in report(compared({"lora-rank4-123": (4, ODD)}, ODD)).one_line(2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_text(""),
        lambda file: file.write_text(file.read_text()[:-20]),
        lambda file: file.write_text("a,b\n1,2\n"),
        lambda file: file.write_text('source,written,references\na,b,"[half"\n'),
        lambda file: file.write_bytes(b"\xff\xfe\x00"),
    ],
)
def test_damaged_texts_get_one_line(damage, compared, report):
    out = compared({"lora-123": (None, ODD), "bitfit-123": (None, ODD)}, ODD)
    damage(out / "runs" / "lora-123" / "generated.csv")
    line = report(out).one_line(2)
    assert "generated.csv is missing or damaged; delete lora-123/ and run" in line
    shutil.rmtree(out / "runs" / "lora-123")
    assert report(out).status == 0


def test_runs_on_changed_data_are_not_compared(compared, report):
    out = compared({"lora-123": (None, ODD), "bitfit-123": (None, ODD)}, ODD)
    file = out / "runs" / "lora-123" / "generated.csv"
    file.write_text(file.read_text(encoding="utf-8").replace('"[""007""]"', '"[""008""]"'), encoding="utf-8")
    assert "other references" in report(out).one_line(2)
