"""The task whose test words never occur in training: by counting words it cannot be solved."""

import re

import pytest

from data import load_dataset
from data.baselines import tfidf
from data.splits import leaked
from data.unseen_words import NAMES, ONE, PARTS, TWO, unseen_words, words


def test_every_class_has_as_many_words_and_no_word_is_in_two_classes():
    every = [word for of_class in words().values() for word in of_class]
    assert {len(of_class) for of_class in words().values()} == {sum(PARTS)} and len(set(every)) == len(every)


def test_no_word_is_a_part_of_another_that_would_give_it_away():
    """A raincoat is clothes as a coat is, and a model without pretraining could learn that from the letters."""
    every = [(word, label) for label, of_class in words().items() for word in of_class]
    for word, label in every:
        inside = [
            w
            for w, of in every
            if w != word and len(w) > 3 and of == label and (word.startswith(w) or word.endswith(w))
        ]
        assert not inside, (word, inside)


def test_no_word_that_decides_stands_in_a_sentence():
    sentences = " ".join([*ONE, *(sentence for sentence, _ in TWO)]).lower()
    assert not set(re.findall(r"[a-z]+", sentences)) & {word for of_class in words().values() for word in of_class}


@pytest.mark.parametrize("name", NAMES)
def test_parts_share_no_word_that_decides_and_no_sentence(name):
    train, validation, test = unseen_words(name, 5)
    sets = [set(part.word) for part in (train, validation, test)]
    assert [len(s) for s in sets] == [4 * n for n in PARTS]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    known = set(re.findall(r"\w+", " ".join(train.text)))
    assert not known & sets[2] and leaked(train, test).empty
    assert len(test) == 4 * PARTS[2] * len(ONE if name == "unseen-words" else TWO)
    assert test.label.value_counts().nunique() == 1  # chance is a quarter


def test_in_unseen_order_the_sentence_says_which_word_counts():
    *_, test = unseen_words("unseen-order", 5)
    label_of = {word: label for label, of_class in words().items() for word in of_class}
    for text, label, word in test.itertuples(index=False):
        both = [w for w in re.findall(r"\w+", text) if w in label_of]
        place = next(counts for sentence, counts in TWO if sentence.format(*both) == text)
        assert both[place] == word and label_of[word] == label != label_of[both[1 - place]]


def test_the_seed_draws_the_words():
    first, again, other = (unseen_words("unseen-words", seed)[2] for seed in (1, 1, 2))
    assert first.equals(again) and set(first.word) != set(other.word)


@pytest.mark.parametrize("name", NAMES)
def test_counting_words_finds_nothing(name):
    dataset = load_dataset(name, seed=3)
    assert dataset.classes == ("animals", "clothes", "food", "tools") and dataset.positive is None
    assert abs(tfidf(dataset)["test"]["accuracy"] - 0.25) < 0.06
    assert "never occur in training" in dataset.notes[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_units_are_the_words(name):
    dataset = load_dataset(name, seed=3)
    assert dataset.units.name == "word" and dataset.units.nunique() == 4 * PARTS[2]
    pairs = zip(dataset.units, dataset.test.text, strict=True)
    assert all(word in re.findall(r"\w+", text) for word, text in pairs)
