"""classify.py on tables, streams and single texts: the same answers everywhere, in memory that does not grow."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from common import answers, scoring
from peft.estimator import TextClassifier


@pytest.fixture
def run(trained):
    return trained("head")


@pytest.fixture
def messages(tmp_path):
    rows = [(f"win a prize, call {i}", "spam") if i % 3 == 0 else (f"see you; at {i}", "ham") for i in range(25)]
    table = pd.DataFrame(rows, columns=["message", "topic"]).assign(id=range(25))
    table.loc[4, "message"] = " "
    table.to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


def score(command, run, data, out, *arguments):
    return command("classify", run, "--data", data, "--text-column", "message", "--out", out, *arguments)


def test_a_table_keeps_its_columns_and_gets_answers_and_probabilities(command, run, messages, tmp_path, monkeypatch):
    monkeypatch.setattr("data.table_files.CHUNK", 7)
    result = score(command, run, messages, tmp_path / "scored.csv")
    assert result.status == 0, result.err
    assert "without an answer: 1 of the rows" in result.err
    scored = pd.read_csv(tmp_path / "scored.csv", keep_default_na=False)
    classifier = TextClassifier.load(run)
    names = [f"p({name})" for name in classifier.classes_]
    assert list(scored.columns) == ["message", "topic", "id", "predicted", *names]
    assert scored.id.tolist() == list(range(25)) and scored.predicted[4] == "" and scored[names[0]][4] == ""
    there = scored[scored.predicted != ""]
    expected = classifier.predict_proba(there.message.tolist())
    assert np.abs(there[names].astype(float).to_numpy() - expected).max() < 1e-5
    assert there.predicted.tolist() == classifier.predict(there.message.tolist()).tolist()


def test_the_metrics_are_those_of_the_written_table(command, run, tmp_path):
    classes = TextClassifier.load(run).classes_.tolist()
    texts = [f"text {i} {name}" for i in range(10) for name in classes]
    table = pd.DataFrame({"text": texts, "label": classes * 10})
    table.loc[0, "label"] = "something else"
    table.to_csv(tmp_path / "labelled.csv", index=False)
    arguments = ("--data", tmp_path / "labelled.csv", "--label-column", "label", "--out", tmp_path / "scored.csv")
    result = command("classify", run, *arguments)
    scored = pd.read_csv(tmp_path / "scored.csv")[1:]
    accuracy = (scored.label == scored.predicted).mean()
    assert f"On {len(scored)} rows with a label: accuracy {accuracy:.2%}" in result.out
    assert "does not know: 1 of the rows" in result.err


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".csv"])
def test_other_kinds_of_tables(command, run, tmp_path, suffix):
    data = tmp_path / f"new{suffix}"
    lines = {
        ".tsv": 'message\tn\nsay "hello"\t1\n',
        ".jsonl": '{"message": "say \\"hello\\"", "n": 1}\n',
        ".csv": 'message;n\n"say ""hello""";1\n',
    }
    data.write_text(lines[suffix], encoding="utf-8")
    assert score(command, run, data, tmp_path / "scored.csv").status == 0
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert scored.message.tolist() == ['say "hello"'] and scored.n.tolist() == [1]


def test_what_cannot_be_scored_gets_one_line_and_no_file(command, run, messages, tmp_path):
    out = tmp_path / "scored.csv"
    assert "no column 'text'" in command("classify", run, "--data", messages, "--out", out).one_line(2)
    assert "go together" in command("classify", run, "--data", messages).one_line(2)
    assert "one of them only" in command("classify", run, "hello", "--data", messages, "--out", out).one_line(2)
    assert "not a .csv" in score(command, run, messages, tmp_path / "scored.txt").one_line(2)
    messages.write_text(messages.read_text().replace("id", "predicted", 1))
    assert "has a column 'predicted' already" in score(command, run, messages, out).one_line(2)
    messages.write_bytes(messages.read_bytes() + b"caf\xe9,ham,1\n")
    assert re.search(r"line 27: byte 0xe9", score(command, run, messages, out, "--encoding", "utf-8").err)
    assert not out.exists()


def test_memory_does_not_grow_with_the_table(run, tmp_path, monkeypatch):
    """No chunk is kept: at any time at most two are there."""
    import gc
    import weakref

    given: list[weakref.ref] = []
    real = scoring.read_chunks

    def counted(*arguments):
        for lines, table in real(*arguments, 50):
            given.append(weakref.ref(table))
            gc.collect()
            assert sum(chunk() is not None for chunk in given) <= 2
            yield lines, table

    monkeypatch.setattr(scoring, "read_chunks", counted)
    data = tmp_path / "long.csv"
    data.write_text("text\n" + "".join(f"message {i}\n" for i in range(500)), encoding="utf-8")
    classifier = TextClassifier.load(run)
    scoring.score_table(classifier, data, tmp_path / "scored.csv", "text", None, "utf-8")
    assert len(pd.read_csv(tmp_path / "scored.csv")) == 500


def test_standard_input_is_answered_line_by_line(run, capsys):
    class Slow:
        """Gives the second line only when the first has been answered."""

        def __iter__(self):
            yield b"first\n"
            assert capsys.readouterr().out.endswith("\tfirst\n")
            yield b"\n"
            yield b"second"

    classifier = TextClassifier.load(run)
    answers.print_stream(classifier, Slow(), as_json=False)
    assert capsys.readouterr().out.endswith("\tsecond\n")
    with pytest.raises(ValueError, match="standard input, line 2: a byte that is not UTF-8"):
        answers.print_stream(classifier, io.BytesIO(b"ok\n\xff\n"), as_json=False)


def test_json_has_every_class(command, run):
    found = json.loads(command("classify", run, "--json", 'hello "you"').out)
    assert found["text"] == 'hello "you"' and sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert found["probability"] == found["probabilities"][found["label"]]


def test_an_explanation_is_complete_and_its_page_is_safe(command, run, tmp_path):
    result = command("classify", run, "--explain", "win <b>cash</b> now", "--html", tmp_path / "why.html")
    assert result.status == 0, result.err
    pattern = r"together ([+-][\d.]+):.*?, ([+-][\d.]+), less.*?, ([+-][\d.]+)\."
    total, of_message, of_baseline = map(float, re.search(pattern, result.out).groups())
    assert total == pytest.approx(of_message - of_baseline, abs=0.1)
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;" in page and page.count("<span") >= 4
    assert "empty" in command("classify", run, "--explain", " ").one_line(2)


def test_chunks_without_a_message_and_tables_without_rows(command, run, tmp_path, monkeypatch):
    data = tmp_path / "gap.csv"
    data.write_text("message,n\n" + ",1\n" * 3 + "hello,2\n", encoding="utf-8")
    real = scoring.read_chunks
    monkeypatch.setattr(scoring, "read_chunks", lambda *arguments: real(*arguments, 3))
    assert score(command, run, data, tmp_path / "scored.csv").status == 0
    assert pd.read_csv(tmp_path / "scored.csv").predicted.notna().tolist() == [False, False, False, True]
    data.write_text("message,n\n", encoding="utf-8")
    assert score(command, run, data, tmp_path / "scored.csv").status == 0
    assert len(pd.read_csv(tmp_path / "scored.csv")) == 0


def test_unknown_labels_are_wrong_input_and_leave_no_file(command, run, messages, tmp_path):
    result = score(command, run, messages, tmp_path / "scored.csv", "--label-column", "topic")
    assert "no label of column 'topic' is a class of this run" in result.err and result.status == 2
    assert not (tmp_path / "scored.csv").exists()
    assert "the table to score itself" in score(command, run, messages, messages).one_line(2)


def test_one_and_one_point_zero_are_one_label_as_in_training():
    assert scoring.same_number("1.0") == scoring.same_number("1") != scoring.same_number("one")


def test_nothing_to_classify(command, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert command("classify", run).out == ""
    assert "empty" in command("classify", run, "--explain", "").one_line(2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hi", "--html", "x.html"], "--html has no effect without --explain; leave it out"),
        (["hi", "--label-column", "topic"], "--label-column has no effect without --data"),
        (["hi", "--encoding", "cp1252"], "--encoding has no effect without --data"),
        (["--data", "new.csv", "--out", "s.csv", "--json"], "--json has no effect with --data or --explain"),
        (["--explain", "hi", "--full-precision"], "--full-precision has no effect without messages or --file"),
        (["hi", "--full-precision"], "--full-precision is for a run over a quantised base, as qlora makes one, and"),
        (["--data", "new.csv", "--out", ""], "--out is empty"),
        (["--file", ""], "--file is empty"),
    ],
)
def test_options_that_would_do_nothing_are_refused(command, run, arguments, said):
    assert said in command("classify", run, *arguments).one_line(2)


def test_a_run_and_columns_are_named_and_differ(command, run, messages, tmp_path):
    assert "RUN is empty" in command("classify", "", "hi").one_line(2)
    line = score(command, run, messages, tmp_path / "s.csv", "--label-column", "message").one_line(2)
    assert "the texts and the labels are both to come from column 'message'" in line and "--label-column" in line
    assert not (tmp_path / "s.csv").exists()


def test_json_lines_of_any_content_are_scored_or_told(command, run, tmp_path):
    data, out = tmp_path / "new.jsonl", tmp_path / "scored.csv"
    data.write_text('{"message": null}\n{"message": "hi", "id": {"n": 1}}\n', encoding="utf-8")
    result = score(command, run, data, out)
    assert result.status == 0 and "without an answer: 1 of the rows" in result.err
    assert pd.read_csv(out, keep_default_na=False).id.tolist() == ["", '{"n": 1}']
    out.unlink()
    data.write_text('{"message": "hi"}\n{"message": {"n": 1}}\n', encoding="utf-8")
    assert "new.jsonl, line 2: column 'message' holds" in score(command, run, data, out).one_line(2)
    data.write_text('{"message": "bad \\ud800 x"}\n', encoding="utf-8")
    assert "new.jsonl, line 1: column 'message' has half" in score(command, run, data, out).one_line(2)
    data.write_bytes(b'{"message": "hi"}\n')
    assert "--encoding 'base64' is not known for text files" in score(
        command, run, data, out, "--encoding", "base64"
    ).one_line(2)
    assert not out.exists()
