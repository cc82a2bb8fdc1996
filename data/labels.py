"""What a person should know about the labels of a table before a number is computed from it."""

import re
from decimal import Decimal

import pandas as pd

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
IMBALANCE = 0.8  # share of the most frequent class from which accuracy alone says little
JOINED = "labels equal as numbers"  # key in a table's attrs


def equal_numbers(labels: pd.Series) -> list[list[str]]:
    """Groups of labels that are equal as numbers, each with its shortest spelling first: 1, 1.0, 1.00."""
    groups: dict[Decimal, list[str]] = {}
    for label in labels.unique():
        if NUMBER.fullmatch(label):
            groups.setdefault(Decimal(label), []).append(label)
    return [sorted(groups[number], key=lambda s: (len(s), s)) for number in sorted(groups) if len(groups[number]) > 1]


def join_equal_numbers(labels: pd.Series, equal: list[list[str]]) -> pd.Series:
    """Labels of one group of ``equal_numbers`` become one, in its shortest spelling."""
    return labels.replace({label: group[0] for group in equal for label in group[1:]})


def label_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """Sentences about labels that look alike, texts under several labels, and a class that outweighs the others.
    ``frame``: columns text and label, as ``read_table`` returns it, with the groups that it joined in ``attrs``."""
    notes = []
    if joined := frame.attrs.get(JOINED):
        listed = "; ".join(", ".join(group) for group in joined)
        notes.append(f"Labels that are equal as numbers count as one class: {listed}.")
    for names in alike(frame["label"]):
        listed = ", ".join(map(repr, names))
        notes.append(f"Labels that differ only by case or spaces count as different classes: {listed}.")
    several = frame.groupby("text", sort=False)["label"].nunique()
    several = several[several > 1]
    if len(several):
        example = several.index[0][:40]
        stand = "text stands" if len(several) == 1 else "texts stand"
        notes.append(f"{len(several):,} {stand} under more than one label, such as {example!r}: no answer is right.")
    shares = frame["label"].value_counts(normalize=True)
    if shares.iloc[0] >= IMBALANCE:
        notes.append(
            f"{shares.iloc[0]:.0%} of the messages are {shares.index[0]!r}: always answering that is as accurate, so "
            "read precision, recall and F1."
        )
    return tuple(notes)


def alike(labels: pd.Series) -> list[list[str]]:
    """Groups of labels that are equal without case and spaces."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels.unique()):
        groups.setdefault("".join(label.split()).casefold(), []).append(label)
    return [names for names in groups.values() if len(names) > 1]


def positive_class(classes: tuple[str, ...], labels: pd.Series) -> str | None:
    """Of two classes: "spam", however it is capitalised, else the rarer; when as rare, the second ("1" of "0")."""
    if len(classes) != 2:
        return None
    spam = [name for name in classes if name.casefold() == "spam"]
    if len(spam) == 1:
        return spam[0]
    first, second = classes
    return first if (labels == first).sum() < (labels == second).sum() else second
