"""Near-copies: found as by comparing all pairs, kept together by a split, and counted as published for the SMS data."""

import os
import string
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import load_dataset
from data.near_duplicates import SIMILAR, copies, groups, kinds, leakage, similar, trigrams
from data.sms_spam import PROTOCOLS
from data.splits import grouped_split
from gpt2.errors import InputError

SMS = Path(os.environ.get("GPT2_PEFT_ASSETS", "nowhere")) / "sms-spam" / "SMSSpamCollection"
needs_sms = pytest.mark.skipif(not SMS.is_file(), reason="needs the SMS Spam Collection in GPT2_PEFT_ASSETS")
SENTENCES = st.lists(st.sampled_from("a b c d1 22 E".split()), max_size=9).map(" ".join)


def test_trigrams_of_the_docstring():
    assert trigrams("You have won £1000") == {"you have won", "have won £0"}
    assert trigrams("See  YOU") == {"see you"} and trigrams("") == {""}


def alike(one: str, other: str) -> bool:
    a, b = trigrams(one), trigrams(other)
    return len(a & b) / len(a | b) >= SIMILAR


@settings(deadline=None)
@given(st.lists(SENTENCES, max_size=14))
def test_groups_are_those_of_comparing_all_pairs(texts):
    graph = {i: {j for j in range(len(texts)) if alike(texts[i], texts[j])} for i in range(len(texts))}
    reached = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            at = waiting.pop()
            if at not in seen:
                seen.add(at)
                waiting += graph[at]
        reached[start] = seen
    numbers = groups(texts)
    for i in graph:
        assert {j for j in graph if numbers[j] == numbers[i]} == reached[i]


@settings(deadline=None)
@given(st.lists(SENTENCES, max_size=9), st.lists(SENTENCES, max_size=9))
def test_copies_are_those_of_comparing_all_pairs(train, test):
    tables = [pd.DataFrame({"text": texts, "label": "x"}, dtype=object) for texts in (train, test)]
    found = copies(*tables)
    assert found.near.tolist() == [any(alike(text, other) for other in train) for text in test]
    assert found.exact.tolist() == [text in train for text in test]


def test_a_text_sent_ten_thousand_times_with_another_number_is_one_kind():
    kind, sets = kinds([f"Your code is {n} dear" for n in range(10_000)] + ["Your code is 5 dear friend"])
    assert set(kind[:-1]) == {0} and kind[-1] == 1 and similar(*sets)


def test_groups_join_copies_of_copies():
    texts = ["a b c d e f", "b c d e f g", "c d e f g h", "entirely other words here", "a b c d e f"]
    numbers = groups(texts)
    assert len(set(numbers)) == 2 and numbers.count(numbers[3]) == 1
    assert len(set(groups([]))) == 0 and len(set(groups(["one"]))) == 1


def test_copies_are_counted_by_class():
    train = pd.DataFrame({"text": ["win a big prize 10 now", "see you at noon"], "label": ["spam", "ham"]})
    rows = [("win a big prize 99 now", "spam"), ("see you at noon", "ham"), ("what else is there", "ham")]
    test = pd.DataFrame(rows, columns=["text", "label"], index=[7, 3, 5])
    found = copies(train, test)
    assert found.index.tolist() == [7, 3, 5]
    assert found.exact.tolist() == [False, True, False] and found.near.tolist() == [True, True, False]
    assert leakage(train, test) == {"ham": {"n": 2, "exact": 1, "near": 1}, "spam": {"n": 1, "exact": 0, "near": 1}}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 20)), min_size=1, max_size=80), st.integers(0, 99))
def test_no_group_crosses_a_split_and_every_row_is_in_it_once(pairs, seed):
    fixed = [
        (label, 100 + 3 * i + j) for i, label in enumerate("xyz") for j in range(3)
    ]  # three groups a class at least
    frame = pd.DataFrame([*fixed, *pairs], columns=["label", "group"]).assign(text=lambda f: f.index.astype(str))
    parts = grouped_split(frame[["text", "label"]], frame["group"].tolist(), seed)
    assert sorted(int(text) for part in parts for text in part.text) == list(range(len(frame)))
    in_parts = [set(frame.group[part.text.astype(int)]) for part in parts]
    assert not (in_parts[0] & in_parts[1] or in_parts[0] & in_parts[2] or in_parts[1] & in_parts[2])
    assert all((part.group == frame.group[part.text.astype(int)].to_numpy()).all() for part in parts)


def test_single_messages_keep_the_class_shares():
    frame = pd.DataFrame({"text": [str(i) for i in range(1000)], "label": ["rare"] * 100 + ["common"] * 900})
    parts = grouped_split(frame, range(1000), 1)
    assert [len(part) for part in parts] == [700, 100, 200]
    assert [(part.label == "rare").sum() for part in parts] == [70, 10, 20]
    other = grouped_split(frame, range(1000), 2)
    assert not parts[2].equals(other[2]) and parts[2].equals(grouped_split(frame, range(1000), 1)[2])


def test_a_class_in_two_groups_cannot_be_split_in_three():
    frame = pd.DataFrame({"text": list("abcdef"), "label": ["x"] * 3 + ["y"] * 3})
    with pytest.raises(InputError, match=r"class 'y' has messages in 2 group\(s\) only.*smaller, or none"):
        grouped_split(frame, [1, 2, 3, 4, 4, 5], 0)


def test_where_few_groups_hold_several_classes_another_order_is_tried():
    """Six groups of two classes each: an order that leaves a class out of a part is not taken."""
    pairs = [(label, group) for group, of in enumerate(["xy", "xy", "yz", "yz", "zx", "zx"]) for label in of * 5]
    frame = pd.DataFrame(pairs, columns=["label", "group"]).assign(text="t")
    for seed in range(30):
        parts = grouped_split(frame[["text", "label"]], frame["group"].tolist(), seed)
        assert all(set(part.label) == set("xyz") for part in parts)


@needs_sms
def test_the_sms_collections_near_copies():
    """271 of 653 spam and 76 of 4,518 ham messages have a near-copy; in the test parts of three strict splits 44, 53
    and 49 of 131 spam have one in training, in the published split's 66 of 151; in the grouped splits none has."""
    assets = SMS.parents[1]
    whole = pd.concat(
        [getattr(load_dataset("sms", "strict", assets=assets), p) for p in ("train", "validation", "test")]
    )
    numbers = pd.Series(groups(whole.text.tolist()))
    shared = whole.label[numbers.duplicated(keep=False).to_numpy()]
    assert shared.value_counts().to_dict() == {1: 271, 0: 76}
    strict = [load_dataset("sms", "strict", seed, assets).leakage()["spam"] for seed in (123, 124, 125)]
    assert [counts["near"] for counts in strict] == [44, 53, 49] and {counts["n"] for counts in strict} == {131}
    published = load_dataset("sms", "published", assets=assets).leakage()
    assert published["spam"] == {"n": 151, "exact": 33, "near": 66} and published["ham"]["exact"] == 4
    grouped = load_dataset("sms", "grouped", assets=assets)
    assert grouped.leakage() == {"ham": {"n": 904, "exact": 0, "near": 0}, "spam": {"n": 131, "exact": 0, "near": 0}}
    assert [len(part) for part in (grouped.train, grouped.validation, grouped.test)] == [3618, 518, 1035]


@needs_sms
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_page_shows_what_is_counted(protocol):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    found = load_dataset("sms", protocol, assets=SMS.parents[1]).leakage()
    cells = [
        cell for c in ("spam", "ham") for cell in (f"{found[c]['exact']} of {found[c]['n']}", str(found[c]["near"]))
    ]
    assert f"| `{protocol}` | {' | '.join(cells)} |" in page


@pytest.fixture
def table(tmp_path):
    """Forty messages, each twice with another number, of two senders a class and message."""
    letters = string.ascii_lowercase + "äöüßéèêàâîôûçñ"
    rows = [
        f"{'ham' if i % 2 else 'spam'},this is text {letter} number {n},s{i // 4}"
        for i, letter in enumerate(letters)
        for n in (1, 2)
    ]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["label,text,sender", *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize("options", [{"group_near_duplicates": True}, {"group_column": "sender"}])
def test_groups_of_a_persons_own_table(options, table):
    dataset = load_dataset(table, **options)
    assert all(counts["near"] == 0 for counts in dataset.leakage().values())
    assert "80 of the messages share a group with others" in " ".join(dataset.notes)
    assert any(counts["near"] for counts in load_dataset(table).leakage().values())


@pytest.mark.parametrize(
    "data, options, message",
    [
        ("practice", {"group_near_duplicates": True}, "group_near_duplicates is for a table of your own"),
        ("sms", {"group_column": "sender"}, "group_column is for a table of your own"),
        (None, {"group_column": "text"}, "as other values; name another column"),
        (None, {"group_column": "nobody"}, "nobody"),
        (None, {"group_column": "sender", "group_near_duplicates": True}, "not by both; choose one"),
    ],
)
def test_groups_that_cannot_be(data, options, message, table):
    with pytest.raises(InputError, match=message):
        load_dataset(data or table, **options)
