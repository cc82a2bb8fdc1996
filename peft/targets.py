"""Which modules of a model does a method touch? Names as people write them, turned into module names."""

import fnmatch
import re

from torch import nn

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError


def freeze(model: nn.Module) -> None:
    """From here on, training changes nothing but what a method adds or unfreezes."""
    model.requires_grad_(False)


def unfreeze(model: nn.Module, names: str) -> None:
    """Train these modules fully: ``"wte,ln_f"`` (the libraries call them modules_to_save)."""
    for name in matching(model, names, nn.Module):
        model.get_submodule(name).requires_grad_(True)


def select(
    model: nn.Module,
    target: str = "all",
    layers: str | None = None,
    kinds: type | tuple[type, ...] = nn.Linear,
    head: bool = True,
) -> list[str]:
    """Names of the modules to change.

    target   ``all`` (every linear layer), or a list such as ``q_proj,v_proj``, ``mlp.fc_in`` or ``h.11.*``
    layers   only these blocks: ``0-3,11``; the modules outside blocks are then left alone
    head     may the classification head be among them? A language-model head is only taken when named, because
             it is the embedding matrix too

    Raises InputError when a name matches nothing.
    """
    if target == "all":
        names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        if not has_classification_head(model):
            names = [name for name in names if name != "lm_head"]
    else:
        names = matching(model, target, kinds)
    if not head and has_classification_head(model):
        names = [name for name in names if name != "lm_head"]
    if layers is not None:
        wanted = parse_layers(layers, len(model.h) if hasattr(model, "h") else 0)
        names = [name for name in names if (block := re.match(r"h\.(\d+)\.", name)) and int(block[1]) in wanted]
    if not names:
        raise InputError(f"target {target!r} leaves no module to change; try --target all")
    return names


def matching(model: nn.Module, names: str, kinds: type | tuple[type, ...]) -> list[str]:
    """Modules of these kinds whose name is, ends with, or (with * or ?) fits one of the comma-separated names."""
    modules = {name: module for name, module in model.named_modules() if name and isinstance(module, kinds)}
    chosen = set()
    for wanted in (part.strip() for part in names.split(",")):
        hits = {
            name
            for name in modules
            if name == wanted or name.endswith(f".{wanted}") or fnmatch.fnmatchcase(name, wanted)
        }
        if not hits:
            known = sorted({name.rsplit(".", 1)[-1] for name in modules})
            raise InputError(f"no module is called {wanted!r}; this model has {', '.join(known)}")
        chosen |= hits
    return [name for name in modules if name in chosen]  # in the model's own order


def parse_layers(layers: str, count: int) -> set[int]:
    """``"0-3,11"`` -> {0, 1, 2, 3, 11}. Raises InputError for anything else, and for blocks that do not exist."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", layers):
        raise InputError(f"layers {layers!r} is not a list such as 0-3,11")
    chosen = set()
    for part in layers.split(","):
        first, _, last = part.partition("-")
        if len(part) > 20 or not int(first) <= int(last or first) < count:
            raise InputError(f"layers {layers!r}: this model has blocks 0 to {count - 1}")
        chosen |= set(range(int(first), int(last or first) + 1))
    return chosen
