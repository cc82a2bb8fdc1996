"""What memorising is worth: recall by hand on near-copies and on the rest, and the units of words and groups."""

import argparse

import pandas as pd
import pytest

from common.prepare import load_data
from comparison.memorising import leakage, memorising_section, recalls
from comparison.messages import FILE, as_messages, facts, kept, read_messages
from comparison.report import kept_together
from comparison.results import correctness
from comparison.settings import LATER_SETTINGS
from data import load_dataset
from gpt2.errors import InputError

SPLIT = {  # of a seed: two of the three spam messages have a near-copy in training
    "positive": "spam",
    "unit": None,
    "label": ["spam", "ham", "spam", "spam", "ham"],
    "exact": [True, False, False, False, False],
    "near": [True, False, True, False, False],
    "units": None,
}
NAMES = ["lora", "head", "TF-IDF + logistic regression"]


def answers(messages, right: dict[str, list[list[int]]]) -> pd.DataFrame:
    """Who was right about which message, a list for each seed."""
    keys = [(*key, i) for i, key in enumerate(messages.table.index)]
    index = pd.MultiIndex.from_tuples(keys, names=["seed", "position", "unit"])
    return pd.DataFrame({name: [float(x) for seed in lists for x in seed] for name, lists in right.items()}, index)


@pytest.fixture
def messages():
    return as_messages({123: SPLIT, 124: SPLIT | {"near": [True, False, False, False, False]}})


@pytest.fixture
def correct(messages):
    right = {
        "lora": [[1, 0, 1, 0, 1], [1, 1, 1, 0, 1]],
        "head": [[1, 1, 0, 0, 1], [0, 1, 1, 1, 1]],
        NAMES[2]: [[1, 1, 1, 1, 1], [1, 1, 0, 0, 1]],
    }
    return answers(messages, right)


def test_recalls_by_hand(correct, messages):
    found = recalls(correct, messages)
    assert found.loc["lora", ["copies", "rest", "all"]].tolist() == pytest.approx([1, (0 + 1 / 2) / 2, 2 / 3])
    assert found.loc["head", ["copies", "rest", "all"]].tolist() == pytest.approx([(1 / 2 + 0) / 2, 1 / 2, 1 / 2])
    assert found.loc["lora", "copies_sd"] == 0 and found.loc["head", "copies_sd"] == pytest.approx(0.5 / 2**0.5)


def test_the_section_says_what_the_numbers_say(correct, messages):
    assert leakage(messages).loc["spam"].tolist() == [3, 1, 1.5]
    text = "\n".join(memorising_section(correct, messages, NAMES))
    assert "| `spam` | 3.0 | 1.0 | 1.5 |" in text and "(n = 1.5)" in text
    assert "| `lora` | 100.00 ± 0.00 | 25.00 ± 35.36 | +41.67 |" in text
    assert "`lora`: recall of spam 100.0% on near-copies, 25.0% on the rest." in text
    assert "2 of 3 rows" in text  # not head


def test_without_near_copies_there_is_one_line(correct):
    grouped = as_messages({seed: SPLIT | {"near": [False] * 5, "exact": [False] * 5} for seed in (123, 124)})
    _, line = memorising_section(correct, grouped, NAMES)
    assert line.startswith("No test message has an exact or near copy in training: ")
    of_ham = as_messages({seed: SPLIT | {"near": [False, True, False, False, True]} for seed in (123, 124)})
    assert memorising_section(correct, of_ham, NAMES)[-1].startswith("None of class `spam` have a near-copy")
    many = as_messages({seed: SPLIT | {"near": None, "exact": None} for seed in (123, 124)})
    assert memorising_section(correct, many, NAMES)[1].startswith("Not measured")


def test_without_a_positive_class_it_is_the_accuracy(correct, messages):
    three = as_messages({seed: SPLIT | {"positive": None} for seed in (123, 124)})
    found = recalls(correct, three)
    assert found.loc["lora", "rest"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert "- `lora`: accuracy 100.0% on near-copies" in "\n".join(memorising_section(correct, three, NAMES))


def test_the_facts_of_a_split_are_found_once(tmp_path):
    made = []

    def make(seed: int) -> dict:
        made.append(seed)
        return facts(load_dataset("unseen-words", seed=seed))

    first = kept(tmp_path / FILE, [123], "test", make)
    assert kept(tmp_path / FILE, [123, 124], "test", make)[123] == first[123] and made == [123, 124]
    found = read_messages(tmp_path, [123, 124])
    assert found.unit == "word" and found.positive is None and len(found.table) == 1200
    assert {seed: len(set(units)) for seed, units in found.units().items()} == {123: 60, 124: 60}
    assert read_messages(tmp_path, [125]) is None


def test_what_a_column_groups_is_a_unit(tmp_path):
    rows = [(f"text {i} of sender {i % 12}", "ab"[i % 2], f"s{i % 12}") for i in range(120)]
    pd.DataFrame(rows, columns=["text", "label", "sender"]).to_csv(tmp_path / "mine.csv", index=False)
    settings = {
        "data": tmp_path / "mine.csv",
        "protocol": "strict",
        "text_column": "text",
        "label_column": "label",
        "group_near_duplicates": False,
        "group_column": "sender",
    }
    settings = LATER_SETTINGS | settings
    dataset = load_data(argparse.Namespace(**settings, seed=1, split_seed=1, assets=None))
    assert all(f"sender {unit[1:]}" in text for unit, text in zip(dataset.units, dataset.test.text, strict=True))
    found = as_messages({1: facts(dataset)})
    (line,) = kept_together(settings, found)
    assert "messages with one value of `sender`" in line and f"{dataset.units.nunique()} groups with" in line
    assert kept_together(settings, as_messages({123: SPLIT})) == []


def test_answers_are_those_of_the_splits_messages(messages):
    table = pd.DataFrame({"text": list("abcde"), "label": SPLIT["label"], "predicted": "ham"})
    units = correctness(iter([("lora", 123, table)]), messages).index.get_level_values("unit")
    assert units.tolist() == list("abcde")  # each message is one of its own
    with_words = as_messages({123: SPLIT | {"unit": "word", "units": list("xxyyz")}})
    units = correctness(iter([("lora", 123, table)]), with_words).index.get_level_values("unit")
    assert units.tolist() == list("xxyyz")
    with pytest.raises(InputError, match="no longer in the data"):
        correctness(iter([("lora", 123, table.assign(label="ham"))]), messages)
