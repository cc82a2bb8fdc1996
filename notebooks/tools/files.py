"""The chapters as files: where they are, which cells are whose, and how they are run in a fresh kernel."""

import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
SOLUTIONS = NOTEBOOKS / "solutions"
CHAPTER = re.compile(r"(\d\d)_\w+\.ipynb")
EXERCISE, CHECK = re.compile(r"exercise-(\d\d)-(\d+)"), re.compile(r"check-(\d\d)-(\d+)")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def chapters(folder: Path | None = None) -> dict[str, Path]:
    """ "09" -> the chapter's file, in order."""
    return {
        path.name[:2]: path for path in sorted((folder or NOTEBOOKS).glob("*.ipynb")) if CHAPTER.fullmatch(path.name)
    }


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """With one newline at the end, as editors and Jupyter leave it. Raises when the notebook is not a valid one."""
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def exercise_of(cell_id: str, kind: re.Pattern = CHECK) -> str | None:
    """ "check-09-1" -> "09.1"; None for a cell of another kind."""
    match = kind.fullmatch(cell_id)
    return f"{match[1]}.{match[2]}" if match else None


def exercises(notebook: NotebookNode) -> list[str]:
    """The numbers of a chapter's exercises: those that have a check cell."""
    return [name for cell in code_cells(notebook) if (name := exercise_of(cell.id))]


def strip(notebook: NotebookNode) -> NotebookNode:
    """Without outputs, in place."""
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("execution", None)
    return notebook


def execute(path: Path, cwd: Path, seconds: int = 600) -> NotebookNode:
    """The notebook after a run from top to bottom in a fresh kernel, started in ``cwd``; the file stays as it is.

    ``seconds`` is the limit for each cell. Raises nbclient's CellExecutionError at the first cell that fails. Ids and
    source stay; neither times nor the versions of Python and of the kernel are recorded, so that two runs differ in
    their outputs only. No GPU is visible: the outputs shown are those of the practice model on a CPU.
    """
    notebook = strip(read(path))
    options = {"timeout": seconds, "record_timing": False, "coalesce_streams": True}
    # On a busy machine a kernel starts late, and outputs come late: nbclient waits 60 s and 4 s, then drops them.
    options |= {"startup_timeout": seconds, "iopub_timeout": seconds}
    options["extra_arguments"] = ["--log-level=ERROR"]  # the kernel's own remarks are no part of the notebook
    client = NotebookClient(notebook, kernel_name="python3", **options)
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": python_path(path)}
    with tempfile.TemporaryDirectory() as scratch:  # IPython's history and settings: nobody's own
        environment |= {"JPY_SESSION_NAME": str(path), "IPYTHONDIR": scratch}
        client.execute(env=environment, cwd=str(cwd))
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def python_path(chapter: Path) -> str:
    """For a kernel that starts in some other folder: where the setup cell of this chapter finds course.py."""
    here = next((place for place in chapter.resolve().parents if (place / "course.py").is_file()), NOTEBOOKS)
    return os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])


def choose(only: str | None) -> dict[str, Path]:
    """The chapters that ``--only 08,09`` names; all without it. Raises InputError for one that there is not."""
    from gpt2.errors import InputError

    there = chapters()
    if not there:
        raise InputError(f"{NOTEBOOKS} holds no chapters (NN_title.ipynb); start from a whole checkout")
    if not only:
        return there
    names = [name.strip().zfill(2) for name in only.split(",")]
    unknown = [name for name in names if name not in there]
    if unknown:
        raise InputError(f"no chapter {', '.join(unknown)}; there are {', '.join(there)}")
    return {name: there[name] for name in sorted(set(names))}
