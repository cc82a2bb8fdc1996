"""The files of tables, read in chunks so that a million rows need little memory: .csv, .tsv, .jsonl and .parquet.

A .csv has commas, semicolons or tabs between its cells (its first line tells which). A cell with one of them or a line
break inside stands in quotation marks, doubled where one is part of the text. A .tsv has tabs between cells, one row
per line, and quotation marks mean nothing there; the SMS Spam Collection shows (data/sms_spam.py) what happens to such
a file otherwise. A .jsonl has a JSON object a line; null, or a key that a line lacks, is an empty cell. There and in
.parquet a text must be a string: {"text": {"id": 3}} is a mistake, and no message.

Rows of .csv and .tsv are read by Python's csv module rather than by pandas, which fills a row with too few cells
silently. Every problem is one InputError that names the file and the line, counted from 1 as an editor does.
"""

import codecs
import contextlib
import csv
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from gpt2.errors import InputError

LONGEST_CELL = 2**31 - 1  # characters, instead of the 131,072 of Python's csv module
LINE_END = re.compile(rb"\r\n|\n|\r")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
DELIMITERS = (",", ";", "\t")
NOT_FOR_FILES = ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined")  # Python's, for other ends
CHUNK = 10_000  # rows


def read_chunks(
    path: Path, wanted: list[str], encoding: str = "utf-8", size: int = CHUNK
) -> Iterator[tuple[list[int], pd.DataFrame]]:
    """Yield the table in chunks of ``size`` rows, each with the line numbers of its rows, so that any length needs
    little memory. At least one chunk, which may be empty; all have the same columns, and every cell is a string.
    ``wanted``: columns that the table should have, that of the texts first."""
    check_path(path)
    kind = path.suffix.lower()
    rows: Iterator[tuple[int, list[str]]]
    if kind in (".jsonl", ".parquet"):
        objects = json_rows(path, encoding) if kind == ".jsonl" else parquet_rows(path, size)
        header = json_header(path, encoding) if kind == ".jsonl" else parquet_header(path)
        rows = ((line, cells_of(path, line, row, header, wanted)) for line, row in objects)
    else:
        rows = delimited_rows(path, wanted, encoding)
        header = [name.strip() for name in next(rows)[1]]
    chunk = list(itertools.islice(rows, size))
    while True:
        yield [line for line, _ in chunk], pd.DataFrame([row for _, row in chunk], columns=header, dtype=object)
        chunk = list(itertools.islice(rows, size))
        if not chunk:
            return


def cells_of(path: Path, line: int, row: dict[str, Any], header: list[str], wanted: list[str]) -> list[str]:
    """A row of values as cells. Raises InputError for a text that is no string, another wanted value that is an object
    or a list, and half characters, which no file can hold."""
    cells = []
    for name in header:
        value, where = row.get(name), f"{path}, line {line}: column {name!r}"
        nested = isinstance(value, dict | list)
        if value is not None and (not isinstance(value, str) if name == wanted[0] else nested and name in wanted):
            shown = json.dumps(value, default=str)[:40]
            expected = "a string" if name == wanted[0] else "a string, a number, true or false"
            raise InputError(f"{where} holds {shown}, expected {expected}; correct the row or name another column")
        if value is None or value != value:  # NaN, too, is no value
            value = ""
        cell = json.dumps(value, ensure_ascii=False, default=str) if nested else str(value)
        try:
            cell.encode()
        except UnicodeEncodeError as error:
            half = ascii(cell[error.start])[1:-1]
            raise InputError(f"{where} has half of a character ({half}); correct the row") from error
        cells.append(cell)
    return cells


def parquet_header(path: Path) -> list[str]:
    """The names of the columns."""
    with parquet_file(path) as file:
        return list(map(str, file.schema_arrow.names))


def parquet_rows(path: Path, size: int) -> Iterator[tuple[int, dict]]:
    """Rows of a Parquet file; their "line" is their number."""
    with parquet_file(path) as file:
        yield from enumerate((row for batch in file.iter_batches(size) for row in batch.to_pylist()), start=1)


@contextlib.contextmanager
def parquet_file(path: Path) -> Iterator[Any]:
    """The open file. Raises InputError where it cannot be read."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{path}: reading Parquet needs the package pyarrow; pip install pyarrow") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"cannot read {path} as Parquet ({reason}); save the table again, or as .csv") from error


def json_header(path: Path, encoding: str) -> list[str]:
    """The keys of all objects, in the order in which they first occur."""
    return list(dict.fromkeys(key for _, row in json_rows(path, encoding) for key in row))


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
    utf8 = check_encoding(encoding) == "utf-8"
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
    except UnicodeError as error:
        raise InputError(f"cannot read {path} as {encoding} ({error}); name its encoding", "encoding") from error
    if not something:
        raise InputError(f"{path} is empty; its first line must name the columns, one message per row below")


def check_encoding(encoding: str) -> str:
    """Python's name of a text encoding. Raises InputError for something else: Python also has codecs such as base64."""
    try:
        "text".encode(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, UnicodeError):
        name = "undefined"
    if name.replace("_", "-") in NOT_FOR_FILES:
        raise InputError(
            f"encoding {encoding!r} is not known for text files; use utf-8, cp1252 or another of Python's", "encoding"
        )
    return name


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
