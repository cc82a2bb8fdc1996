"""Labelled messages, split in three: the SMS Spam Collection, the practice messages, or your own table.

Example::

    from data import load_dataset
    dataset = load_dataset("sms", protocol="grouped")
    dataset.train          # a table with columns text and label; a label is an index into dataset.classes
"""

import hashlib
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from data import imdb, sms_spam
from data.labels import label_notes, positive_class
from data.near_duplicates import leakage
from data.own_tables import TableSettings, split_own
from data.practice import practice_messages
from data.splits import Splits, leaked, stratified_split
from data.tables import read_table
from data.unseen_words import NAMES, WORDS, unseen_words
from gpt2.errors import InputError, RunError

__all__ = ["SOURCES", "Dataset", "leaked", "load_dataset", "read_table"]

LEAKAGE_LIMIT = 20_000  # messages
SOURCES = ("auto", "sms", "imdb", "practice", *NAMES)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Messages and their classes, in three parts, and what a person should know about them.

    What the split keeps together is a unit: the sentences of one word, the messages of one group. Messages of one unit
    are not independent, so intervals and tests have to count ``units``. None: each message is a unit.
    """

    name: str  # one of SOURCES but "auto", or the file's name
    protocol: str | None  # "published", "strict" or "grouped" for the SMS data and the film reviews, else None
    classes: tuple[str, ...]  # the label names; a label is an index into them
    positive: str | None  # two classes: the one that precision, recall and F1 are about; more classes: None
    train: pd.DataFrame  # columns text (str) and label (int); likewise the other two
    validation: pd.DataFrame
    test: pd.DataFrame
    notes: tuple[str, ...]  # sentences to show: what was used, and why
    units: pd.Series | None = None  # see below; of each test message; its name says what they are: word or group

    @property
    def positive_index(self) -> int | None:
        """The id of ``positive``."""
        return None if self.positive is None else self.classes.index(self.positive)

    def sha256(self) -> str:
        """Of every text and label in the order of the three parts: equal for what trains and tests alike."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            rows = [[text, self.classes[label]] for text, label in zip(part["text"], part["label"], strict=True)]
            digest.update(json.dumps(rows).encode())
        return digest.hexdigest()

    def leakage(self) -> dict[str, dict[str, int]] | None:
        """Class -> how many test messages there are, and how many of them are exact copies, and near-copies, of
        training messages (data/near_duplicates.py). None for more than LEAKAGE_LIMIT messages: it would take long."""
        if len(self.train) + len(self.test) > LEAKAGE_LIMIT:
            return None
        return {self.classes[int(label)]: counts for label, counts in leakage(self.train, self.test).items()}

    def majority(self) -> tuple[str, float]:
        """The training part's most frequent class, and the test accuracy of always answering it."""
        label = int(self.train["label"].mode()[0])
        return self.classes[label], float((self.test["label"] == label).mean())


def load_dataset(
    data: str | Path = "auto",
    protocol: str = "published",
    seed: int = 123,
    assets: str | Path | None = None,
    published_seed: int = 123,
    **table: Any,
) -> Dataset:
    """Load a dataset by name or path and split it 70/10/20.

    ``data``: "sms", the SMS Spam Collection (from the ``assets`` folder, the cache, or downloaded); "imdb", 50,000 film
    reviews (likewise);
    "practice", the messages that come with this software; "unseen-words" and "unseen-order", tasks that counting
    words cannot solve (data/unseen_words.py); a path to a .csv or .tsv file; or "auto", the SMS
    collection if available, else the practice messages with a note that says why.
    ``protocol``: "published", "strict" or "grouped", how to cut the SMS collection (data/sms_spam.py) and the film
    reviews (data/imdb.py).
    ``table``: how to read and split a table of your own, such as ``text_column="message"`` or ``test_data="test.csv"``
    (TableSettings in data/own_tables.py).
    ``seed`` draws the split, except the published one: that is fixed by its own seed 123, whichever seed a
    model is trained with, and only a comparison over many splits changes ``published_seed``.

    Raises InputError for an unknown dataset or protocol and for an unusable table, RunError when "sms" or "imdb" is
    not available.
    """
    if protocol not in sms_spam.PROTOCOLS:
        raise InputError(f"no protocol {protocol!r}; choose one of {', '.join(sms_spam.PROTOCOLS)}", "protocol")
    if not 0 <= min(seed, published_seed) <= max(seed, published_seed) < 2**32:
        raise InputError(f"the seed of a split is {seed}; expected a whole number from 0 to {2**32 - 1}", "seed")
    settings = TableSettings(**table)
    for field in fields(TableSettings) if data in SOURCES else ():
        name = field.name
        if getattr(settings, name) != field.default:
            grouped = name.startswith("group") and data in ("sms", "imdb", "auto")
            hint = "choose the protocol grouped" if grouped else "leave it out, or name your table as the data"
            raise InputError(f"{name} is for a table of your own, not for {data}; {hint}", name)
    split_seed = published_seed if protocol == "published" else seed
    if data == "sms":
        return sms_dataset(sms_spam.find_file(assets), protocol, split_seed)
    if data == "auto":
        try:
            path = sms_spam.find_file(assets, timeout=2.0)  # seconds: without a network, continue soon
        except RunError as error:
            return practice_dataset(protocol, seed, (f"The SMS Spam Collection is not available ({error}).",))
        return sms_dataset(path, protocol, split_seed)
    if data == "imdb":
        return imdb_dataset(imdb.find_file(assets), protocol, split_seed)
    if data == "practice":
        return practice_dataset(protocol, seed, ())
    if data in NAMES:
        return unseen_dataset(str(data), protocol, seed)
    if not looks_like_path(data):
        raise InputError(f"no dataset {data!r}; choose {', '.join(SOURCES)} or a path to a .csv or .tsv file", "data")
    splits, rows, notes = split_own(Path(data), settings, seed)
    notes += [*label_notes(rows), *protocol_unused(protocol)]
    classes = tuple(sorted(rows["label"].unique()))
    return make_dataset(Path(data).name, None, classes, splits, tuple(notes))


def sms_dataset(path: Path, protocol: str, seed: int) -> Dataset:
    splits = sms_spam.split(path, protocol, seed)
    note = f"SMS Spam Collection from {path}, {protocol} split."
    if protocol == "published":
        note += " It is that of Raschka's book, flaws included; the grouped protocol corrects them."
    return make_dataset("sms", protocol, ("ham", "spam"), splits, (note,))


def imdb_dataset(path: Path, protocol: str, seed: int) -> Dataset:
    splits = imdb.split(path, protocol, seed)
    note = f"Film reviews from {path}, {protocol} split."
    if protocol == "published":
        note += " It is that of Raschka's bonus material: films are in several parts; strict and grouped avoid that."
    return make_dataset("imdb", protocol, ("neg", "pos"), splits, (note,))


def practice_dataset(protocol: str, seed: int, notes: tuple[str, ...]) -> Dataset:
    note = "Practice messages, made up for this software: results on them are not results on real messages."
    splits = stratified_split(practice_messages(), seed)
    return make_dataset("practice", None, ("ham", "spam"), splits, (*notes, note, *protocol_unused(protocol)))


def unseen_dataset(name: str, protocol: str, seed: int) -> Dataset:
    note = f"{name}: the words that decide the class never occur in training (data/unseen_words.py); seed {seed}."
    classes = tuple(sorted(WORDS))
    return make_dataset(name, None, classes, unseen_words(name, seed), (note, *protocol_unused(protocol)))


def make_dataset(
    name: str, protocol: str | None, classes: tuple[str, ...], splits: Splits, notes: tuple[str, ...]
) -> Dataset:
    """Replace label names by ids, find the positive class, and note test messages seen in training."""
    train, validation, test = splits
    repeats = len(leaked(train, test))
    if repeats:
        notes += (
            f"{repeats:,} of the {len(test):,} test messages also stand in the training set, word for word: "
            "read test results as too good.",
        )
    positive = positive_class(classes, pd.concat(splits)["label"])
    ids = {label: index for index, label in enumerate(classes)}
    units = next((test[column].astype(str) for column in ("word", "group") if column in test), None)
    train, validation, test = (
        part.assign(label=part["label"].map(ids).astype("int64"))[["text", "label"]] for part in splits
    )
    return Dataset(name, protocol, classes, positive, train, validation, test, notes, units)


def protocol_unused(protocol: str) -> tuple[str, ...]:
    if protocol == "published":
        return ()  # the default: nobody asked for it
    return (f"The {protocol} protocol is for the SMS Spam Collection and the film reviews, and was not used.",)


def looks_like_path(data: str | Path) -> bool:
    text = str(data)
    return isinstance(data, Path) or Path(text).exists() or "." in text or "/" in text or os.sep in text
