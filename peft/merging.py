"""Merging: fold what a method has learned into plain layers, so that inference costs nothing extra.

    LinearWithLoRA  W x + s · B A x     ──merge──►     nn.Linear  (W + s B A) x          and back, bit for bit

Three functions work on single modules. Each method registers its own classes, in its own file (``singledispatch`` is a
function that picks its body by the class of its argument):

    to_plain(module)              the plain layer that computes the same
    why_not_mergeable(module)     a sentence, if no model that contains this module can be merged
    finished(module)              what is left of the module when training is over, and what a file holds
"""

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch import nn

from gpt2.checkpoints.fingerprints import uncompiled
from gpt2.errors import InputError
from peft.registry import METHODS
from peft.state import PeftState, state_of
from peft.wrappers import trained_dtype


@functools.singledispatch
def to_plain(module: nn.Module) -> nn.Module:
    """The plain layer with the same function, up to rounding; a module that is plain already gives itself.

    The module stays as it is. Methods whose layers can be merged register theirs.
    """
    return module


@functools.singledispatch
def why_not_mergeable(module: nn.Module) -> str | None:
    """Why no model that has this module can be merged, as a sentence; None when it is no hindrance."""
    return None


@functools.singledispatch
def finished(module: nn.Module) -> nn.Module:
    """The same function without what only training needs, such as a prompt's encoder; else the module itself."""
    return module


def merge(model: nn.Module) -> nn.Module:
    """Fold the method into plain layers, in place: same outputs up to rounding, no extra cost. See ``unmerge``.

    Raises InputError, and changes nothing, when a method, such as an adapter with its non-linearity, is more than a
    change of weights, and when the merged weights would not be finite.
    """
    inner = uncompiled(model)
    state = state_of(inner)
    if state.merged:
        raise InputError("this model is merged already; peft.unmerge(model) takes it apart")
    for module in inner.modules():
        if reason := why_not_mergeable(module):
            raise InputError(reason)
    plain = {name: new for name, module in inner.named_modules() if (new := to_plain(module)) is not module}
    if not plain and state.method:
        raise InputError(f"{state.method} cannot be merged: {METHODS[state.method].why_not_mergeable}")
    if not plain:
        raise InputError("this model has nothing that could be merged into the base weights")
    for name, layer in plain.items():
        if not all(torch.isfinite(p).all() for p in layer.parameters() if not p.is_meta):
            raise InputError(f"{name}: merged, its weights would hold NaN or infinite numbers; did training diverge?")
    inner.peft = state
    for name, layer in plain.items():  # kept, not subtracted again: that would leave rounding errors behind
        state.merged[name] = inner.get_submodule(name)
        inner.set_submodule(name, layer)
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Undo ``merge``, bit for bit; a model that was cast or moved meanwhile stays so. Raises InputError when the model
    is not merged."""
    inner = uncompiled(model)
    state = state_of(inner)
    if not state.merged:
        raise InputError("this model is not merged")
    for name, wrapper in state.merged.items():
        follow(wrapper, inner.get_submodule(name))
        inner.set_submodule(name, wrapper)
    state.merged = {}
    if state == PeftState():
        del inner.peft
    model.train(model.training)  # the wrappers missed any change of mode while they were out
    return model


def follow(wrapper: nn.Module, plain: nn.Module) -> None:
    """Cast and move a wrapper to where its plain layer has gone. What is trained stays at least float32."""
    now, before = plain.weight, wrapper.weight
    if (now.dtype, now.device) == (before.dtype, before.device):
        return
    wrapper.to(now.device)
    for parameter in wrapper.parameters():
        parameter.data = parameter.data.to(trained_dtype(now) if parameter.requires_grad else now.dtype)


@contextlib.contextmanager
def merged(model: nn.Module) -> Iterator[nn.Module]:
    """``with merged(model):`` for an evaluation without extra cost; a method that cannot be merged stays as it is."""
    try:
        merge(model)
    except InputError:
        done = False
    else:
        done = True
    try:
        yield model
    finally:
        if done:
            unmerge(model)
