"""Values of options: NumPy's numbers are numbers, and each refusal says what was expected."""

import re

import numpy as np
import pytest

from gpt2.errors import InputError, number, one_of, whole_number


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1), np.array(1.0)])
def test_numbers_of_any_kind_become_pythons(value):
    assert type(number("lr", value, above=0)) is float and number("lr", value, above=0) == 1


@pytest.mark.parametrize(
    ("limits", "bad", "good", "said"),
    [
        ({"above": 0}, [0, -1], [1e-300, 1e300], "a number above 0"),
        ({"least": 0, "below": 1}, [1, -0.1], [0, 0.99], "a number of at least 0 and below 1"),
        ({"above": 0, "most": 1}, [0, 1.1], [0.1, 1], "a number above 0 and at most 1"),
        ({}, [], [-5, 0, 5], "a finite number"),
    ],
)
def test_a_number_outside_its_limits_is_told_them(limits, bad, good, said):
    for value in (*bad, "1", True, None, [1], float("nan"), float("inf"), -float("inf")):
        with pytest.raises(InputError, match=re.escape(f"lr is {value!r}, expected {said}")) as caught:
            number("lr", value, **limits)
        assert caught.value.argument == "lr"
    assert [number("lr", value, **limits) for value in good] == good


def test_a_choice_is_told_the_choices():
    assert one_of("class_weight", None, (None, "balanced")) is None
    for value in ("even", {"a": 1}, np.array([1, 2])):
        with pytest.raises(InputError, match=r"class_weight is .*, expected None or 'balanced'"):
            one_of("class_weight", value, (None, "balanced"))


def test_only_a_name_is_an_argument():
    with pytest.raises(InputError, match="GPT-2 config: n_layer is 0, expected a whole number of at least 1") as caught:
        whole_number("GPT-2 config: n_layer", 0)
    assert caught.value.argument is None
