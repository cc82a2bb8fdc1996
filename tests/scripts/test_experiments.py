"""experiments/: every file there runs, repeats itself, and is what its published result was made with; wrong files get
one line."""

import ast
import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

import peft
from comparison.rows import Row, read_row, read_rows
from gpt2 import GPT2, GPT2Config, save_gpt2
from gpt2.config import SIZES
from gpt2.errors import InputError
from gpt2.training.run_files import read_json

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments").rglob("*.toml"))
RECORDED = pd.concat(
    pd.read_csv(file).assign(folder=file.parent.name) for file in (ROOT / "docs" / "results").glob("*/results.csv")
)


def is_writing(file: Path) -> bool:
    """Is this row for comparisons of methods that learn to write? (tests/scripts/test_compare_text.py runs one.)"""
    return file.parent.name == "ranks-writing"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A base model that trains in a second."""
    folder = tmp_path_factory.mktemp("base") / "small"
    save_gpt2(GPT2(GPT2Config(vocab_size=50257, n_positions=256, n_embd=32, n_layer=2, n_head=2)), folder)
    return folder


@pytest.fixture
def carried_out(command, table, columns, small, tmp_path):
    """carried_out(row, name) -> the folder of one run of the row, on a table of 60 messages."""

    def run(row: Row, name: str = "run") -> Path:
        common = ["--data", table, *columns, "--model", small, "--epochs", 1, "--out", tmp_path / name]
        result = command("finetune_spam", *common, *row.arguments(str(small)), "--seed=123", "--split-seed=123")
        assert result.status == 0, result.err
        return tmp_path / name

    return run


@pytest.mark.parametrize("file", [file for file in FILES if not is_writing(file)], ids=lambda file: file.stem)
def test_every_file_runs(file, carried_out, small):
    row = read_row(file)
    folder = carried_out(row)
    assert read_json(folder / "metrics.json")["status"] == "finished"
    config = read_json(folder / "config.json")
    assert row.contradiction(config, str(small)) is None and config["method"] == row.method
    assert config["model"] == (f"random:{small}" if row.model else str(small))
    other = config | {"options": config["options"] | {"rank": 3}, "lr": 1.0, "model_asked_for": "gpt2"}
    assert row.contradiction(other | {"method": "another"}, str(small)) == f"method {row.method}, not another"


def test_a_row_repeats_itself(carried_out):
    row = read_row(ROOT / "experiments" / "random-lora.toml")
    once, twice = (carried_out(row, name) for name in ("once", "twice"))
    keys = ("train", "validation", "test", "best_epoch")
    first, second = (read_json(folder / "metrics.json") for folder in (once, twice))
    assert [first[key] for key in keys] == [second[key] for key in keys]
    assert (once / "predictions.csv").read_text() == (twice / "predictions.csv").read_text()


def effective(row: Row, width: int, writing: bool = False) -> Row:
    """The row with everything stated, what it leaves to the defaults too."""
    method = peft.METHODS[row.method]
    options = {name: field.default for name, field in method.options.items()} | dict(row.options)
    stated = {name: value for name, value in options.items() if value is not None}
    lr = row.lr or method.learning_rate(width, writing)
    return dataclasses.replace(row, options=tuple(stated.items()), lr=lr)


def value_of(text: str) -> object:
    """8 or 8.0 or True of what results.csv has as text; else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def stale(row: Row, recorded: pd.Series) -> str | None:
    """What the row's settings file says otherwise than a line of results.csv; options that were not recorded then, or
    by another name, are not compared."""
    said = dict(part.split("=", 1) for part in re.split(r" (?=\w+=)", recorded.options) if part)
    full = effective(row, SIZES[recorded.model.removeprefix("random:")].n_embd, recorded.get("folder") == "e2e")
    kept = tuple((name, value) for name, value in full.options if name in said)
    options = {name: value_of(said[name]) for name, _ in kept}
    config = {"method": recorded.method, "options": options, "lr": recorded.lr, "epochs": recorded.epochs}
    model = recorded.model.removeprefix("random:")
    return dataclasses.replace(full, options=kept).contradiction(config | {"model_asked_for": recorded.model}, model)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_published_result_was_made_with_the_files_settings(file):
    of_file = RECORDED[RECORDED.run.str.fullmatch(rf"{re.escape(file.stem)}-\d+")]
    of_file = of_file[(of_file.folder == "e2e") == is_writing(file)]
    for _, recorded in of_file.fillna({"options": ""}).iterrows():
        changed = stale(read_row(file), recorded)
        assert not changed, f"docs/results/{recorded.folder}: {file.name} now has {changed}; repeat the run"


def test_a_stale_result_is_found():
    row = read_row(ROOT / "experiments" / "ranks" / "lora-rank4.toml")
    line = {"method": "lora", "model": "practice", "options": "rank=4 alpha=8.0 target=all init=kaiming", "epochs": 1}
    recorded = pd.Series(line | {"lr": row.lr})
    assert stale(row, recorded) is None
    assert stale(row, pd.Series({**recorded, "options": "rank=4 alpha=16 init=kaiming"})) == "alpha 8, not 16"
    assert stale(row, pd.Series({**recorded, "lr": 0.5})).startswith("lr ")
    assert stale(dataclasses.replace(row, model="random"), recorded) == "model random:practice, not practice"


def test_a_row_without_data_fits_all(tmp_path):
    row = read_row(ROOT / "experiments" / "lora-qv.toml")
    assert row.why_not("sms", "grouped") is None and row.why_not("practice", "strict") is None
    words = read_row(ROOT / "experiments" / "random-head.toml")
    assert words.why_not("unseen-order", "strict") is None
    assert words.why_not("sms", "strict") == "data unseen-words, unseen-order"
    grouped = Row("a", "lora", protocol="grouped")
    assert grouped.why_not("sms", "grouped") is None and grouped.why_not("sms", "strict") == "protocol grouped"
    assert grouped.why_not("practice", "grouped") == "protocol grouped"


def test_switches_and_random_models():
    row = Row("a", "qlora", (("double_quant", False), ("train_head", True), ("rank", 4)), lr=0.001, model="random")
    wanted = "--method=qlora --no-double-quant --train-head --rank=4 --lr=0.001 --model=random:practice"
    assert row.arguments("practice") == wanted.split() == row.arguments("random:practice")
    assert Row("a", "lora", model="gpt2").arguments("practice") == ["--method=lora", "--model=gpt2"]


GOOD = 'method = "lora"\nabout = "A row."\n'


@pytest.mark.parametrize(
    "text, said",
    [
        (GOOD + "rank = 4", "unknown key 'rank'; it may hold method, about"),
        ('about = "A row."', "method is missing; expected a method's name"),
        ('method = "lora"', "about is missing; expected a sentence"),
        (GOOD.replace("lora", "nope"), "unknown method 'nope'; choose one of full"),
        (GOOD + "lr = true", "lr is True, expected a number above 0"),
        (GOOD + 'lr = "high"', "lr is 'high', expected a number above 0"),
        (GOOD + "lr = 0", "lr is 0, expected a number above 0"),
        (GOOD + "lr = nan", "lr is nan, expected a number above 0"),
        (GOOD + "epochs = 1.5", "epochs is 1.5, expected a whole number of at least 1"),
        (GOOD + "epochs = 0", "epochs is 0, expected a whole number of at least 1"),
        (GOOD + 'data = "auto"', "data names 'auto'; choose among sms, imdb, practice"),
        (GOOD + "data = [3]", "data names 3; choose among"),
        (GOOD + 'data = "sms"\nprotocol = "best"', "protocol is 'best', expected one of published, strict, grouped"),
        (GOOD + 'data = "practice"\nprotocol = "strict"', "protocol is 'strict', expected no protocol, or data = "),
        (GOOD + "options = 4", "options is 4, expected a table of the method's options"),
        (GOOD + "[options]\nbottleneck = 4", "options.bottleneck is 4, but lora has no such option"),
        (GOOD + "[options]\nrank = 4.0", "options.rank is 4.0, expected int"),
        (GOOD + "[options]\nrank = true", "options.rank is True, expected int"),
        (GOOD + "[options]\ntarget_modules = [1]", "options.target_modules is [1], expected str"),
        (
            GOOD + "[options]\nalpha = nan",
            "options.alpha is nan, expected a number from -1,000,000,000 to 1,000,000,000",
        ),
        (GOOD + "lr = ", "is not TOML: "),
    ],
)
def test_a_wrong_file_gets_one_line(text, said, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_rows([tmp_path])
    assert str(caught.value).startswith(str(file)) and said in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_names_get_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot read .*nothing"):
        read_rows([tmp_path / "nothing"])
    with pytest.raises(InputError, match="holds no settings file"):
        read_rows([tmp_path])
    (tmp_path / "lora.toml").write_text(GOOD)
    with pytest.raises(InputError, match="the name lora is that of a method; rename the file"):
        read_rows([tmp_path])
    (tmp_path / "lora.toml").rename(tmp_path / "mine.toml")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "mine.toml").write_text(GOOD)
    with pytest.raises(InputError, match=r"more.mine.toml: the name mine is that of .*mine.toml"):
        read_rows([tmp_path, tmp_path / "more"])
    (tmp_path / "latin.toml").write_bytes(b'about = "\xff"')
    with pytest.raises(InputError, match="latin.toml is not TOML"):
        read_rows([tmp_path / "latin.toml"])
