"""A base in 16 bits: what trains is float32, a step gives no NaN, and files travel between a base and its copy."""

import pytest
import torch

import peft
from gpt2.classifier import classify
from gpt2.errors import InputError

every_method = pytest.mark.parametrize("method", peft.METHODS)
every_precision = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
LENGTHS = torch.tensor([9, 4, 6])


@every_method
@every_precision
def test_what_trains_is_float32_and_a_step_gives_numbers(method, dtype, new_model, tokens):
    model = peft.apply(new_model().to(dtype), method).train()
    trained = peft.trainable_parameters(model).values()
    assert {p.dtype for p in trained} == {torch.float32}
    before = [p.detach().clone() for p in trained]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        logits = classify(model, tokens, LENGTHS)
        assert logits.dtype == dtype  # the residual stream keeps the precision of the base
        torch.nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    assert all(p.isfinite().all() for p in trained)
    assert any(not torch.equal(p, old) for p, old in zip(trained, before, strict=True))
    assert classify(model.eval(), tokens, LENGTHS).isfinite().all()


@every_method
def test_a_language_model_in_16_bits(method, new_model, tokens):
    if method == "head":
        return
    model = peft.apply(new_model("language modelling").bfloat16(), method).train()
    optimizer = torch.optim.AdamW(peft.trainable_parameters(model).values(), lr=1e-2)
    model(tokens).float().logsumexp(-1).mean().backward()
    optimizer.step()
    assert model.eval()(tokens).isfinite().all()


@every_method
def test_an_adapter_travels_to_the_copy_in_16_bits_and_back(method, new_model, randomise, tokens, tmp_path):
    model = randomise(peft.apply(new_model(), method), std=0.02)
    peft.save(model, tmp_path / "one")
    half = peft.load(new_model().bfloat16(), tmp_path / "one")
    assert {p.dtype for p in peft.trainable_parameters(half).values()} == {torch.float32}
    torch.testing.assert_close(half(tokens).float(), model(tokens), atol=0.5, rtol=0.1)
    peft.save(half, tmp_path / "two")
    back = peft.load(new_model(), tmp_path / "two")
    expected = peft.trainable_parameters(model if method not in ("p-tuning", "prefix", "mam") else back)
    for name, parameter in peft.trainable_parameters(back).items():
        assert torch.equal(parameter, expected[name]), name
    again = peft.load(new_model().bfloat16(), tmp_path / "two")
    assert torch.equal(again(tokens), half(tokens))


def test_another_base_in_16_bits_is_refused(new_model, tmp_path):
    peft.save(peft.apply(new_model(), "lora"), tmp_path)
    other = new_model().bfloat16()
    with torch.no_grad():
        other.wpe.weight[0, 0] += 1
    with pytest.raises(InputError, match="another base model"):
        peft.load(other, tmp_path)


@pytest.mark.parametrize("method", ["lora", "dora", "dylora", "minlora", "ia3"])
@every_precision
def test_merged_into_16_bits(method, dtype, new_model, randomise, tokens):
    model = randomise(peft.apply(new_model().to(dtype), method))
    before = model(tokens)
    peft.merge(model)
    assert {p.dtype for name, p in model.named_parameters() if not name.startswith("lm_head")} == {dtype}
    torch.testing.assert_close(model(tokens), before, atol=0.2, rtol=0.1)
    assert torch.equal(peft.unmerge(model)(tokens), before)


@pytest.mark.parametrize("method", ["lora", "head", "qlora"])
def test_an_export_is_in_float32(method, new_model, tmp_path):
    from safetensors.torch import load_file

    peft.export(peft.apply(new_model().bfloat16(), method), tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}
