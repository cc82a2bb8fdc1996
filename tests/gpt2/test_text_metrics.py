"""Measures of written texts: by hand, at their limits, and as other programs give them."""

import math

import numpy as np
import pandas as pd
import pytest

from data.nearest import nearest_targets
from gpt2 import InputError
from gpt2.text_metrics import bleu_intervals, cider, measure, rouge_l, words_of

TEXTS = ["Blue Spice is a pub.", "The Mill is a cheap restaurant by the river .", "a a a a pub"]
REFERENCES = [
    ["Blue Spice is a pub.", "There is a pub, Blue Spice."],
    ["The Mill is a cheap place near the river."],
    ["It is a pub in the city centre"],
]


def tokens(group):
    return [words_of(text) for text in group]


def test_what_people_wrote_gets_the_best_score():
    found = measure([group[0] for group in REFERENCES], REFERENCES)
    assert [found[name] for name in ("bleu", "chrf", "rouge_l")] == pytest.approx([100, 100, 100])
    worse = measure(TEXTS, REFERENCES)
    assert all(worse[name] < found[name] for name in found)
    nothing = measure(["x y z"] * 3, REFERENCES)
    assert nothing["bleu"] < 5 and nothing["rouge_l"] == nothing["cider"] == 0


def test_cider_as_pycocoevalcap_gives_it():
    """Measured with pycocoevalcap 1.2 (Cider().compute_score) on these words."""
    assert cider(tokens(TEXTS), [tokens(group) for group in REFERENCES]) == pytest.approx(3.940571956001305, rel=1e-9)


def test_rouge_l_by_hand():
    # "the mill is cheap" and "the mill is very cheap": 4 words in common of 4 and 5, F1 = 8/9; the other is farther
    assert rouge_l(["the mill is cheap"], [["the mill is very cheap", "a pub"]]) == pytest.approx(100 * 8 / 9)


def test_bleu_by_hand():
    # 1- to 4-grams: 4/5, 3/4, 2/3, 1/2 are right; as long as the reference
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert measure(["the mill is cheap today"], [["the mill is cheap now"]])["bleu"] == pytest.approx(expected)


def test_words_and_marks_in_lower_case():
    assert words_of("It's £5, OK?") == ["it's", "£5", ",", "ok", "?"]


def test_an_empty_text_is_worth_nothing_and_stops_nothing():
    found = measure(["", "", ""], REFERENCES)
    assert found["bleu"] == found["nist"] == found["rouge_l"] == found["cider"] == 0


@pytest.mark.parametrize(
    "texts, references, expected",
    [([], [], "0 texts"), (["a"], [["a"], ["b"]], "1 texts and references for 2"), (["a"], [[]], "text 1 has no ref")],
)
def test_bad_input(texts, references, expected):
    with pytest.raises(InputError, match=expected):
        measure(texts, references)


def test_intervals_tell_a_difference_from_chance():
    references = [[f"the {place} is a cheap pub by the river number {i}"] for i, place in enumerate("abcdefghij" * 5)]
    right = [group[0] for group in references]
    wrong = ["there is nothing to be said of it at all"] * 50
    one, other = (
        [r if i % 2 == half else w for i, (r, w) in enumerate(zip(right, wrong, strict=True))] for half in (0, 1)
    )
    found = bleu_intervals({"one": one, "other": other, "right": right, "wrong": wrong}, references, draws=200)
    assert found["right"]["bleu"] == pytest.approx(100) and found["right"]["half_width"] == pytest.approx(0, abs=1e-6)
    assert found["one"]["half_width"] > 5 and math.isnan(found["one"]["p"])
    assert found["wrong"]["p"] < 0.01 and found["right"]["p"] < 0.01 and found["other"]["p"] > 0.3


@pytest.mark.parametrize(
    "texts, references, expected",
    [
        (["a b"], ["a b"], "are one string"),
        ([None], [["a"]], "text 1 or a reference of it is no string"),
        (["a", "b"], [["a"], [None]], "text 2 or a reference"),
        (np.array([]), [], "0 texts"),
    ],
)
def test_what_is_no_text_is_refused(texts, references, expected):
    with pytest.raises(InputError, match=expected):
        measure(texts, references)
    with pytest.raises(InputError, match=expected):
        bleu_intervals({"run": texts}, references)


def test_arrays_and_generators_are_texts():
    expected = measure(["a b", "c"], [["a b"], ["d"]])
    assert measure(np.array(["a b", "c"]), [np.array(["a b"]), ["d"]]) == expected
    assert measure((text for text in ("a b", "c")), (["a b"], ["d"])) == expected


def test_equal_systems_do_not_differ():
    texts = ["one two three four five", "six seven eight nine ten"]
    found = bleu_intervals({"run": texts, "same": list(texts)}, [[text + " more"] for text in texts])
    assert found["same"]["p"] == 1 and found["same"]["bleu"] == found["run"]["bleu"] > 0


def test_sources_without_a_word_have_a_nearest_target():
    train = pd.DataFrame({"source": ["[]", ","], "target": ["first", "second"]})
    assert nearest_targets(train, ["x", "[]"]) == ["first", "first"]
