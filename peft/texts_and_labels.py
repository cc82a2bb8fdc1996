"""Texts and labels as people hold them: lists, arrays, columns of a table. What TextClassifier learns from is checked
here, so that each fault is one sentence with the index of the text or label."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gpt2.errors import InputError

NUMBERS = (int, float, np.number, np.bool_)


def texts_of(texts: Iterable[str]) -> list[str]:
    """Texts as a list. Raises InputError for one text alone, and for something that is no text."""
    found = column_of("texts", texts)
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise unusable("text", i, text, "a string")
    return found


def labels_of(labels: Iterable) -> np.ndarray:
    """Labels as an array. Raises InputError for a missing one, and unless they are all strings or all numbers."""
    found = column_of("labels", labels)
    kinds = [str if isinstance(label, str) else float if isinstance(label, NUMBERS) else None for label in found]
    for i, (label, kind) in enumerate(zip(found, kinds, strict=True)):
        if missing(label):
            raise InputError(f"label {i} is missing; give every text a label, or leave it out")
        if kind is None:
            raise unusable("label", i, label, "a string or a number")
        if kind != kinds[0]:
            raise unusable("label", i, label, f"a {'string' if kind is float else 'number'} as label 0 is")
    return np.asarray(labels)


def column_of(what: str, values: Iterable) -> list:
    """Values as a list. Raises InputError unless they are one list or column."""
    if isinstance(values, list):
        return values
    found = np.asarray(values, dtype=object)
    if found.ndim != 1:
        which = f"of the shape {found.shape}" if found.ndim else f"one {type(values).__name__}"
        raise InputError(f"{what} are {which}; give a list, array or column with a value for each text")
    return found.tolist()


def missing(label: Any) -> bool:
    """Is this no value: None, NaN, or what pandas writes for it?"""
    nothing = label is None or type(label).__name__ in ("NAType", "NaTType")
    return nothing or (isinstance(label, float) and math.isnan(label))


def unusable(what: str, i: int, value: Any, wanted: str) -> InputError:
    """The error for the text or label with this index."""
    return InputError(f"{what} {i} is {type(value).__name__} ({str(value)[:30]!r}), expected {wanted}")
