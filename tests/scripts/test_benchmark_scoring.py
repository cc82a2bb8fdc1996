"""The benchmark of scoring: both answer the same texts, and their probabilities agree."""

import pytest

from benchmarking import scoring
from data import load_dataset


@pytest.mark.slow
def test_the_pipeline_on_the_exported_model_gives_the_same_probabilities(command, tmp_path):
    pytest.importorskip("transformers")
    out = tmp_path / "page.md"
    arguments = ["--model", "practice", "--data", "practice", "--methods", "--scoring", 40, "--rounds", 2]
    result = command("benchmark", *arguments, "--out", out)
    assert result.status == 0, result.err
    page = out.read_text(encoding="utf-8")
    assert "40 messages" in page and "`transformers.pipeline`" in page and "| 1.00 |" in page
    assert float(page.split("differ by at most ")[1].split(". ")[0].split(".\n")[0]) < 1e-4


def test_no_two_messages_are_alike():
    dataset = load_dataset("practice")
    texts = scoring.messages(dataset, 2 * len(dataset.train) + 3_000)
    assert len(set(texts)) == len(texts) == 2 * len(dataset.train) + 3_000
