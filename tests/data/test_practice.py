"""The practice messages: always the same ones, none twice, well formed, neither trivial nor hopeless to classify."""

import hashlib
import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from data.practice import SLOT, practice_messages, read_templates

SHA256 = "29e6cc70d913367dd81c1cc23db8a246c982a6bac4b008f0ff346b9408063249"


@pytest.fixture(scope="module")
def messages():
    return practice_messages()


def test_the_same_messages_everywhere(messages):
    lines = "\n".join(messages["label"] + "\t" + messages["text"])
    assert hashlib.sha256(lines.encode()).hexdigest() == SHA256


def test_another_seed_gives_other_messages(messages):
    assert len(set(practice_messages(seed=1)["text"]) & set(messages["text"])) < 100


@pytest.mark.parametrize("n", [0, 1, 2, 101])
def test_any_number_half_of_it_spam(n):
    messages = practice_messages(n)
    assert len(messages) == n
    assert list(messages.columns) == ["label", "text"]
    assert (messages["label"] == "spam").sum() == n // 2


def test_two_thousand_distinct_in_mixed_order(messages):
    assert messages["label"].value_counts().to_dict() == {"ham": 1000, "spam": 1000}
    assert messages["text"].str.lower().is_unique
    halves = (messages["label"] == "spam").to_numpy().reshape(4, 500).mean(axis=1)  # spam in each quarter
    assert np.all(abs(halves - 0.5) < 0.1)


def test_every_slot_is_filled_and_every_section_used():
    sections = read_templates()
    sides = {name.removeprefix("ham_").removeprefix("spam_") for name in sections}
    asked = {"message"}
    for line in (line for lines in sections.values() for line in lines):
        asked |= {name.removeprefix("ham_").removeprefix("spam_") for name in re.findall(r"{(\w+)}", line)}
        assert not re.search(r"[{}()]", re.sub(r"{\w+}", "", SLOT.sub("", line))), line
    assert asked == sides
    for name in sections:
        if name.startswith(("ham_", "spam_")):
            other = name.replace("ham_", "spam_", 1) if name.startswith("ham_") else name.replace("spam_", "ham_", 1)
            assert other in sections, f"{name} has no counterpart"


def test_messages_are_well_formed(messages):
    faults = re.compile(r"[{}()|]|\s\s|^\s|\s$|\s[.,?!]|[?!:,]\.")
    assert not [text for text in messages["text"] if faults.search(text)]
    size = messages["text"].map(lambda text: len(text.encode()))
    assert size.min() >= 20
    assert size.max() <= 256  # a GPT-2 token is at least one byte: all fit the practice model's 256 positions


def test_only_addresses_and_numbers_that_belong_to_nobody(messages):
    for text in messages["text"]:
        assert not re.search(r"https?:|www\.|\.(com|org|net|uk)\b", text, re.IGNORECASE)
        for number in re.findall(r"\b0\d{4} ?\d{3} ?\d{3}\b|\b0\d{3} \d{3} \d{4}\b|\b0\d{10}\b", text):
            digits = number.replace(" ", "")
            assert digits.startswith(("07700900", "01632960", "08081570", "09098790")), text


def test_word_counts_do_fairly_well_but_not_perfectly(messages):
    for strength in (1, 10):
        accuracies = []
        for seed in range(10):
            train, test = train_test_split(messages, test_size=0.3, random_state=seed, stratify=messages["label"])
            counts = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=strength, max_iter=1000))
            accuracies.append(counts.fit(train["text"], train["label"]).score(test["text"], test["label"]))
        assert 0.88 < np.mean(accuracies) < 0.95
        assert 0.80 < min(accuracies) and max(accuracies) < 0.97


def test_no_single_word_gives_a_message_away(messages):
    """Of the hundred commonest words, each stands in both classes."""
    words = {
        label: messages.loc[messages["label"] == label, "text"].str.lower().str.findall(r"[a-z']+").explode()
        for label in ("ham", "spam")
    }
    shares = words["ham"].value_counts().add(words["spam"].value_counts(), fill_value=0).nlargest(100).index
    assert set(shares) <= set(words["ham"]) & set(words["spam"])
