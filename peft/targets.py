"""Which modules of a model does a method touch? Names as people write them, turned into module names."""

import fnmatch
import re
from collections.abc import Callable

from torch import nn

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from peft.quantization import refuse_quantized
from peft.wrappers import linear_kinds

Kinds = type | tuple[type, ...]


def freeze(model: nn.Module) -> None:
    """From here on, training changes nothing but what a method adds or unfreezes."""
    model.requires_grad_(False)


def unfreeze(model: nn.Module, names: str) -> None:
    """Train these modules fully: ``"wte,ln_f"``."""
    for name in matching(model, names, nn.Module):
        model.get_submodule(name).requires_grad_(True)


def select(
    model: nn.Module,
    target_modules: str = "all",
    layers_to_transform: str | None = None,
    kinds: Kinds | None = None,
    head: bool = True,
) -> list[str]:
    """Names of the modules to change.

    target_modules       ``all`` (every linear layer), or names such as ``q_proj,v_proj``, ``mlp.fc_in`` or ``h.11.*``
    layers_to_transform  only these blocks: ``0-3,11``; the modules outside blocks are then left alone
    kinds                the classes that a named module may have; linear layers without
    head                 may the classification head be among them? A language-model head is only taken when named,
                         because it is the embedding matrix too

    Raises InputError when a name matches nothing, and for ``all`` when linear layers are quantised already.
    """
    if target_modules == "all":
        refuse_quantized(model)
        names = [name for name, module in model.named_modules() if isinstance(module, linear_kinds())]
        if not has_classification_head(model):
            names = [name for name in names if name != "lm_head"]
    else:
        names = matching(model, target_modules, kinds or linear_kinds())
    if not head and has_classification_head(model):
        names = [name for name in names if name != "lm_head"]
    if layers_to_transform is not None:
        if not hasattr(model, "h"):
            raise InputError(
                "layers_to_transform picks among the blocks h.0, h.1, … of a GPT-2, and this model has none"
            )
        wanted = parse_layers(layers_to_transform, len(model.h))
        names = [name for name in names if (block := re.match(r"h\.(\d+)\.", name)) and int(block[1]) in wanted]
    if not names and target_modules == "all" and layers_to_transform is None:
        there = sorted({type(module).__name__ for module in model.modules() if module is not model})
        raise InputError(f"this model has no linear layer to change, only {', '.join(there) or 'itself'}")
    if not names:
        raise InputError(f"target_modules {target_modules!r} leaves no module to change; try 'all'", "target_modules")
    return names


def matching(model: nn.Module, names: str, kinds: Kinds) -> list[str]:
    """Modules of these kinds whose name is, ends with, or (with * or ?) fits one of the comma-separated names."""
    modules = {name: module for name, module in model.named_modules() if name}
    fitting = {name: module for name, module in modules.items() if isinstance(module, kinds)}
    chosen = set()
    for wanted in (part.strip() for part in names.split(",")):
        hits = {name for name in fitting if fits(name, wanted)}
        if not hits:
            raise InputError(no_hit(wanted, modules, fitting))
        chosen |= hits
    return [name for name in fitting if name in chosen]  # in the model's own order


def fits(name: str, wanted: str) -> bool:
    """Is, ends with, or (with * or ?) matches a module's name the wanted one?"""
    return name == wanted or name.endswith(f".{wanted}") or fnmatch.fnmatchcase(name, wanted)


def no_hit(wanted: str, modules: dict[str, nn.Module], fitting: dict[str, nn.Module]) -> str:
    """Why nothing fits a name: it is of another kind, or there is no such name."""
    known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in fitting})) or "none"
    other = next((type(module).__name__ for name, module in modules.items() if fits(name, wanted)), None)
    if other:
        return f"{wanted!r} is a {other}, which this cannot change; of the kinds that it can, this model has {known}"
    return f"no module is called {wanted!r}; this model has {known}"


def wrap_layers(
    model: nn.Module,
    wrapper: Callable[[nn.Module], nn.Module],
    target_modules: str = "all",
    layers_to_transform: str | None = None,
    train_head: bool = False,
    kinds: Kinds | None = None,
    weight_only: bool = False,
) -> list[str]:
    """Put ``wrapper(layer)`` in the place of every chosen layer, as all of LoRA's relatives do; returns their names.

    train_head    leave a classification head as it is, and train it fully
    weight_only   the wrapper changes what ``layer.weight`` is, and need not be called to have an effect

    nn.MultiheadAttention reads the weights of its out_proj and never calls it: ``all`` passes over such a layer, and
    naming it is refused. nn.TransformerEncoder does so when nothing trains, and is told to call its layers.
    """
    names = select(model, target_modules, layers_to_transform, kinds, head=not train_head)
    if not weight_only:
        silent = [name for name in names if isinstance(parent(model, name), nn.MultiheadAttention)]
        if silent and target_modules != "all" or silent == names:
            raise InputError(f"{silent[0]} is never called by nn.MultiheadAttention; minlora can change it")
        names = [name for name in names if name not in silent]
    for name in names:
        layer = model.get_submodule(name)
        leave_fast_path(model, name)
        model.set_submodule(name, wrapper(layer).train(layer.training))  # or dropout would start in a model that rests
    if train_head and has_classification_head(model):
        model.lm_head.requires_grad_(True)
    return names


def leave_fast_path(model: nn.Module, name: str) -> None:
    """Let PyTorch's transformer encoders around this layer call it: their fast path reads its weights instead."""
    while name:
        name = name.rpartition(".")[0]
        module = model.get_submodule(name)
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # the fast path knows 1 and 2
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def parent(model: nn.Module, name: str) -> nn.Module:
    """The module that holds the module of this name."""
    return model.get_submodule(name.rpartition(".")[0])


def parse_layers(layers: str, count: int) -> set[int]:
    """``"0-3,11"`` -> {0, 1, 2, 3, 11}. Raises InputError for anything else, and for blocks that do not exist."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", layers):
        raise InputError(f"layers_to_transform {layers!r} is not a list such as 0-3,11", "layers_to_transform")
    chosen = set()
    for part in layers.split(","):
        first, _, last = part.partition("-")
        if len(part) > 20 or not int(first) <= int(last or first) < count:
            text = f"layers_to_transform {layers!r}: this model has blocks 0 to {count - 1}"
            raise InputError(text, argument="layers_to_transform")
        chosen |= set(range(int(first), int(last or first) + 1))
    return chosen
