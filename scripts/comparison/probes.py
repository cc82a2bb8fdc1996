"""What a method can do, found out by trying it on a tiny model.

A probe is a function that takes the name of a method and tries one thing. Three ends are possible:

    it returns                the method can do it, and the numbers were right
    it raises InputError      the method refuses, or cannot; the sentence says why
    it raises anything else   a fault, of the method or of the probe: nobody catches it

comparison/capabilities.py lists them.
"""

import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import peft
from gpt2 import GPT2, GPT2Config, load_gpt2
from gpt2.classifier import add_classification_head, classify
from gpt2.errors import InputError
from gpt2.training.batching import MessageBatches
from gpt2.training.finetune import Progress, finetune, make_optimizer
from gpt2.training.recipe import Recipe
from gpt2.training.runs import load_state, save_state
from peft.anatomy import to_lora
from peft.files.adapter import CONFIG_FILE, OWN_TYPE, TENSOR_FILE
from peft.files.hugging_face import OURS
from peft.quantization import quantize_linear_layers
from peft.switching import over

TINY = GPT2Config(vocab_size=61, n_positions=48, n_embd=16, n_layer=2, n_head=2)
TOKENS = torch.randint(61, (3, 9), generator=torch.Generator().manual_seed(2))
LENGTHS = torch.tensor([9, 4, 6])


def language_model() -> GPT2:
    """The same at every call, its every number random."""
    torch.manual_seed(0)
    model = GPT2(TINY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def classifier() -> GPT2:
    model = add_classification_head(language_model(), 3)
    nn.init.normal_(model.lm_head.bias)
    return model


def tuned(method: str, model: GPT2 | None = None, **options) -> GPT2:
    """A model with the method in it, and every trained number moved."""
    model = peft.apply(model or classifier(), method, **options)
    for parameter in peft.trainable_parameters(model).values():
        parameter.data = parameter.data + torch.randn(parameter.shape).to(parameter) * 0.1  # a base may be shared
    return model.eval()


@torch.no_grad()
def logits(model: GPT2, **how) -> Tensor:
    """(3, classes)."""
    return classify(model, TOKENS, LENGTHS, **how)


def same(ours: Tensor, theirs: Tensor, exact: bool = False) -> None:
    """Raise AssertionError, which is a fault, unless two results agree up to rounding, or bit for bit."""
    tolerance = 0.0 if exact else 1e-4
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def starts_unchanged(method: str) -> None:
    model = classifier()
    before = logits(model)
    if (logits(peft.apply(model, method)) - before).abs().max() > 1e-5:
        raise InputError("an untrained model already answers differently")


def trains_the_head(method: str) -> None:
    """Fully, with its default options."""
    if not head_trains(method):
        more = {"train_head": True} if "train_head" in peft.METHODS[method].options else {}
        hint = "; train_head=True trains it" if more and head_trains(method, **more) else ""
        raise InputError(f"the new head stays at its random start, and has an update of its own{hint}")


def head_trains(method: str, **options) -> bool:
    model = classifier()
    head = {id(parameter) for parameter in model.lm_head.parameters()}
    peft.apply(model, method, **options)
    return head <= {id(parameter) for parameter in peft.trainable_parameters(model).values()}


def tunes_a_language_model(method: str) -> None:
    """Without a classification head; every trained number gets a gradient."""
    model = tuned(method, language_model())
    model(TOKENS).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in peft.trainable_parameters(model).values())


def tunes_any_model(method: str) -> None:
    """Also a model that is no GPT2."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model = peft.apply(nn.Sequential(layer, nn.Linear(16, 3)), method).train()
    model(torch.randn(2, 5, 16)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in peft.trainable_parameters(model).values())


def changes_embeddings(method: str) -> None:
    """Those of the tokens: by default, or as ``target_modules``."""
    model = classifier()
    before = model.wte(TOKENS).detach()
    options = {"target_modules": "wte"} if "target_modules" in peft.METHODS[method].options else {}
    if torch.equal(tuned(method, model, **options).wte(TOKENS), before):
        raise InputError("it leaves the token embedding as it is")


def works_on_a_quantised_base(method: str) -> None:
    """Trains, saves and loads over linear layers in four bits."""

    def quantised() -> GPT2:
        model = classifier()
        if "quantize" not in peft.METHODS[method].options:  # else it does so itself
            quantize_linear_layers(model.h)
        return model

    model = tuned(method, quantised())
    classify(model, TOKENS, LENGTHS).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in peft.trainable_parameters(model).values())
    with tempfile.TemporaryDirectory() as folder:
        peft.save(model, folder)
        same(logits(peft.load(quantised(), folder).eval()), logits(model), exact=True)


def works_on_a_half_precision_base(method: str) -> None:
    """Over bfloat16, with all that trains in float32."""
    model = tuned(method, classifier().bfloat16())
    classify(model, TOKENS, LENGTHS).float().square().sum().backward()
    trained = peft.trainable_parameters(model).values()
    assert all(p.dtype == torch.float32 and p.grad is not None for p in trained)


def runs_on_packed_batches(method: str) -> None:
    model = tuned(method)
    same(logits(model, batching="packed"), logits(model, batching="padded"))


def runs_compiled(method: str) -> None:
    """A block by torch.compile, as PyTorch traces it, forward and backward; nothing in it is left to Python."""
    model, twin = tuned(method).train(), tuned(method).train()
    torch.compiler.reset()  # or after some methods PyTorch gives up on compiling this block again
    twin.h[-1] = torch.compile(twin.h[-1], backend="eager", fullgraph=True)
    for each in (model, twin):
        torch.manual_seed(1)  # DyLoRA draws its rank
        each(TOKENS).square().mean().backward()
    for name, parameter in peft.trainable_parameters(model).items():
        same(peft.trainable_parameters(twin)[name].grad, parameter.grad)


def resumes_bit_for_bit(method: str) -> None:
    """Two epochs, and the second of them again from a saved state."""
    recipe = Recipe(lr=1e-2, epochs=2, keep_best=False)
    batches = MessageBatches([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]], [0, 1, 2, 1], 2)
    model, again = peft.apply(classifier(), method), peft.apply(classifier(), method)
    optimizer = make_optimizer(model, recipe)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.safetensors"

        def keep(progress: Progress) -> None:
            if progress.epoch == 1:
                save_state(state, model, optimizer, progress)

        cpu = torch.device("cpu")
        finetune(model, batches, batches, recipe, cpu, optimizer=optimizer, after_epoch=keep)
        optimizer = make_optimizer(again, recipe)
        stood = load_state(state, again, optimizer)
        finetune(again, batches, batches, recipe, cpu, progress=stood, optimizer=optimizer)
    for name, parameter in peft.trainable_parameters(model).items():
        same(peft.trainable_parameters(again)[name], parameter, exact=True)


def merges(method: str) -> None:
    """And comes apart again, bit for bit."""
    model = tuned(method)
    before = logits(model)
    same(logits(peft.merge(model)), before)
    same(logits(peft.unmerge(model)), before, exact=True)


def exports(method: str) -> None:
    """As a plain GPT-2 in the layout of transformers."""
    model = tuned(method)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        peft.export(model, folder, language_model=True)
        same(load_gpt2(folder).hidden_states(TOKENS), model.hidden_states(TOKENS))


def becomes_a_lora(method: str) -> None:
    """Its whole update, by singular values."""
    model = tuned(method)
    same(logits(to_lora(model, language_model(), energy=1.0)), logits(model))


def saves_for_hugging_face(method: str) -> None:
    """In the layout of its peft. (That the library reads it: tests/parity/test_travel_parity.py.)"""
    with tempfile.TemporaryDirectory() as folder:
        save_for_hugging_face(method, Path(folder))


def loads_from_hugging_face(method: str) -> None:
    """A file without anything that only we write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = save_for_hugging_face(method, folder)
        full_precision = {"quantize": False} if "quantize" in peft.METHODS[method].options else {}
        expected = logits(peft.load(language_model(), folder, **full_precision).eval())
        ours = [key for key in config if key in ("method", "options", "num_classes") or key.startswith("base_")]
        theirs = {key: value for key, value in config.items() if key not in ours}
        (folder / CONFIG_FILE).write_text(json.dumps(theirs), encoding="utf-8")
        tensors = {key: t for key, t in load_file(folder / TENSOR_FILE).items() if not key.startswith(OURS)}
        save_file(tensors, folder / TENSOR_FILE)
        same(logits(peft.load(language_model(), folder).eval()), expected)


def save_for_hugging_face(method: str, folder: Path) -> dict:
    """Save a tuned adapter; returns its configuration. Raises InputError unless it is in the library's layout."""
    peft.save(tuned(method), folder)
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    if config["peft_type"] == OWN_TYPE:
        raise InputError(config.get("reason", "Hugging Face's peft has no such method"))
    return config


def two_adapters(method: str) -> peft.Adapters:
    """Two of this method over one base, under the names a and b."""
    adapters = peft.Adapters(language_model())
    with tempfile.TemporaryDirectory() as folder:
        for name in "ab":
            peft.save(tuned(method, add_classification_head(over(adapters.base), 3)), folder)
            adapters.add(name, folder)
    return adapters


def shares_a_batch(method: str) -> None:
    """With another adapter: each message by its own."""
    adapters, rows = two_adapters(method), ["a", "b", "a"]
    together = logits(adapters.mix(rows))
    for i, name in enumerate(rows):
        same(together[i], logits(adapters.set_adapter(name))[i])


def adds_up(method: str) -> None:
    """With another adapter, by weights."""
    adapters = two_adapters(method)
    alone = logits(adapters.set_adapter("a"))
    same(logits(adapters.add_weighted_adapter({"a": 1.0, "b": 0.0}, head="a")), alone)
    if torch.equal(logits(adapters.add_weighted_adapter({"a": 1.0, "b": 1.0}, head="a")), alone):
        raise InputError("there is no update that could be added")
