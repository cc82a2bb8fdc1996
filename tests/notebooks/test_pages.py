"""How chapters and solutions are laid out; nothing is run here. And the README's map of them."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{}/blob/main/notebooks/{})"
)
NOT_FOR_READERS = re.compile(r"/work/|/tmp/|/home/|/root/|/Users/|[A-Z]:\\\\|site-packages|\bat 0x[0-9a-f]{6,}")
LARGEST_FILE = 1_000_000  # bytes
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
SOLVED = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))


def ids(path: Path) -> str:
    return path.relative_to(NOTEBOOKS).with_suffix("").as_posix()


chapters = pytest.mark.parametrize("path", CHAPTERS, ids=ids)
both = pytest.mark.parametrize("path", CHAPTERS + SOLVED, ids=ids)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def shown(output: nbformat.NotebookNode) -> str:
    data = output.get("data", {})
    return output.get("text", "") + "".join(data.get(kind, "") for kind in ("text/plain", "text/html", "text/markdown"))


@chapters
def test_the_first_cell_says_what_to_expect(path, scripts):
    first = read(path).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith(f"# {path.name[:2]} ")
    badge = next(line for line in first.source.splitlines() if line.startswith("[![Open in Colab]"))
    repository = re.search(r"/github/([^/]+/[^/]+)/blob/", badge)[1]
    assert badge == BADGE.format(repository, path.name)
    assert "After this chapter you can" in first.source and "You need" in first.source
    assert scripts.refresh.TIMES.search(first.source), "no: Reading N minutes, running M seconds"


@both
def test_the_setup_cell_is_the_same_everywhere(path):
    setup = next(cell for cell in read(path).cells if cell.cell_type == "code")
    assert setup.id == "setup"
    assert setup.source == next(cell for cell in read(CHAPTERS[0]).cells if cell.id == "setup").source


@chapters
def test_cells_show_what_they_do(path):
    cells = read(path).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    silent = [cell.id for cell in code if not cell.outputs]
    assert len(silent) * 3 <= len(code), f"{len(silent)} of {len(code)} code cells show nothing: {silent}"
    figures = [
        number
        for number, cell in enumerate(cells[:-1])
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        and cells[number + 1].cell_type == "markdown"
    ]
    assert figures, "no figure with a caption below it"


@chapters
def test_exercises_are_complete(path):
    cells = {cell.id: cell for cell in read(path).cells}
    order = list(cells)
    names = [name for name in order if re.fullmatch(r"exercise-\d\d-\d+", name)]
    assert len(names) >= 3 and names == [f"exercise-{path.name[:2]}-{k}" for k in range(1, len(names) + 1)]
    assert [f"check{name[8:]}" for name in names] == [name for name in order if re.fullmatch(r"check-\d\d-\d+", name)]
    headings = "\n".join(cell.source for cell in cells.values() if cell.cell_type == "markdown")
    solution = {cell.id: cell for cell in read(NOTEBOOKS / "solutions" / path.name).cells}
    for name in names:
        number, check = name[9:].replace("-", "."), f"check{name[8:]}"
        assert re.search(rf"^### Exercise {number}  ?\S.* \(.*(minutes?|hours?|evening).*\)$", headings, re.MULTILINE)
        assert "..." in cells[name].source and order.index(name) < order.index(check)
        assert re.fullmatch(rf'check\("{number}"(, \w+)+\)', cells[check].source)
        assert solution[check].source == cells[check].source and solution[name].source != cells[name].source


@both
def test_the_file_is_fit_to_be_read_by_others(path):
    assert path.stat().st_size < LARGEST_FILE
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    for number, cell in enumerate(notebook.cells):
        assert "execution" not in cell.metadata, f"cell {cell.id} stores when it was run"
        ran = cell.get("execution_count") is not None
        assert ran or cell.cell_type == "markdown", f"cell {cell.id} was not run"
        texts = [cell.source, *(shown(output) for output in cell.get("outputs", []))]
        found = NOT_FOR_READERS.search("\n".join(texts))
        assert not found, f"cell {number} ({cell.id}): {found[0]}"


def test_links_between_pages_lead_somewhere():
    pages = {
        path: [cell.source for cell in read(path).cells if cell.cell_type == "markdown"] for path in CHAPTERS + SOLVED
    }
    pages[NOTEBOOKS / "README.md"] = [(NOTEBOOKS / "README.md").read_text(encoding="utf-8")]
    broken = []
    for page, texts in pages.items():
        for target in re.findall(r"\]\(([^)#\s]+)", "\n".join(texts)):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(NOTEBOOKS)}: {target}")
    assert not broken


def test_the_map_has_every_chapter_with_its_times(scripts):
    text = (NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\d\d_\w+\.ipynb)\)", text)) >= {path.name for path in CHAPTERS}
    there = {path.name[:2]: path for path in CHAPTERS}
    assert scripts.refresh.fill_map(text, there) == text, "run notebooks/tools/refresh.py --map"
