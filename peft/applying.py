"""Putting a method of METHODS into a model."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from gpt2.checkpoints.fingerprints import fingerprints, parameters_of, uncompiled
from gpt2.classifier import add_classification_head, has_classification_head
from gpt2.errors import InputError, unexpected
from gpt2.model import GPT2
from peft.options import kinds
from peft.registry import METHODS
from peft.state import PeftState, state_of, unchanged_if_refused
from peft.targets import freeze, unfreeze
from peft.wrappers import keep_trained_in_float32

WORDS = {str: "a text", bool: "True or False", type(None): "None"}  # for the types of options


def apply(model: nn.Module, method: str, modules_to_save: str | None = None, **options) -> nn.Module:
    """Put a method into a model, in place; afterwards exactly the parameters to train require grad.

    modules_to_save   modules to train fully besides, such as "wte,ln_f"
    options           the method's own; METHODS[method].options lists them, peft/options.py describes them

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


def prepare_classifier(
    model: GPT2, num_classes: int, method: str, options: dict, seed: int, before_method: Callable[[], dict] = dict
) -> tuple[int, dict]:
    """Put a new head and a method into a language model, both drawn from ``seed``. Returns the number of parameters
    with the head and before the method, and what ``before_method`` gives, which is called then: the reference recipe
    measures the ``untuned`` model there, and LoRA's draws depend on it (gpt2/training/reference.py)."""
    torch.manual_seed(seed)
    add_classification_head(model, num_classes)
    total = sum(p.numel() for p in model.parameters())  # before quantised weights stop being parameters
    before = before_method()
    apply(model, method, **options)
    return total, before


def check(model: nn.Module, method: str, options: dict) -> None:
    """Raise InputError unless this method, with options of these names, may be put into this model."""
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}", argument="method")
    if already := state_of(model).method:
        raise InputError(f"this model already carries {already!r}; load a fresh one")
    if METHODS[method].only_gpt2 and not isinstance(model, GPT2):
        general = ", ".join(name for name, known in METHODS.items() if not known.only_gpt2)
        raise InputError(f"{method} works on this repository's GPT2 only, not on {type(model).__name__}; try {general}")
    known = METHODS[method].options
    for name, value in without_numpy(options).items():
        if name not in known:
            takes = ", ".join(known) or "no options"
            raise InputError(f"{method} has no option {name!r}; it takes {takes}", argument=name)
        check_kind(name, value, kinds(known[name]))


def check_kind(name: str, value: object, allowed: tuple[type, ...]) -> None:
    """Raise InputError unless an option's value is of its type. Of a number the method itself tells the range."""
    if not {int, float} & set(allowed) and not isinstance(value, allowed):
        raise unexpected(name, value, " or ".join(WORDS[kind] for kind in allowed))


def put_in(model: nn.Module, method: str, modules_to_save: str | None = None, **options) -> None:
    """``apply``, without the fingerprint of the base, and without a way back."""
    check(model, method, options)
    chosen = METHODS[method].options_type(**without_numpy(options))
    freeze(model)
    METHODS[method].insert(model, chosen)
    model.train(model.training)  # new modules start in training mode, whatever the model is in
    if has_classification_head(model) and not METHODS[method].lora_head:
        model.lm_head.requires_grad_(True)
    if modules_to_save:
        check_kind("modules_to_save", modules_to_save, (str, type(None)))
        unfreeze(model, modules_to_save)
    if not trainable_parameters(model):
        raise InputError(f"{method} trains nothing on this model; give it a classification head first")
    keep_trained_in_float32(model)
    settings = {name: getattr(chosen, name) for name in METHODS[method].options}
    if modules_to_save:
        settings["modules_to_save"] = modules_to_save
    model.peft = PeftState(method, settings)


def without_numpy(options: dict) -> dict:
    """The same values as Python's own, which JSON can write."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """name -> parameter, for everything that training will change."""
    return {name: p for name, p in parameters_of(uncompiled(model)).items() if p.requires_grad}
