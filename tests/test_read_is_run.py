"""What is read is what runs: the default command executes the very functions that a reader is shown."""

import ast
import sys
from pathlib import Path

import pytest

from gpt2 import classifier, model
from gpt2.model import GPT2, MLP, Block, CausalSelfAttention
from peft.lora import LinearWithLoRA, LoRALayer

ROOT = Path(__file__).parents[1]
SHOWN = [
    (Block, "forward"),
    (CausalSelfAttention, "forward"),
    (MLP, "forward"),
    (GPT2, "hidden_states"),
    (GPT2, "embed"),
    (model, "fused_attention"),
    (LoRALayer, "forward"),
    (LinearWithLoRA, "forward"),
]


class WasCalled(Exception):
    pass


def raise_it(*args, **kwargs):
    raise WasCalled


@pytest.fixture
def table(tmp_path):
    rows = [f"{word} number {i},{label}" for i in range(6) for word, label in (("win", "spam"), ("hello", "ham"))]
    file = tmp_path / "mine.csv"
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    return file


def run(script: str, *arguments, monkeypatch) -> None:
    """The script's main, in this process."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    module = __import__(script)
    module.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("where, name", SHOWN, ids=lambda part: getattr(part, "__name__", part))
def test_the_default_command_runs_what_is_shown(where, name, table, tmp_path, monkeypatch):
    monkeypatch.setattr(where, name, raise_it)
    with pytest.raises(Exception, match="WasCalled") as error:
        run("finetune_spam", "--model", "practice", "--data", table, "--out", tmp_path / "run", monkeypatch=monkeypatch)
    assert "WasCalled" in str(error.value) or isinstance(error.value, WasCalled)


def test_the_default_command_runs_classify(table, tmp_path, monkeypatch):
    from gpt2.training import finetune

    assert finetune.classify is classifier.classify
    monkeypatch.setattr(finetune, "classify", raise_it)
    with pytest.raises(Exception, match="WasCalled"):
        run("finetune_spam", "--model", "practice", "--data", table, "--out", tmp_path / "run", monkeypatch=monkeypatch)


def test_one_loop_over_the_blocks_computes():
    """In gpt2/, blocks are called in one place. Other loops over ``h`` only look at parameters or extension points."""
    callers = []
    for file in sorted((ROOT / "gpt2").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("block", "self.h[i]", "model.h[i]"):
                callers.append(f"{file.relative_to(ROOT).as_posix()}: {ast.unparse(node)}")
    assert len(callers) == 1 and callers[0].startswith("gpt2/model.py: block(x, ")


def test_the_shortest_way_passes_through_four_files(monkeypatch, capsys):
    """From finetune_minimal.py to the product of LoRA: frames that a message passes on its way, the layout's helper
    methods and PyTorch aside."""
    seen = []

    def product(self, x):
        frame = sys._getframe(1)
        while frame:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT) and "tests" not in path.parts and ".venv" not in str(path):
                name = path.relative_to(ROOT).as_posix()
                seen.append(name) if name not in seen else None
            frame = frame.f_back
        raise WasCalled

    monkeypatch.setattr(LoRALayer, "forward", product)
    with pytest.raises(WasCalled):
        run("finetune_minimal", monkeypatch=monkeypatch)
    assert list(reversed(seen)) == [
        "scripts/finetune_minimal.py",
        "gpt2/classifier.py",
        "gpt2/model.py",
        "peft/lora.py",
    ]
