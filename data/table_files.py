"""The files of tables, read in chunks so that a million rows need little memory: .csv, .tsv, .jsonl and .parquet.

A .csv has commas, semicolons or tabs between its cells (its first line tells which). A cell with one of them or a line
break inside stands in quotation marks, doubled where one is part of the text. A .tsv has tabs between cells, one row
per line, and quotation marks mean nothing there; the SMS Spam Collection shows (data/sms_spam.py) what happens to such
a file otherwise. A .jsonl has a JSON object a line.

Rows of .csv and .tsv are read by Python's csv module rather than by pandas, which fills a row with too few cells
silently. Every problem is one InputError that names the file and the line, counted from 1 as an editor does.
"""

import codecs
import csv
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from gpt2.errors import InputError

LONGEST_CELL = 2**31 - 1  # characters, instead of the 131,072 of Python's csv module
LINE_END = re.compile(rb"\r\n|\n|\r")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
DELIMITERS = (",", ";", "\t")
CHUNK = 10_000  # rows


def read_chunks(
    path: Path, wanted: list[str], encoding: str = "utf-8", size: int = CHUNK
) -> Iterator[tuple[list[int], pd.DataFrame]]:
    """Yield the table in chunks of ``size`` rows, each with the line numbers of its rows, so that any length needs
    little memory. At least one chunk, which may be empty; all have the columns of the first. ``wanted``: columns that
    the table should have."""
    check_path(path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        yield from parquet_chunks(path, size)
        return
    rows = json_rows(path, encoding) if kind == ".jsonl" else delimited_rows(path, wanted, encoding)
    header = None if kind == ".jsonl" else [name.strip() for name in next(rows)[1]]
    chunk = list(itertools.islice(rows, size))
    while True:
        table = pd.DataFrame([row for _, row in chunk], columns=header)
        header = list(table.columns)
        yield [line for line, _ in chunk], as_text(table)
        chunk = list(itertools.islice(rows, size))
        if not chunk:
            return


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Every cell as a string, an empty one where there is no value."""
    return table.rename(columns=str).astype(object).where(table.notna().to_numpy(), "").map(str)


def parquet_chunks(path: Path, size: int) -> Iterator[tuple[list[int], pd.DataFrame]]:
    """Rows of a Parquet file; their "line" is their number."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{path}: reading Parquet needs the package pyarrow; pip install pyarrow") from error
    first = 1
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(size):
            yield list(range(first, first + len(batch))), as_text(batch.to_pandas())
            first += len(batch)
    except (ValueError, OSError) as error:
        raise InputError(f"cannot read {path} as Parquet ({' '.join(str(error).split())[:100]})") from error


def json_rows(path: Path, encoding: str) -> Iterator[tuple[int, dict]]:
    """The line and the content of each JSON object."""
    for number, line in enumerate(text_lines(path, encoding), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error}); each line must be one object") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: {type(row).__name__} where an object {{…}} is expected")
        yield number, row


def check_path(path: Path) -> None:
    """Raise InputError unless this is a file of a known kind."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a .csv or .tsv file in it")
    if not path.exists():
        raise InputError(f"{path} does not exist; check its name and folder")
    if path.suffix.lower() not in SUFFIXES:
        kinds = ".csv (commas or semicolons), .tsv (tabs), .jsonl (a JSON object a line) nor .parquet"
        raise InputError(f"{path} is neither {kinds}; save the table as one of them")


def text_lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file with their ends. A byte order mark, which Excel writes, is dropped."""
    try:
        utf8 = codecs.lookup(encoding).name == "utf-8"
    except LookupError as error:
        raise InputError(f"no encoding {encoding!r}; use utf-8, cp1252 or another of Python's", "encoding") from error
    something = False
    try:
        with open(path, encoding="utf-8-sig" if utf8 else encoding, newline="") as file:
            for line in file:
                if "\0" in line:  # two bytes per character, the second one zero
                    raise InputError(f"{path} holds zero bytes, as UTF-16 or a binary file does; save it as UTF-8 text")
                something = something or bool(line.strip())
                yield line
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {undecodable_line(path, utf8, encoding)}: byte 0x{error.object[error.start]:02x} is not "
            f"{encoding.upper()}; save the file as UTF-8, or name its encoding",
            "encoding",
        ) from error
    except (UnicodeError, LookupError) as error:
        raise InputError(f"cannot read {path} as {encoding} ({error}); name its encoding", "encoding") from error
    if not something:
        raise InputError(f"{path} is empty; its first line must name the columns, one message per row below")


def undecodable_line(path: Path, utf8: bool, encoding: str) -> int:
    """The line of the first byte that cannot be decoded; a stream tells only its place in a buffer."""
    content = path.read_bytes()
    try:
        content.decode("utf-8-sig" if utf8 else encoding)
    except UnicodeDecodeError as error:
        return len(LINE_END.findall(content[: error.start])) + 1
    return 1


def delimiter_of(first_line: str, wanted: list[str]) -> str:
    """What stands between the columns: the mark that shows most of the wanted columns, or else occurs most often."""

    def shown(mark: str) -> tuple[int, int]:
        columns = [name.strip().strip('"') for name in first_line.split(mark)]
        return sum(name in columns for name in wanted), len(columns)

    return max(DELIMITERS, key=shown)


def delimited_rows(path: Path, wanted: list[str], encoding: str) -> Iterator[tuple[int, list[str]]]:
    """For each row, header first, the number of the line on which it starts, and its cells."""
    source, hint = text_lines(path, encoding), "a text must not contain tabs or line breaks (a .csv can hold them)"
    if path.suffix.lower() == ".tsv":
        reader = csv.reader(source, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        header = next((line for line in text_lines(path, encoding) if line.strip()), "")
        mark = delimiter_of(header.rstrip("\r\n"), wanted)
        reader = csv.reader(source, delimiter=mark, strict=True)
        hint = f"a text with a {'tab' if mark == chr(9) else mark} in it must stand in quotation marks"
    columns, start = 0, 1
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        for row in reader:
            if row:  # an empty line is not a row
                if columns and len(row) != columns:
                    raise InputError(
                        f"{path}, line {start}: {len(row)} cell(s) where the header has {columns}; "
                        f"correct the row ({hint})"
                    )
                columns = len(row)
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {start}: the row that starts here is not valid ({error}); close its "
            "quotation marks, and double those that are part of a text"
        ) from error
    finally:
        csv.field_size_limit(limit)
