"""Teaching to write: a run from table to texts, what it leaves, what resumes, and bad tables."""

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest

from data.alpaca import INSTRUCTION_WITH_INPUT, instruction_source
from data.text_pairs import LONGEST_CHUNK, cut_in_chunks, load_pairs
from gpt2 import RunError, get_tokenizer
from gpt2.tokenizer import END_OF_TEXT

ROOT = Path(__file__).parents[2]
COLOURS = ("red", "green", "blue", "grey", "black", "white", "brown", "pink", "yellow", "silver", "gold", "violet")
SHORT = ("--epochs", 1, "--test-sources", 4, "--max-new-tokens", 12, "--num-beams", 2)


@pytest.fixture
def table(tmp_path) -> Path:
    rows = [(f"colour[{colour}]", f"It is {colour}{mark}") for colour in COLOURS for mark in (".", "!")]
    pd.DataFrame(rows, columns=["mr", "ref"]).to_csv(tmp_path / "pairs.csv", index=False)
    return tmp_path / "pairs.csv"


@pytest.fixture
def arguments(table, tmp_path) -> list:
    columns = ["--source-column", "mr", "--target-column", "ref"]
    return ["--model", "practice", "--data", table, *columns, "--out", tmp_path / "run", *SHORT]


@pytest.mark.slow
def test_a_run_and_what_it_leaves(command, arguments, tmp_path):
    result = command("finetune_text", "--method", "lora", "--lr", "1e-2", *arguments, "--epochs", 6)
    assert result.status == 0, result.err
    assert "nearest training source" in result.out and "before training" in result.out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["status"] == "finished" and metrics["task"] == "writing"
    assert metrics["test"]["perplexity"] < 100 < metrics["test"]["n"] * 20
    assert set(metrics["written"]) == {"model", "untuned", "nearest"}
    generated = pd.read_csv(tmp_path / "run" / "generated.csv")
    references = load_pairs(arguments[3], "mr", "ref").references("test")
    assert len(generated) == metrics["sources"] == len(set(generated.source)) and set(generated.source) <= set(
        references
    )
    assert [json.loads(cell) for cell in generated.references] == [references[source] for source in generated.source]
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history.validation_loss.iloc[-1] < history.validation_loss.iloc[0]

    beams = ["--num-beams", 2, "--max-new-tokens", 12]
    again = command("generate", "--adapter", tmp_path / "run", generated.source[0], *beams)
    assert again.out.strip() == str(generated.written[0]).strip()  # the same model writes the same text
    assert command("classify", tmp_path / "run", "hello").err.count("is a run for writing, not for classifying") == 1


@pytest.mark.slow
def test_an_interrupted_run_resumes_as_if_nothing_had_happened(command, arguments, tmp_path, monkeypatch):
    settings = ["--method", "bitfit", *arguments, "--epochs", 2]
    assert command("finetune_text", *settings).status == 0
    whole = (tmp_path / "run" / "history.csv").read_text()
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    experiment = importlib.import_module("common.experiment").Experiment
    after = experiment.after_epoch

    def then_interrupt(self, progress):
        after(self, progress)
        if progress.epoch == 1:
            raise KeyboardInterrupt

    settings[settings.index(tmp_path / "run")] = tmp_path / "second"
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "after_epoch", then_interrupt)
        assert command("finetune_text", *settings).status == 130
    assert "Resuming" in command("finetune_text", *settings, "--num-beams", 3).out  # how it writes may change
    columns = ["epoch", "train_loss", "validation_loss"]
    both = [pd.read_csv(tmp_path / name / "history.csv")[columns] for name in ("run", "second")]
    pd.testing.assert_frame_equal(*both)
    assert whole


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "selective", "prefix", "prompt", "adapter", "ia3", "qlora", "dora"])
def test_every_family_learns_to_write(method, command, arguments):
    result = command("finetune_text", "--method", method, *arguments)
    assert result.status == 0, result.err
    assert "Results in" in result.out


@pytest.mark.parametrize(
    "data, option",
    [
        ("practice", ("--source-column", "mr")),
        ("e2e", ("--encoding", "cp1252")),
        ("a.json", ("--target-column", "ref")),
        ("a.txt", ("--source-column", "mr")),
        ("a.parquet", ("--encoding", "cp1252")),
    ],
)
def test_a_setting_without_effect_is_refused(data, option, command, tmp_path):
    result = command("finetune_text", "--model", "practice", "--data", data, *option, "--out", tmp_path / "run")
    assert f"{option[0]} has no effect on {data}" in result.one_line(2)


def test_head_has_nothing_to_train(command, arguments):
    result = command("finetune_text", "--method", "head", *arguments)
    assert result.status == 2 and result.err.count("\n") == 1 and "head trains a classification head only" in result.err


@pytest.mark.parametrize(
    "content, options, expected",
    [
        ("mr,ref\na,\nb,x\n", [], "line 2: the target is empty (1 in all)"),
        ("mr,ref\na,x\nb,y\n", [], "has 2 different source(s)"),
        ("source,ref\na,x\n", [], "no column 'mr'"),
        ("mr,ref\n" + "word " * 400 + ",x\nb,y\nc,z\n", [], "leaves no room for a target within 256"),
        ("mr,ref\na,x\nb,y\nc,z\n", ["--target-column", "mr"], "source and target are both to come from column 'mr'"),
        ("mr,ref\na,x\nb,y\nc,z\n", ["--label-smoothing", "1.5"], "--label-smoothing"),
        ("mr,ref\na,x\nb,y\nc,z\n", ["--length-penalty", "nan"], "--length-penalty"),
    ],
)
def test_bad_tables_and_settings_get_one_line_and_leave_nothing(content, options, expected, command, table, arguments):
    table.write_text(content)
    result = command("finetune_text", *arguments, *options)
    assert result.status == 2 and expected in result.err and result.err.count("\n") == 1
    assert not (table.parent / "run").exists()


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("a.json", "[{}", "is not JSON"),
        ("a.json", '{"a": 1}', "holds dict, expected a list"),
        ("a.json", '[{"instruction": "Say hi", "output": ""}]', "entry 1: the output is empty"),
        ("a.json", '[{"instruction": 3, "output": "x"}]', "entry 1: expected an object with the texts"),
        ("a.json", '[{"instruction": "\\ud800", "output": "x"}]', "entry 1: half a character"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.txt", "short", "too few to train on"),
        ("missing.csv", None, "does not exist"),
        ("nothing", None, "no pairs named"),
    ],
)
def test_bad_files_get_one_line(name, content, expected, command, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    result = command("finetune_text", "--model", "practice", "--data", tmp_path / name if "." in name else name)
    assert result.status == 2 and expected in result.err and result.err.count("\n") == 1


def test_instructions_and_plain_texts(tmp_path):
    entries = [{"instruction": f"Add {i}", "input": "1" if i % 2 else "", "output": str(i + 1)} for i in range(20)]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    pairs = load_pairs(tmp_path / "a.json")
    assert INSTRUCTION_WITH_INPUT.format(instruction="Add 3", input="1") in set(
        pd.concat([pairs.train, pairs.validation, pairs.test]).source
    )
    (tmp_path / "a.txt").write_text("\n\n".join(f"Paragraph {i}. " + "A word and more. " * 30 for i in range(40)))
    plain = load_pairs(tmp_path / "a.txt")
    assert set(plain.train.source) == {""} and plain.train.target.iloc[0].startswith("Paragraph 0.")
    assert len(plain.train) > len(plain.test) > len(plain.validation) > 0


def test_e2e_as_published():
    try:
        pairs = load_pairs("e2e")
    except RunError as error:
        pytest.skip(str(error))
    assert [len(part) for part in (pairs.train, pairs.validation, pairs.test)] == [42_061, 4_672, 4_693]
    sources = [set(part.source) for part in (pairs.train, pairs.validation, pairs.test)]
    assert [len(part) for part in sources] == [4_862, 547, 630] and not sources[0] & sources[2]


def test_long_paragraphs_of_a_plain_text_are_cut():
    text = "one line\n" * 300 + "\n" + "word " * 1000 + "\n\n" + "\n\n".join("Short paragraph. " * 5 for _ in range(20))
    chunks = cut_in_chunks(text)
    assert max(map(len, chunks)) <= LONGEST_CHUNK < 3 * min(map(len, chunks[:3]))
    assert " ".join(chunks).split() == text.split()


@pytest.mark.parametrize(
    "text, expected", [("\\n\\t", "\n\t"), (" → ", " → "), ("é\\n", "é\n"), ("\\u2192", "→"), (" | ", " | ")]
)
def test_separators(text, expected, command):
    command("finetune_text", "--help")  # puts scripts/ on the path
    assert importlib.import_module("common.pair_arguments").separator(text) == expected


@pytest.mark.parametrize("text", ["\\x", "a\\", "\\ud800", "\udcff"])
def test_bad_separators_get_one_line(text, command, arguments, tmp_path):
    assert "--separator" in command("finetune_text", *arguments, "--separator", text).one_line(2)
    assert not (tmp_path / "run").exists()


def test_spaces_around_a_source_do_not_make_it_another(tmp_path):
    (tmp_path / "a.csv").write_text("source,target\na,1\n a,2\na ,3\nb,4\nc,5\n")
    pairs = load_pairs(tmp_path / "a.csv")
    assert sorted(len(part) for part in (pairs.train, pairs.validation, pairs.test)) == [1, 1, 3]


def test_refusals_come_before_anything_is_written_by_a_model(command, arguments, monkeypatch, tmp_path):
    command("finetune_text", "--help")
    monkeypatch.setattr(importlib.import_module("common.writing"), "beam_search", None)
    assert "head trains a classification head only" in command(
        "finetune_text", *arguments, "--method", "head"
    ).one_line(2)
    long = tmp_path / "long.csv"
    long.write_text("mr,ref\n" + "".join(f"{'word ' * 20}{i},x\n" for i in range(9)))
    arguments[arguments.index("--data") + 1] = long
    few = ["--evaluation-pairs", 1, "--virtual-tokens", 235, "--method", "prompt"]
    assert "the source 'word word" in command("finetune_text", *arguments, *few).one_line(2)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_generate_continues_what_each_kind_of_run_has_read(command, tmp_path, monkeypatch):
    entries = [{"instruction": f"Add {i}", "output": str(i)} for i in range(12)]
    (tmp_path / "a.json").write_text(json.dumps(entries), encoding="utf-8-sig")
    (tmp_path / "a.txt").write_text("word " * 4000)
    read = []
    search = importlib.import_module("gpt2.beams").beam_search
    for name, prompt in (("a.json", "Add 3"), ("a.txt", "The"), ("a.txt", "")):
        run = tmp_path / name.replace(".", "-")
        if not run.exists():
            made = command("finetune_text", "--model", "practice", "--data", tmp_path / name, "--out", run, *SHORT)
            assert made.status == 0 and "\\n" not in made.out.splitlines()[-1], made
        with monkeypatch.context() as patch:
            patch.setattr("gpt2.beams.beam_search", lambda *a, **k: read.append(a[1][0].tolist()) or search(*a, **k))
            shown = command("generate", "--adapter", run, prompt, "--num-beams", 2, "--max-new-tokens", 3)
        assert shown.status == 0 and shown.out.startswith(prompt if name == "a.txt" else "")
    tokenizer = get_tokenizer()
    assert tokenizer.decode(read[0]) == instruction_source("Add 3") + "\n"
    assert read[1:] == [[END_OF_TEXT, *tokenizer.encode("The")], [END_OF_TEXT]]
