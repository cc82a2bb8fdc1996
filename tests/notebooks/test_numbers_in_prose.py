"""Numbers in a chapter's prose come from its cells, name their source beside them, or are listed here with a reason.

Looked at: numbers with a decimal point, a thousands separator or three digits. A paragraph with a year or a link names
its source; formulas and code in it are not looked at.
"""

import re
from pathlib import Path

import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
NUMBER = re.compile(r"(?<![\w.,/:])(\d{1,3}(?:,\d{3})+|\d+\.\d+|\d{3,})(?![\w:/]|\.\d)")
NOT_PROSE = re.compile(r"\$[^$]*\$|```.*?```|`[^`]*`|\]\([^)]*\)", re.DOTALL)
SOURCE = re.compile(r"\b(?:19|20)\d\d\b|\[[A-Z]")

EVERYWHERE = {
    "1.39": "ln 4, the loss of guessing among four classes",
    "480": "two_tasks.MESSAGES",
    "600": "test sentences of unseen words",
    "180": "steps: three epochs of 60 batches",
}
ALLOWED = {
    "01": {"255": "the largest byte"},
    "03": {"999": "a token number as an example"},
    "04": {"2.6": "a version of PyTorch"},
    "06": {n: "80 messages of each part by label: data/sms_spam.py" for n in ("240", "53.75", "55.00", "51.25")}
    | {"1,538": "2 · 768 + 2"},
    "07": {n: "80 messages of each part by label: data/sms_spam.py" for n in ("240", "53.75", "55.00", "51.25")},
    "08": {"06.6": "an exercise"},
    "12": {
        "16,898": "the sum stands beside it",
        "30,000": "of the paper named in the sentence",
        "240": "steps: four epochs of 60 batches",
        "150": "read off the figure above",
        "5,000": "points in the figure",
    },
    "13": {"56,834": "6 · 768 · 12 + 1,538"},
    "14": {"340": "84,934,656 weights of 4 bytes"},
    "15": {
        "450": "steps of the sweep: docs/results/learning_rates",
        "90.33": "docs/published.md",
        "98.00": "docs/published.md",
        "4.127": "chapter 14",
    },
    "17": {n: "the practice model's own run: gpt2/practice" for n in ("1,700", "16,384", "0.0015")},
}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_number_comes_from_a_cell_or_names_its_source(path):
    cells = nbformat.read(path, as_version=4).cells
    measured = " ".join(text for cell in cells if cell.cell_type == "code" for text in texts_of(cell))
    known = {n.replace(",", "") for n in NUMBER.findall(measured)}
    listed = EVERYWHERE | ALLOWED.get(path.name[:2], {})
    unknown = [
        f"cell {cell.id}: {number}"
        for cell in cells[1:]
        if cell.cell_type == "markdown" and not cell.id.startswith("task")
        for paragraph in NOT_PROSE.sub("", cell.source).split("\n\n")
        if not SOURCE.search(paragraph)
        for number in NUMBER.findall(paragraph)
        if number.replace(",", "") not in known and number not in measured and number not in listed
    ]
    assert not unknown, "no output shows it, no source is named"


def texts_of(cell: nbformat.NotebookNode) -> list[str]:
    data = [output.get("data", {}) for output in cell.outputs]
    shown = [str(part.get(kind, "")) for part in data for kind in ("text/plain", "text/html")]
    return [cell.source, *(output.get("text", "") for output in cell.outputs), *shown]
