"""Pairs of a source and a target, split in three: what a model that learns to write is trained and tested on.

    load_pairs("e2e")                                                    data/e2e.py
    load_pairs("practice")                                               data/practice_pairs.py
    load_pairs("mine.csv", source_column="mr", target_column="ref")      .csv, .tsv, .jsonl or .parquet
    load_pairs("instructions.json")                                      the Alpaca form: instruction, input, output
    load_pairs("plain.txt")                                              no sources: texts to read on

A source may have several targets: then each is a row to train on, and all of them are references to test with. They lie
in one part together, so no source of the test part has been seen in training.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data import e2e
from data.alpaca import instruction_source
from data.practice_pairs import practice_pairs
from data.splits import cut_in_order, grouped_split
from data.tables import column_index, read_cells
from gpt2.errors import InputError

SOURCES = ("practice", "e2e")
LONGEST_CHUNK = 800  # characters of a plain text that are read at a time


@dataclass(frozen=True, eq=False)
class TextPairs:
    """Pairs in three parts, each a table with the columns source and target."""

    name: str
    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    notes: tuple[str, ...]  # sentences to show
    form: str = "pairs"  # or "instructions", or "text": no sources

    def references(self, part: str) -> dict[str, list[str]]:
        """Source -> all its targets, in the order of the part."""
        return getattr(self, part).groupby("source", sort=False)["target"].apply(list).to_dict()

    def sha256(self) -> str:
        """Of every source and target, in the order of the three parts."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(json.dumps(part[["source", "target"]].to_numpy().tolist()).encode())
        return digest.hexdigest()


def load_pairs(
    data: str | Path = "practice",
    source_column: str = "source",
    target_column: str = "target",
    seed: int = 123,
    assets: str | Path | None = None,
    encoding: str = "utf-8",
) -> TextPairs:
    """Load pairs by name or path (see the top of the file). What has no parts of its own is split 70/10/20 by ``seed``;
    a plain text is cut in its order.

    Raises InputError for an unknown name, a file that cannot be read, a missing column, an empty target, or a setting
    without effect; RunError when "e2e" is not available.
    """
    refuse_unused(data, source_column=source_column, target_column=target_column, encoding=encoding)
    if data == "e2e":
        parts = {part: e2e.read_part(path) for part, path in e2e.find_files(assets).items()}
        return TextPairs("e2e", **parts, notes=("E2E NLG data, its own split.",))
    if data == "practice":
        return split_pairs("practice", practice_pairs(), seed, "Invented weather reports: no real texts.")
    path = Path(data)
    if path.suffix.lower() == ".txt":
        return plain_text(path, encoding)
    form = "instructions" if path.suffix.lower() == ".json" else "pairs"
    if form == "instructions":
        frame = instructions(path)
    elif path.suffix or path.exists():
        frame = read_pairs(path, source_column, target_column, encoding)
    else:
        raise InputError(f"no pairs named {data!r}; choose {', '.join(SOURCES)} or a path to a table", "data")
    return split_pairs(path.name, frame, seed, f"{len(frame):,} pairs from {path}.", form)


def refuse_unused(data: str | Path, **given: str) -> None:
    """Raise InputError for a setting that this data does not read."""
    kind = "" if data in SOURCES else Path(data).suffix.lower()
    reads: dict[str, tuple[str, ...]] = {"": (), ".json": (), ".txt": ("encoding",)}
    reads[".parquet"] = ("source_column", "target_column")
    for name, default in {"source_column": "source", "target_column": "target", "encoding": "utf-8"}.items():
        if given[name] != default and name not in reads.get(kind, given):
            raise InputError(f"{name} has no effect on {data}; leave it out", name)


def split_pairs(name: str, frame: pd.DataFrame, seed: int, note: str, form: str = "pairs") -> TextPairs:
    """70/10/20, all targets of a source in one part."""
    if (count := frame["source"].nunique()) < 3:
        raise InputError(f"{name} has {count} different source(s), and each of the three parts needs one; add more")
    labelled = frame.assign(label=0)
    train, validation, test = (p[["source", "target"]] for p in grouped_split(labelled, frame["source"], seed))
    notes = (note, f"Split 70/10/20 by seed {seed}, sources kept together.")
    return TextPairs(name, train, validation, test, notes, form)


def read_pairs(path: Path, source_column: str, target_column: str, encoding: str) -> pd.DataFrame:
    """The two columns of a table. Raises InputError, with the line, for an empty target."""
    if source_column == target_column:
        raise InputError(f"source and target are both to come from column {source_column!r}; name two", "target_column")
    lines, cells = read_cells(path, [source_column, target_column], encoding)
    columns = [
        column_index(path, list(cells.columns), name, argument)
        for name, argument in ((source_column, "source_column"), (target_column, "target_column"))
    ]
    frame = cells.iloc[:, columns].set_axis(["source", "target"], axis=1).apply(lambda texts: texts.str.strip())
    if len(empty := frame.index[frame["target"] == ""]):
        raise InputError(
            f"{path}, line {lines[empty[0]]}: the target is empty ({len(empty):,} in all); fill them in, or leave the "
            "rows out"
        )
    return frame


def instructions(path: Path) -> pd.DataFrame:
    """A JSON list of objects with instruction, output and, if there is one, input. Raises InputError."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its name and folder", "data") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); expected a list of objects", "data") from error
    if not isinstance(rows, list):
        raise InputError(f"{path} holds {type(rows).__name__}, expected a list of objects", "data")
    pairs = []
    for number, row in enumerate(rows, start=1):
        fields = [row.get(name, "") for name in ("instruction", "input", "output")] if isinstance(row, dict) else []
        if not fields or not all(isinstance(value, str) for value in fields) or not fields[0].strip():
            raise InputError(f"{path}, entry {number}: expected an object with the texts instruction, input and output")
        instruction, given, output = (value.strip() for value in fields)
        if any("\ud800" <= character <= "\udfff" for value in fields for character in value):
            raise InputError(f"{path}, entry {number}: half a character (\\ud800 to \\udfff alone); correct it")
        if not output:
            raise InputError(f"{path}, entry {number}: the output is empty; fill it in, or leave the entry out")
        pairs.append((instruction_source(instruction, given), output))
    return pd.DataFrame(pairs, columns=["source", "target"])


def plain_text(path: Path, encoding: str = "utf-8") -> TextPairs:
    """A text in chunks, each a target without a source; cut 70/10/20 in its order."""
    try:
        text = path.read_text(encoding=encoding).removeprefix("\ufeff")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its name and folder", "data") from error
    except (UnicodeError, LookupError) as error:
        raise InputError(f"{path} is no text in {encoding} ({error}); name its encoding", "encoding") from error
    chunks = cut_in_chunks(text)
    if len(chunks) < 10:
        raise InputError(
            f"{path} has {len(text):,} characters, too few to train on; give at least {10 * LONGEST_CHUNK:,}"
        )
    parts = cut_in_order(pd.DataFrame({"source": "", "target": chunks}))
    notes = (f"{len(chunks):,} stretches of text from {path}, cut 70/10/20 in order.",)
    return TextPairs(path.name, *parts, notes=notes, form="text")


def cut_in_chunks(text: str, marks: Sequence[str] = ("\n\n", "\n", " ")) -> list[str]:
    """Cut at blank lines, longer paragraphs at line ends, and longer lines at spaces; what fits stays together."""
    mark, *finer = marks
    chunks: list[str] = []
    for piece in filter(None, map(str.strip, text.split(mark))):
        for part in cut_in_chunks(piece, finer) if finer and len(piece) > LONGEST_CHUNK else [piece]:
            if chunks and len(chunks[-1]) + len(mark) + len(part) <= LONGEST_CHUNK:
                chunks[-1] += mark + part
            else:
                chunks.append(part)
    return chunks
