"""The default learning rates: tuned, published or by rule; and the page that says whose they are."""

import dataclasses
from pathlib import Path

import pytest

import peft
from gpt2.config import SIZES
from peft.learning_rates import GPT2_WIDTHS, PRACTICE_WIDTH, PUBLISHED

PAGE = Path(__file__).parents[2] / "docs/learning_rates_published.md"


def test_every_method_has_a_published_rate_and_no_other_has():
    assert PUBLISHED.keys() == peft.METHODS.keys()
    assert {config.n_embd for config in SIZES.values()} == {PRACTICE_WIDTH, *GPT2_WIDTHS}


@pytest.mark.parametrize("name", peft.METHODS)
def test_the_practice_models_rate_is_the_tuned_one(name):
    method = peft.METHODS[name]
    assert method.learning_rate(PRACTICE_WIDTH) == method.lr
    assert method.rate(PRACTICE_WIDTH).source == "tuned on the practice model"


@pytest.mark.parametrize("name", peft.METHODS)
def test_another_width_follows_the_rule_and_says_so(name):
    method = peft.METHODS[name]
    assert method.learning_rate(256) == method.lr / 2
    assert method.rate(256).source == "not tuned on this model: rule lr x 128/width"


@pytest.mark.parametrize("width", GPT2_WIDTHS)
@pytest.mark.parametrize("name", peft.METHODS)
def test_a_published_size_gets_a_published_rate_and_its_source(name, width):
    rate = peft.METHODS[name].rate(width)
    assert (rate.lr, rate.source.removeprefix("not tuned on this model: ")) in {
        (entry.lr, entry.source) for entry in PUBLISHED[name]
    }
    assert rate.used and 1e-5 <= rate.lr <= 3e-2


def test_the_entry_closest_in_width_is_taken():
    assert [peft.METHODS["mam"].learning_rate(width) for width in GPT2_WIDTHS] == [1e-4, 5e-5, 5e-5, 5e-5]
    assert [peft.METHODS["prompt"].learning_rate(width) for width in GPT2_WIDTHS] == [3e-2, 3e-2, 3e-2, 5e-3]


def test_a_method_that_the_table_does_not_know_follows_the_rule():
    own = dataclasses.replace(peft.METHODS["lora"], lr=6e-3)
    assert own.learning_rate(768) == 1e-3 and own.rate(768).source.endswith("rule lr x 128/width")


def test_the_page_is_the_table():
    listed = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert listed == [
        f"| `{name}` | {rate.lr:g} | {rate.width:,} | {rate.source} | {rate.used} | {rate.instead} |"
        for name, entries in PUBLISHED.items()
        for rate in entries
    ]
