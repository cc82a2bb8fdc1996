"""docs/published.md is what its command writes, and other pages give the same figures."""

import math
import re
from pathlib import Path

import pytest
import torch

from reproduction import page
from reproduction.lessons import LESSONS, verdicts, with_interval
from reproduction.rows import SPLITS, rows

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text() -> str:
    return page.page()


def test_the_page_is_up_to_date(text):
    written = page.PAGE.read_text(encoding="utf-8")
    assert written == text, "run: PYTHONPATH=scripts python -m reproduction.page"
    assert (page.PAGE.parent / page.PICTURE).stat().st_size > 20_000


def test_every_row_is_on_it_with_its_figures(text):
    for row in rows().values():
        line = next(line for line in text.split("\n") if line.startswith(f"| {row.id} |"))
        train, validation = (f"{100 * row.published[part]:.2f}" for part in SPLITS[:2])
        assert f"| {train} | {validation} | {100 * row.published['test']:.2f} (" in line, line


def test_it_says_what_300_messages_can_show(text):
    found = {(v.lesson.before, v.lesson.after): v for v in verdicts()}
    assert found["extra-01", "extra-13"].shown and found["extra-01", "extra-06"].shown
    last_token = found["extra-01", "extra-16"]  # 95.00 and 98.33 %: the famous improvement
    assert not last_token.shown and last_token.p < 0.05
    assert "95.00 (91.9 … 96.9) | 98.33 (96.2 … 99.3) | +3.33 | no, p = 0.57 |" in text
    assert f"**4 of {len(LESSONS)} pairs show a difference**" in text


@pytest.mark.parametrize(
    "fact",
    [
        "**One does not**: the validation accuracy of extra-08, 99.81 %.",
        "148 of 149 are 99.33 %, 149 of 149 are 100.00 %",
        "Of the 75 published figures 74 have one of them.",
        "are 37, 36 and 39 of the first 80 messages",
        "±0.25 against ±0.036",
        "| notes-lora | 8 | 8 | alpha = 8 |",
        "| book-appendix-E-2025 | 16 | 16 | alpha = 16 |",
        "| book-appendix-E-later | 16 | 16 | alpha/rank = 1 |",
        "256/16 is 16 again",
    ],
)
def test_it_tells_the_facts(fact, text):
    assert fact in " ".join(text.split())


@pytest.mark.parametrize("shape, bound", [((768, 16), 0.25), ((16, 768), 0.036)])
def test_the_start_of_a_depends_on_how_it_is_stored(shape, bound):
    a = torch.nn.init.kaiming_uniform_(torch.empty(shape), a=math.sqrt(5))
    assert a.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_the_readme_gives_published_figures_in_a_table_of_their_own():
    ours, published = README.split("| trained (Raschka's additional experiments)")
    for words, name in {
        "everything": "extra-05",
        "last block, final norm, head": "extra-01",
        "LoRA on every linear layer, rank 16": "extra-11",
        "head": "extra-03",
    }.items():
        assert f"| {words} | {with_interval(rows()[name])} |" in published
    figures = {f"{100 * row.published['test']:.2f}" for row in rows().values()}
    cells = set(re.findall(r"(?<=\| )[\d.]+(?= ±)", ours))
    assert cells and not cells & figures and "with one seed each" in " ".join(ours.split())
