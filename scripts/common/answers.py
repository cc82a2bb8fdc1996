"""Answer messages with a run, text by text."""

import json
from collections.abc import Iterable

from common.text import one_line, split_lines
from gpt2.errors import InputError
from peft.run_classifier import RunClassifier


def print_answers(run: RunClassifier, texts: list[str], as_json: bool) -> None:
    """A line for each text: label, probability and text, or all of it as a JSON object."""
    probabilities = run.predict_proba(texts)
    answers = run.decision_.answers(probabilities, run.positive_)
    for text, row, answer in zip(texts, probabilities, answers, strict=True):
        label = str(run.classes_[answer])
        if as_json:
            by_class = {str(name): round(float(p), 6) for name, p in zip(run.classes_, row, strict=True)}
            found = {"label": label, "probability": by_class[label], "probabilities": by_class, "text": text}
            print(json.dumps(found, ensure_ascii=False), flush=True)
        else:
            print(f"{one_line(label)}\t{row[answer]:.1%}\t{one_line(text)}", flush=True)


def print_stream(run: RunClassifier, lines: Iterable[bytes], as_json: bool) -> None:
    """Answer each line as it comes. Raises InputError for one that is not UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"standard input, line {number}: a byte that is not UTF-8; send UTF-8") from error
        texts = [part for part in split_lines(text) if part.strip()]  # old text files end lines by \r alone
        if texts:
            print_answers(run, texts, as_json)
