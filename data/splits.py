"""Cut a table of messages into train, validation and test, and count what stands on both sides of the cut.

A model is judged on messages that it has not seen. So the test part must be set aside once, keep the
proportions of the whole, and share no message with the training part; otherwise it measures memory as well.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gpt2.errors import InputError

VALIDATION, TEST = 0.1, 0.2  # the remaining 0.7 is for training
SMALLEST_CLASS = 3  # rows: one for each of the three parts

Splits = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def stratified_split(frame: pd.DataFrame, seed: int) -> Splits:
    """Shuffle by ``seed`` and cut 70/10/20 within each label, so that each part has the whole's proportions.

    ``frame`` has columns ``text`` and ``label``; every label needs at least SMALLEST_CLASS rows, and then has
    at least one in each part. Returns train, validation, test, each in shuffled order with a fresh index.
    """
    shuffled = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    rank = shuffled.groupby("label").cumcount()  # 0, 1, 2, … within the row's own label
    size = shuffled.groupby("label")["label"].transform("size")
    tests = (size * TEST).round().clip(lower=1)
    validations = (size * VALIDATION).round().clip(lower=1)
    in_test = rank < tests
    in_validation = ~in_test & (rank < tests + validations)
    parts = (~in_test & ~in_validation, in_validation, in_test)
    train, validation, test = (shuffled[part].reset_index(drop=True) for part in parts)
    return train, validation, test


def grouped_split(frame: pd.DataFrame, groups: Sequence, seed: int) -> Splits:
    """As ``stratified_split``, but rows of one group stay together: a group lies in one part, whole.

    Groups come in random order, large ones first, and each goes to the part that still lacks the largest share of its
    labels. Every label needs rows in at least SMALLEST_CLASS groups, and then has some in each part. Raises InputError
    for a label that has not.
    """
    rows = frame.assign(group=list(groups)).sample(frac=1, random_state=seed).reset_index(drop=True)
    counts = pd.crosstab(rows["group"], rows["label"])  # (groups, labels)
    few = (counts > 0).sum()
    if (few < SMALLEST_CLASS).any():
        label = few.idxmin()
        raise InputError(
            f"class {label!r} has messages in {few.min()} groups only; with one group a part it needs {SMALLEST_CLASS}"
        )
    counts = counts.loc[rows["group"].unique()]  # in random order
    counts = counts.iloc[np.argsort(-counts.sum(axis=1).to_numpy(), kind="stable")]
    shares = np.array([1 - VALIDATION - TEST, VALIDATION, TEST])
    wanted = np.maximum(np.outer(shares, counts.sum()), 1)  # (3, labels)
    missing, part_of = wanted.copy(), {}
    for group, row in zip(counts.index, counts.to_numpy(), strict=True):
        part = int((missing / wanted @ row).argmax())
        part_of[group] = part
        missing[part] -= row
    part = rows["group"].map(part_of)
    train, validation, test = (rows[part == i].drop(columns="group").reset_index(drop=True) for i in range(3))
    return train, validation, test


def leaked(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``test`` whose exact text also stands in ``train``: a model may know them."""
    return test[test["text"].isin(set(train["text"]))]
