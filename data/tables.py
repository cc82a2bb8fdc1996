"""Read a person's own table of messages: a .csv or .tsv file, UTF-8, whose first line names its columns.

    text,label                        text <tab> label
    "Call me, please",friend          Call me, please <tab> friend
    Your parcel is waiting,advert     Your parcel is waiting <tab> advert

A .csv follows the usual rules: commas between cells, and a cell with commas or line breaks inside stands in
quotation marks, doubled where one is part of the text. A .tsv has tabs between cells, one row per line, and
quotation marks mean nothing there; the SMS Spam Collection shows (data/sms_spam.py) what happens to such a
file otherwise.

Every problem is one InputError that names the file and the line, counted from 1 as an editor does. Rows are
read by Python's csv module rather than by pandas, which fills a row with too few cells silently.
"""

import csv
import difflib
import io
import re
from pathlib import Path

import pandas as pd

from data.labels import JOINED, equal_numbers, join_equal_numbers
from data.splits import SMALLEST_CLASS
from gpt2.errors import InputError

LONGEST_CELL = 2**31 - 1  # characters, instead of the 131,072 of Python's csv module
LINE_END = re.compile(rb"\r\n|\n|\r")


def read_table(
    path: str | Path, text_column: str = "text", label_column: str = "label", group_column: str | None = None
) -> pd.DataFrame:
    """Return the table's messages as columns ``text`` and ``label``, both strings, in the file's order; and ``group``
    where a ``group_column`` is named, which says what belongs together, such as a sender.

    Labels lose spaces around them; numbers are labels like any other, and 1 and 1.0 are one. Raises InputError
    for a file that cannot be read, decoded or parsed, a missing column, an empty text or label, fewer than two
    classes, or a class with too few rows to be split in three.
    """
    path = Path(path)
    content = decode(path)
    lines, rows = parse_rows(path, content)
    header = [name.strip() for name in rows[0]]
    if group_column in (text_column, label_column):
        raise InputError(
            f"the groups are to come from column {group_column!r} of {path}, as other values; name another column",
            "group_column",
        )
    if text_column == label_column:
        raise InputError(
            f"the texts and the labels are both to come from column {text_column!r} of {path}; "
            "name two different columns",
            "label_column",
        )
    text = column_index(path, header, text_column, "text_column")
    label = column_index(path, header, label_column, "label_column")
    if len(rows) == 1:
        raise InputError(f"{path} has a header but no rows; add at least {2 * SMALLEST_CLASS} messages")
    frame = pd.DataFrame(
        {"text": [row[text] for row in rows[1:]], "label": [row[label].strip() for row in rows[1:]]},
        dtype=str,
    )
    named = [("text", text_column), ("label", label_column)]
    if group_column is not None:
        group = column_index(path, header, group_column, "group_column")
        frame["group"] = [row[group].strip() for row in rows[1:]]
        named.append(("group", group_column))
    for name, column in named:
        empty = [line for line, cell in zip(lines[1:], frame[name], strict=True) if not cell.strip()]
        if empty:
            raise InputError(
                f"{path}, line {empty[0]}: column {column!r} is empty ({len(empty)} such row(s) in all); "
                "fill it in or remove the row"
            )
    frame.attrs[JOINED] = equal_numbers(frame["label"])  # to be mentioned
    frame["label"] = join_equal_numbers(frame["label"])
    check_classes(path, frame["label"], label_column)
    return frame


def decode(path: Path) -> str:
    """Return the file's text. A byte order mark, which Excel writes, is dropped."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a .csv or .tsv file in it")
    if not path.exists():
        raise InputError(f"{path} does not exist; check its name and folder")
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise InputError(f"{path} is neither .csv (commas) nor .tsv (tabs); save the table as one of them")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(LINE_END.findall(error.object[: error.start])) + 1
        byte = error.object[error.start]
        raise InputError(f"{path}, line {line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from error
    if "\0" in text:  # two bytes per character, the second one zero
        raise InputError(f"{path} holds zero bytes, as UTF-16 or a binary file does; save it as UTF-8 text")
    if not text.strip():
        raise InputError(f"{path} is empty; its first line must name the columns, one message per row below")
    return text


def parse_rows(path: Path, content: str) -> tuple[list[int], list[list[str]]]:
    """Return for each row, header first, the number of the line on which it starts, and its cells."""
    if path.suffix.lower() == ".tsv":
        reader = csv.reader(io.StringIO(content, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
        hint = "a text must not contain tabs or line breaks (a .csv can hold them)"
    else:
        reader = csv.reader(io.StringIO(content, newline=""), strict=True)
        hint = "a text with a comma in it must stand in quotation marks"
    lines: list[int] = []
    rows: list[list[str]] = []
    start = 1
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        for row in reader:
            if row:  # an empty line is not a row
                if rows and len(row) != len(rows[0]):
                    check_separator(path, rows[0])
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
    check_separator(path, header)
    by_lower_case = {column.lower(): column for column in header}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    meant = f' (did you mean "{by_lower_case[close[0]]}"?)' if close else ""
    columns = ", ".join(repr(column[:30]) for column in header[:20]) + (", …" if len(header) > 20 else "")
    raise InputError(f"{path}, line 1: no column {name!r}; it has {columns}; name one of them{meant}", argument)


def check_separator(path: Path, header: list[str]) -> None:
    """Raise InputError when the columns are separated by something else, such as the semicolons of a European Excel."""
    if len(header) == 1 and (found := re.search("[;\t,|]", header[0])):
        names = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
        suffix = path.suffix.lower()
        expected = "commas" if suffix == ".csv" else "tabs"
        raise InputError(
            f"{path}, line 1: a {suffix} file has {expected} between its columns, and this one has "
            f"{names[found[0]]}: {header[0][:60]!r}; save it with {expected}"
        )


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
