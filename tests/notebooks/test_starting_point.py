"""The published accuracies before tuning are shares of spam, and chapters 06 and 07 compute them."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from data import load_dataset

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PUBLISHED = ["46.25%", "45.00%", "48.75%"]  # Raschka (2024), chapter 6: training, validation, test


def printed(chapter: str, cell: str, data: str, capsys) -> str:
    """What the cell prints with these data."""
    book = nbformat.read(next(NOTEBOOKS.glob(f"{chapter}_*.ipynb")), as_version=4)
    source = next(c.source for c in book.cells if c.id == cell)
    dataset = load_dataset(data)
    names = ("train", "validation", "test")
    parts = [getattr(dataset, name).replace({"label": {0: "ham", 1: "spam"}}) for name in names]
    state = torch.get_rng_state()
    exec(source, {"dataset": dataset, "published": parts, "is_sms": data == "sms", "torch": torch, "np": np})  # noqa: S102
    torch.set_rng_state(state)
    return capsys.readouterr().out


@pytest.mark.parametrize("chapter, cell", [("06", "starting-point"), ("07", "eighty")])
def test_the_three_numbers_exactly(chapter, cell, capsys):
    if load_dataset("auto").name != "sms":
        pytest.skip("the SMS collection is not available here")
    lines = printed(chapter, cell, "sms", capsys).splitlines()
    found = [line for line in lines if line.startswith(("train", "validation", "test"))]
    assert [re.findall(r"\d\d\.\d\d%", line) for line in found] == [[number] for number in PUBLISHED]


@pytest.mark.parametrize("chapter, cell", [("06", "starting-point"), ("07", "eighty")])
def test_other_messages_claim_nothing(chapter, cell, capsys):
    text = printed(chapter, cell, "practice", capsys)
    assert "These are the practice messages" in text
    assert not any(number in text for number in PUBLISHED[:2]) and "accuracy before training" not in text
