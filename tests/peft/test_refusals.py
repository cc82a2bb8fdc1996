"""Refused means unchanged: after any refusal every tensor, module and requires_grad is as before."""

import json

import pytest
import torch
from torch import nn

import peft
from gpt2.errors import InputError
from peft.files.adapter import CONFIG_FILE, TENSOR_FILE

REFUSED = [
    ("mam", {"nonlinearity": "zzz"}),  # after its prefix is in place
    ("lora", {"modules_to_save": "typo"}),
    ("lora", {"rank": 0}),
    ("lora", {"init": "zzz"}),
    ("lora", {"layers_to_transform": "7"}),
    ("minlora", {"modules_to_save": "typo"}),
    ("dora", {"scaling": "zzz"}),
    ("qlora", {"bits": 3}),
    ("adapter", {"bottleneck": 0}),
    ("prompt", {"modules_to_save": "typo"}),
    ("prefix", {"prefix_hidden": -1}),
    ("ia3", {"modules_to_save": "typo"}),
    ("selective", {"blocks": 9}),
    ("zzz", {}),
    ("lora", {"zzz": 1}),
]


def snapshot(model: nn.Module) -> dict:
    """All that should be as before: which objects stand where, and what they hold."""
    return {
        "modules": [(name, id(module), type(module), module.training) for name, module in model.named_modules()],
        "parameters": [(name, id(p), p.requires_grad, p.data_ptr(), p.dtype) for name, p in model.named_parameters()],
        "values": [p.detach().clone() for p in model.parameters()],
        "buffers": [name for name, _ in model.named_buffers()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
    }


def assert_unchanged(model: nn.Module, before: dict) -> None:
    after = snapshot(model)
    values = zip(before.pop("values"), after.pop("values"), strict=True)
    assert after == before
    for old, new in values:
        torch.testing.assert_close(old, new, atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize("method, options", REFUSED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_refused_apply(method, options, dtype, new_model, tokens):
    model = new_model().to(dtype)
    before, logits = snapshot(model), model(tokens)
    with pytest.raises(InputError) as refused:
        peft.apply(model, method, **options)
    assert "\n" not in str(refused.value)
    assert_unchanged(model, before)
    assert (
        torch.equal(peft.apply(model, "bitfit")(tokens), logits) or dtype != torch.float32
    )  # and the next is accepted


@pytest.mark.parametrize("method", peft.METHODS)
@pytest.mark.parametrize("damage", ["cut off", "not a number", "another tensor"])
def test_a_refused_load(method, damage, new_model, randomise, tmp_path):
    from safetensors.torch import load_file, save_file

    peft.save(randomise(peft.apply(new_model(), method)), tmp_path)
    file = tmp_path / TENSOR_FILE
    tensors = load_file(file)
    last = max(tensors)
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:-4])
    else:
        changed = torch.full_like(tensors[last], torch.nan) if damage == "not a number" else torch.zeros(7, 7, 7)
        save_file(tensors | {last: changed}, file)
    model = new_model()
    before = snapshot(model)
    with pytest.raises(InputError):
        peft.load(model, tmp_path)
    assert_unchanged(model, before)


def test_a_refused_load_of_hugging_faces(new_model, tmp_path):
    peft.save(peft.apply(new_model(), "lora"), tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    for name in ("method", "options", "num_classes"):
        del config[name]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config | {"rank_pattern": {}}))
    model = new_model()
    before = snapshot(model)
    with pytest.raises(InputError, match="rank"):
        peft.load(model, tmp_path)
    assert_unchanged(model, before)


def test_a_second_load_says_what_is_wrong(new_model, tmp_path):
    peft.save(peft.apply(new_model(), "lora"), tmp_path)
    model = peft.load(new_model(), tmp_path)
    with pytest.raises(InputError, match="already carries 'lora'"):
        peft.load(model, tmp_path)


def test_a_refused_merge(new_model, randomise):
    model = randomise(peft.apply(new_model(), "lora"))
    with torch.no_grad():
        model.h[1].mlp.fc_out.lora.B[0, 0] = torch.nan
    before = snapshot(model)
    with pytest.raises(InputError, match=r"h\.1\.mlp\.fc_out.*NaN or infinite"):
        peft.merge(model)
    assert_unchanged(model, before)


@pytest.mark.parametrize("method", ["lora", "dora", "minlora", "ia3"])
def test_a_model_that_is_cast_while_merged_is_cast_as_a_whole(method, new_model, randomise, tokens):
    model = randomise(peft.apply(new_model(), method))
    expected = randomise(peft.apply(new_model(), method)).double()
    peft.unmerge(peft.merge(model).double())
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert torch.equal(model(tokens), expected(tokens))
    peft.unmerge(peft.merge(model).bfloat16())
    assert {p.dtype for p in peft.trainable_parameters(model).values() if "lora" in method} <= {torch.float32}
    assert model(tokens).dtype == torch.bfloat16
    peft.unmerge(peft.merge(model).to("meta"))
    assert {p.device.type for p in model.parameters()} == {"meta"}
