"""The two sweeps of learning rates, for classifying and for writing: on what, over which rates, and in what words."""

import dataclasses
from dataclasses import dataclass

import pandas as pd

import peft
from data import Dataset, load_dataset
from data.near_duplicates import groups
from data.splits import grouped_split
from data.text_pairs import TextPairs
from tuning.trials import JUDGED_PAIRS

REPORTED = tuple(range(123, 128))  # the seeds whose test sets a comparison may report


@dataclass(frozen=True)
class Study:
    """What a sweep tries, and what its report says of it."""

    title: str
    grid: tuple[float, ...]  # the same for every method: rates, or multiples of its rate for classifying
    relative: bool
    about: str  # the data, in a sentence
    unit: str  # of the loss: nats per what
    measured: dict[str, str]  # column of the trials -> its name; fractions
    ticks: tuple[float, ...]  # of the axis of losses; a higher loss is drawn at the upper edge
    dataset: Dataset | None = None  # for TF-IDF

    def rates(self, method: str) -> list[float]:
        """Those to try, lowest first."""
        factor = peft.METHODS[method].lr if self.relative else 1.0
        return [float(f"{factor * value:.0e}") for value in self.grid]

    @property
    def grid_in_words(self) -> str:
        values = ", ".join(f"{value:g}" for value in self.grid)
        multiples = f"{values} times its learning rate for classifying (docs/results/learning_rates)"
        return f"the same grid for every method: {multiples if self.relative else values}"

    @property
    def highest(self) -> float:
        return self.ticks[-1]


def classifying(dataset: Dataset) -> Study:
    """The sweep on SMS messages of ``reserve``."""
    spam = dataset.validation.label.mean()
    return Study(
        "How the default learning rates were chosen",
        (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
        False,
        f"the SMS messages that are in no test set of the grouped protocol's seeds {REPORTED[0]} to "
        f"{REPORTED[-1]}, and have no near-copy there: {len(dataset.train):,} to train, {len(dataset.validation):,} to "
        f"validate ({spam:.0%} spam). The test sets of the strict and the published split do contain some of them",
        "message",
        {"accuracy": "accuracy", "f1": "F1"},
        (0.03, 0.1, 0.3, 1.0),
        dataset,
    )


def writing(pairs: TextPairs) -> Study:
    """The sweep on pairs; their test part is not used."""
    return Study(
        "How the default learning rates for writing were chosen",
        (1.0, 3.0, 10.0),
        True,
        f"`{pairs.name}`: the first training pairs, as many as the steps need. The rates are chosen on "
        f"{min(JUDGED_PAIRS, len(pairs.validation))} validation pairs, evenly spaced. Test pairs are not used",
        "target token",
        {"accuracy": "accuracy of target tokens"},
        (1.5, 2.0, 3.0, 4.0, 6.0),
    )


def reserve(assets: str | None) -> Dataset:
    """The SMS messages in no test set of the grouped protocol's REPORTED seeds, 70 % to train and 30 % to validate.

    A whole group of near-copies is in a test set or not, so these messages have no near-copy there either.
    """
    reported = [load_dataset("sms", "grouped", seed, assets) for seed in REPORTED]
    tested = set().union(*(dataset.test.text for dataset in reported))
    one = reported[0]
    every = pd.concat([one.train, one.validation, one.test], ignore_index=True)
    free = every[~every.text.isin(tested)].reset_index(drop=True)
    train, *rest = grouped_split(free, groups(free.text.tolist()), seed=0)
    return dataclasses.replace(one, train=train, validation=pd.concat(rest, ignore_index=True), test=free[:0])
