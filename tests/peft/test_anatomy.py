"""The anatomy of an update: what has changed, its spectrum, intruder dimensions, and any method as a LoRA."""

import math

import numpy as np
import pytest
import torch

import peft
from gpt2.classifier import add_classification_head, classify
from gpt2.errors import InputError
from peft import anatomy
from peft.anatomy import Change, intruders, rank_of, remove_intruders, to_lora, weight_changes
from peft.files.adapter import CONFIG_FILE, TENSOR_FILE
from peft.files.export import plain

LENGTHS = torch.tensor([9, 4, 6])
MERGEABLE = [name for name, method in peft.METHODS.items() if not method.why_not_mergeable]
IN_PLACE = ("full", "selective")  # change matrices, and have no frozen weight beside them
NO_MATRIX = ("head", "bitfit", "layernorm")
MORE = [name for name, method in peft.METHODS.items() if not method.exportable]


@pytest.fixture
def base(new_model):
    return new_model("language modelling")


@pytest.fixture
def tuned(new_model, randomise):
    """tuned(method, use, **options): every trained number moved; the same base under every use."""

    def tuned(method: str, use: str = "classification", **options):
        model = new_model("language modelling")
        if use == "classification":
            add_classification_head(model, 3)
            torch.nn.init.normal_(model.lm_head.bias)
        return randomise(peft.apply(model, method, **options)).eval()

    return tuned


@pytest.mark.parametrize("method", MERGEABLE)
def test_without_a_base_it_is_what_merging_adds(method, tuned, new_model):
    model, before = tuned(method), new_model("language modelling")
    changes = weight_changes(model)
    assert set(changes) == changed_by_merging(model, before)
    for name, change in changes.items():
        now, then = (m.get_submodule(name).weight.double() for m in (plain(model), before))
        assert torch.equal(change.before, then)
        torch.testing.assert_close(change.delta, now - then, atol=1e-6, rtol=0)


def changed_by_merging(model, before) -> set[str]:
    now = plain(model)
    pairs = {name: (now.get_submodule(name), layer) for name, layer in before.named_modules() if name != "lm_head"}
    matrices = {name: pair for name, pair in pairs.items() if getattr(pair[1], "weight", torch.empty(0)).dim() == 2}
    return {name for name, (new, old) in matrices.items() if not torch.equal(new.weight, old.weight)}


@pytest.mark.parametrize("method", [*IN_PLACE, *MERGEABLE])
def test_with_a_base_it_is_the_difference(method, tuned, base):
    model = tuned(method)
    changes = weight_changes(model, base)
    assert set(changes) == changed_by_merging(model, base)
    for name, change in changes.items():
        now = plain(model).get_submodule(name).weight.double()
        torch.testing.assert_close(change.before + change.delta, now, atol=1e-6, rtol=0)


def test_of_a_quantised_model_the_base_decides_what_counts(tuned, base):
    model = tuned("qlora", rank=2)
    beside, all_in_all = weight_changes(model), weight_changes(model, base)
    name = "h.1.mlp.fc_in"
    lora = model.get_submodule(name).lora
    torch.testing.assert_close(beside[name].delta, lora.delta().detach().double(), atol=1e-7, rtol=1e-6)
    lost = all_in_all[name].delta - beside[name].delta  # what the four bits could not hold
    torch.testing.assert_close(lost, beside[name].before - all_in_all[name].before)
    assert lost.norm() > 0


def test_a_merged_and_a_compiled_model_are_seen_too(tuned, base):
    model = tuned("lora", rank=2)
    expected = weight_changes(model)
    for changes in (
        weight_changes(torch.compile(model, backend="eager")),
        weight_changes(peft.merge(model), base),
    ):
        assert changes.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(changes[name].delta, expected[name].delta, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", [*NO_MATRIX, *MORE])
def test_methods_without_an_update_of_a_matrix_say_so(method, tuned, base):
    said = "has no ΔW to look at: " if method in MORE else "no linear layer or embedding of this model has changed"
    with pytest.raises(InputError, match=said):
        weight_changes(tuned(method), base)


def test_what_is_no_base_is_refused(tuned, base, new_model):
    with pytest.raises(InputError, match="give the pretrained model as base"):
        weight_changes(tuned("full"))
    for other, said in (
        (new_model(), "not a language model without a method"),
        (peft.apply(new_model("language modelling"), "lora"), "not a language model without a method"),
        (new_model("language modelling", "deeper"), "not the model that this one was trained from"),
    ):
        with pytest.raises(InputError, match=said):
            weight_changes(tuned("lora"), other)
    with torch.no_grad():
        base.wpe.weight[0] += 1
    with pytest.raises(InputError, match="not the model that this one was trained from"):
        weight_changes(tuned("lora"), base)


# --- spectrum


def test_a_lora_has_as_many_singular_values_as_its_rank(tuned):
    for change in weight_changes(tuned("lora", rank=3)).values():
        values = change.singular_values
        assert rank_of(values, energy=1.0) == 3 and values[3] < 1e-12 * values[0]


def test_energy_and_effective_rank_by_their_formulas():
    values = torch.tensor([3.0, 2.0, 1.0])
    np.testing.assert_allclose(anatomy.energy_shares(values), [9 / 14, 13 / 14, 1])
    shares = np.array([3, 2, 1]) / 6
    assert anatomy.effective_rank(values) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    assert anatomy.effective_rank(torch.ones(5)) == pytest.approx(5)
    assert anatomy.effective_rank(torch.tensor([2.0, 0.0])) == pytest.approx(1)


def test_the_rank_for_a_share_of_the_energy():
    values = torch.tensor([3.0, 2.0, 1.0, 0.0])  # shares 9/14 = 0.64, 13/14 = 0.93, 1, 1
    assert [rank_of(values, energy=share) for share in (0.5, 0.65, 0.93, 1.0)] == [1, 2, 3, 3]
    assert [rank_of(values, rank=rank) for rank in (1, 3, 4)] == [1, 3, 3]  # a zero is never kept
    for wrong in ({}, {"rank": 1, "energy": 0.5}, {"rank": 0}, {"energy": 0.0}, {"energy": 1.1}):
        with pytest.raises(InputError):
            rank_of(values, **wrong)


# --- intruder dimensions


def orthogonal(n: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q


def test_a_direction_that_pretraining_did_not_know_is_an_intruder():
    """W = U Σ Vᵀ with known U. The update adds, with a large σ, a direction spread evenly over all columns of U."""
    n = 16
    U, V = orthogonal(n), orthogonal(n)
    W = U * torch.linspace(1, 0.1, n, dtype=torch.float64) @ V.T
    new = U.sum(dim=1) / math.sqrt(n)  # cosine 1/4 with every column
    change = Change(W, 5 * torch.outer(new, V.sum(dim=1) / math.sqrt(n)))
    assert intruders(change, top=1, epsilon=0.5) == [0]
    assert intruders(change, top=1, epsilon=0.2) == []
    known = Change(W, 5 * torch.outer(U[:, 3], V[:, 3]))  # makes a known direction stronger
    assert intruders(known, top=n) == []


def test_removing_intruders(tuned, base, tokens):
    model = tuned("lora", rank=1, alpha=60, target_modules="q_proj,fc_in")
    changes, before = weight_changes(model), model(tokens)
    result, found = remove_intruders(model, top=2, epsilon=0.8)
    assert found.keys() == changes.keys() and any(found.values())
    for name, indices in found.items():
        U, values, Vt = np.linalg.svd((changes[name].before + changes[name].delta).numpy(), full_matrices=False)
        values[indices] = 0
        np.testing.assert_allclose(result.get_submodule(name).weight.detach(), U * values @ Vt, atol=1e-5)
    assert torch.equal(model(tokens), before)  # as it was
    whole, _ = remove_intruders(model, top=2, epsilon=0.8, keep=1.0)
    torch.testing.assert_close(whole(tokens), before, atol=1e-4, rtol=1e-4)
    none, nothing = remove_intruders(model, base, epsilon=0.0)
    assert not any(nothing.values())
    torch.testing.assert_close(none(tokens), before, atol=1e-4, rtol=1e-4)


# --- any method as a LoRA

CONVERTED = [*IN_PLACE, *MERGEABLE, "qlora"]


@pytest.mark.parametrize("use", ["classification", "language modelling"])
@pytest.mark.parametrize("method", CONVERTED)
def test_at_full_energy_it_is_the_same_function(method, use, tuned, base, tokens):
    model = tuned(method, use)
    lora = to_lora(model, base, energy=1.0)
    if use == "classification":
        ours, theirs = classify(lora, tokens, LENGTHS), classify(model, tokens, LENGTHS)
    else:
        ours, theirs = lora(tokens), model(tokens)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["full", "dora", "ia3"])
def test_at_a_rank_it_is_the_nearest_update(method, tuned, base):
    model = tuned(method)
    lora = to_lora(model, base, rank=2)
    for name, change in weight_changes(model, base).items():
        U, values, Vt = np.linalg.svd(change.delta.numpy(), full_matrices=False)
        cut = (U[:, :2] * values[:2]) @ Vt[:2]
        layer = lora.get_submodule(name)
        delta = layer.lora.delta().T if name in ("wte", "wpe") else layer.lora.delta()
        np.testing.assert_allclose(delta.detach(), cut, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("use", ["classification", "language modelling"])
@pytest.mark.parametrize("method", CONVERTED)
def test_it_saves_loads_merges_and_trains_as_any_lora(method, use, tuned, base, new_model, tokens, tmp_path):
    lora = to_lora(tuned(method, use), base, energy=0.8)
    peft.save(lora, tmp_path / "one")
    assert '"peft_type": "LORA"' in (tmp_path / "one" / CONFIG_FILE).read_text()
    again = peft.load(new_model("language modelling"), tmp_path / "one").eval()
    torch.testing.assert_close(again(tokens), lora(tokens), atol=1e-5, rtol=1e-5)  # c_attn's zeros are added too
    peft.save(again, tmp_path / "two")
    for file in (CONFIG_FILE, TENSOR_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    torch.testing.assert_close(peft.merge(again)(tokens), lora(tokens), atol=1e-4, rtol=1e-4)
    lora(tokens).square().sum().backward()
    assert all(p.grad is not None for p in peft.trainable_parameters(lora).values())


def test_each_layer_has_the_smallest_rank_for_the_energy(tuned, base):
    model = tuned("full")
    lora = to_lora(model, base, energy=0.7)
    ranks = {name: lora.get_submodule(name).lora.rank for name in weight_changes(model, base)}
    for name, change in weight_changes(model, base).items():
        shares = np.cumsum(np.linalg.svd(change.delta.numpy(), compute_uv=False) ** 2)
        assert ranks[name] == int((shares / shares[-1] < 0.7).sum()) + 1
    assert len(set(ranks.values())) > 1


def test_the_base_stays_as_it_was(tuned, base, new_model):
    to_lora(tuned("full"), base, rank=2)
    fresh = new_model("language modelling").state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in base.state_dict().items())


@pytest.mark.parametrize("method", ["full", "lora", "ia3"])
def test_over_a_base_in_16_bits(method, new_model, base, randomise, tokens):
    """What trains is in float32 there, and stays so."""
    model = add_classification_head(new_model("language modelling").bfloat16(), 3)
    model = randomise(peft.apply(model, method)).eval()
    lora = to_lora(model, base.bfloat16(), energy=1.0)
    assert all(parameter.dtype == torch.float32 for parameter in peft.trainable_parameters(lora).values())
    ours, theirs = (classify(each, tokens, LENGTHS).float() for each in (lora, model))
    assert (ours - theirs).abs().max() < 0.05 < theirs.std()
