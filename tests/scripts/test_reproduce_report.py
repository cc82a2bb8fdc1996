"""What a reproduction says: intervals and tests, the conclusions that follow from made-up numbers, the pictures."""

from pathlib import Path

import pandas as pd
import pytest

from gpt2.errors import InputError
from gpt2.files import write_json
from gpt2.metrics import wilson
from reproduction.conclusions import conclude
from reproduction.evidence import fisher, impossible, messages_of, published_count, smallest_shown
from reproduction.report import write_report
from reproduction.results import Results, collect, spread
from reproduction.rows import SPLITS, rows

WORDS = {part: {"accuracy": 0.96, "f1": 0.9597, "n": n} for part, n in zip(SPLITS, (1_045, 149, 300), strict=True)}
SIZES = {"train": 3_616, "validation": 518, "test": 1_035}  # of the grouped split
MACHINE = {"processor": "a processor", "cores": 2, "system": "Linux", "python": "3.11", "torch": "2.13"}


def metrics_of(name: str, shift: int = 0, seed: int = 123, protocol: str = "published", **changes) -> dict:
    """A finished run whose counts are the published ones, ``shift`` messages more."""
    row = rows()[name]
    parts = {}
    for part in SPLITS:
        n = messages_of(row, part) if protocol == "published" else SIZES[part]
        right = min(n, round(row.published[part] * n) + shift)
        parts[part] = {
            "accuracy": right / n,
            "precision": 0.9,
            "recall": 0.9,
            "f1": right / n - 0.01,
            "loss": 0.1,
            "n": n,
        }
    return {
        "row": name,
        "seed": seed,
        "protocol": protocol,
        "model": row.model,
        "weights": "pretrained" if row.pretrained else "random",
        "row_weights_random": not row.pretrained,
        "smoke": False,
        "epochs": row.epochs,
        "status": "finished",
        "trainable_parameters": 1_538,
        "total_parameters": 124_441_346,
        "seconds": 12.0,
        "seconds_training": 10.0,
        "peak_memory_mb": None,
        "device": "cpu (1 thread)",
        **parts,
        **changes,
    }


@pytest.fixture
def results(tmp_path, monkeypatch):
    """results(metrics, …, weights="pretrained", smoke=False) -> Results, as if these runs had been made."""
    monkeypatch.setattr("reproduction.results.load_dataset", lambda *args, **options: None)
    monkeypatch.setattr("reproduction.results.tfidf", lambda dataset: WORDS)

    def make(*runs: dict, weights: str = "pretrained", smoke: bool = False) -> Results:
        for run in runs:
            write_json(tmp_path / "runs" / f"{run['row']}-{run['protocol']}-{run['seed']}" / "metrics.json", run)
        record = {"settings": {"weights": weights, "smoke": smoke}, "started": "2026-01-31", "machine": MACHINE}
        write_json(tmp_path / "reproduction.json", record | {"commands": ["python scripts/reproduce.py --rows all"]})
        return collect(tmp_path, None)

    return make


def said(results: Results) -> str:
    return "\n".join(conclude(results))


def test_wilsons_interval_is_the_known_one():
    assert wilson(285, 300) == pytest.approx((0.9192, 0.9694), abs=1e-4)
    low, high = wilson(300, 300)
    assert low == pytest.approx(1 / (1 + 1.959964**2 / 300)) and high == pytest.approx(1)  # n / (n + z²)


def test_fishers_test_on_published_pairs():
    assert fisher(285, 300, 295, 300) == pytest.approx(0.0381, abs=1e-4)  # 95.00 and 98.33 %: R's fisher.test
    assert fisher(10, 10, 10, 10) == 1


def test_what_can_be_shown_at_all():
    drop = smallest_shown(285, 300)
    right = round(285 - 300 * drop)
    assert fisher(285, 300, right, 300) < 0.05 <= fisher(285, 300, right + 1, 300)
    assert smallest_shown(285, 300, tests=75) > drop


def test_every_published_accuracy_is_a_count_but_one():
    assert impossible() == [("extra-08", "validation")]  # 99.81 % of 149: 148 are 99.33 %, 149 are 100 %
    every = rows()
    assert {part: published_count(every["extra-01"], part) for part in SPLITS} == {
        "train": 1_005,
        "validation": 148,
        "test": 285,
    }
    assert [published_count(every["notes-untuned"], part) for part in SPLITS] == [37, 36, 39]
    assert [messages_of(every[name], "train") for name in ("extra-13", "extra-14")] == [1_040, 1_045]


def test_consistent_runs(results):
    text = said(results(*(metrics_of(name) for name in rows() if name != "extra-18")))
    assert (
        "**All 24 rows are consistent with the published figures**: no difference is shown (Fisher's exact test, 71"
        in text
    )
    assert "Nothing is said about the others" in text and "24 of the 25" in text
    assert "Consistent does not mean equal" in text and "+0.00 points" in text
    assert "`--seeds 3` shows it" in text and "`--protocol both` does that" in text


def test_inconsistent_runs(results):
    runs = [metrics_of(name, shift=-30) for name in ("book-ch6", "extra-16")] + [metrics_of("extra-04")]
    text = said(results(*runs))
    assert "**1 of 3 rows are consistent with the published figures, 2 are not**" in text
    assert "`book-ch6`, test: published 95.67%, measured 85.67% (-10.00 points, p = " in text
    assert (
        "`extra-16`, validation: published 98.66%" in text
        and "`extra-04`" not in text.split("Shown to differ")[1].split("\n")[0]
    )
    assert "All of these are below the published figures" in text and "`--golden`" in text


def test_one_row_above_and_one_below_share_no_cause(results):
    text = said(results(metrics_of("extra-06", shift=40), metrics_of("extra-16", shift=-40)))
    assert "0 of 2 rows are consistent" in text and "look for one cause" not in text


def test_copied_rows_are_no_second_experiment(results):
    found = results(metrics_of("extra-01"), metrics_of("extra-18", copied_from="extra-01"))
    text = said(found)
    assert "All 1 rows" not in text and "**The only row is consistent" in text
    assert "2 of the 25 published rows" in text
    assert found.compared[found.compared.row == "extra-18"].p.isna().all()


@pytest.mark.parametrize("weights", ["random", "practice"])
def test_with_stand_in_weights_nothing_is_concluded(weights, results, tmp_path):
    found = results(metrics_of("book-ch6", weights=weights), weights=weights)
    assert said(found) == "**Nothing can be concluded about the published figures**; see the remark at the top."
    report = write_report(tmp_path, found).read_text(encoding="utf-8")
    assert "**the accuracies mean nothing as a reproduction**" in report.split("## What can be concluded")[0]
    assert "– (stand-in)" in report and "yes, p" not in report and "## Time and memory" in report


def test_a_smoke_run_says_so_and_is_compared_with_nothing(results, tmp_path):
    found = results(metrics_of("book-ch6", smoke=True), smoke=True)
    assert found.baselines == {} and "Nothing can be concluded" in said(found)
    report = write_report(tmp_path, found).read_text(encoding="utf-8")
    assert "one epoch on a tenth of the messages" in report and "a smoke run does not see all messages" in report


def test_the_row_with_random_weights_is_compared_even_where_they_stand_in(results):
    runs = [metrics_of("book-ch6", weights="random"), metrics_of("extra-10")]
    text = said(results(*runs, weights="random"))
    assert "Only `extra-10` can be compared: it was published with random weights" in text
    assert "**The only row is consistent" in text and "2 of the 25" not in text


def test_the_practice_model_is_never_compared_not_even_with_random_weights(results):
    assert "Nothing can be" in said(results(metrics_of("extra-10", weights="practice"), weights="practice"))


def test_seeds_show_the_spread(results):
    runs = [metrics_of("extra-16", shift, seed) for shift, seed in ((0, 123), (-3, 124), (-6, 125))]
    found = results(*runs, metrics_of("book-ch6"))
    table = spread(found.runs)
    assert table.row.tolist() == ["extra-16"] and table["mean"][0] == pytest.approx(292 / 300)
    assert table.sd[0] == pytest.approx(0.01) and table.within[0]
    assert "standard deviation of 1.00 points" in said(found) and "from 96.33% to 98.33%" in said(found)


def test_a_published_figure_outside_the_seeds_range_is_counted(results):
    found = results(*(metrics_of("extra-16", shift, seed) for shift, seed in ((-3, 123), (-6, 124))))
    assert "within the range of 0 of 1 row" in said(found)


def test_the_leak_free_split_and_counting_words(results, tmp_path):
    runs = [metrics_of(name, protocol=p) for name in ("extra-03", "extra-16") for p in ("published", "grouped")]
    found = results(*runs)
    text = said(found)
    assert "On the leak-free split, F1 of spam is" in text and "cannot be compared" in text
    assert (
        "96.00% on the 300 test messages of the published split. Shown better than that: none. Shown worse: `extra-03`"
        in text
    )
    report = write_report(tmp_path, found).read_text(encoding="utf-8")
    assert (
        "| `extra-16` | 98.33 |" in report
        and "| published | 96.00 | 96.00 | 96.00 | 93.1 … 97.7 | 95.97 | 300 |" in report
    )
    assert "![Test F1 on both splits](splits.png)" in report and (tmp_path / "splits.png").stat().st_size > 10_000


def test_runs_on_the_strict_split_alone_conclude_nothing_about_published_ones(results, tmp_path):
    found = results(metrics_of("extra-16", protocol="grouped"))
    assert "Nothing can be concluded about the published figures**: no run is on the published split" in said(found)
    assert "## Published beside measured" not in write_report(tmp_path, found).read_text(encoding="utf-8")


def test_the_report_of_all_rows(results, tmp_path):
    runs = [metrics_of(name, shift, seed) for name in rows() for shift, seed in ((0, 123), (1, 124))]
    report = write_report(tmp_path, results(*runs)).read_text(encoding="utf-8")
    for line in (
        "| `book-ch6` | 95.67 | 92.7 … 97.5 | 95.67 | 92.7 … 97.5 | +0.00 | yes, p = 1 |",
        "| `extra-08` | 99.81 | – (no count) | 100.00 | 97.5 … 100.0 | +0.19 | – (no count) |",
        "| `extra-09` | 1558M | 1,538 | 10 | 12 | – | 8.12 (A100) |",
        "### Test messages (80 or 300)",
        "### Training messages (80 or 1,040 or 1,045)",
        "## Several seeds",
        "of one run with one seed each",
        "rather overlooks a difference than invents one",
    ):
        assert line in report, line
    assert report.count("\n| `extra-19` |") >= 5
    assert (tmp_path / "published_measured.png").stat().st_size > 20_000
    table = pd.read_csv(tmp_path / "results.csv")
    assert len(table) == 50 and table.groupby("row").size().eq(2).all()


def test_another_seed_than_123_is_named(results, tmp_path):
    report = write_report(tmp_path, results(metrics_of("book-ch6", seed=124))).read_text(encoding="utf-8")
    assert "Seed 123, the published one, has no finished run of book-ch6" in report


def test_unfinished_runs_are_named_and_not_counted(results, tmp_path):
    found = results(metrics_of("book-ch6"), metrics_of("extra-16", status="interrupted"))
    assert found.runs.row.tolist() == ["book-ch6"]
    assert "- `extra-16-published-123`: interrupted" in write_report(tmp_path, found).read_text(encoding="utf-8")
    with pytest.raises(InputError, match="no finished run"):
        results(metrics_of("book-ch6", status="failed"), metrics_of("extra-16", status="running"))


def test_without_the_messages_the_report_says_why_words_were_not_counted(results, monkeypatch, tmp_path):
    def missing(*args, **options):
        raise InputError("no messages here")

    found = results(metrics_of("book-ch6"))
    assert (tmp_path / "baselines.json").is_file()  # kept for the next report
    (tmp_path / "baselines.json").unlink()
    monkeypatch.setattr("reproduction.results.load_dataset", missing)
    found = results(metrics_of("book-ch6"))
    report = write_report(tmp_path, found).read_text(encoding="utf-8")
    assert "Not measured for the published split: no messages here." in report


def test_the_precision_of_a_gpu_is_named(results, tmp_path):
    found = results(metrics_of("book-ch6", device="cuda (NVIDIA H200, bf16)"))
    assert "computed in bfloat16, for speed" in write_report(tmp_path, found).read_text(encoding="utf-8")


def test_results_csv_can_be_read_as_it_is(results, tmp_path):
    results(metrics_of("extra-03"), metrics_of("extra-03", protocol="grouped"))
    table = pd.read_csv(Path(tmp_path) / "results.csv")
    assert table.protocol.tolist() == ["grouped", "published"] and table.test_n.tolist() == [1_035, 300]
    assert table.source[0] == "Raschka, ch. 6 additional experiments" and table.genuine.all()
