"""check() never raises, says right or wrong in one line, and leaves nothing behind; begin() and show_source()."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import course

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


class Nameless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def leave(*_):
    raise SystemExit(1)


def nameless(*_):
    raise Nameless


def long_and_in_lines(*_):
    raise ValueError("first line\nsecond line " + "x" * 10_000)


def noisy(*_):
    print("noise")
    print("noise", file=sys.stderr)
    warnings.warn("noise", stacklevel=1)
    torch.manual_seed(7)
    torch.set_grad_enabled(False)
    return 6


@pytest.fixture(autouse=True)
def exercise(monkeypatch):
    """Exercise 99.1: a function that gives 6."""
    monkeypatch.setattr(course, "CHECKS", {})
    monkeypatch.setitem(sys.modules, "checks.chapter_99", sys)

    @course.exercise("99.1")
    def six(answer):
        if answer(3) != 6:
            raise course.Wrong("three gives\nsix")


@pytest.mark.parametrize(
    "answer, words",
    [
        (..., "nothing here yet"),
        (None, "nothing here yet"),
        (lambda x: x, "not yet: three gives six"),
        (7, "TypeError"),
        (leave, "SystemExit"),
        (nameless, "cannot be shown"),
        (long_and_in_lines, "ValueError: first line second line xxx"),
    ],
)
def test_wrong_answers_get_one_line(capsys, answer, words):
    assert not course.check("99.1", answer)
    printed = capsys.readouterr().out
    assert printed.startswith("99.1  not yet: ") and words in printed
    assert printed.count("\n") == 1 and len(printed) < 600


@pytest.mark.parametrize("name", ["99.7", "77.1", "", "x", 9.1, None])
def test_an_exercise_that_does_not_exist(capsys, name):
    assert not course.check(name, 1)
    assert "no such exercise" in capsys.readouterr().out


def test_a_check_leaves_no_trace(capsys, recwarn):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert course.check("99.1", noisy)
    assert torch.equal(torch.rand(3), expected) and torch.is_grad_enabled()
    assert capsys.readouterr() == ("99.1  right\n", "") and not recwarn


def test_the_practice_model_and_one_that_is_missing(capsys, monkeypatch):
    threads = torch.get_num_threads()
    try:
        assert course.begin("practice") == ("practice", torch.device("cpu"))
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr().out.startswith("Model: practice, the bundled small GPT-2 (")
    with pytest.raises(SystemExit, match="no model 'nowhere'"):
        course.begin("nowhere")
    monkeypatch.setattr(course, "_installed", lambda name: name != "pandas")
    with pytest.raises(SystemExit, match="Not installed: pandas. Run: pip install -r "):
        course.begin("practice")


def test_show_source_names_the_file_and_line(capsys):
    from gpt2 import get_tokenizer
    from peft.lora import LoRALayer

    course.show_source(LoRALayer)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("# peft/lora.py, line ") and second == "class LoRALayer(nn.Module):"
    course.show_source(get_tokenizer)  # decorated: wrapped by another module's code
    first, _, third, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("# gpt2/tokenizer.py, line ") and third.startswith("def get_tokenizer(")


def test_it_works_from_any_folder(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(NOTEBOOKS)!r}); from course import check; check('01.1', ...)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("01.1  not yet"), done
