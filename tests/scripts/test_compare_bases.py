"""Several bases beside each other: means, differences message by message, and what cannot be compared."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from comparison import plots

SETTINGS = {"data": "sms", "protocol": "strict", "epochs": 1, "rank_swept": None}


def comparison(folder: Path, right: dict[str, list[int]], keep_runs: bool = True, **settings: object) -> Path:
    """A results folder as compare_methods.py leaves it: of each run, how many of 40 messages it had right."""
    folder.mkdir()
    rows = []
    for method, seeds in right.items():
        for seed, count in enumerate(seeds, start=123):
            run = f"{method}-{seed}"
            rows.append({"run": run, "method": method, "seed": seed, "test_accuracy": count / 40})
            if keep_runs:
                (folder / "runs" / run).mkdir(parents=True)
                predicted = ["ham"] * count + ["spam"] * (40 - count)
                table = {"label": "ham", "predicted": predicted, "text": [f"{seed} {i}" for i in range(40)]}
                pd.DataFrame(table).to_csv(folder / "runs" / run / "predictions.csv", index=False)
    rows.append({"run": "lora-rank4-123", "method": "lora", "seed": 123, "test_accuracy": 0.0, "rank_swept": 4})
    pd.DataFrame([SETTINGS | settings | row for row in rows]).to_csv(folder / "results.csv", index=False)
    return folder


def test_the_table(command, tmp_path):
    weak = comparison(tmp_path / "weak", {"head": [20, 22], "lora": [37, 38]})
    good = comparison(tmp_path / "good", {"head": [34, 36], "lora": [38, 38], "full": [40, 40]})
    result = command("compare_bases", f"weak={weak}", f"good={good}", "--out", tmp_path / "out")
    assert result.status == 0, result.err
    report = (tmp_path / "out" / "bases.md").read_text(encoding="utf-8")
    # 28 messages that only good has right: far from a coin; 1 message: nothing shown
    assert "| `head` | 52.50 ± 3.54 (-35.00\\*) | 87.50 ± 3.54 |" in report
    assert "| `lora` | 93.75 ± 1.77 (-1.25) | 95.00 ± 0.00 |" in report
    assert "| `full` | – | 100.00 ± 0.00 |" in report and "2 tests" in report and "over 2 seeds" in report
    assert pd.read_csv(tmp_path / "out" / "bases.csv").shape == (5, 5)
    assert (tmp_path / "out" / "bases.png").stat().st_size > 10_000


def test_a_base_of_which_only_the_table_is_left(command, tmp_path):
    old = comparison(tmp_path / "old", {"head": [20, 22]}, keep_runs=False)
    new = comparison(tmp_path / "new", {"head": [34, 36]})
    result = command("compare_bases", f"old={old}", f"new={new}", "--out", tmp_path / "out")
    assert result.status == 0, result.err
    report = (tmp_path / "out" / "bases.md").read_text(encoding="utf-8")
    assert "| `head` | 52.50 ± 3.54 (-35.00) | 87.50 ± 3.54 |" in report and "0 tests" in report


def test_a_base_of_which_some_answers_are_left(command, tmp_path):
    old = comparison(tmp_path / "old", {"head": [20, 22], "lora": [20, 22]})
    new = comparison(tmp_path / "new", {"head": [34, 36], "lora": [34, 36]})
    for seed in (123, 124):
        shutil.rmtree(old / "runs" / f"lora-{seed}")
    result = command("compare_bases", f"old={old}", f"new={new}", "--out", tmp_path / "out")
    assert result.status == 0, result.err
    report = (tmp_path / "out" / "bases.md").read_text(encoding="utf-8")
    assert report.startswith("# Bases compared: sms, strict protocol, 1 epoch\n")
    assert "| `head` | 52.50 ± 3.54 (-35.00\\*) |" in report and "| `lora` | 52.50 ± 3.54 (-35.00) |" in report


def test_data_without_a_protocol(command, tmp_path):
    one, other = (comparison(tmp_path / name, {"head": [20]}, data="practice", protocol=None) for name in "ab")
    assert command("compare_bases", f"a={one}", f"b={other}", "--out", tmp_path / "out").status == 0
    report = (tmp_path / "out" / "bases.md").read_text(encoding="utf-8")
    assert report.startswith("# Bases compared: practice, 1 epoch\n")


def test_what_cannot_be_compared(command, tmp_path):
    one = comparison(tmp_path / "one", {"head": [20]})
    other = comparison(tmp_path / "other", {"head": [20]}, epochs=5)
    for arguments, said in (
        ([f"a={one}", f"b={other}"], "another epochs ([5])"),
        ([f"a={one}", f"b={tmp_path / 'nothing'}"], "no results.csv"),
        ([f"a={one}"], "two or more"),
        ([f"a={one}", f"a={other}"], "each by its own name"),
        (["a", "b"], "NAME=FOLDER"),
    ):
        result = command("compare_bases", *arguments, "--out", tmp_path / "out")
        assert result.status == 2 and said in result.err and "Traceback" not in result.err, result
    assert not (tmp_path / "out").exists()


def test_the_numbers_on_the_axis_are_where_they_say(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    table = pd.DataFrame({"method": ["head", "lora"], "base": "b", "mean": [0.80, 0.98], "std": 0.01})
    plots.dots(table, ["b"], tmp_path / "x.png")
    axis = figures[0].axes[0].xaxis
    places = axis.get_major_locator()()
    shown = zip(places, axis.get_major_formatter().format_ticks(places), strict=True)
    assert all(float(label.rstrip("%")) == pytest.approx(100 * place) for place, label in shown)
