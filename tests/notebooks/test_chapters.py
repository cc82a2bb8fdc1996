"""Every chapter and every solution runs from top to bottom, and shows what it promises.

Each notebook is run once, in a fresh kernel, away from its folder; all tests look at that one run. Chapters 01 and 15
are run as students have them, in a hand-out of these two. A new chapter is found by its file. Cells tagged "timing" may
print other numbers each time.
"""

import functools
import json
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.kernels import at_once

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
RIGHT, WRONG = (Path(__file__).parent / kind for kind in ("right", "wrong"))
EXPECTED = (
    "01_text_to_tokens 02_attention 03_the_whole_gpt2 04_pretrained_weights 05_asking_for_a_verdict 06_head_surgery "
    "07_data_done_right 08_selective_finetuning 09_lora 10_lora_family 11_adapters 12_prompts_and_prefixes 13_ia3 "
    "14_four_bits 15_the_comparison 16_many_adapters 17_pretraining 18_another_network "
    "19_teaching_it_to_write 20_choosing_a_rank"
).split()
NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:e[+-]?\d+)?")


CHAPTERS = [path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]
SOLVED = [path for path in sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))]
HANDED_OUT = [path for path in CHAPTERS if path.name[:2] in ("01", "15")]


def label(path: Path) -> str:
    """By it, all tests of a chapter get into one process (tests/conftest.py), so that none runs twice."""
    return path.relative_to(NOTEBOOKS).with_suffix("").as_posix()


chapters = pytest.mark.parametrize("path", CHAPTERS, ids=label)
solutions = pytest.mark.parametrize("path", SOLVED, ids=label)
both = pytest.mark.parametrize("path", CHAPTERS + SOLVED, ids=label)


@functools.cache
def committed(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module", autouse=True)
def kernels():
    with at_once():
        yield


@functools.cache
def fresh(path: Path) -> nbformat.NotebookNode | Exception:
    """The notebook after a run in some other folder, or what stopped it. Once in a session."""
    from tools.files import execute
    from tools.handout import hand_out

    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            if path in HANDED_OUT:
                course = Path(elsewhere) / "course"
                hand_out(course, {handed.name[:2]: handed for handed in HANDED_OUT})
                path = course / "notebooks" / path.name
            return execute(path, cwd=Path(elsewhere))
        except Exception as error:  # noqa: BLE001 - the first test of the notebook tells it
            return error


def run(path: Path) -> nbformat.NotebookNode:
    result = fresh(path)
    if isinstance(result, Exception):
        pytest.fail(f"{path.name} does not run: {result}", pytrace=False)
    return result


def code(notebook: nbformat.NotebookNode) -> dict[str, nbformat.NotebookNode]:
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def text(cell: nbformat.NotebookNode) -> str:
    """What a cell printed and showed, as plain text; pictures are left out."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        parts.append(output.get("text", "") or ("" if "image/png" in data else data.get("text/plain", "")))
    return "\n".join(parts)


def exercises(notebook: nbformat.NotebookNode) -> list[str]:
    return [name[len("check-") :].replace("-", ".") for name in code(notebook) if name.startswith("check-")]


def test_all_chapters_are_here():
    missing = [f"notebooks/{name}.ipynb" for name in EXPECTED if not (NOTEBOOKS / f"{name}.ipynb").is_file()]
    for path in CHAPTERS:
        needed = (
            NOTEBOOKS / "solutions" / path.name,
            NOTEBOOKS / "checks" / f"chapter_{path.name[:2]}.py",
            WRONG / f"chapter_{path.name[:2]}.py",
            RIGHT / f"chapter_{path.name[:2]}.py",
        )
        missing += [file.relative_to(ROOT).as_posix() for file in needed if not file.is_file()]
    assert not missing, "not here yet: " + ", ".join(missing)
    assert {path.stem for path in CHAPTERS + SOLVED} <= set(EXPECTED)


@both
def test_it_runs_without_an_error_or_a_warning(path):
    for cell in code(run(path)).values():
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {cell.id}: {output.evalue}"
            assert output.get("name") != "stderr", f"cell {cell.id} writes to standard error: {output.text}"
        assert not re.search(r"\w*Warning\b:", text(cell)), f"cell {cell.id} shows a warning: {text(cell)}"


@both
def test_committed_outputs_are_those_of_a_fresh_run(path):
    if not sms_data():
        pytest.skip("the outputs shown are from the SMS collection, which is not available here")
    now, wrong = code(run(path)), []
    for name, cell in code(committed(path)).items():
        if "timing" in cell.metadata.get("tags", []):
            continue
        shown, measured = NUMBER.findall(text(cell)), NUMBER.findall(text(now[name]))
        if bool(cell.outputs) != bool(now[name].outputs) or len(shown) != len(measured):
            wrong.append(f"cell {name} shows\n{text(cell)[:500]}\nbut prints now\n{text(now[name])[:500]}")
        wrong += [f"cell {name}: {a}, now {b}" for a, b in zip(shown, measured, strict=False) if not close(a, b)]
    assert not wrong, "run notebooks/tools/refresh.py\n" + "\n".join(wrong)


def close(shown: str, measured: str) -> bool:
    """Within 5 %, or 0.02 (an integer: 2). Another processor rounds differently, and training carries that further."""
    a, b = (float(number.replace(",", "")) for number in (shown, measured))
    return abs(a - b) <= max(0.05 * abs(a), 2 if shown.lstrip("-").isdecimal() else 0.02)


@functools.cache
def sms_data() -> bool:
    from data import load_dataset

    return load_dataset("auto").name == "sms"


def verdicts(notebook: nbformat.NotebookNode) -> list[str]:
    """What each check cell shows, whole."""
    return [text(cell) for name, cell in code(notebook).items() if name.startswith("check-")]


@chapters
def test_stubs_are_found_wrong(path):
    for notebook in (run(path), committed(path)):
        for name, verdict in zip(exercises(notebook), verdicts(notebook), strict=True):
            assert re.fullmatch(rf"{name}  not yet: .+\n", verdict)


@pytest.mark.parametrize("path", HANDED_OUT, ids=label)
def test_chapters_run_in_a_hand_out(path):
    """15 reads the repository's results, and crashed where these were left out."""
    assert any("  not yet: " in verdict for verdict in verdicts(run(path)))


@solutions
def test_solutions_are_found_right(path):
    for notebook in (run(path), committed(path)):
        assert verdicts(notebook) == [f"{name}  right\n" for name in exercises(notebook)]


@chapters
def test_typical_wrong_answers_get_a_hint(path, capsys, course_state):
    every = runpy.run_path(str(WRONG / f"chapter_{path.name[:2]}.py"))["WRONG"]
    assert sorted(every) == sorted(exercises(committed(path)))
    check_answer = checker(path)
    for name, answers in every.items():
        assert len(answers) >= 3, f"{name} needs three typical wrong answers"
        for answer in answers:
            capsys.readouterr()
            assert not check_answer(name, answer), f"{name} takes this for right:\n{answer}"
            printed = capsys.readouterr().out
            assert not re.search(r"nothing here yet|NameError|ImportError|SyntaxError", printed), (printed, answer)


@chapters
def test_right_answers_of_other_shapes_are_found_right(path, capsys, course_state):
    every = runpy.run_path(str(RIGHT / f"chapter_{path.name[:2]}.py"))["RIGHT"]
    assert sorted(every) == sorted(exercises(committed(path)))
    check_answer, refused = checker(path), []
    solution = {name: cell.source for name, cell in code(committed(NOTEBOOKS / "solutions" / path.name)).items()}
    for name, answers in every.items():
        assert len(answers) >= 2, f"{name} needs two right answers beside the solution's"
        for answer in [solution[f"exercise-{name.replace('.', '-')}"], *answers]:
            capsys.readouterr()
            if not check_answer(name, answer):
                refused.append(f"{capsys.readouterr().out}{answer}")
    assert not refused, "\n".join(refused)


def checker(path: Path) -> Callable[[str, str], bool]:
    """checker(path)(name, answer): the chapter's verdict on this source of an exercise's cell. What is right must be
    right again from the record that the grader repeats."""
    import course

    cells = code(committed(path))
    start = {"__vsc_ipynb_file__": str(path), "__name__": "__main__"}
    exec(cells["setup"].source, start)  # noqa: S102 - our own
    from tools.replay import record, replayed  # after PyTorch

    def check_answer(name: str, answer: str) -> bool:
        found, space = [], dict(start)
        exec(compile(answer, f"<answer to {name}>", "exec"), space)  # noqa: S102
        space["check"] = lambda *given: found.append(given)
        exec(cells[f"check-{name.replace('.', '-')}"].source, space)  # noqa: S102
        ((_, *answers),) = found
        right = bool(course.check(name, *answers))
        if right and name not in course.INSIDE:
            seen, records = record(tuple(answers))
            assert course.look(name, tuple(seen)) is None
            repeated = course.look(name, tuple(replayed(json.loads(json.dumps(records())))))
            assert repeated is None, f"{name}: right here, but from its record: {repeated}\n{answer}"
        return right

    return check_answer


@pytest.fixture
def course_state(monkeypatch):
    """What a setup cell changes, put back."""
    import torch

    threads = torch.get_num_threads()
    for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    torch.set_num_threads(threads)
