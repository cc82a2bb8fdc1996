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
ATTEMPTS = 20  # orders of the groups that are tried

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
    labels. Every label has rows in each part, which takes SMALLEST_CLASS groups. The parts have a column ``group``.
    Raises InputError where the groups do not allow it.
    """
    counts = pd.crosstab(pd.Series(list(groups), name="group"), pd.Series(frame["label"].to_numpy(), name="label"))
    few = (counts > 0).sum()  # groups of each label
    if len(few) and few.min() < SMALLEST_CLASS:
        raise InputError(
            f"class {few.idxmin()!r} has messages in {few.min()} group(s) only, and each of the three parts needs one; "
            "choose groups that are smaller, or none"
        )
    for attempt in range(ATTEMPTS):  # where few groups hold several labels, an order may leave a part without one
        parts = assign_groups(frame.assign(group=list(groups)), counts, seed + 1_000_003 * attempt)
        if all(part["label"].nunique() == len(few) for part in parts):
            return parts
    raise InputError("found no split with every class in all three parts; choose smaller groups, or none")


def assign_groups(frame: pd.DataFrame, counts: pd.DataFrame, seed: int) -> Splits:
    """One try of ``grouped_split``. ``counts`` (groups, labels): the rows of each."""
    rows = frame.sample(frac=1, random_state=seed % 2**32).reset_index(drop=True)
    counts = counts.loc[rows["group"].unique()]  # in random order
    counts = counts.iloc[np.argsort(-counts.sum(axis=1).to_numpy(), kind="stable")]
    shares = np.array([1 - VALIDATION - TEST, VALIDATION, TEST])
    wanted = np.maximum(np.outer(shares, counts.sum()), 1)  # (3, labels)
    missing, part_of = wanted.copy(), {}
    without = np.ones_like(wanted, dtype=bool)  # (3, labels): has this part none of the label yet?
    left = (counts.to_numpy() > 0).sum(axis=0)  # groups of each label that are still to come
    for group, row in zip(counts.index, counts.to_numpy(), strict=True):
        urgent = without & (left <= without.sum(axis=0)) & (row > 0)  # no group to spare: the label goes where it lacks
        part = int((missing / wanted @ row + 1e6 * urgent.sum(axis=1)).argmax())
        part_of[group] = part
        missing[part] -= row
        without[part] &= row == 0
        left -= row > 0
    part = rows["group"].map(part_of)
    train, validation, test = (rows[part == i].reset_index(drop=True) for i in range(3))
    return train, validation, test


def cut_in_order(frame: pd.DataFrame) -> Splits:
    """Cut 70/10/20 in the order of the rows, without a look at the labels, as Raschka (2024) does after a shuffle."""
    end_of_train = int(len(frame) * 0.7)
    end_of_validation = end_of_train + int(len(frame) * 0.1)
    cuts = (slice(0, end_of_train), slice(end_of_train, end_of_validation), slice(end_of_validation, None))
    train, validation, test = (frame[cut].reset_index(drop=True) for cut in cuts)
    return train, validation, test


def leaked(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``test`` whose exact text also stands in ``train``: a model may know them."""
    return test[test["text"].isin(set(train["text"]))]
