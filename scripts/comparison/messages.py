"""What is known of the test messages of each seed without asking any classifier; kept in OUT/messages.json.

Which class they have, which of them are copies of training messages, and which belong together (data.Dataset.units).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from data import LEAKAGE_LIMIT, Dataset
from data.near_duplicates import copies
from gpt2.files import write_json
from gpt2.training.run_files import read_json
from gpt2.training.runs import without_nan

FILE = "messages.json"


@dataclass(frozen=True)
class Messages:
    """The test messages of all seeds."""

    table: pd.DataFrame  # indexed by (seed, position): label, exact, near (copies; None where not looked for), unit
    positive: str | None  # the class that recall is about
    unit: str | None  # "word" or "group"; None: each message is a unit of its own

    def units(self) -> dict[int, list[str]]:
        """seed -> the unit of each message; {} where each is one of its own."""
        return {} if self.unit is None else {seed: part.tolist() for seed, part in self.table.groupby("seed").unit}


def kept(file: Path, seeds: Iterable[int], what: str, make: Callable[[int], dict]) -> dict[int, dict]:
    """seed -> what ``make`` finds out, which is done once and kept in ``file``."""
    known = read_json(file)
    missing = [seed for seed in seeds if str(seed) not in known]
    for seed in tqdm(missing, desc=what, unit="seed", leave=False, disable=None):
        known[str(seed)] = without_nan(make(seed))
        write_json(file, known)
    return {seed: known[str(seed)] for seed in seeds}


def facts(dataset: Dataset) -> dict:
    """What messages.json says of one split."""
    found, units = None, dataset.units
    if len(dataset.train) + len(dataset.test) <= LEAKAGE_LIMIT:
        found = copies(dataset.train, dataset.test)
    return {
        "positive": dataset.positive,
        "unit": None if units is None else units.name,
        "label": [dataset.classes[label] for label in dataset.test.label],
        "exact": None if found is None else found.exact.tolist(),
        "near": None if found is None else found.near.tolist(),
        "units": None if units is None else units.tolist(),
    }


def as_messages(by_seed: dict[int, dict]) -> Messages:
    """The facts of several splits of one dataset, together."""
    columns = {"label": "label", "exact": "exact", "near": "near", "units": "unit"}
    parts = [
        pd.DataFrame({column: one[key] for key, column in columns.items()}).assign(seed=seed)
        for seed, one in by_seed.items()
    ]
    table = pd.concat(parts).rename_axis("position").set_index("seed", append=True).swaplevel()
    last = list(by_seed.values())[-1]
    return Messages(table, last["positive"], last["unit"])


def read_messages(out: Path, seeds: Iterable[int]) -> Messages | None:
    """What messages.json has of all these seeds; None where it has not."""
    known = read_json(out / FILE)
    return as_messages({seed: known[str(seed)] for seed in seeds}) if set(map(str, seeds)) <= set(known) else None
