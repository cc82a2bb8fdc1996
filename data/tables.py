"""Read a person's own table of messages: .csv, .tsv, .jsonl or .parquet, with a column of texts and one of labels.

    text,label                        text <tab> label
    "Call me, please",friend          Call me, please <tab> friend
    Your parcel is waiting,advert     Your parcel is waiting <tab> advert

How the cells are read: data/table_files.py.

Every problem is one InputError that names the file and the line, counted from 1 as an editor does.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data.labels import JOINED, equal_numbers, join_equal_numbers
from data.table_files import read_chunks
from gpt2.errors import InputError

OTHER_MARKS = {  # what to do about a header that seems to be one column
    ".tsv": "; a .tsv has tabs between its columns: where this one has commas, rename it to .csv",
    ".csv": "; a .csv has commas, semicolons or tabs between its columns: save the table so",
}
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
    ``split`` where these columns are named: what belongs together, such as a sender, and which part a row is of. The
    index says on which line of the file a row starts.

    Rows without a message are left out; ``attrs[EMPTY]`` has their lines. Labels lose spaces around them; numbers are
    labels like any other, and 1 and 1.0 are one. Raises InputError for a file that cannot be read, decoded or parsed, a
    missing column, an empty label, and no message at all.
    """
    path = Path(path)
    given = {"text": text_column, "label": label_column, "group": group_column, "split": split_column}
    named = {name: column for name, column in given.items() if column is not None}
    check_different(path, named)
    lines, cells = read_cells(path, list(named.values()), encoding)
    header = list(cells.columns)
    frame = pd.DataFrame(
        {
            name: cells.iloc[:, column_index(path, header, column, f"{name}_column")].astype(str)
            for name, column in named.items()
        }
    ).set_axis(pd.Index(lines, name="line"))
    if frame.empty:
        raise InputError(f"{path} has a header but no rows; add a row for each message")
    for name in frame.columns.drop("text"):
        frame[name] = frame[name].str.strip()
        empty = frame.index[frame[name] == ""]
        if len(empty):
            raise InputError(
                f"{path}, line {empty[0]}: column {named[name]!r} is empty ({len(empty)} such row(s) in all); "
                "fill it in or remove the row"
            )
    without = ~frame["text"].str.strip().astype(bool)
    if without.all():
        raise InputError(f"{path}: column {text_column!r} is empty in every row; name another column", "text_column")
    kept = frame[~without].copy()
    kept.attrs = {EMPTY: frame.index[without].tolist()}
    kept.attrs[JOINED] = equal_numbers(kept["label"])  # to be mentioned
    kept["label"] = join_equal_numbers(kept["label"], kept.attrs[JOINED])
    return kept


def read_cells(path: Path, wanted: list[str], encoding: str = "utf-8") -> tuple[list[int], pd.DataFrame]:
    """The line on which each row starts, and the table as text, an empty string where a cell has no value."""
    lines, tables = [], []
    for some, table in read_chunks(path, wanted, encoding):
        lines += some
        tables.append(table)
    return lines, pd.concat(tables, ignore_index=True)


def column_index(path: Path, header: list[str], name: str, argument: str) -> int:
    """Return the index of the column called ``name``, which was given as ``argument``."""
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise InputError(f"{path}, line 1: column {name!r} occurs {header.count(name)} times; rename all but one")
    by_lower_case = {column.lower(): column for column in header}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    meant = f' (did you mean "{by_lower_case[close[0]]}"?)' if close else ""
    if len(header) == 1 and re.search(r"[,;|\t]", header[0]):
        meant = OTHER_MARKS.get(path.suffix.lower(), meant)
    columns = ", ".join(repr(column[:30]) for column in header[:20]) + (", …" if len(header) > 20 else "")
    raise InputError(f"{path}, line 1: no column {name!r}; it has {columns}; name one of them{meant}", argument)


def check_different(path: Path, columns: dict[str, str]) -> None:
    """Raise InputError where two things, such as text and label, are to come from one column."""
    what_of: dict[str, str] = {}
    for what, column in columns.items():
        first = what_of.setdefault(column, what)
        if first != what:
            raise InputError(
                f"the {first}s and the {what}s are both to come from column {column!r} of {path}; name two different "
                "columns",
                f"{what}_column",
            )


def check_classes(path: Path, labels: pd.Series, column: str, parts: Sequence[str], instead: str = "") -> None:
    """Raise InputError unless there are two or more classes, each with a row for each of the ``parts`` to be drawn.
    ``instead``: an argument that helps, too."""
    counts = labels.value_counts()
    if len(counts) == 1:
        raise InputError(
            f"{path}: column {column!r} holds only one class, {counts.index[0]!r}; "
            "a classifier needs messages of at least two"
        )
    small = counts[counts < len(parts)]
    if len(small):
        help = f"add rows, remove the class, or name {instead}" if instead else "add rows or remove the class"
        raise InputError(
            f"{path}: {len(small)} of {len(counts)} classes in column {column!r} have too few rows (such "
            f"as {small.index[-1]!r} with {small.iloc[-1]}); each needs at least {len(parts)}, one "
            f"each for {', '.join(parts[:-1])} and {parts[-1]}: {help}",
            instead or None,
        )
