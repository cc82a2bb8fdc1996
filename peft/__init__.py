"""Parameter-efficient fine-tuning, from scratch: one method a file, each readable alone.

import peft
peft.apply(model, "lora", rank=8, alpha=8)   # afterwards exactly the parameters to train require grad
peft.save(model, folder); peft.load(model, folder); peft.merge(model); peft.unmerge(model)
peft.export(model, folder)                   # a plain transformers model
peft.Adapters(model)                         # many adapters, one base
"""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import nn

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from gpt2.fingerprints import fingerprint
from peft import adapters, dora, dylora, ia3, lora_parametrize, prefix, prompt, qlora, selective, unified
from peft import lora as lora_family
from peft.targets import freeze, unfreeze


@dataclass(frozen=True)
class Method:
    """A way to fine-tune.

    insert  function(model, **options) that changes a frozen model in place; its docstring describes the options
    lr      AdamW's step size for a model 128 wide (docs/results/learning_rates.md); see learning_rate
    preset  options that make this a method of its own, and so cannot be changed
    lora_head   the classification head stays frozen and is itself given LoRA (unless train_head is asked for)
    """

    insert: Callable[..., None]
    lr: float
    preset: dict = field(default_factory=dict)
    lora_head: bool = False

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The options a person may set, in order: name -> default and annotation."""
        parameters = dict(inspect.signature(self.insert).parameters)
        return {name: p for name, p in parameters.items() if name != "model" and name not in self.preset}

    def learning_rate(self, width: int) -> float:
        """``lr`` for a model of this width: Adam's good step shrinks as layers widen (Yang et al., 2021, muP)."""
        return self.lr * 128 / width

    @property
    def summary(self) -> str:
        first = inspect.getdoc(self.insert).splitlines()[0]
        preset = ", ".join(f"{name} {value}" for name, value in self.preset.items())
        return f"{first.rstrip('.')}, with {preset}." if preset else first

    def help(self, option: str) -> str:
        """What the method's docstring says of an option."""
        line = re.search(rf"^\s+{option}: (.+)$", inspect.getdoc(self.insert), flags=re.MULTILINE)
        return line[1] if line else ""


METHODS = {  # in teaching order
    "full": Method(selective.full, lr=5e-4),
    "head": Method(selective.head, lr=1e-2),
    "selective": Method(selective.selective, lr=2e-3),
    "bitfit": Method(selective.bitfit, lr=3e-3),
    "layernorm": Method(selective.layernorm, lr=1e-2),
    "lora": Method(lora_family.lora, lr=3e-3, lora_head=True),
    "rslora": Method(lora_family.lora, lr=3e-3, preset={"scaling": "alpha/sqrt(rank)"}, lora_head=True),
    "dora": Method(dora.dora, lr=3e-3, lora_head=True),
    "dylora": Method(dylora.dylora, lr=3e-3, lora_head=True),
    "minlora": Method(lora_parametrize.minlora, lr=3e-3, lora_head=True),
    "qlora": Method(qlora.qlora, lr=3e-3, lora_head=True),
    "adapter": Method(adapters.adapter, lr=3e-3),
    "adapter-pfeiffer": Method(adapters.adapter_pfeiffer, lr=3e-3),
    "adapter-parallel": Method(adapters.adapter_parallel, lr=8e-3),
    "mam": Method(unified.mam, lr=1e-3),
    "ia3": Method(ia3.ia3, lr=1e-2),
    "prompt": Method(prompt.prompt, lr=1e-2),
    "p-tuning": Method(prompt.p_tuning, lr=5e-3),
    "prefix": Method(prefix.prefix, lr=3e-4),
    "p-tuning-v2": Method(prefix.p_tuning_v2, lr=3e-2),
}


def apply(model: nn.Module, method: str, also_train: str | None = None, **options) -> nn.Module:
    """Put a method into a model, in place; afterwards exactly the parameters to train require grad.

    also_train   modules to train fully besides, such as "wte,ln_f"
    options      the method's own; METHODS[method].options lists them

    Raises InputError for an unknown method, an option that it lacks, and when a method is in place already.
    """
    base = fingerprint(model)  # before anything changes
    put_in(model, method, also_train, **options)
    model.peft_base = base  # an adapter file says which model it belongs to
    return model


def put_in(model: nn.Module, method: str, also_train: str | None = None, **options) -> None:
    """``apply``, without the fingerprint of the base."""
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    if hasattr(model, "peft_method"):
        raise InputError(f"this model already carries {model.peft_method!r}; load a fresh one")
    known = METHODS[method].options
    for name in options:
        if name not in known:
            takes = ", ".join(known) or "no options"
            raise InputError(f"{method} has no option {name!r}; it takes {takes}")
    freeze(model)
    METHODS[method].insert(model, **METHODS[method].preset, **options)
    model.train(model.training)  # new modules start in training mode, whatever the model is in
    if has_classification_head(model) and not METHODS[method].lora_head:
        model.lm_head.requires_grad_(True)
    if also_train:
        unfreeze(model, also_train)
    if not trainable_parameters(model):
        raise InputError(f"{method} trains nothing on this model; give it a classification head first")
    settings = {name: options.get(name, p.default) for name, p in known.items()}
    if also_train:
        settings["also_train"] = also_train
    model.peft_method, model.peft_options = method, settings


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """name -> parameter, for everything that training will change."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def merge(model: nn.Module) -> nn.Module:
    """Fold the method into plain layers, in place: same outputs up to rounding, no extra cost. See ``unmerge``.

    Raises InputError when a method, such as an adapter with its non-linearity, is more than a change of weights.
    """
    if hasattr(model, "peft_merged"):
        raise InputError("this model is merged already; peft.unmerge(model) takes it apart")
    for module in model.modules():
        if hasattr(module, "cannot_merge"):  # its reason, a sentence
            raise InputError(module.cannot_merge)
    wrappers = {name: module for name, module in model.named_modules() if hasattr(module, "merged")}
    if not wrappers:
        method = getattr(model, "peft_method", "this model")
        raise InputError(f"{method} has nothing that could be merged into the base weights")
    for name, wrapper in wrappers.items():
        model.set_submodule(name, wrapper.merged())
    model.peft_merged = wrappers  # kept, not subtracted again: that would leave rounding errors behind
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Undo ``merge``, bit for bit. Raises InputError when the model is not merged."""
    if not hasattr(model, "peft_merged"):
        raise InputError("this model is not merged")
    for name, wrapper in model.peft_merged.items():
        model.set_submodule(name, wrapper)
    del model.peft_merged
    model.train(model.training)  # the wrappers missed any change of mode while they were out
    return model


@contextlib.contextmanager
def merged(model: nn.Module) -> Iterator[nn.Module]:
    """``with merged(model):`` for an evaluation without extra cost; a method that cannot be merged stays as it is."""
    can = any(hasattr(module, "merged") for module in model.modules())
    can = can and not any(hasattr(module, "cannot_merge") for module in model.modules())
    if can:
        merge(model)
    try:
        yield model
    finally:
        if can:
            unmerge(model)


from peft.checkpoints import load, save  # noqa: E402 - they need the names above
from peft.export import export  # noqa: E402
from peft.switching import Adapters  # noqa: E402

__all__ = [
    "METHODS",
    "Adapters",
    "Method",
    "apply",
    "export",
    "load",
    "merge",
    "merged",
    "save",
    "trainable_parameters",
    "unmerge",
]
