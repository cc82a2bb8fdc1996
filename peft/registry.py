"""Every method by its name, and how one is put into a model."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from gpt2.checkpoints.fingerprints import fingerprints, plain_name, uncompiled
from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from gpt2.model import GPT2
from peft import adapters, dora, dylora, ia3, minlora, prefix, prompt, qlora, selective, unified
from peft import lora as lora_family
from peft.state import PeftState, state_of, unchanged_if_refused
from peft.targets import freeze, unfreeze
from peft.wrappers import keep_trained_in_float32


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

    @property
    def only_gpt2(self) -> bool:
        """Does it reach into GPT2's own modules? Its function says so: ``model: GPT2``, or ``model: nn.Module``."""
        return inspect.signature(self.insert).parameters["model"].annotation is GPT2

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
    "minlora": Method(minlora.minlora, lr=3e-3, lora_head=True),
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


def apply(model: nn.Module, method: str, modules_to_save: str | None = None, **options) -> nn.Module:
    """Put a method into a model, in place; afterwards exactly the parameters to train require grad.

    modules_to_save   modules to train fully besides, such as "wte,ln_f"
    options      the method's own; METHODS[method].options lists them

    What trains is float32, whatever the precision of the base. Raises InputError for an unknown method, an option that
    it lacks or cannot have, and when a method is in place already; the model is then as it was.
    """
    inner = uncompiled(model)
    check(inner, method, options)
    base = fingerprints(inner)  # before anything changes
    with unchanged_if_refused(inner):
        put_in(inner, method, modules_to_save, **options)
    inner.peft.base_fingerprints = base  # an adapter file says which model it belongs to
    return model


def check(model: nn.Module, method: str, options: dict) -> None:
    """Raise InputError unless this method, with options of these names, may be put into this model."""
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    if already := state_of(model).method:
        raise InputError(f"this model already carries {already!r}; load a fresh one")
    if METHODS[method].only_gpt2 and not isinstance(model, GPT2):
        general = ", ".join(name for name, known in METHODS.items() if not known.only_gpt2)
        raise InputError(f"{method} works on this repository's GPT2 only, not on {type(model).__name__}; try {general}")
    known = METHODS[method].options
    for name in options:
        if name not in known:
            takes = ", ".join(known) or "no options"
            raise InputError(f"{method} has no option {name!r}; it takes {takes}")


def put_in(model: nn.Module, method: str, modules_to_save: str | None = None, **options) -> None:
    """``apply``, without the fingerprint of the base, and without a way back."""
    check(model, method, options)
    options = without_numpy(options)
    freeze(model)
    METHODS[method].insert(model, **METHODS[method].preset, **options)
    model.train(model.training)  # new modules start in training mode, whatever the model is in
    if has_classification_head(model) and not METHODS[method].lora_head:
        model.lm_head.requires_grad_(True)
    if modules_to_save:
        unfreeze(model, modules_to_save)
    if not trainable_parameters(model):
        raise InputError(f"{method} trains nothing on this model; give it a classification head first")
    keep_trained_in_float32(model)
    settings = {name: options.get(name, p.default) for name, p in METHODS[method].options.items()}
    if modules_to_save:
        settings["modules_to_save"] = modules_to_save
    model.peft = PeftState(method, settings)


def without_numpy(options: dict) -> dict:
    """The same values as Python's own, which JSON can write."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """name -> parameter, for everything that training will change."""
    return {plain_name(name): p for name, p in uncompiled(model).named_parameters() if p.requires_grad}
