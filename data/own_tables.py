"""Your own messages as a dataset: one table that is split, or tables and columns that say what is what.

    mine.csv, 70/10/20                      the seed draws the split; copies of one text lie in one part
    mine.csv with a split_column            train, validation (or val, valid, dev) or test in each row
    mine.csv, validation.csv, test.csv      as they are; without validation data, 10 % of mine.csv are set aside

What lies in one part together: equal texts (unless ``keep_duplicates``), near-copies (``group_near_duplicates``), and
rows with one value in the ``group_column``, such as a sender.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from data.labels import JOINED, equal_numbers, join_equal_numbers
from data.near_duplicates import groups
from data.splits import Splits, grouped_split, stratified_split
from data.tables import EMPTY, check_classes, read_table
from gpt2.errors import InputError

PARTS = {"train": 0, "training": 0, "validation": 1, "val": 1, "valid": 1, "dev": 1, "test": 2}
NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class TableSettings:
    """How to read and to split tables of one's own."""

    text_column: str = "text"
    label_column: str = "label"
    group_near_duplicates: bool = False
    group_column: str | None = None
    keep_duplicates: bool = False
    split_column: str | None = None
    validation_data: str | None = None
    test_data: str | None = None
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if self.group_near_duplicates and self.group_column is not None:
            raise InputError(
                "the rows can be grouped by near-copies or by the values of a column, not by both; choose one",
                "group_column",
            )
        files = self.validation_data is not None or self.test_data is not None
        if self.split_column is not None and files:
            raise InputError(
                "the parts can come from a column or from files of their own, not from both; choose one", "split_column"
            )
        if self.validation_data is not None and self.test_data is None:
            raise InputError("validation data without test data; name both, or the test data only", "test_data")
        if (self.split_column is not None or files) and self.draws_groups:
            raise InputError("groups are for a split that is drawn; here the parts are given", "group_column")
        if self.parts_are_given and self.keep_duplicates:
            text = "keep_duplicates is for a split that is drawn; here the parts are given, so leave it out"
            raise InputError(text, "keep_duplicates")

    @property
    def parts_are_given(self) -> bool:
        """Is nothing left for a seed to draw?"""
        return self.split_column is not None or self.validation_data is not None

    @property
    def draws_groups(self) -> bool:
        """Is a split wanted that keeps more together than equal texts?"""
        return self.group_near_duplicates or self.group_column is not None

    def read(self, path: str | Path) -> pd.DataFrame:
        """The table at ``path`` by these settings."""
        columns = (self.text_column, self.label_column, self.group_column, self.split_column)
        return read_table(path, *columns, self.encoding)


def split_own(path: Path, settings: TableSettings, seed: int) -> tuple[Splits, pd.DataFrame, list[str]]:
    """The three parts, all rows as one table (for notes on labels), and what was read and how it was split, in words.

    Raises InputError, in one line, for a table that cannot be read or split so.
    """
    frame = settings.read(path)
    what = f"{len(frame):,} messages in {frame['label'].nunique()} classes from {path}"
    notes = empty_note(path, frame)
    if settings.split_column is not None:
        return by_column(path, frame, settings.split_column), frame, [f"{what}, split by column.", *notes]
    if settings.test_data is not None:
        return by_files(path, frame, settings, seed, what, notes)
    check_classes(path, frame["label"], settings.label_column, ("training", "validation", "test"))
    what += f", split 70/10/20 by seed {seed}"
    together = kept_together(frame, settings)
    if together is None:
        return stratified_split(frame, seed), frame, [f"{what}.", *notes]
    sizes = together.value_counts()
    company = "share a group with others" if settings.draws_groups else "are equal to others"
    notes = [f"{sizes[sizes > 1].sum():,} of the messages {company}; each group lies in one part.", *notes]
    try:
        splits = grouped_split(frame[["text", "label"]], together.tolist(), seed)
    except InputError as error:
        allow = "" if settings.draws_groups else "; keep_duplicates allows equal texts in several parts"
        raise InputError(f"{path}: {error}{allow}", None if settings.draws_groups else "keep_duplicates") from error
    return splits, frame, [f"{what}, as nearly as whole groups allow.", *notes]


def empty_note(path: Path, frame: pd.DataFrame) -> list[str]:
    """A sentence about rows without a message, which were left out."""
    lines = frame.attrs.get(EMPTY, [])
    if not lines:
        return []
    rows = "row without a message was" if len(lines) == 1 else "rows without a message were"
    return [f"{len(lines):,} {rows} left out of {path.name} (line {lines[0]}{', …' if len(lines) > 1 else ''})."]


def kept_together(frame: pd.DataFrame, settings: TableSettings) -> pd.Series | None:
    """A group for each row, rows of one group lying in one part; None where no row has company."""
    if settings.group_near_duplicates:
        return pd.Series(groups(frame["text"].tolist()))
    alone = settings.keep_duplicates or frame["text"].is_unique  # do equal texts join nothing?
    if settings.group_column is None:
        return None if alone else pd.Series(pd.factorize(frame["text"])[0])
    if alone:
        return frame["group"]
    joined = DisjointSet()  # of texts and groups: a text that two senders have sent joins the two
    for text, group in zip(frame["text"], frame["group"], strict=True):
        joined.add(("text", text))
        joined.add(("group", group))
        joined.merge(("text", text), ("group", group))
    return pd.Series([joined["text", text] for text in frame["text"]]).map(repr)


def by_column(path: Path, frame: pd.DataFrame, column: str) -> Splits:
    """Three parts as the rows say."""
    names = frame["split"].str.lower()
    unknown = frame["split"][~names.isin(PARTS)]
    if len(unknown):
        wrong = f"{path}, line {unknown.index[0]}: column {column!r} says {unknown.iloc[0]!r}"
        raise InputError(f"{wrong}; expected train, validation or test", "split_column")
    parts = [frame[names.map(PARTS) == i] for i in range(3)]
    for name, part in zip(NAMES, parts, strict=True):
        if part.empty:
            raise InputError(f"{path}: no row of column {column!r} says {name}; every part needs one", "split_column")
    return checked([(path, part) for part in parts])


def by_files(
    path: Path, frame: pd.DataFrame, settings: TableSettings, seed: int, what: str, notes: list[str]
) -> tuple[Splits, pd.DataFrame, list[str]]:
    """Parts from files of their own; without validation data a tenth of the first file, texts and classes as whole as
    they can be."""
    parts = [(path, frame)]
    for file in (settings.validation_data, settings.test_data):
        if file is not None:
            parts.append((Path(file), settings.read(file)))
            notes = [*notes, *empty_note(*parts[-1])]
    everything = pd.concat([part for _, part in parts], ignore_index=True)
    equal = equal_numbers(everything["label"])  # 1 in one file may be 1.0 in another
    for table in (everything, *(part for _, part in parts)):
        table["label"] = join_equal_numbers(table["label"], equal)
    everything.attrs = {JOINED: [group for _, part in parts for group in part.attrs[JOINED]] + equal}
    if settings.validation_data is None:
        check_classes(path, frame["label"], settings.label_column, ("training", "validation"), "validation_data")
        different = frame if settings.keep_duplicates else frame.drop_duplicates("text")
        held_out = frame["text"].isin(stratified_split(different, seed)[1]["text"])
        parts[:1] = [(path, frame[~held_out]), (path, frame[held_out])]
        what += f", of which {held_out.sum():,} are set aside for validation by seed {seed}"
    return checked(parts), everything, [f"{what}.", *notes]


def checked(parts: list[tuple[Path, pd.DataFrame]]) -> Splits:
    """The parts, each from its file, if the first has at least two classes and the others no further ones."""
    classes = set(parts[0][1]["label"])
    if len(classes) < 2:
        path = parts[0][0]
        raise InputError(f"{path}: all messages to train on are of class {min(classes)!r}; at least two are needed")
    for name, (path, part) in zip(NAMES[1:], parts[1:], strict=True):
        further = part["label"][~part["label"].isin(classes)]
        if len(further):
            raise InputError(
                f"{path}, line {further.index[0]}: the {name} data have class {further.iloc[0]!r}, but no message to "
                f"train on is of it; correct the label, or add such messages to the training data"
            )
    train, validation, test = (part.reset_index(drop=True) for _, part in parts)
    return train, validation, test
