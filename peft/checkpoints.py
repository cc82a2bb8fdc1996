"""Adapter files: what a method has learned, without the base model it was learned on.

folder/adapter_model.safetensors   the trained tensors, and a frozen classification head (it was drawn at random)
folder/adapter_config.json         the method, its options, and which base model they belong to
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import peft
from gpt2.classifier import add_classification_head, has_classification_head
from gpt2.errors import InputError
from gpt2.files import whole_file, write_json
from gpt2.weights import check_tensor, fingerprint, open_safetensors

CONFIG_FILE, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"


def adapter_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that belong into an adapter file: name -> parameter."""
    head = "lm_head." if has_classification_head(model) else None
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or (head and name.startswith(head))
    }


def save(model: nn.Module, folder: str | Path) -> None:
    """Write the adapter of a model that ``peft.apply`` or ``peft.load`` has prepared; each file whole or not at all."""
    if not hasattr(model, "peft_method"):
        raise InputError("this model carries no method to save; peft.apply(model, ...) puts one in")
    if hasattr(model, "peft_merged"):
        raise InputError("this model is merged; call peft.unmerge(model) before peft.save")
    unfinished = finish(model)
    tensors = {name: p.detach().cpu().contiguous() for name, p in adapter_tensors(model).items()}
    for name, module in unfinished.items():
        model.set_submodule(name, module)
    with whole_file(Path(folder) / TENSOR_FILE) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    config = {
        "method": model.peft_method,
        "options": model.peft_options,
        "num_classes": num_classes(model),
        "base_config": asdict(model.config) if hasattr(model, "config") else None,
        "base_fingerprint": model.peft_base,
    }
    write_json(Path(folder) / CONFIG_FILE, config)


def finish(model: nn.Module) -> dict[str, nn.Module]:
    """Drop what only training needs, such as a prompt's encoder, in place: a module says so by a method ``finished``,
    which returns what remains. Returns the modules that stood there before, by name."""
    unfinished = {name: module for name, module in model.named_modules() if hasattr(module, "finished")}
    for name, module in unfinished.items():
        model.set_submodule(name, module.finished())
    return unfinished


def num_classes(model: nn.Module) -> int | None:
    """Outputs of the classification head, whatever wraps it; None for a language model."""
    if not has_classification_head(model):
        return None
    head = getattr(model.lm_head, "linear", model.lm_head)
    return head.out_features


def load(model: nn.Module, folder: str | Path, **changes) -> nn.Module:
    """Put a saved adapter onto a fresh base model, in place: trainable and savable again, output as when saved.

    A classification head is added when the adapter has one and the model does not. ``changes`` replace options of
    the method: ``quantize=False`` puts a QLoRA adapter over the full-precision weights, ready to merge. Raises
    InputError when the base is another model, or when a file is damaged or does not belong.
    """
    config_file, tensor_file = Path(folder) / CONFIG_FILE, Path(folder) / TENSOR_FILE
    for file in (config_file, tensor_file):
        if not file.is_file():
            raise InputError(f"{folder} holds no adapter: {file.name} is missing")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        method, options, classes = config["method"], dict(config["options"]), config["num_classes"]
        base = config["base_fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{config_file} is not an adapter's configuration ({error!r})") from error
    if base != fingerprint(model):
        raise InputError(f"{folder} was trained on another base model; load the one it was trained on")
    if classes and not has_classification_head(model):
        add_classification_head(model, classes)
    peft.apply(model, method, **options | changes)
    finish(model)
    read_tensors(adapter_tensors(model), tensor_file)
    return model


@torch.no_grad()
def read_tensors(parameters: dict[str, nn.Parameter], file: Path) -> None:
    """Copy every tensor of ``file`` into the parameter of its name; all must be there, and no others."""
    with open_safetensors(file) as tensors:
        names = set(tensors.keys())
        for name in sorted(names ^ set(parameters)):
            problem = "does not belong to this method" if name in names else "is missing"
            raise InputError(f"{file}: tensor {name} {problem}")
        for name, parameter in parameters.items():
            shape = tuple(tensors.get_slice(name).get_shape())  # from the header: nothing is allocated yet
            if shape != tuple(parameter.shape):
                raise InputError(f"{file}: tensor {name} has shape {shape}, expected {tuple(parameter.shape)}")
            tensor = tensors.get_tensor(name)
            check_tensor(f"{file}: tensor {name}", tensor, tuple(parameter.shape))
            parameter.copy_(tensor)
