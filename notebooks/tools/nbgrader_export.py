"""The chapters as nbgrader's source notebooks: a folder for each chapter, source/09_lora/09_lora.ipynb.

An exercise's cell holds the stub and, between nbgrader's marks, the solution, which nbgrader takes out for students.
Its check becomes a locked cell with points. All other cells are locked. ``nbgrader_config.py`` beside them keeps
nbgrader from writing a line that raises in the solution's place. The format is its cell metadata of version 3:
https://nbgrader.readthedocs.io/en/stable/contributor_guide/metadata.html
"""

import json
from pathlib import Path

from nbformat import NotebookNode

from gpt2.errors import InputError
from tools import files

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CONFIG = """\
c = get_config()
c.ClearSolutions.code_stub = {"python": "# your answer: replace the ... above"}
"""


def export(folder: Path, originals: dict[str, Path], weights: dict[str, float]) -> None:
    """Write the chapters into the new folder. Raises InputError if there is something of that name."""
    if folder.exists():
        raise InputError(f"{folder} exists; name a new folder")
    for original in originals.values():
        notebook = source_of(files.read(original), files.read(files.SOLUTIONS / original.name), weights)
        path = folder / "source" / original.stem / original.name
        path.parent.mkdir(parents=True)
        files.write(notebook, path)
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")


def source_of(chapter: NotebookNode, solution: NotebookNode, weights: dict[str, float]) -> NotebookNode:
    """The chapter with the answers of ``solution`` and nbgrader's metadata, without outputs."""
    solved = {cell.id: cell.source for cell in files.code_cells(solution)}
    for cell in files.strip(chapter).cells:
        answer, check = files.exercise_of(cell.id, files.EXERCISE), files.exercise_of(cell.id)
        marks = {"grade": False, "solution": False, "locked": True}
        if answer:
            marks = {"grade": False, "solution": True, "locked": False}
            cell.source += f"\n\n\n{BEGIN}\n{solved[cell.id]}\n{END}"
        elif check:
            marks["grade"], marks["points"] = True, weights.get(check, weights.get(check[:2], 1.0))
            cell.source = test_of(cell.source)
        kind = {"task": False, "schema_version": 3, "grade_id": cell.id, "cell_type": cell.cell_type}
        cell.metadata["nbgrader"] = {**marks, **kind}
    return chapter


def test_of(check: str) -> str:
    """nbgrader gives points for a cell that raises nothing; ours prints its hint and returns a verdict."""
    name = json.loads(check.partition("(")[2].partition(",")[0])
    return f"verdict = {check}\nassert verdict, " + repr(f"exercise {name}: see the hint above")
