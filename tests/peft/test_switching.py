"""Many adapters over one base: switching, batches of mixed rows, sums."""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import peft
from gpt2 import GPT2, generate
from gpt2.beams import beam_search
from gpt2.classifier import add_classification_head, classify
from gpt2.errors import InputError
from peft.dylora import set_rank
from peft.files.adapter import adapter_tensors
from peft.merging import to_plain
from peft.per_row import LoRAPerRow
from peft.switching import over

LENGTHS = torch.tensor([9, 4, 6])


@pytest.fixture
def base(new_model):
    return new_model("language modelling")


@pytest.fixture
def adapters(base, randomise, tmp_path):
    """adapters(name=(method, classes, options), …): trained over the base, saved, and loaded side by side."""

    def adapters(**wanted) -> peft.Adapters:
        result = peft.Adapters(base)
        for i, (name, (method, classes, options)) in enumerate(wanted.items()):
            torch.manual_seed(i)
            model = over(base)
            if classes:
                add_classification_head(model, classes)
            peft.apply(model, method, **options)
            for parameter in peft.trainable_parameters(model).values():
                parameter.data = parameter.data + torch.randn(parameter.shape) * 0.1  # new memory: the base is shared
            peft.save(model, tmp_path / name)
            result.add(name, tmp_path / name)
        return result

    return adapters


LORAS = {"spam": ("lora", 2, {"rank": 3}), "topics": ("rslora", 4, {"rank": 2, "target_modules": "q_proj,fc_in"})}


def test_switching(base, adapters, new_model, tokens, tmp_path):
    both = adapters(**LORAS, whole=("full", 3, {}), prefix=("p-tuning-v2", 2, {}), four=("qlora", 2, {}))
    for name in both.models:
        alone = peft.load(new_model("language modelling"), tmp_path / name).eval()
        assert torch.equal(classify(both.set_adapter(name), tokens, LENGTHS), classify(alone, tokens, LENGTHS))
    fresh = new_model("language modelling").state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in base.state_dict().items())


def test_the_base_is_in_memory_once(base, adapters):
    both = adapters(**LORAS)
    ours = {p.data_ptr() for p in base.parameters()}
    for model in both.models.values():
        added = sum(p.numel() for p in model.parameters() if p.data_ptr() not in ours)
        assert added == sum(p.numel() for p in adapter_tensors(model).values())


class NoOperation(TorchDispatchMode):
    """Any operation on a tensor is an error."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        raise AssertionError(f"a switch runs {operation}")


def test_a_switch_computes_nothing(adapters):
    both = adapters(**LORAS)
    with NoOperation():
        models = [both.set_adapter(name) for name in ("topics", "spam", "topics")]
    assert models[0] is models[2] is both.models["topics"] and models[1] is both.models["spam"]


MIXTURES = [
    {"a": ("lora", 2, {"rank": 3}), "b": ("lora", 2, {"rank": 5, "target_modules": "v_proj,fc_out"})},
    LORAS,
    {"a": ("lora", 2, {}), "b": ("dora", 3, {}), "c": ("ia3", 2, {})},
    {"a": ("adapter", 2, {}), "b": ("adapter-parallel", 2, {}), "c": ("bitfit", 4, {})},
    {"a": ("minlora", 2, {}), "b": ("qlora", 2, {}), "c": ("head", 2, {})},
    {"a": ("prompt", 2, {"virtual_tokens": 4}), "b": ("p-tuning", 3, {"virtual_tokens": 4})},
    {"a": ("p-tuning-v2", 2, {}), "b": ("prefix", 2, {}), "c": ("mam", 2, {"virtual_tokens": 20})},
]


@pytest.mark.parametrize("mixture", MIXTURES, ids=lambda m: "-".join(method for method, *_ in m.values()))
def test_rows_of_one_batch(mixture, adapters, tokens):
    both, names = adapters(**mixture), list(mixture)
    for rows in ([names[1], names[0], names[1]], [names[-1]] * 3, (names * 3)[:3]):
        logits = classify(both.mix(rows), tokens, LENGTHS)
        for i, name in enumerate(rows):
            alone = classify(both.set_adapter(name), tokens[i : i + 1], LENGTHS[i : i + 1])[0]
            torch.testing.assert_close(logits[i, : len(alone)], alone, atol=1e-5, rtol=1e-5)
            assert (logits[i, len(alone) :] == float("-inf")).all()


def test_lora_rows_share_the_product_with_the_base(adapters):
    model = adapters(**LORAS).mix(["spam", "topics"])
    grouped = {name for name, module in model.named_modules() if isinstance(module, LoRAPerRow)}
    assert "h.0.attn.q_proj" in grouped and "h.1.mlp.fc_out" in grouped and len(grouped) == 12


def test_language_models_mix_too(adapters, tokens):
    both = adapters(a=("lora", None, {}), b=("lora", None, {"rank": 2}))
    logits = both.mix(["a", "b", "a"])(tokens)
    for i, name in enumerate("aba"):
        torch.testing.assert_close(logits[i], both.set_adapter(name)(tokens[i : i + 1])[0], atol=1e-5, rtol=1e-5)


WRITERS = [
    {"a": ("lora", None, {"rank": 3}), "b": ("rslora", None, {"rank": 2, "target_modules": "q_proj,fc_in"})},
    {"a": ("lora", None, {}), "b": ("dora", None, {}), "c": ("adapter", None, {})},
    {"a": ("bitfit", None, {}), "b": ("lora", None, {"target_modules": "lm_head,q_proj"}), "c": ("qlora", None, {})},
    {"a": ("prompt", None, {"virtual_tokens": 4}), "b": ("p-tuning", None, {"virtual_tokens": 4})},
    {"a": ("p-tuning-v2", None, {}), "b": ("prefix", None, {}), "c": ("mam", None, {"virtual_tokens": 20})},
]
STOP = 7


@pytest.mark.parametrize("mixture", WRITERS, ids=lambda m: "-".join(method for method, *_ in m.values()))
def test_language_models_write_together_as_alone(mixture, adapters, tokens):
    """Beams multiply and reorder the rows, and texts end at different times: each keeps its own adapter."""
    both, names = adapters(**mixture), list(mixture)
    rows = [names[1], names[0], names[-1]]
    mixed = both.mix(rows)
    logits = mixed(tokens)
    for i, name in enumerate(rows):
        torch.testing.assert_close(logits[i], both.set_adapter(name)(tokens[i : i + 1])[0], atol=1e-5, rtol=1e-5)
    how = {"max_new_tokens": 12, "stop_token": STOP, "lengths": LENGTHS}
    searches = [generate, partial(generate, use_cache=False), partial(beam_search, num_beams=3), beam_search]
    for write in (*searches, generate):  # once more greedily: no search leaves its rows behind
        together = write(mixed, tokens, **how)
        for i, name in enumerate(rows):
            alone = write(both.set_adapter(name), tokens[i : i + 1], **how | {"lengths": LENGTHS[i : i + 1]})
            assert together[i].tolist() == alone[0].tolist()
    assert len({len(text) for text in together}) > 1


KINDS = [
    {"spam": ("lora", 2, {"rank": 3}), "e2e": ("lora", None, {"rank": 2}), "instructions": ("dora", None, {})},
    {"spam": ("ia3", 4, {}), "e2e": ("lora", None, {"target_modules": "lm_head,q_proj"}), "topics": ("lora", 3, {})},
    {"spam": ("prompt", 2, {"virtual_tokens": 4}), "e2e": ("p-tuning", None, {"virtual_tokens": 4})},
]


@pytest.mark.parametrize("mixture", KINDS, ids=lambda m: "-".join(method for method, *_ in m.values()))
@pytest.mark.parametrize("num_beams", [1, 3])
def test_classifiers_and_writers_in_one_batch(mixture, num_beams, adapters, tokens):
    every, names = adapters(**mixture), list(mixture)
    for rows in ([names[0], names[1], names[-1]], [names[1], names[0], names[1]], [names[0]] * 3, [names[1]] * 3):
        answers = every.answer(rows, tokens, LENGTHS, 12, num_beams, stop_token=STOP)
        for i, (name, found) in enumerate(zip(rows, answers, strict=True)):
            prompt, length, alone = tokens[i : i + 1], LENGTHS[i : i + 1], every.set_adapter(name)
            if every.classifies(name):
                torch.testing.assert_close(found, classify(alone, prompt, length)[0], atol=1e-5, rtol=1e-5)
            else:
                expected = beam_search(alone, prompt, 12, num_beams, stop_token=STOP, lengths=length)[0]
                assert found.tolist() == expected[LENGTHS[i] :].tolist()


def test_one_pass_reads_all_rows_and_classifiers_do_not_go_on(adapters, tokens, monkeypatch):
    every, seen = adapters(spam=("lora", 2, {}), e2e=("lora", None, {})), []
    plain = GPT2.embed
    monkeypatch.setattr(GPT2, "embed", lambda self, x, *rest: seen.append(tuple(x.shape)) or plain(self, x, *rest))
    every.answer(["spam", "e2e", "spam"], tokens, LENGTHS, 3, stop_token=61)
    assert seen == [(3, 9), (1, 1), (1, 1)]


def test_a_batch_of_both_kinds_has_no_one_tensor_of_logits(adapters, tokens):
    every = adapters(spam=("lora", 2, {}), e2e=("lora", None, {}))
    with pytest.raises(InputError, match="'spam' is a classifier and 'e2e' a language model.*call answer"):
        every.mix(["e2e", "spam"])
    with pytest.raises(InputError, match="max_new_tokens is 0"):
        every.answer(["e2e", "spam", "e2e"], tokens, LENGTHS, 0)
    for rows in (["e2e", "spam"], ["e2e"], []):
        with pytest.raises(InputError, match=f"rows names {len(rows)} adapters for a batch of 3"):
            every.answer(rows, tokens, LENGTHS)


BATCHES = [
    (lambda tokens: (tokens.tolist(), LENGTHS), "tokens is list, expected a tensor"),
    (lambda tokens: (tokens.float(), LENGTHS), r"tokens is torch.float32 \(3, 9\)"),
    (lambda tokens: (tokens > 3, LENGTHS), "tokens is torch.bool"),
    (lambda tokens: (tokens[0, :3], LENGTHS), r"tokens is torch.int64 \(3,\)"),
    (lambda tokens: (tokens, LENGTHS.tolist()), "lengths is no tensor"),
    (lambda tokens: (tokens, LENGTHS > 4), "lengths is no tensor"),
    (lambda tokens: (tokens, LENGTHS.float()), "lengths is torch.float32"),
    (lambda tokens: (tokens, LENGTHS + 1), "lengths go from 5 to 10"),
    (lambda tokens: (tokens + 10_000, LENGTHS), "tokens go from .*, expected 0 to"),
    (lambda tokens: (tokens - 10_000, LENGTHS), "tokens go from -.*, expected 0 to"),
]


@pytest.mark.parametrize("batch, said", BATCHES, ids=[said for _, said in BATCHES])
def test_a_batch_that_is_none_is_refused(batch, said, adapters, tokens):
    both = adapters(spam=("lora", 2, {}), e2e=("lora", None, {}))
    for rows in (["spam"] * 3, ["e2e", "spam", "e2e"]):
        with pytest.raises(InputError, match=said):
            both.answer(rows, *batch(tokens))


@pytest.mark.parametrize("rows", ["abc", None, [["a"], ["b"], ["c"]], [1, 2, 3]])
def test_rows_are_names(rows, adapters, tokens):
    both = adapters(a=("lora", None, {}))
    for call in (both.mix, lambda rows: both.answer(rows, tokens, LENGTHS)):
        with pytest.raises(InputError, match="rows is .*, expected a list of names"):
            call(rows)


def test_short_types_of_lengths(adapters, tokens):
    both = adapters(a=("lora", None, {}), b=("lora", 2, {}))
    expected = both.answer(["a", "b", "a"], tokens, LENGTHS, 3)
    for answer, same in zip(both.answer(["a", "b", "a"], tokens, LENGTHS.byte(), 3), expected, strict=True):
        torch.testing.assert_close(answer, same)


def test_a_mix_refuses_a_batch_of_another_size_or_a_packed_one(adapters, tokens):
    writers, classifiers = adapters(a=("lora", None, {}), b=("lora", None, {})), adapters(**LORAS)
    for batch in (tokens, tokens[:1]):  # 3 messages and 1, for 2 rows
        with pytest.raises(InputError, match="for batches of 2 padded messages"):
            writers.mix(["a", "b"])(batch)
    with pytest.raises(InputError, match="do not pack them"):
        classify(classifiers.mix(["spam", "topics", "spam"]), tokens, LENGTHS, batching="packed")


def test_sums(base, adapters, tokens):
    both = adapters(a=("lora", 2, {"rank": 3}), b=("lora", 2, {"rank": 2, "target_modules": "q_proj,fc_in"}))
    model = both.add_weighted_adapter({"a": 0.7, "b": -0.4}, head="a")
    for name in ("h.0.attn.q_proj", "h.1.mlp.fc_in", "h.1.mlp.fc_out"):
        expected = base.get_submodule(name).weight.clone()
        for task, weight in (("a", 0.7), ("b", -0.4)):
            layer = both.set_adapter(task).get_submodule(name)
            expected += weight * layer.lora.delta() if hasattr(layer, "lora") else 0
        torch.testing.assert_close(to_plain(model.get_submodule(name)).weight, expected)
    only = both.add_weighted_adapter({"a": 1.0, "b": 0.0}, head="a")
    torch.testing.assert_close(
        classify(only, tokens, LENGTHS), classify(both.set_adapter("a"), tokens, LENGTHS), atol=1e-5, rtol=1e-5
    )


def test_what_does_not_go_together(base, adapters, new_model):
    both = adapters(
        a=("lora", 2, {}),
        prompt=("prompt", 2, {}),
        longer=("prompt", 2, {"virtual_tokens": 21}),
        scaled=("ia3", 2, {}),
        words=("lora", 2, {"target_modules": "wte"}),
    )
    for attempt, said in [
        (lambda: both.set_adapter("nobody"), "there are a, prompt, longer, scaled, words"),
        (lambda: both.mix(["a", "prompt"]), "some of the adapters have virtual tokens"),
        (lambda: both.mix(["prompt", "longer"]), "same number of virtual tokens"),
        (lambda: both.mix(["a", "words"]), "embedding wte cannot share a batch"),
        (lambda: both.add_weighted_adapter({"a": 1, "scaled": 1}), "by more than a LoRA"),
        (lambda: both.add_weighted_adapter({"a": 1, "prompt": 1}), "only LoRA can be added"),
        (lambda: peft.Adapters(new_model()), "fresh language model"),
    ]:
        with pytest.raises(InputError, match=said):
            attempt()


def test_a_dylora_is_added_at_its_chosen_rank(new_model, randomise, tokens):
    base = new_model("language modelling")
    adapters = peft.Adapters(base)
    adapters.models["one"] = randomise(peft.apply(over(base), "dylora", rank=4)).eval()
    set_rank(adapters.set_adapter("one"), 2)
    combined = adapters.add_weighted_adapter({"one": 1.0})
    assert combined.h[0].attn.q_proj.lora.rank == 2
    torch.testing.assert_close(combined(tokens), adapters.set_adapter("one")(tokens), atol=1e-5, rtol=1e-5)


def test_a_lora_on_the_language_models_head_counts(new_model, randomise, tokens):
    """In sums and in mixed batches: a language model's head is a layer like others."""
    base = new_model("language modelling")
    adapters = peft.Adapters(base)
    for name in ("one", "two"):
        model = peft.apply(over(base), "lora", rank=2, target_modules="lm_head,q_proj")
        adapters.models[name] = randomise(model, std=0.1 if name == "one" else 0.2).eval()
    torch.testing.assert_close(adapters.add_weighted_adapter({"one": 1.0})(tokens), adapters.set_adapter("one")(tokens))
    rows = ["one", "two", "one"]
    expected = torch.cat([adapters.set_adapter(name)(tokens[i : i + 1]) for i, name in enumerate(rows)])
    torch.testing.assert_close(adapters.mix(rows)(tokens), expected, atol=1e-5, rtol=1e-5)


def test_a_weight_that_is_no_number_and_a_batch_of_none_get_one_line(adapters):
    both = adapters(a=("lora", 2, {"rank": 3}), b=("lora", 2, {"rank": 2}))
    with pytest.raises(InputError, match="the weight of adapter 'b' is nan, expected a finite number"):
        both.add_weighted_adapter({"a": 1.0, "b": float("nan")})
    for weights in ({}, ["a"], {"a": "much"}):
        with pytest.raises(InputError, match="expected a (weight for each|finite number)"):
            both.add_weighted_adapter(weights)
    with pytest.raises(InputError, match="rows names no adapter"):
        both.mix([])
