"""reproduce_on_gpu.ipynb: it runs without a GPU and says that it is no reproduction; it is no chapter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import course
from data import load_dataset

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
FILE = NOTEBOOKS / "reproduce_on_gpu.ipynb"
BOOK = nbformat.read(FILE, as_version=4)
CODE = {cell.id: cell for cell in BOOK.cells if cell.cell_type == "code"}


@pytest.fixture
def sms() -> None:
    if load_dataset("auto").name != "sms":
        pytest.skip("the SMS collection is not available here")


def copied(folder: Path, source: str) -> str:
    """The source with its results in this folder."""
    return source.replace('"runs/', f'"{folder.as_posix()}/')


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def test_it_asks_for_a_gpu_and_is_stored_without_outputs():
    nbformat.validate(BOOK)
    assert BOOK.metadata.accelerator == "GPU" and BOOK.metadata.colab.gpuType == "T4"
    assert list(CODE) == ["setup", "ladder", "rows", "results"]
    assert not any(cell.outputs or cell.execution_count for cell in CODE.values())
    assert f"/blob/main/notebooks/{FILE.name})" in BOOK.cells[0].source


def test_its_setup_cell_is_the_chapters():
    chapter = nbformat.read(NOTEBOOKS / "01_text_to_tokens.ipynb", as_version=4)
    assert CODE["setup"].source == next(cell.source for cell in chapter.cells if cell.id == "setup")


def test_its_links_lead_somewhere():
    text = "\n".join(cell.source for cell in BOOK.cells if cell.cell_type == "markdown")
    local = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert local and all((NOTEBOOKS / target).exists() for target in local)


def test_it_is_no_chapter(scripts):
    assert FILE not in scripts.files.chapters().values()


def test_without_a_gpu_it_runs_and_says_that_a_stand_in_ran(scripts, sms, tmp_path):
    book = nbformat.from_dict(BOOK)
    for cell in book.cells:
        cell.source = copied(tmp_path / "runs", cell.source)
    nbformat.write(book, tmp_path / FILE.name)
    ran = scripts.files.execute(tmp_path / FILE.name, cwd=tmp_path)
    cells = {cell.id: cell for cell in ran.cells if cell.cell_type == "code"}
    assert "the numbers below are NOT a reproduction" in printed(cells["ladder"])
    assert "got       46.25 45 48.75" in printed(cells["ladder"])
    assert "do not apply to the practice model" in printed(cells["ladder"])
    assert printed(cells["rows"]).count("(training, validation, test)") == 3
    shown = [output.data for output in cells["results"].outputs if "data" in output]
    assert "stand-in" in shown[0]["text/plain"] and "measured" not in shown[0]["text/plain"]
    assert "image/png" in shown[1]
    assert "Nothing can be concluded about the published figures" in shown[2]["text/markdown"]
    assert not any(output.get("name") == "stderr" for cell in cells.values() for output in cell.outputs)


def run_as(model: str, folder: Path, assets: Path) -> str:
    """What the cells print where this model is chosen. No kernel: one plain program."""
    cells = "\n".join(cell.source for cell in CODE.values()).replace('begin("auto")', f'begin("{model}")')
    environment = {"GPT2_PEFT_ASSETS": str(assets), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    environment |= {"HF_HOME": str(folder / "hub")}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    command = [sys.executable, "-c", copied(folder / "runs", cells)]
    done = subprocess.run(command, cwd=NOTEBOOKS, env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_a_wrong_weights_file_gets_one_line_from_each_cell(sms, tmp_path):
    from data.sms_spam import find_file

    for name in ("gpt2", "sms-spam"):
        (tmp_path / name).mkdir()
    shutil.copy(find_file(), tmp_path / "sms-spam")
    (tmp_path / "gpt2" / "model.safetensors").write_bytes(b"half a download")
    text = run_as("gpt2", tmp_path, tmp_path)
    assert "Model: gpt2, as you chose." in text
    wrong = [line for line in text.splitlines() if "model.safetensors is a truncated or corrupt" in line]
    assert len(wrong) == 2 and all("download or save it again" in line for line in wrong)  # the ladder, and the rows
    assert "no finished run to report on" in text or "holds no reproduction" in text
    assert "Traceback" not in text


def test_without_weights_and_network_the_first_cell_says_so(tmp_path):
    text = run_as("gpt2", tmp_path, tmp_path)
    assert text.startswith("gpt2 is not on this machine and cannot be downloaded") and text.count("\n") == 1


@pytest.fixture
def script(monkeypatch, tmp_path):
    """script(code): a command of this code, in a folder that stands in for the repository."""
    monkeypatch.setattr(course, "ROOT", tmp_path)
    return lambda code: (tmp_path / "said.py").write_text(code, encoding="utf-8")


def test_a_command_shows_what_it_prints_in_order_and_raises_nothing(script, capsys):
    script("import sys\nprint('1 €')\nprint('error: two', file=sys.stderr)\nprint(sys.argv[1:])\nsys.exit(2)")
    assert course.command("said.py", "--seeds", 3, "a b") is None
    shown = "$ python said.py --seeds 3 'a b'\n1 €\nerror: two\n['--seeds', '3', 'a b']\n"
    assert capsys.readouterr().out == shown


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
def test_an_interrupted_command_is_asked_to_end_and_may_say_a_last_word(script, monkeypatch, capsys):
    script(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('interrupted'))\n"
        "print('started')\ntime.sleep(60)"
    )
    show = print

    def interrupt(*words, **options):
        show(*words, **options)
        if words[0] == "started\n":
            raise KeyboardInterrupt

    monkeypatch.setattr(course, "print", interrupt, raising=False)
    monkeypatch.setattr(course, "SECONDS_TO_END", 0.1)
    with pytest.raises(KeyboardInterrupt):
        course.command("said.py")
    assert capsys.readouterr().out.endswith("started\ninterrupted\n")
