"""Read a person's own table of messages: .csv, .tsv, .jsonl or .parquet, with a column of texts and one of labels.

    text,label                        text <tab> label
    "Call me, please",friend          Call me, please <tab> friend
    Your parcel is waiting,advert     Your parcel is waiting <tab> advert

A .csv has commas, semicolons or tabs between its cells (its first line tells which). A cell with one of them or a line
break inside stands in quotation marks, doubled where one is part of the text. A .tsv has tabs between cells, one row
per line, and quotation marks mean nothing there; the SMS Spam Collection shows (data/sms_spam.py) what happens to such
a file otherwise. A .jsonl has a JSON object a line.

Every problem is one InputError that names the file and the line, counted from 1 as an editor does. Rows of .csv and
.tsv are read by Python's csv module rather than by pandas, which fills a row with too few cells silently.
"""

import codecs
import csv
import difflib
import io
import json
import re
from pathlib import Path

import pandas as pd

from data.labels import JOINED, equal_numbers, join_equal_numbers
from data.splits import SMALLEST_CLASS
from gpt2.errors import InputError

LONGEST_CELL = 2**31 - 1  # characters, instead of the 131,072 of Python's csv module
LINE_END = re.compile(rb"\r\n|\n|\r")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
DELIMITERS = (",", ";", "\t")
EMPTY = "lines without a message"  # key in a table's attrs


def read_table(
    path: str | Path,
    text_column: str = "text",
    label_column: str = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    encoding: str = "utf-8",
) -> pd.DataFrame:
    """Return the table's messages as columns ``text`` and ``label``, both strings, in the file's order; ``group`` and
    ``split`` where these columns are named: what belongs together, such as a sender, and which part a row is of.

    Rows without a message are left out; ``attrs[EMPTY]`` has their lines. Labels lose spaces around them; numbers are
    labels like any other, and 1 and 1.0 are one. Raises InputError for a file that cannot be read, decoded or parsed, a
    missing column, an empty label, and no message at all.
    """
    path = Path(path)
    given = {"text": text_column, "label": label_column, "group": group_column, "split": split_column}
    named = {name: column for name, column in given.items() if column is not None}
    for name, column in named.items():
        if list(named.values()).count(column) > 1 and name != "text":
            raise InputError(
                f"the texts and the {name}s are both to come from column {column!r} of {path}; "
                "name two different columns",
                f"{name}_column",
            )
    lines, cells = read_cells(path, list(named.values()), encoding)
    header = list(cells.columns)
    frame = pd.DataFrame(
        {
            name: cells.iloc[:, column_index(path, header, column, f"{name}_column")].astype(str)
            for name, column in named.items()
        }
    )
    if frame.empty:
        raise InputError(f"{path} has a header but no rows; add at least {2 * SMALLEST_CLASS} messages")
    for name in frame.columns.drop("text"):
        frame[name] = frame[name].str.strip()
        empty = [line for line, cell in zip(lines, frame[name], strict=True) if not cell]
        if empty:
            raise InputError(
                f"{path}, line {empty[0]}: column {named[name]!r} is empty ({len(empty)} such row(s) in all); "
                "fill it in or remove the row"
            )
    without = ~frame["text"].str.strip().astype(bool)
    if without.all():
        raise InputError(f"{path}: column {text_column!r} is empty in every row; name another column", "text_column")
    kept = frame[~without].reset_index(drop=True)
    kept.attrs = {EMPTY: [line for line, left_out in zip(lines, without, strict=True) if left_out]}
    kept.attrs[JOINED] = equal_numbers(kept["label"])  # to be mentioned
    kept["label"] = join_equal_numbers(kept["label"])
    return kept


def read_cells(path: Path, wanted: list[str], encoding: str = "utf-8") -> tuple[list[int], pd.DataFrame]:
    """The line on which each row starts, and the table as text, an empty string where a cell has no value."""
    check_path(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        lines, rows = parse_rows(path, decode(path, encoding), wanted)
        header = [name.strip() for name in rows[0]]
        return lines[1:], pd.DataFrame(rows[1:], columns=header, dtype=str)
    if path.suffix.lower() == ".jsonl":
        lines, table = read_json_lines(path, decode(path, encoding))
    else:
        try:
            table = pd.read_parquet(path)
        except ImportError as error:
            raise InputError(f"{path}: reading Parquet needs the package pyarrow; pip install pyarrow") from error
        except (ValueError, OSError) as error:
            raise InputError(f"cannot read {path} as Parquet ({' '.join(str(error).split())[:100]})") from error
        lines = list(range(1, len(table) + 1))
    table.columns = table.columns.map(str)
    return lines, table.astype(object).where(table.notna(), "").map(str)


def read_json_lines(path: Path, content: str) -> tuple[list[int], pd.DataFrame]:
    """The line of each object, and the objects as rows."""
    lines, rows = [], []
    for number, line in enumerate(LINE_END.split(content.encode()), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error}); each line must be one object") from error
        if not isinstance(rows[-1], dict):
            raise InputError(f"{path}, line {number}: {type(rows[-1]).__name__} where an object {{…}} is expected")
        lines.append(number)
    return lines, pd.DataFrame(rows)


def check_path(path: Path) -> None:
    """Raise InputError unless this is a file of a known kind."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a .csv or .tsv file in it")
    if not path.exists():
        raise InputError(f"{path} does not exist; check its name and folder")
    if path.suffix.lower() not in SUFFIXES:
        kinds = ".csv (commas or semicolons), .tsv (tabs), .jsonl (a JSON object a line) nor .parquet"
        raise InputError(f"{path} is neither {kinds}; save the table as one of them")


def decode(path: Path, encoding: str = "utf-8") -> str:
    """Return the file's text. A byte order mark, which Excel writes, is dropped."""
    try:
        content = path.read_bytes()
        utf8 = codecs.lookup(encoding).name == "utf-8"
        text = content.decode("utf-8-sig" if utf8 else encoding)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except LookupError as error:
        raise InputError(
            f"no encoding {encoding!r}; use utf-8, cp1252, latin-1 or another of Python's", "encoding"
        ) from error
    except UnicodeDecodeError as error:
        line = len(LINE_END.findall(error.object[: error.start])) + 1
        byte, name = error.object[error.start], encoding.upper()
        raise InputError(
            f"{path}, line {line}: byte 0x{byte:02x} is not {name}; save the file as UTF-8, or name its encoding",
            "encoding",
        ) from error
    if "\0" in text:  # two bytes per character, the second one zero
        raise InputError(f"{path} holds zero bytes, as UTF-16 or a binary file does; save it as UTF-8 text")
    if not text.strip():
        raise InputError(f"{path} is empty; its first line must name the columns, one message per row below")
    return text


def delimiter_of(first_line: str, wanted: list[str]) -> str:
    """What stands between the columns: the mark that shows most of the wanted columns, or else occurs most often."""

    def shown(mark: str) -> tuple[int, int]:
        columns = [name.strip().strip('"') for name in first_line.split(mark)]
        return sum(name in columns for name in wanted), len(columns)

    return max(DELIMITERS, key=shown)


def parse_rows(path: Path, content: str, wanted: list[str]) -> tuple[list[int], list[list[str]]]:
    """Return for each row, header first, the number of the line on which it starts, and its cells."""
    source = io.StringIO(content, newline="")
    if path.suffix.lower() == ".tsv":
        reader = csv.reader(source, delimiter="\t", quoting=csv.QUOTE_NONE)
        hint = "a text must not contain tabs or line breaks (a .csv can hold them)"
    else:
        mark = delimiter_of(content.lstrip().split("\n", 1)[0], wanted)
        reader = csv.reader(source, delimiter=mark, strict=True)
        hint = f"a text with a {'tab' if mark == chr(9) else mark} in it must stand in quotation marks"
    lines: list[int] = []
    rows: list[list[str]] = []
    start = 1
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        for row in reader:
            if row:  # an empty line is not a row
                if rows and len(row) != len(rows[0]):
                    raise InputError(
                        f"{path}, line {start}: {len(row)} cell(s) where the header has {len(rows[0])}; "
                        f"correct the row ({hint})"
                    )
                lines.append(start)
                rows.append(row)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {start}: the row that starts here is not valid ({error}); close its "
            "quotation marks, and double those that are part of a text"
        ) from error
    finally:
        csv.field_size_limit(limit)
    return lines, rows


def column_index(path: Path, header: list[str], name: str, argument: str) -> int:
    """Return the index of the column called ``name``, which was given as ``argument``."""
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise InputError(f"{path}, line 1: column {name!r} occurs {header.count(name)} times; rename all but one")
    by_lower_case = {column.lower(): column for column in header}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    meant = f' (did you mean "{by_lower_case[close[0]]}"?)' if close else ""
    columns = ", ".join(repr(column[:30]) for column in header[:20]) + (", …" if len(header) > 20 else "")
    raise InputError(f"{path}, line 1: no column {name!r}; it has {columns}; name one of them{meant}", argument)


def check_classes(path: Path, labels: pd.Series, column: str) -> None:
    """Raise InputError unless there are two or more classes, each with a row for each of the three parts."""
    counts = labels.value_counts()
    if len(counts) == 1:
        raise InputError(
            f"{path}: column {column!r} holds only one class, {counts.index[0]!r}; "
            "a classifier needs messages of at least two"
        )
    small = counts[counts < SMALLEST_CLASS]
    if len(small):
        raise InputError(
            f"{path}: {len(small)} of {len(counts)} classes in column {column!r} have too few rows (such "
            f"as {small.index[-1]!r} with {small.iloc[-1]}); each needs at least {SMALLEST_CLASS}, one "
            "each for training, validation and test: add rows or remove the class"
        )
