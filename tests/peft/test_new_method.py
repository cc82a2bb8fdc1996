"""A new method is one file (vera_example.py), its options and one entry in the table. Nothing else is touched here."""

import importlib
from dataclasses import dataclass

import pytest
import torch

import peft
from peft.files.adapter import adapter_tensors
from peft.options import Options, option
from tests.peft import test_every_method as every


@dataclass(frozen=True, kw_only=True)
class VeRAOptions(Options):
    rank: int = option(6, "width of the shared random matrices")
    d_initial: float = option(0.1, "start of d")
    target_modules: str = option("all", "layers to change")


VERA = peft.Method(
    "tests.peft.vera_example:vera",
    VeRAOptions,
    "Vectors that scale random matrices, which all layers share.",
    lr=1e-2,
    family="reparametrised",
    lora_head=True,
    frozen_saved=("*.vera_A", "*.vera_B"),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(peft.METHODS, "vera", VERA)


def test_it_is_what_it_declares(new_model, randomise, tokens, tmp_path):
    """The tests that every method passes: declarations, merging, files, export."""
    use = "classification"
    every.test_untrained_output_is_unchanged_where_promised("vera", use, "small", new_model, tokens)
    every.test_exactly_the_stated_parameters_train("vera", use, new_model)
    every.test_gradients_reach_everything_that_trains_and_nothing_else("vera", use, new_model, randomise, tokens)
    every.test_training_lowers_the_loss("vera", use, new_model, tokens)
    every.test_merging("vera", use, "small", new_model, randomise, tokens)
    every.test_save_and_load("vera", use, "small", new_model, randomise, tokens, tmp_path / "a")
    every.test_a_file_holds_what_trains_and_what_is_declared("vera", new_model, tmp_path / "b")
    every.test_exporting("vera", new_model, randomise, tmp_path / "c")
    every.test_every_option_has_a_line_of_help("vera")


def test_the_shared_matrices_are_saved_once_and_stay_shared(new_model, tmp_path):
    model = peft.apply(new_model(), "vera", rank=4, target_modules="q_proj,v_proj")
    trained = peft.trainable_parameters(model)
    assert {name.rsplit(".", 1)[-1] for name in trained} == {"b", "d"}
    saved = adapter_tensors(model)
    assert sum(name.endswith(("vera_A", "vera_B")) for name in saved) == 2
    peft.save(model, tmp_path)
    torch.manual_seed(99)  # the random numbers come from the file
    first, second = (block.attn.v_proj for block in peft.load(new_model(), tmp_path).h)
    assert torch.equal(first.vera_A, model.h[0].attn.v_proj.vera_A) and first.vera_A is second.vera_A
    assert not first.vera_A.requires_grad and first.d.requires_grad


def test_the_command_line_takes_its_options():
    parse = importlib.import_module("finetune_spam").parse
    args, options = parse(["--method", "vera", "--rank", "3", "--d-initial", "0.5"])
    assert args.method == "vera" and options == {"rank": 3, "d_initial": 0.5}
