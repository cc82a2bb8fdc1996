"""Numbers and tables as Markdown, for reports."""

import re

import numpy as np
import pandas as pd

DASH = "–"


def plain(text: str) -> str:
    """Somebody's own text within Markdown, shown as it is: no markup, no HTML, no second line."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]()#|~$>!])", r"\\\1", text)


def code(text: str) -> str:
    """Somebody's own text as a code span; its fence is longer than any row of backticks inside."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def code_block(text: str, language: str = "") -> str:
    """Lines of code, fenced likewise."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns of numbers are set right. A bar within a cell is escaped, also in a code span."""
    numbers = [all(row[i][0] in "+-0123456789" + DASH for row in rows) for i in range(len(columns))]
    lines = [columns, ["---:" if number else "---" for number in numbers], *rows]
    return "\n".join("| " + " | ".join(re.sub(r"(?<!\\)\|", r"\|", cell) for cell in cells) + " |" for cells in lines)


def plus_minus(mean: float, sd: float, scale: float = 1, digits: int = 2) -> str:
    """``96.64 ± 0.31``; without a deviation (NaN) the mean alone."""
    text = f"{scale * mean:,.{digits}f}"
    return text if np.isnan(sd) else f"{text} ± {scale * sd:,.{digits}f}"


def size(number: float) -> str:
    """Bytes for people, in powers of ten."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:,.{2 if name == 'GB' else 1}f} {name}"
    return f"{number:.0f} B"


def operations(number: float) -> str:
    """A count in millions."""
    return "0" if number == 0 else f"{number / 1e6:,.3f} M"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{round(100 * difference, 2) + 0.0:+.2f}"  # + 0.0 makes -0.0 a zero like others


def counted(number: float, what: str) -> str:
    """1 thread, 2 threads."""
    return f"{number:,.0f} {what}{'' if number == 1 else 's'}"


def unique(values: pd.Series) -> str:
    """The value that all share, or all of them."""
    return " or ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values.unique())
