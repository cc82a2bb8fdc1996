"""Numbers and tables as Markdown, for reports."""

import numpy as np
import pandas as pd

DASH = "–"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns of numbers are set right."""
    numbers = [all(row[i][0] in "+-0123456789" + DASH for row in rows) for i in range(len(columns))]
    lines = [columns, ["---:" if number else "---" for number in numbers], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def plus_minus(mean: float, sd: float, scale: float = 1, digits: int = 2) -> str:
    text = f"{scale * mean:,.{digits}f}"
    return text if np.isnan(sd) else f"{text} ± {scale * sd:,.{digits}f}"


def size(number: float) -> str:
    """Bytes for people, in powers of ten."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:,.{2 if name == 'GB' else 1}f} {name}"
    return f"{number:.0f} B"


def operations(number: float) -> str:
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
