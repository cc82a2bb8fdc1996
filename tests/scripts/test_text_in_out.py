"""A text comes out as it went in: lines, cells and commands hold it whole, whatever characters it has."""

import csv
import importlib
import io
import json
import shlex
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

ODD = ["Win a free prize\u0085 call now", "one\u2028two", "a\x0bb\x0cc", "form\x1cfeed", " spaces around "]


@pytest.fixture
def run(trained):
    return trained("head")


@pytest.fixture
def text():
    return importlib.import_module("common.text")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_line_ends_end_a_message(end, run, command, tmp_path, monkeypatch):
    content = (end.join(ODD) + end).encode()
    (tmp_path / "in.txt").write_bytes(content)
    spoken = command("classify", run, *ODD)
    assert len(spoken.out.split("\n")) == len(ODD) + 1
    assert command("classify", run, "--file", tmp_path / "in.txt").out == spoken.out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert command("classify", run).out == spoken.out


def test_prompts_are_lines_too(command, tmp_path):
    (tmp_path / "prompts.txt").write_bytes("One\u0085 two\nThree".encode())
    options = ["--model", "practice", "--max-new-tokens", 2]
    written = command("generate", "--prompts", tmp_path / "prompts.txt", *options)
    assert written.out == command("generate", "One\u0085 two", "Three", *options).out


def test_an_undecodable_byte_is_found_in_its_line_whatever_ends_lines(run, command, tmp_path):
    (tmp_path / "latin.txt").write_bytes("one\rtwo\rcafé\r".encode("latin-1"))
    assert "line 3" in command("classify", run, "--file", tmp_path / "latin.txt").one_line(2)


@pytest.mark.parametrize("message", ["two\nlines", "a\tcell", "\x1b[31mred", "back\\slash", "x\u2029y\r"])
def test_every_message_fills_one_line_of_three_cells(message, run, command):
    line = command("classify", run, message).out
    assert line.count("\n") == 1 and len(line.split("\t")) == 3 and "\x1b" not in line
    shown = line.rstrip("\n").split("\t")[2]
    assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == message


def test_a_label_with_a_tab_is_one_cell(command, tmp_path):
    rows = [{"text": f"word {i}", "label": "a\tb" if i % 2 else "c\nd"} for i in range(20)]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["--method", "head", "--data", tmp_path / "t.csv", "--epochs", 1, "--out", tmp_path / "run"]
    trained = command("finetune_spam", *arguments)
    assert trained.status == 0 and r"classes a\tb, c\nd" in trained.out
    line = command("classify", tmp_path / "run", "word").out
    assert len(line.split("\t")) == 3 and line.split("\t")[0] in (r"a\tb", r"c\nd")


def test_predictions_hold_a_row_for_each_message(command, tmp_path):
    rows = [(f"one\rtwo {i}" if i % 2 else f"{i},\n'quoted' \"so\"", "ab"[i % 2]) for i in range(40)]
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    arguments = ["--method", "head", "--data", tmp_path / "t.csv", "--epochs", 1, "--out", tmp_path / "run"]
    assert command("finetune_spam", *arguments).status == 0
    with open(tmp_path / "run" / "predictions.csv", newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == 8 and {row["text"] for row in read} <= {text for text, _ in rows}
    assert pd.read_csv(tmp_path / "run" / "predictions.csv").text.tolist() == [row["text"] for row in read]


@pytest.mark.parametrize("script, first", [("classify", ["RUN"]), ("generate", [])])
def test_a_text_that_begins_with_a_dash(script, first, command):
    assert "begins with - goes last, behind --" in command(script, *first, "-50%off").one_line(2)


def test_texts_may_stand_behind_options_and_two_dashes(run, command):
    expected = command("classify", run, "--", "-50%off").out
    assert expected.endswith("\t-50%off\n")
    assert command("classify", run, "--device", "cpu", "--", "-50%off").out == expected
    assert command("classify", run, "--device", "cpu", "soup").out == command("classify", run, "soup").out
    assert "joined to its option by =" in command("switch_adapters", run, "--text", "-50%off").one_line(2)


def test_the_hint_can_be_pasted_into_a_shell_and_suits_the_data(command, table, columns, tmp_path, monkeypatch):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    arguments = ["--method", "head", "--data", table, *columns, "--epochs", 1, "--out", tmp_path / "a run; ls"]
    out = command("finetune_spam", *arguments).out
    python, script, folder, message = shlex.split(out.splitlines()[-1].split("try: ")[1])
    assert (python, folder) == ("python", str(tmp_path / "a run; ls"))
    assert (elsewhere / script).is_file() and (elsewhere / script).name == "classify.py"
    assert message in pd.read_csv(table).message.tolist()


def test_a_sample_fits_on_a_command_line(text):
    assert text.sample(["x" * 99, "two\nlines", "\u202ereversed", "fine"]) == "fine"
    assert text.sample(["x" * 99]) == "a message of yours"


def test_an_invalid_byte_is_shown_at_once(capsys):
    """Tokens 159, 10545, 97 are bytes: a stray one, the beginning of a character, and what cannot follow it."""
    pieces = {0: b"\xff", 1: b"\xe2\x9c", 2: b"\xa8", 3: b"\xe2", 4: b"A", 5: b"\xf0\x9f"}
    tokenizer = SimpleNamespace(decode_single_token_bytes=pieces.__getitem__)
    seen = []

    def new():
        for i in pieces:
            yield torch.tensor([i])
            seen.append(capsys.readouterr().out)

    importlib.import_module("generate").print_as_written("", new(), tokenizer, [])
    assert [*seen, capsys.readouterr().out] == ["\ufffd", "", "✨", "", "\ufffdA", "", "\ufffd\n"]


def test_each_run_reads_its_own_length(command, trained):
    """One run was trained on short messages by a published recipe, and cuts there; the other does not."""
    whole, short = trained("head"), trained("head")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_length": 20}))
    message = "soup bread cheese apple " * 50 + "goal match team race " * 20
    alone = [command("classify", run, message).out.split("\t")[:2] for run in (whole, short)]
    assert alone[0] != alone[1]
    for together in ([], ["--together"]):
        found = command("switch_adapters", whole, short, "--text", message, *together)
        assert found.status == 0, found.err
        lines = [line.strip().split("\t") for line in found.out.splitlines()]
        assert [line[1:3] for line in lines[1:]] == alone
        assert f"{short} reads 20 tokens" in found.err and f"{whole} reads 256" in found.err


def test_switching_answers_with_each_runs_temperature_and_threshold(command, trained):
    plain, calibrated = trained("head"), trained("head")
    decision = {"temperature": 4.0, "threshold": 0.5, "rule": "0.5"}
    (calibrated / "decision.json").write_text(json.dumps(decision), encoding="utf-8")
    answers = [command("classify", run, "soup").out.split("\t")[:2] for run in (plain, calibrated)]
    assert answers[0] != answers[1]
    for together in ([], ["--together"]):
        lines = command("switch_adapters", plain, calibrated, "--text", "soup", *together).out.splitlines()[1:]
        assert [line.split("\t")[1:3] for line in lines] == answers
