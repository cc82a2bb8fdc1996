"""What holds for every method in METHODS, whichever it is: a new one is tested as soon as it has its line there."""

import fnmatch
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import peft
from gpt2 import load_gpt2
from gpt2.checkpoints.weights import save_gpt2
from gpt2.classifier import add_classification_head, classify
from gpt2.errors import InputError
from peft.adapters import NONLINEARITIES
from peft.files.adapter import CONFIG_FILE, OWN_TYPE, TENSOR_FILE, adapter_tensors
from peft.lora import SCALINGS
from peft.prompt import INITS
from peft.registry import options_of_all

NEEDS_HEAD = {"head"}  # trains nothing else
TRAINED_OF_THE_BASE = {  # besides a classification head; the methods that are not here add parameters, and train those
    "full": lambda name: True,
    "selective": lambda name: name.startswith(("h.1.", "ln_f.")),  # of two blocks
    "bitfit": lambda name: name.endswith("bias"),
    "layernorm": lambda name: ".ln_" in name or name.startswith("ln_f"),
}

USES = ("classification", "language modelling")
CASES = [(method, use) for method in peft.METHODS for use in USES if use == USES[0] or method not in NEEDS_HEAD]

every_method = pytest.mark.parametrize("method", peft.METHODS)
every_use = pytest.mark.parametrize("method, use", CASES)
every_shape = pytest.mark.parametrize("shape", ["small", "deeper", "wider"])


def loss_of(model, tokens, use: str) -> torch.Tensor:
    if use == "classification":
        lengths = torch.tensor([tokens.size(1), 4, 6])
        return torch.nn.functional.cross_entropy(classify(model, tokens, lengths), torch.tensor([0, 1, 2]))
    return torch.nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


@every_use
@every_shape
def test_untrained_output_is_unchanged_where_promised(method, use, shape, new_model, tokens):
    model = new_model(use, shape)
    before = model(tokens)
    after = peft.apply(model, method)(tokens)
    assert after.shape == before.shape
    if peft.METHODS[method].starts_unchanged:
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    else:
        assert (after - before).abs().max() > 1e-4


@every_method
@pytest.mark.parametrize("training", [True, False])
def test_new_modules_are_in_the_models_mode(method, training, new_model):
    model = peft.apply(new_model().train(training), method)
    assert all(module.training == training for module in model.modules())


@every_use
def test_exactly_the_stated_parameters_train(method, use, new_model):
    model = new_model(use)
    base = {id(parameter): name for name, parameter in model.named_parameters()}
    peft.apply(model, method)
    trained = {id(parameter) for parameter in peft.trainable_parameters(model).values()}
    of_the_base = {base[key] for key in trained if key in base}
    stated = {name for name in base.values() if TRAINED_OF_THE_BASE.get(method, lambda name: False)(name)}
    if use == "classification" and not peft.METHODS[method].lora_head:
        stated |= {"lm_head.weight", "lm_head.bias"}
    assert of_the_base == stated
    added = {id(parameter): name for name, parameter in model.named_parameters() if id(parameter) not in base}
    frozen = {name for key, name in added.items() if key not in trained}
    assert all(any(fnmatch.fnmatchcase(name, p) for p in peft.METHODS[method].frozen_saved) for name in frozen)
    assert bool(added) == (peft.METHODS[method].family != "selective")


@every_use
def test_gradients_reach_everything_that_trains_and_nothing_else(method, use, new_model, randomise, tokens):
    model = randomise(peft.apply(new_model(use), method)).train()
    loss_of(model, tokens, use).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


@every_use
def test_training_lowers_the_loss(method, use, new_model, tokens):
    torch.manual_seed(0)
    model = peft.apply(new_model(use), method)
    first = loss_of(model, tokens, use).item()
    optimizer = torch.optim.AdamW(peft.trainable_parameters(model).values(), lr=peft.METHODS[method].lr)
    for _ in range(12):
        optimizer.zero_grad()
        loss_of(model.train(), tokens, use).backward()
        optimizer.step()
    assert loss_of(model.eval(), tokens, use).item() < first


@every_use
@every_shape
def test_merging(method, use, shape, new_model, randomise, tokens):
    model = new_model(use, shape)
    parameters = len(list(model.parameters()))
    randomise(peft.apply(model, method))
    if reason := peft.METHODS[method].why_not_mergeable:
        with pytest.raises(InputError) as refused:
            peft.merge(model)
        assert reason in str(refused.value) and "\n" not in str(refused.value)
        with peft.merged(model):  # an evaluation continues without
            return
    before, weights = model(tokens), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    peft.merge(model)
    torch.testing.assert_close(model(tokens), before, atol=1e-4, rtol=1e-4)
    assert len(list(model.parameters())) == parameters  # plain layers again: no extra cost
    peft.unmerge(model)
    assert torch.equal(model(tokens), before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


@every_use
@every_shape
def test_save_and_load(method, use, shape, new_model, randomise, tokens, tmp_path):
    model = randomise(peft.apply(new_model(use, shape), method))
    peft.save(model, tmp_path / "one")
    loaded = peft.load(new_model(use, shape), tmp_path / "one")
    assert torch.equal(loaded(tokens), model(tokens))
    peft.save(loaded, tmp_path / "two")
    for file in (CONFIG_FILE, TENSOR_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@every_method
def test_a_file_holds_what_trains_and_what_is_declared(method, new_model, tmp_path):
    """A frozen head and ``frozen_saved``; nothing else that is frozen."""
    model, declared = peft.apply(new_model(), method), peft.METHODS[method]
    frozen = {name for name, parameter in adapter_tensors(model).items() if not parameter.requires_grad}
    assert any(name.startswith("lm_head.linear.") or ".original" in name for name in frozen) == declared.lora_head
    own = {name for name in frozen if not name.startswith("lm_head.")}
    assert all(any(fnmatch.fnmatchcase(name, pattern) for name in own) for pattern in declared.frozen_saved)
    peft.save(model, tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert config["peft_type"] == (declared.hugging_face or OWN_TYPE)
    assert config["options"] == {name: field.default for name, field in declared.options.items()}


@every_method
def test_exporting(method, new_model, randomise, tmp_path):
    model = randomise(peft.apply(new_model(), method))
    if peft.METHODS[method].exportable:
        peft.export(model, tmp_path)
        assert (tmp_path / "model.safetensors").exists()  # with which function: tests/parity/test_travel_parity.py
    else:
        with pytest.raises(InputError, match="more than a change of weights"):
            peft.export(model, tmp_path)


@every_method
def test_load_onto_a_base_from_disk(method, new_model, randomise, tokens, tmp_path):
    base = new_model("language modelling")
    save_gpt2(base, tmp_path / "base")
    model = randomise(peft.apply(add_classification_head(load_gpt2(tmp_path / "base")), method))
    peft.save(model, tmp_path / "adapter")
    loaded = peft.load(load_gpt2(tmp_path / "base"), tmp_path / "adapter")  # adds the head, with its saved numbers
    assert torch.equal(loaded(tokens), model(tokens))


@every_method
def test_every_option_has_a_line_of_help(method):
    assert peft.METHODS[method].summary.endswith(".")
    for option in peft.METHODS[method].options:
        assert peft.METHODS[method].help(option), option


@pytest.mark.parametrize("option, choices", [("scaling", SCALINGS), ("nonlinearity", NONLINEARITIES), ("init", INITS)])
def test_help_names_every_choice(option, choices):
    (kind, help_text) = options_of_all()[option]
    assert kind is str and all(choice in help_text for choice in choices)


def test_the_table_needs_no_pytorch():
    code = "import sys, peft; [m.options for m in peft.METHODS.values()]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
