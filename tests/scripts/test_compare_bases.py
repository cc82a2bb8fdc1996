"""Several bases beside each other: means, differences message by message, and what cannot be compared."""

import json
from pathlib import Path

import pandas as pd
import pytest

SETTINGS = {"model": "practice", "data": "sms", "protocol": "strict", "epochs": 1}
SETTINGS |= {"text_column": "text", "label_column": "label", "device": "cpu"}


def comparison(folder: Path, right: dict[str, list[int]], **settings: object) -> Path:
    """A results folder as compare_methods.py leaves it: of each run, how many of 40 messages it had right."""
    folder.mkdir()
    (folder / "comparison.json").write_text(json.dumps({"settings": SETTINGS | settings}))
    for method, seeds in right.items():
        for seed, count in enumerate(seeds, start=123):
            run = folder / "runs" / f"{method}-{seed}"
            run.mkdir(parents=True)
            metrics = {"status": "finished", "method": method, "seed": seed, "test": {"accuracy": count / 40}}
            (run / "metrics.json").write_text(json.dumps(metrics))
            predicted = ["ham"] * count + ["spam"] * (40 - count)
            table = {"label": "ham", "predicted": predicted, "text": [f"{seed} {i}" for i in range(40)]}
            pd.DataFrame(table).to_csv(run / "predictions.csv", index=False)
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
    assert "| `full` | – | 100.00 ± 0.00 |" in report and "2 comparisons" in report and "over 2 seeds" in report
    assert pd.read_csv(tmp_path / "out" / "bases.csv").shape == (5, 5)
    assert (tmp_path / "out" / "bases.png").stat().st_size > 10_000


def test_what_cannot_be_compared(command, tmp_path):
    one = comparison(tmp_path / "one", {"head": [20]})
    other = comparison(tmp_path / "other", {"head": [20]}, epochs=5)
    empty = comparison(tmp_path / "empty", {})
    for arguments, said in (
        ([f"a={one}", f"b={other}"], "another epochs (5)"),
        ([f"a={one}", f"b={empty}"], "no finished run"),
        ([f"a={one}", f"b={tmp_path / 'nothing'}"], "holds no comparison"),
        ([f"a={one}"], "two or more"),
        ([f"a={one}", f"a={other}"], "each by its own name"),
        (["a", "b"], "NAME=FOLDER"),
    ):
        result = command("compare_bases", *arguments, "--out", tmp_path / "out")
        assert result.status == 2 and said in result.err and "Traceback" not in result.err, result
    with pytest.raises(FileNotFoundError):
        (tmp_path / "out" / "bases.md").read_text()
