"""Pictures with people's own class names: nothing is read as a formula, nothing becomes the same, nothing a box."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from gpt2.training import plot_text
from gpt2.training.plot_text import drawable, fonts_for, shorten
from gpt2.training.plots import plot_confusion


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Function: class names -> (texts on the axis, note), with every warning an error."""
    texts = {}
    real = Axes.set_yticks

    def remember(axes, places, labels, **options):
        texts["labels"] = list(labels)
        texts["ticks"] = real(axes, places, labels, **options)

    monkeypatch.setattr(Axes, "set_yticks", remember)

    def draw(names):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = np.eye(len(names), dtype=int).tolist()
            note = plot_confusion(table, names, tmp_path / "confusion.png", "3 test messages")
        assert (tmp_path / "confusion.png").stat().st_size > 1000
        return texts["labels"], note

    return draw


@pytest.mark.parametrize("names", [("$_$", "ok"), ("$10-$20", "$20-$30"), ("a\nb", "\t"), ("_hidden", "")])
def test_no_name_is_a_formula(names, drawn):
    labels, note = drawn(names)
    assert note is None and len(set(labels)) == 2
    assert "$" not in names[0] or labels == list(names)


def test_long_similar_names_stay_distinct(drawn):
    names = [f"customer_question_about_a_card_number_{i}_of_many" for i in range(77)]
    labels, _ = drawn(names)
    assert len(set(labels)) == 77 and max(map(len, labels)) <= 16


def test_names_are_cut_where_they_differ():
    assert shorten(["spam", "a" * 20]) == ["spam", "a" * 15 + "…"]
    assert shorten(["question about cards", "question about loans"]) == ["question…t cards", "question…t loans"]
    same_ends = [f"{'a' * 20}{middle}{'b' * 20}" for middle in "xyz"]
    assert len(set(shorten(same_ends))) == 3


def test_characters_without_a_font_become_numbers_with_one_note(drawn, monkeypatch):
    monkeypatch.setattr(plot_text, "fonts_for", lambda text: None if "天" in text else [])
    labels, note = drawn(["天气", "音乐 🙂"])
    assert labels == ["1", "2"] and "1 = 天气, 2 = 音乐 🙂" in note and "\n" not in note


@pytest.mark.parametrize("name", ["天气", "お天気", "🙂👍"])
def test_no_font_warning_and_no_box(name, drawn):
    labels, note = drawn([name, "other"])
    assert (labels == [name, "other"]) == (note is None)
    if note:
        assert labels == ["1", "2"]


def test_a_font_that_has_the_characters_is_found():
    assert fonts_for("Grüße é") == []
    assert fonts_for("\ue0ff\U0010fffd") is None  # private use: the font of last resort, all boxes, does not count
    assert drawable(["été", "Ham"]) == (["été", "Ham"], None)


def test_this_file_needs_the_bundled_font():
    assert Path(plot_text.font_manager.findfont(plot_text.DEFAULT_FONT)).name == "DejaVuSans.ttf"
