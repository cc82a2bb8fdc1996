"""The published comparison, one row a training run: what was published, and the settings that repeat it.

published.csv holds 25 rows on SMS spam as their authors published them: the source notes (an article of 2024 on PEFT
with GPT-2 124M), and Raschka's "Build a Large Language Model (From Scratch)" (2024): chapter 6, appendix E in two
versions, and the table of nineteen additional experiments beside chapter 6. Two more rows are on film reviews
(data/imdb.py): the bonus material beside chapter 6. Each is one run with one seed. golden.json holds what follows from
GPT-2 124M's weights and the seeds alone (golden.py).

Here their words become settings. Nothing in this file imports PyTorch.
"""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from gpt2.errors import InputError

FILE = Path(__file__).with_name("published.csv")
SPLITS = ("train", "validation", "test")
SIZES = {"124m": "gpt2", "355m": "gpt2-medium", "774m": "gpt2-large", "1558m": "gpt2-xl"}
METHODS: dict[str, tuple[str, dict]] = {
    "none": ("head", {}),
    "head": ("head", {}),
    "last block + final norm + head": ("selective", {"blocks": 1}),
    "last two blocks + final norm + head": ("selective", {"blocks": 2}),
    "all": ("full", {}),
    "LoRA on every linear layer": ("lora", {}),
}
POOLINGS = {
    "last position": "last-position",
    "last real token": "last",
    "first": "first",
    "mean of all positions": "mean-positions",
}
PADDINGS = {"120": "longest", "1024": "context", "256": "context", "unpadded": "none"}
SAME = {"extra-18": "extra-01"}  # no label is 50256, so the loss that ignores this label is the same number


@dataclass(frozen=True)
class Row:
    """One published run."""

    id: str
    source: str
    note: str
    data: str  # sms or imdb, of data.load_dataset
    model: str  # gpt2, gpt2-medium, gpt2-large or gpt2-xl
    pretrained: bool  # False: random weights
    method: str  # of peft
    options: dict  # of the method
    trains: bool  # False: the untuned model is measured
    pooling: str  # of gpt2.classifier.classify
    padding: str  # longest (training message), context (max_length tokens) or none
    max_length: int  # tokens that are read of a message
    causal: bool  # False: every position sees all others
    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    accumulate: int  # batches for one step of the optimizer
    untuned_passes: bool  # the untuned model is measured before LoRA draws its matrices, from the same generator
    published: dict[str, float | None]  # accuracy of train, validation, test, as fractions
    minutes: float | None
    hardware: str
    same_as: str | None = None  # the row that has the same settings

    @property
    def scale(self) -> str | None:
        """Which of appendix E's three conventions scales the low-rank update."""
        return self.options.get("scaling")


def rows(data: str = "sms") -> dict[str, Row]:
    """The rows of one data set by their id, in the order of published.csv."""
    return {name: row for name, row in every_row().items() if row.data == data}


def every_row() -> dict[str, Row]:
    """The rows of all data sets."""
    found, source = {}, ""
    with FILE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            source = source if line["source"] == "same" else line["source"]
            found[line["id"]] = make_row(line, source)
    return found


def make_row(line: dict[str, str], source: str) -> Row:
    """A line of published.csv as settings."""
    method, options = METHODS[line["trained"]]
    if method == "lora":
        options = {
            "rank": int(line["lora_rank"]),
            "alpha": float(line["lora_alpha"]),
            "scaling": line["lora_scale"],
            "init": "normal" if "A normal" in line["note"] else "kaiming-rank",
        }
    return Row(
        id=line["id"],
        source=source,
        note=line["note"],
        data=line["data"],
        model=line["model"],
        pretrained=line["weights"] == "pretrained",
        method=method,
        options=options,
        trains=line["trained"] != "none",
        pooling="last" if line["input_length"] == "unpadded" else POOLINGS[line["token_read"]],
        padding=PADDINGS[line["input_length"]],
        max_length=256 if line["input_length"] == "256" else 1024,
        causal=line["note"] != "without the causal mask",
        epochs=int(line["epochs"]),
        lr=float(line["learning_rate"] or 5e-5),
        weight_decay=float(line["weight_decay"] or 0.1),
        batch_size=1 if line["input_length"] == "unpadded" else int(line["batch_size"]),
        accumulate=int(line["batch_size"]) if line["input_length"] == "unpadded" else 1,
        untuned_passes=not line["id"].startswith(("extra", "imdb")),
        published={part: float(line[f"{part}_acc"]) / 100 if line[f"{part}_acc"] else None for part in SPLITS},
        minutes=float(line["minutes"]) if line["minutes"] else None,
        hardware=line["hardware"],
        same_as=SAME.get(line["id"]),
    )


def choose(names: str) -> list[Row]:
    """The rows of a comma-separated list of ids; sizes such as 124m, or ``all``, for rows on SMS spam; ``imdb``. Raises
    InputError for other names, and for rows of several data sets, whose results do not belong into one folder."""
    every, spam, chosen = every_row(), rows(), []
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name == "all":
            chosen += spam
        elif name == "imdb":
            chosen += rows("imdb")
        elif name.lower() in SIZES:
            chosen += [row.id for row in spam.values() if row.model == SIZES[name.lower()]]
        elif name in every:
            chosen.append(name)
        else:
            raise InputError(f"no row {name!r}; choose among {', '.join([*every, *SIZES, 'all', 'imdb'])}", "rows")
    if not chosen:
        raise InputError("no row is named; give ids such as book-ch6,extra-16, a size such as 124m, or all", "rows")
    found = [every[name] for name in dict.fromkeys(chosen)]
    if len({row.data for row in found}) > 1:
        raise InputError("these rows are of several data sets; repeat those of imdb by a command of their own", "rows")
    return found


def settings(row: Row) -> dict:
    """What decides a row's result, for its config.json: everything but what was published of it."""
    facts = ("source", "note", "published", "minutes", "hardware", "same_as")
    return {key: value for key, value in dataclasses.asdict(row).items() if key not in facts}
