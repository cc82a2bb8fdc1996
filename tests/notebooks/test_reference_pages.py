"""Bibliography, glossary and index: complete, sorted, and those of the present chapters."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
PAPER = re.compile(r"\]\((https?://(?:arxiv\.org|doi\.org|cdn\.openai\.com|www\.manning\.com)/[^)]+)\)")


def page(name: str) -> str:
    return (NOTEBOOKS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_paper_that_a_chapter_links_stands_in_the_bibliography(path):
    listed = set(PAPER.findall(page("bibliography.md")))
    cells = nbformat.read(path, as_version=4).cells
    linked = {url for cell in cells if cell.cell_type == "markdown" for url in PAPER.findall(cell.source)}
    assert not linked - listed


def test_the_glossary_is_in_order_and_has_no_word_twice():
    words = [line.split(" | ")[0].removeprefix("| ") for line in page("glossary.md").splitlines() if line[:2] == "| "]
    words = [word.lower() for word in words[1:]]
    assert len(words) > 60 and words == sorted(set(words))


def test_the_index_is_that_of_the_present_chapters(scripts):
    from tools import index
    from tools.files import chapters, read

    assert page("index.md") == index.render({n: (path, read(path)) for n, path in chapters().items()})
