"""The command that repeats published runs: its list, its runs, what resumes and what fails. Nothing is trained here."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gpt2.checkpoints.hub import Checkpoint
from gpt2.errors import InputError, RunError, whole_number
from gpt2.files import write_json
from reproduction import costs, listing, process, runs
from reproduction.evidence import messages_of
from reproduction.golden import Rung
from reproduction.rows import SPLITS, choose, every_row, rows
from reproduction.running import Settings, folder_of

ROOT = Path(__file__).parents[2]


def fake_metrics(row, seed: int, settings: Settings, status: str = "finished") -> dict:
    """What a real run writes; every accuracy is the published one."""
    parts = {
        part: {
            "accuracy": round(row.published[part] * messages_of(row, part)) / messages_of(row, part),
            **dict.fromkeys(("precision", "recall", "f1"), 0.95),
            "loss": 0.1,
            "n": messages_of(row, part),
        }
        for part in SPLITS
    }
    return {
        "row": row.id,
        "seed": seed,
        "protocol": settings.protocol,
        "model": row.model,
        "weights": settings.weights if row.pretrained else "random",
        "row_weights_random": not row.pretrained,
        "smoke": settings.smoke,
        "epochs": row.epochs,
        "status": status,
        "trainable_parameters": 1_538,
        "total_parameters": 124_441_346,
        "seconds": 12.0,
        "seconds_training": 10.0,
        "peak_memory_mb": 900.0,
        "device": "cpu (1 thread)",
        **parts,
    }


class Trainer:
    """Stands in for run_row: writes metrics, remembers what it was asked, and fails where it is told to."""

    def __init__(self):
        self.asked: list[str] = []
        self.errors: dict[str, BaseException] = {}

    def __call__(self, function: Callable, row, seed: int, settings: Settings) -> str | None:
        assert function is runs.run_row
        name = f"{row.id}-{settings.protocol}-{seed}"
        self.asked.append(name)
        file = folder_of(settings.out, row, settings.protocol, seed) / "metrics.json"
        error = self.errors.get(name)
        write_json(file, fake_metrics(row, seed, settings, "finished" if error is None else "interrupted"))
        if isinstance(error, RunError):
            return str(error)
        if error is not None:
            raise error
        return None


@pytest.fixture
def trainer(monkeypatch) -> Trainer:
    trainer = Trainer()
    words = {part: {"accuracy": 0.96, "f1": 0.96, "n": 300} for part in SPLITS}
    monkeypatch.setattr("reproduction.runs.alone", trainer)
    monkeypatch.setattr("reproduction.runs.find_file", lambda assets: None)
    monkeypatch.setattr("reproduction.runs.local_folder", lambda name, assets: Path(name))
    monkeypatch.setattr("reproduction.runs.wrong_weights", lambda model, assets: None)
    monkeypatch.setattr("reproduction.results.load_dataset", lambda *args, **options: None)
    monkeypatch.setattr("reproduction.results.tfidf", lambda dataset: words)
    monkeypatch.setattr("reproduction.costs.memory_of", lambda device: 8_000.0)
    return trainer


@pytest.fixture
def reproduce(command, trainer, tmp_path) -> Callable:
    return lambda *arguments: command("reproduce", "--out", tmp_path / "r", "--device", "cpu", *arguments)


def test_help_teaches_and_imports_no_pytorch():
    code = (
        "import runpy, sys\nsys.argv = ['reproduce.py', '--help']\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        f"try:\n    runpy.run_path({str(ROOT / 'scripts/reproduce.py')!r}, run_name='__main__')\n"
        "except SystemExit:\n    print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "docs/published.md" in said and "--rows 124m" in said and said.endswith("False\n")


def test_the_list_shows_all_rows_with_their_settings(command, monkeypatch):
    monkeypatch.setattr("reproduction.listing.machine_speed", lambda device: 1e12)
    result = command("reproduce", "--list", "--device", "cpu")
    assert result.status == 0, result.err
    lines = result.out.split("\n")
    table = lines[1 : lines.index("")]
    assert [line.split()[0] for line in table] == list(every_row()) and len(table) == 27
    assert "rough estimate" in result.out and "1,000 GFLOP/s" in result.out
    for row, parts in {
        "notes-lora": ("1,333,264", "alpha = 8", "rank 8", "A normal", "6 epochs", "100.00  96.64  98.00"),
        "book-appendix-E-2025": ("2,666,528", "alpha = 16", "A kaiming"),
        "book-appendix-E-later": ("2,666,528", "alpha/rank = 1"),
        "extra-10": ("124,441,346", "random weights"),
        "extra-13": ("padded to 1,024",),
        "extra-15": ("not padded", "gradients of 8 summed"),
        "extra-16": ("reads last real token",),
        "extra-17": ("no causal mask",),
        "extra-18": ("the same settings as extra-01",),
        "imdb-full": ("124,441,346", "95.64  92.32  91.88", "padded to 256", "film reviews; 1 epoch"),
        "imdb-last-block": ("7,090,946", "93.66  90.02  89.96", "3 epochs"),
    }.items():
        line = next(line for line in table if line.startswith(f"{row} "))
        assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    "row, trained",
    [
        ("notes-untuned", 0),
        ("book-ch6", 7_090_946),
        ("extra-03", 1_538),
        ("extra-05", 124_441_346),
        ("notes-lora", 1_333_264),
        ("extra-11", 2_666_528),
    ],
)
def test_parameters_are_those_that_are_known(row, trained):
    assert costs.cost_of(rows()[row]).trained == trained


def test_costs_follow_from_the_settings():
    cost = {name: costs.cost_of(row) for name, row in rows().items()}
    assert cost["extra-13"].operations > 8 * cost["extra-01"].operations  # 1,024 positions instead of 120
    assert cost["extra-14"].operations < cost["extra-01"].operations / 3  # 31 instead of 120
    assert cost["extra-03"].operations < cost["extra-01"].operations < cost["extra-05"].operations
    assert 25_000 < cost["extra-09"].memory_mb < 40_000  # 16 bytes for each of 1,558 million parameters
    assert cost["notes-untuned"].operations < cost["extra-03"].operations / 20
    assert costs.duration(30) == "30 s" and costs.duration(600) == "10 min" and costs.duration(9000) == "2.5 h"


def test_the_speed_of_the_machine_is_measured(monkeypatch):
    import torch

    monkeypatch.setattr(costs, "SIDE", 64)
    assert costs.machine_speed(torch.device("cpu")) > 1e6
    assert costs.memory_of(torch.device("cpu")) > 1


def test_rows_are_chosen_by_name_and_size():
    assert [row.id for row in choose("extra-16,book-ch6,extra-16")] == ["extra-16", "book-ch6"]
    assert len(choose("124m")) == 20 and {row.model for row in choose("124M")} == {"gpt2"}
    assert len(choose("all")) == 25 and len(choose("1558m")) == 3
    assert [row.id for row in choose("imdb")] == ["imdb-full", "imdb-last-block"]
    with pytest.raises(InputError, match="no row 'nope'"):
        choose("nope")
    with pytest.raises(InputError, match="several data sets"):
        choose("imdb-full,extra-05")


@pytest.mark.parametrize(
    "arguments, part",
    [
        ([], "name one of --list, --golden, --rows and --report-only"),
        (["--list", "--rows", "all"], "name one of"),
        (["--rows", "extra-20"], "no row 'extra-20'"),
        (["--rows", ","], "no row is named"),
        (["--rows", "all", "--seeds", "0"], "'0' is not a whole number"),
        (["--rows", "all", "--weights", "gpt2"], "invalid choice"),
        (["--report-only"], "holds no reproduction"),
    ],
)
def test_bad_usage_gets_one_line(arguments, part, reproduce):
    assert part in reproduce(*arguments).one_line(2)


def test_rows_run_and_finished_ones_are_not_repeated(reproduce, trainer, tmp_path):
    result = reproduce("--rows", "book-ch6,extra-16", "--seeds", 2, "--protocol", "both")
    assert result.status == 0, result.err
    names = [f"{row}-{p}-{s}" for s in (123, 124) for p in ("published", "grouped") for row in ("book-ch6", "extra-16")]
    assert trainer.asked == names
    assert "book-ch6-published-123: 97.21% / 97.32% / 95.67% (training, validation, test), 12 s" in result.out
    table = pd.read_csv(tmp_path / "r" / "results.csv")
    assert len(table) == 8 and table.row.tolist()[:4] == ["book-ch6", "book-ch6", "extra-16", "extra-16"]
    assert table.test_accuracy[0] == pytest.approx(287 / 300) and table.published_test_accuracy[0] == 0.9567

    trainer.asked.clear()
    result = reproduce("--rows", "extra-01,book-ch6", "--seeds", 2)
    assert trainer.asked == ["extra-01-published-123", "extra-01-published-124"]
    assert "2 of 4 runs are finished already." in result.out
    report = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "--protocol both" in report and str(tmp_path) not in report  # all commands, without this machine's folders

    trainer.asked.clear()
    assert reproduce("--report-only").status == 0 and not trainer.asked


def test_a_failed_row_does_not_take_the_others_with_it(reproduce, trainer):
    trainer.errors["book-ch6-published-123"] = RunError("the loss is not a number")
    result = reproduce("--rows", "book-ch6,extra-16")
    assert "1 of 2 runs failed (book-ch6-published-123): the loss is not a number" in result.one_line(1)
    assert trainer.asked == ["book-ch6-published-123", "extra-16-published-123"]
    assert "book-ch6-published-123: FAILED, the loss is not a number" in result.out and "Report in" in result.out

    trainer.errors.clear()  # the same command tries again
    trainer.asked.clear()
    assert reproduce("--rows", "book-ch6,extra-16").status == 0
    assert trainer.asked == ["book-ch6-published-123"]


def test_when_all_rows_fail_there_is_no_report(reproduce, trainer, tmp_path):
    trainer.errors = {f"extra-0{i}-published-123": RunError(f"why {i}") for i in range(1, 8)}
    result = reproduce("--rows", "124m,355m,774m", "--weights", "random")
    assert "and others); the lines above say why" in result.one_line(1) and (tmp_path / "r" / "report.md").is_file()
    trainer.errors["extra-08-published-123"] = RunError("no room")
    assert "1 of 1 runs failed" in reproduce("--rows", "extra-08", "--weights", "random").one_line(1)


def test_an_interrupted_row_resumes_with_the_same_command(reproduce, trainer):
    trainer.errors["extra-16-published-123"] = KeyboardInterrupt()
    result = reproduce("--rows", "book-ch6,extra-16,extra-17")
    assert (result.status, result.err) == (130, "interrupted\n")
    trainer.errors.clear()
    trainer.asked.clear()
    assert reproduce("--rows", "book-ch6,extra-16,extra-17").status == 0
    assert trainer.asked == ["extra-16-published-123", "extra-17-published-123"]


def test_a_row_with_the_settings_of_another_copies_its_result(reproduce, trainer, tmp_path):
    result = reproduce("--rows", "extra-18")
    assert trainer.asked == ["extra-01-published-123"]
    assert "extra-18-published-123: the settings are those of extra-01, so its result is copied" in result.out
    report = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "`extra-18` has the settings of `extra-01`: its result is copied." in report
    trainer.errors["extra-01-grouped-123"] = RunError("no room")
    result = reproduce("--rows", "extra-18", "--protocol", "grouped")
    assert "extra-01-grouped-123, which has the same settings, failed: no room" in result.one_line(1)


def test_a_folder_with_runs_of_another_kind_is_refused(reproduce, trainer):
    assert reproduce("--rows", "extra-03", "--weights", "random", "--smoke").status == 0
    line = reproduce("--rows", "extra-03").one_line(2)
    assert "another kind (--weights random --smoke, now --weights pretrained)" in line and "--out" in line
    assert trainer.asked == ["extra-03-published-123"]


def test_film_reviews_have_a_folder_of_their_own(reproduce, trainer, monkeypatch, tmp_path):
    looked_for = []
    monkeypatch.setattr("reproduction.runs.imdb.find_file", looked_for.append)
    assert reproduce("--rows", "imdb").status == 0
    assert trainer.asked == ["imdb-full-published-123", "imdb-last-block-published-123"] and looked_for == [None]
    assert json.loads((tmp_path / "r/reproduction.json").read_text())["data"] == "imdb"
    report = (tmp_path / "r/report.md").read_text(encoding="utf-8")
    assert "All 2 rows are consistent" in report and "9.48 (GPU not stated)" in report and "SMS" not in report
    line = reproduce("--rows", "extra-03").one_line(2)
    assert "holds rows of imdb, and these are of sms; name another folder" in line


def test_stand_ins_are_announced_before_the_first_row(reproduce):
    out = reproduce("--rows", "extra-03", "--weights", "practice").out
    assert out.startswith("Careful: the accuracies will mean nothing as a reproduction")


def test_rows_that_do_not_fit_are_announced_with_the_memory_they_need(reproduce):
    out = reproduce("--rows", "extra-03,extra-09", "--seeds", 2).out
    assert out.count("Careful") == 1
    assert "extra-09 will probably not fit: training gpt2-xl takes about 30.2 GB, and 8.0 GB are free." in out
    assert "will probably not fit" not in reproduce("--rows", "extra-09").out  # it is finished


def test_without_weights_and_network_there_is_one_line_and_a_way_on(command, trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("reproduction.runs.local_folder", lambda name, assets: None)
    monkeypatch.setattr("gpt2.checkpoints.hub.local_folder", lambda name, assets: None)
    monkeypatch.setattr("reproduction.runs.unreachable", lambda: "no network")
    result = command("reproduce", "--rows", "124m", "--out", tmp_path / "r")
    line = result.one_line(2)
    assert "gpt2 is not on this machine" in line and "try it all with --weights practice" in line
    assert "by --assets" in line and not trainer.asked  # extra-10 needs none, but it is one of many


def test_weights_that_are_there_are_used_when_others_are_not(reproduce, trainer, monkeypatch):
    def folder(name, assets):
        return Path(name) if name == "gpt2" else None

    monkeypatch.setattr("reproduction.runs.local_folder", folder)
    monkeypatch.setattr("gpt2.checkpoints.hub.local_folder", folder)
    monkeypatch.setattr("reproduction.runs.unreachable", lambda: "no network")
    result = reproduce("--rows", "extra-06,extra-10,book-ch6")
    assert "1 of 3 runs failed (extra-06-published-123): gpt2-medium is not on this machine" in result.one_line(1)
    assert trainer.asked == ["extra-10-published-123", "book-ch6-published-123"]


def test_without_the_messages_nothing_starts(reproduce, trainer, monkeypatch):
    def no_network(assets):
        raise RunError("cannot download it (no network)")

    monkeypatch.setattr("reproduction.runs.find_file", no_network)
    assert "cannot download it (no network)" in reproduce("--rows", "extra-10").one_line(1)
    assert not trainer.asked


@pytest.fixture
def golden(command, monkeypatch) -> Callable:
    """--golden with rungs that are made up: True fits, False misses."""

    def call(*fits: bool, arguments: tuple = ()):
        def climb(golden, model, dataset, device):
            yield from (Rung(f"rung {i}", "1", "2", 1.0, 1.0 if fit else 0.5, "why") for i, fit in enumerate(fits))

        monkeypatch.setattr("reproduction.ladder.load_dataset", lambda *args, **options: None)
        monkeypatch.setattr("reproduction.ladder.load_gpt2", lambda *args: None)
        monkeypatch.setattr("reproduction.ladder.order_rung", lambda *args: Rung("order", "1", "1", 0.0, 0.0, "why"))
        monkeypatch.setattr("reproduction.ladder.climb", climb)
        return command("reproduce", "--golden", "--device", "cpu", *arguments)

    return call


def test_golden_values_are_printed_rung_by_rung(golden, monkeypatch):
    monkeypatch.setattr("reproduction.ladder.find_weights", lambda name, assets: Checkpoint("gpt2", Path("gpt2")))
    result = golden(True, True)
    assert result.status == 0 and result.out.count(": ok") == 4 and "in float32 on cpu" in result.out
    result = golden(True, False)
    assert "published values missed: 1" in result.one_line(1) and "MISSED: why" in result.out


def test_golden_says_which_rungs_do_not_apply_to_other_weights(golden):
    result = golden(False, arguments=("--weights", "practice"))
    assert result.status == 0 and "do not apply to the practice model" in result.out and "rung 0" not in result.out


def test_golden_without_weights_still_checks_the_order_of_the_data(golden, monkeypatch):
    monkeypatch.setattr("gpt2.checkpoints.hub.local_folder", lambda name, assets: None)
    result = golden(True)
    assert "order\n" in result.out and "try it all with --weights practice" in result.one_line(2)


def test_a_process_of_its_own_says_why_it_failed():
    assert process.alone(abs, -1) is None
    assert process.alone(whole_number, "rank", 0) == "rank is 0, expected a whole number of at least 1"
    assert "ValueError: invalid literal" in process.alone(int, "x")
    assert process.alone(os._exit, 3) == "it ended with exit status 3"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_killed_process_is_reported_and_an_interrupted_one_interrupts():
    assert "probably because memory ran out" in process.alone(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(KeyboardInterrupt):
        process.alone(signal.raise_signal, signal.SIGINT)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    started = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            process.alone(time.sleep, 60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.perf_counter() - started < 30


def test_settings_of_a_run_differ_in_the_protocol_only(tmp_path):
    settings = Settings(tmp_path, "published", "cpu", None, "random", True)
    run = runs.Run(rows()["extra-03"], "grouped", 124)
    assert runs.settings_of(run, settings) == dataclasses.replace(settings, protocol="grouped")
    assert run.folder(tmp_path) == tmp_path / "runs" / "extra-03-grouped-124"


def test_a_damaged_result_is_named(reproduce, tmp_path):
    assert reproduce("--rows", "extra-03").status == 0
    file = tmp_path / "r" / "runs" / "extra-03-published-123" / "metrics.json"
    file.write_text(json.dumps([1]), encoding="utf-8")
    assert f"{file} is damaged" in reproduce("--report-only").one_line(2)


def test_rows_with_the_same_words_have_the_same_settings():
    """Published twice or three times; where LoRA's scale differs, its own column says so."""
    every = rows()
    said = {name: (row.model, listing.words(row), listing.scale(row)) for name, row in every.items()}
    groups = [[other for other in every if said[other] == said[name]] for name in every]
    assert [
        group for group in groups if len(group) > 1 and group[0] in ("notes-selective", "book-appendix-E-2025")
    ] == [
        *[["notes-selective", "book-ch6", "extra-01"]] * 2,
        ["book-appendix-E-2025", "extra-11"],
        ["notes-selective", "book-ch6", "extra-01"],
        ["book-appendix-E-2025", "extra-11"],
    ]
    assert listing.scale(every["book-appendix-E-later"]) == "alpha/rank = 1"


def test_more_seeds_than_anybody_runs_are_refused(reproduce):
    line = reproduce("--rows", "extra-03", "--seeds", "99999999999").one_line(2)
    assert "--seeds is 99999999999; choose at most 1,000" in line


def test_an_empty_list_of_rows_is_refused(reproduce, tmp_path):
    assert "--rows is empty" in reproduce("--rows", "").one_line(2)
    assert not list(tmp_path.glob("**/reproduction.json"))
