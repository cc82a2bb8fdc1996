"""torch.compile puts ``_orig_mod.`` into names: no file, fingerprint or list of parameters may show it."""

import pytest
import torch

import peft
from gpt2.checkpoints.fingerprints import fingerprint
from gpt2.checkpoints.weights import save_gpt2
from gpt2.training.batching import MessageBatches
from gpt2.training.finetune import finetune, make_optimizer
from gpt2.training.recipe import Recipe
from gpt2.training.runs import load_state, save_state
from peft.files.adapter import CONFIG_FILE, TENSOR_FILE


def compiled(model, what: str):
    """Compiled as a whole, or block by block; the compiler itself is not needed here."""
    if what == "the model":
        return torch.compile(model, backend="eager")
    for i, block in enumerate(model.h):
        model.h[i] = torch.compile(block, backend="eager")
    return model


every_part = pytest.mark.parametrize("what", ["the model", "its blocks"])


@every_part
@pytest.mark.parametrize("method", peft.METHODS)
def test_the_file_is_that_of_the_uncompiled_model(method, what, new_model, randomise, tokens, tmp_path):
    model = randomise(peft.apply(new_model(), method))
    peft.save(model, tmp_path / "plain")
    names, expected = peft.trainable_parameters(model).keys(), model(tokens)
    model = compiled(model, what)
    assert peft.trainable_parameters(model).keys() == names
    peft.save(model, tmp_path / "compiled")
    for file in (CONFIG_FILE, TENSOR_FILE):
        assert (tmp_path / "compiled" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()
    assert torch.equal(peft.load(new_model(), tmp_path / "compiled")(tokens), expected)


@every_part
def test_load_apply_and_merge_on_a_compiled_model(what, new_model, randomise, tokens, tmp_path):
    model = randomise(peft.apply(new_model(), "lora"))
    peft.save(model, tmp_path)
    other = compiled(new_model(), what)
    assert peft.load(other, tmp_path) is other
    torch.testing.assert_close(other(tokens), model(tokens))
    torch.testing.assert_close(peft.merge(other)(tokens), model(tokens), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(peft.unmerge(other)(tokens), model(tokens))
    assert peft.apply(compiled(new_model(), what), "ia3").peft.method == "ia3"


@every_part
def test_exports_and_checkpoints(what, new_model, randomise, tmp_path):
    model = randomise(peft.apply(new_model(), "lora"))
    base = new_model("language modelling")
    assert fingerprint(compiled(new_model(), what)) == fingerprint(new_model())
    peft.export(model, tmp_path / "plain")
    peft.export(compiled(model, what), tmp_path / "compiled")
    save_gpt2(base, tmp_path / "base")
    save_gpt2(compiled(base, what), tmp_path / "base compiled")
    for one, other in (("plain", "compiled"), ("base", "base compiled")):
        for file in ("config.json", "model.safetensors"):
            assert (tmp_path / one / file).read_bytes() == (tmp_path / other / file).read_bytes()


@every_part
def test_an_interrupted_run_resumes_compiled_or_not(what, new_model, tokens, tmp_path):
    recipe, batches = Recipe(lr=1e-2, epochs=1), MessageBatches([[1, 2, 3], [4, 5, 6]] * 2, [0, 1] * 2, 2)
    trained = compiled(peft.apply(new_model(), "lora"), what)
    optimizer = make_optimizer(trained, recipe)
    progress = finetune(trained, batches, batches, recipe, torch.device("cpu"), optimizer=optimizer)
    save_state(tmp_path / "state", trained, optimizer, progress)
    for model in (peft.apply(new_model(), "lora"), compiled(peft.apply(new_model(), "lora"), what)):
        stood = load_state(tmp_path / "state", model, make_optimizer(model, recipe))
        finetune(model, batches, batches, recipe, torch.device("cpu"), progress=stood)  # restores the best epoch
        torch.testing.assert_close(model.eval()(tokens), trained.eval()(tokens))
