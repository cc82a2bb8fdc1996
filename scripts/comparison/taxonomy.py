"""What a method does to a model, found out by doing it: which parameters train, what is new, what inference costs.

The model lies on PyTorch's meta device: shapes without memory, so GPT-2 124M costs nothing. The surveys' families
(Lialin et al., 2023; Han et al., 2024) follow from what is found:

    selective         every trained parameter was there before
    reparametrised    new parameters, each in a module that can turn into the plain layer it came from (``merged``)
    additive          new parameters in modules that stay: more positions, more layers
    hybrid            new parameters by two ideas at once, an idea being a file of peft/

The new classification head is left out of this: every method has it.
"""

import functools
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import peft
from gpt2.classifier import add_classification_head
from gpt2.config import GPT2Config
from gpt2.errors import InputError
from gpt2.model import GPT2
from peft.files.adapter import adapter_tensors, finish
from peft.merging import to_plain

MESSAGE_TOKENS = 32  # about the average message; what a prompt costs per token depends on it


@dataclass(frozen=True)
class Anatomy:
    """What was found out about a method, at one size of model."""

    method: str
    family: str
    trains: str  # in words
    trainable: int
    total: int
    head: str  # trained, frozen, or frozen + LoRA
    mergeable: str  # yes, nothing to merge, or no
    stored_bytes: int  # of the tensors that peft.save writes
    extra_flops: float  # per token of a message of MESSAGE_TOKENS, matrix products only
    extra_flops_merged: float
    base_flops: float  # the same of the model without a method


def dissect(config: GPT2Config, method: str, options: dict | None = None, classes: int = 2) -> Anatomy:
    """Apply a method to a model of this shape and look."""
    model, base = shapes_only(config, classes), flops_without(config, classes)
    total = sum(parameter.numel() for parameter in model.parameters())  # quantised ones will be buffers
    old_parameters = {id(parameter) for parameter in model.parameters()}
    old_modules = {id(module) for module in model.modules()}
    old_head = {id(parameter) for parameter in model.lm_head.parameters()}
    with torch.device("meta"):
        peft.apply(model, method, **options or {})

    trained = peft.trainable_parameters(model)
    numbers = sum(parameter.numel() for parameter in trained.values())
    new = {name for name, parameter in trained.items() if id(parameter) not in old_parameters}
    total += sum(trained[name].numel() for name in new)
    head_new = {name for name in new if name.startswith("lm_head")}
    head = "trained" if old_head & set(map(id, trained.values())) else "frozen + LoRA" if head_new else "frozen"
    ideas = new_modules(model, old_modules)
    found_family = family(model, new, ideas)
    words = describe(model, trained, new, ideas)

    with torch.device("meta"):
        finish(model)  # the encoder of a prompt is dropped after training
        stored = sum(tensor.nbytes for tensor in adapter_tensors(model).values())
        extra = (flops(model) - base) / message_tokens(model)
        extra_merged, mergeable = extra, "nothing to merge"
        if new:
            try:
                peft.merge(model)
                mergeable, extra_merged = "yes", (flops(model) - base) / message_tokens(model)
            except InputError:
                mergeable = "no"
    per_token = base / message_tokens(model)
    return Anatomy(method, found_family, words, numbers, total, head, mergeable, stored, extra, extra_merged, per_token)


def shapes_only(config: GPT2Config, classes: int = 2) -> GPT2:
    """A classifier on the meta device."""
    with torch.device("meta"):
        return add_classification_head(GPT2(config).eval(), classes)


def message_tokens(model: GPT2) -> int:
    """Tokens of the message that costs are counted for; fewer where the context is tiny."""
    return min(MESSAGE_TOKENS, model.config.n_positions - model.virtual_positions())


@torch.no_grad()
def flops(model: GPT2) -> int:
    """Floating-point operations of the matrix products that classify one message, as PyTorch counts them.

    Leaves the model frozen: the counter stumbles over a module that returns a parameter that requires grad.
    """
    model.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        tokens = torch.zeros(1, message_tokens(model), dtype=torch.long, device="meta")
        model.lm_head(model.hidden_states(tokens)[:, -1])
    return counter.get_total_flops()


@functools.cache
def flops_without(config: GPT2Config, classes: int) -> int:
    """``flops`` of the model without a method."""
    return flops(shapes_only(config, classes))


def new_modules(model: nn.Module, old: set[int]) -> dict[str, nn.Module]:
    """The outermost modules of peft/ that were not there before: name -> module."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if id(module) not in old and not inside and type(module).__module__.startswith("peft."):
            found[name] = module
    return found


def family(model: nn.Module, new: set[str], ideas: dict[str, nn.Module]) -> str:
    """A method's family, told from the names of its ``new`` parameters, and from whether they fold into the weights."""
    if not new:
        return "selective"
    if len({type(module).__module__ for module in ideas.values()}) > 1:
        return "hybrid"
    folding = [name for name, module in model.named_modules() if to_plain(module) is not module]
    folds = all(any(parameter.startswith(f"{name}.") for name in folding) for parameter in new)
    return "reparametrised" if folds else "additive"


def describe(model: nn.Module, trained: dict, new: set[str], ideas: dict[str, nn.Module]) -> str:
    """In words: the new modules and how many of each, or the kinds of old parameters; the head by itself."""
    old = {name for name in trained if name not in new}
    body = {name for name, _ in model.named_parameters() if not name.startswith("lm_head")}
    if body <= old:
        return "everything"
    parts: Counter[str] = Counter(
        type(module).__name__ for name, module in ideas.items() if any(p.startswith(f"{name}.") for p in new)
    )
    owners: dict[str, set[str]] = {}  # module -> which of its parameters
    for name in sorted(old):
        owner, _, kind = name.rpartition(".")
        if owner != "lm_head":
            owners.setdefault(owner, set()).add(kind)
    for owner, kinds in owners.items():
        module = model.get_submodule(owner)
        every = kinds == {name for name, _ in module.named_parameters(recurse=False)}
        parts[type(module).__name__ + ("" if every else f" {', '.join(sorted(kinds))}")] += 1
    words = [f"{count} × {kind}" if count > 1 else kind for kind, count in parts.items()]
    if "lm_head.weight" in old:
        words.append("head")
    return ", ".join(words)
