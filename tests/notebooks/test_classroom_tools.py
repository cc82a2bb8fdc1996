"""What students get, and how chapters are run again."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell


def test_the_handout_has_everything_but_answers(tiny, scripts, tmp_path, capsys):
    chapter = tiny.notebooks / "01_tiny.ipynb"
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="0.25")]
    nbformat.write(notebook, chapter)
    out = tmp_path / "week-1"
    assert tiny.call("classroom", "handout", out) == 0
    assert capsys.readouterr().out.startswith("1 chapter, with its checks")
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"notebooks/01_tiny.ipynb", "notebooks/course.py", "notebooks/checks/chapter_01.py"} <= files
    assert {"gpt2/model.py", "gpt2/practice/model.safetensors", "peft/lora.py", "requirements.txt"} <= files
    assert not [name for name in files if "solutions" in name or "wrong" in name or "__pycache__" in name]
    handed_out = nbformat.read(out / "notebooks" / "01_tiny.ipynb", as_version=4)
    assert [cell.id for cell in handed_out.cells] == [cell.id for cell in notebook.cells]
    assert not any(cell.get("outputs") for cell in handed_out.cells)
    ran = scripts.files.execute(out / "notebooks" / "01_tiny.ipynb", cwd=tmp_path)
    assert ran.cells[4].outputs[0].text.startswith("01.1  not yet")

    assert tiny.call("classroom", "handout", out) == 2
    assert capsys.readouterr().err == f"error: {out} exists; name a new folder\n"


def test_a_handout_is_whole_or_not_at_all(tiny, tmp_path, capsys):
    (tiny.notebooks / "checks" / "chapter_01.py").unlink()
    assert tiny.call("classroom", "handout", tmp_path / "new" / "week-1") == 2
    assert "cannot write" in capsys.readouterr().err
    assert not list((tmp_path / "new").iterdir())
    assert tiny.call("classroom", "handout", tmp_path / "week-2", "--only", "01,12") == 2
    assert capsys.readouterr().err == "error: no chapter 12; there are 01\n"


def test_refresh_stores_outputs_and_nothing_else(tiny, scripts, capfd):
    chapter, solution = tiny.notebooks / "01_tiny.ipynb", tiny.notebooks / "solutions" / "01_tiny.ipynb"
    (tiny.notebooks / "README.md").write_text("| [01 Tiny](01_tiny.ipynb) | little | – | 99 | – |\n", encoding="utf-8")
    before = nbformat.read(chapter, as_version=4)
    assert tiny.call("refresh") == 0
    after = nbformat.read(chapter, as_version=4)
    assert [(cell.id, cell.source) for cell in after.cells] == [(cell.id, cell.source) for cell in before.cells]
    texts = ["".join(out.get("text", "") for out in cell.get("outputs", [])) for cell in after.cells]
    assert texts[2] == "0.25\n" and texts[4].startswith("01.1  not yet")
    assert not any(cell.metadata for cell in after.cells)
    assert after.metadata == scripts.files.METADATA
    assert "01.3  right" in solution.read_text(encoding="utf-8")
    readme = (tiny.notebooks / "README.md").read_text(encoding="utf-8")
    assert readme == "| [01 Tiny](01_tiny.ipynb) | little | – | 3 | 2 |\n"

    stored = chapter.read_bytes()
    assert tiny.call("refresh", "--only", "1") == 0
    assert chapter.read_bytes() == stored  # again: the same file
    assert capfd.readouterr().err == ""  # the kernel's remarks too


def test_refresh_stores_no_outputs_from_other_data(tiny, scripts, monkeypatch, capsys):
    monkeypatch.setattr(scripts.refresh, "sms_data", lambda: False)
    stored = (tiny.notebooks / "01_tiny.ipynb").read_bytes()
    assert tiny.call("refresh") == 2
    assert "the SMS collection is not available here" in capsys.readouterr().err
    assert (tiny.notebooks / "01_tiny.ipynb").read_bytes() == stored


@pytest.mark.parametrize(
    "source, words", [("1 / 0", "ZeroDivisionError"), ("import sys; sys.stderr.write('x')", "writes to standard error")]
)
def test_refresh_leaves_a_failing_notebook_as_it_was(tiny, capsys, source, words):
    chapter = tiny.notebooks / "01_tiny.ipynb"
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells.append(new_code_cell(source, id="bad"))
    nbformat.write(notebook, chapter)
    (tiny.notebooks / "solutions" / "01_tiny.ipynb").unlink()
    stored = chapter.read_bytes()
    assert tiny.call("refresh") == 1
    error = capsys.readouterr().err
    assert "01_tiny.ipynb: left as it was: " in error and words in error
    assert chapter.read_bytes() == stored
