"""Text in, text out: messages from files and standard input, and messages shown in one line each."""

import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

LINE_END = re.compile(r"\r\n|\n|\r")  # str.splitlines() also cuts at characters that stand inside messages
ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
INVISIBLE = ("Cc", "Zl", "Zp")  # control characters, line and paragraph separators


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their ends: \\n, \\r\\n and \\r end a line and nothing else does."""
    return LINE_END.split(text)


def read_lines(file: str | None) -> list[str]:
    """The lines of a text file, or of standard input; empty ones are left out."""
    from gpt2.errors import InputError

    name = file or "standard input"
    try:
        content = Path(file).read_bytes() if file else sys.stdin.buffer.read()
        lines = split_lines(content.decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = len(split_lines(content[: error.start].decode("utf-8-sig")))
        raise InputError(f"{name}, line {line}: a byte that is not UTF-8; save the file as UTF-8") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise InputError(f"{name} holds no text; expected one on each line, or texts on the command line")
    return texts


def one_line(text: str) -> str:
    """A text with \\n, \\t and other control characters written as such, and every backslash doubled, so that it fills
    one cell of one line, cannot steer the terminal, and can be turned back."""
    return "".join(ESCAPES.get(c) or (f"\\u{ord(c):04x}" if unicodedata.category(c) in INVISIBLE else c) for c in text)


def class_table(classes: dict[str, dict]) -> str:
    """Precision, recall, F1 and number of messages of each class (gpt2.metrics.per_class), a line each."""
    import pandas as pd  # here: most commands that show text need no tables

    table = pd.DataFrame(classes).T.astype({"n": int}).rename(index=one_line)
    return table.to_string(formatters={name: "{:.2%}".format for name in ("precision", "recall", "f1")})


def sample(texts: Iterable[str], longest: int = 60) -> str:
    """A message to try a model with: the first of ``texts`` that fits on a command line, or some words."""
    fitting = (text for text in texts if len(text) <= longest and text.isprintable() and text.strip())
    return next(fitting, "a message of yours")
