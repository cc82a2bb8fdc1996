"""Adapter files: what a method has learned, without the base model it was learned on.

    folder/adapter_config.json         which method, with which options, on which base model
    folder/adapter_model.safetensors   the trained tensors, and frozen ones that were drawn at random: a classification
                                       head, and what the method declares as ``frozen_saved``

                      save                                load
    our model ──► finish, fields ──► the two files ──► check, insert, read ──► our model, equal in every bit
                                        ▲    │
                       Hugging Face's peft, both ways         (for the methods that it has; see hugging_face.py)

For the methods that Hugging Face's peft has, the files are laid out as it lays them out, and it loads them. Keys and
tensors that only we read (``method``, ``options``, …, ``gpt2_peft.*``) stand beside, and it passes over them. All other
methods, and what the library has no place for (``reason`` says what), have the ``peft_type`` GPT2_PEFT_ADAPTER, and
tensors under our own names. Files that carry no ``method`` were written by the library, and are read as such.

A file may come from anybody. So sizes are compared with what the file really holds before anything is built, and no
name in it is ever used as a path, a pattern or code.
"""

import copy
import fnmatch
import math
import re
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from gpt2.checkpoints.fingerprints import fingerprints, parameters_of, same_base, uncompiled
from gpt2.classifier import add_classification_head, has_classification_head
from gpt2.devices import without_memory
from gpt2.errors import InputError
from gpt2.files import atomic_write, write_json
from gpt2.model import GPT2
from peft.applying import put_in, without_numpy
from peft.dylora import DyLoRALayer
from peft.files import hugging_face, hugging_face_config
from peft.files.adapter_config import CONFIG_FILE, OWN_TYPE, TENSOR_FILE, read_config, saved_fingerprints
from peft.files.fields import Field, TensorFile
from peft.merging import finished
from peft.options import NO_CHANGE
from peft.registry import METHODS
from peft.state import state_of, unchanged_if_refused


def adapter_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that belong into an adapter file: name -> parameter."""
    method = state_of(model).method
    frozen = METHODS[method].frozen_saved if method else ()
    frozen += ("lm_head.*",) if has_classification_head(model) else ()
    named = parameters_of(model)
    return {
        name: parameter
        for name, parameter in named.items()
        if parameter.requires_grad or any(fnmatch.fnmatchcase(name, pattern) for pattern in frozen)
    }


def save(model: nn.Module, folder: str | Path) -> None:
    """Write the adapter of a model that ``peft.apply`` or ``peft.load`` has prepared; each file whole or not at all."""
    model = uncompiled(model)
    state = state_of(model)
    if state.method is None:
        raise InputError("this model carries no method to save; peft.apply(model, ...) puts one in")
    if state.merged:
        raise InputError("this model is merged; call peft.unmerge(model) before peft.save")
    unfinished = finish(model)
    try:
        config, fields = describe(model)
        prefix = prefix_of(config["peft_type"])
        tensors = {tensor_name(prefix, name): field.tensor() for name, field in fields.items()}
        options = saved_options(model)
    finally:
        for name, module in unfinished.items():
            model.set_submodule(name, module)
    precise, *rounded = state.base_fingerprints
    config |= {
        "method": state.method,
        "options": options,
        "num_classes": num_classes(model),
        "base_config": asdict(model.config) if hasattr(model, "config") else None,
        "base_fingerprint": state.base_fingerprints[precise],
        "base_fingerprints_rounded": {name: state.base_fingerprints[name] for name in rounded},
    }
    with atomic_write(Path(folder) / TENSOR_FILE) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(Path(folder) / CONFIG_FILE, config)


def saved_options(model: nn.Module) -> dict | None:
    """The method's options; of a DyLoRA that was cut at a rank, this rank."""
    options = state_of(model).options
    ranks = {layer.rank for layer in model.modules() if isinstance(layer, DyLoRALayer)}
    return options | {"rank": ranks.pop()} if ranks and options else options


def describe(model: nn.Module) -> tuple[dict, dict[str, Field]]:
    """The layout of a model's adapter files: Hugging Face's where it has one, and what they hold."""
    reason = {}
    if isinstance(model, GPT2) and METHODS[model.peft.method].hugging_face:
        try:
            fields = hugging_face.fields(model)
            return hugging_face_config.configuration(model, fields), fields
        except InputError as error:
            reason = {"reason": str(error)}
    return {"peft_type": OWN_TYPE} | reason, own_fields(model)


def own_fields(model: nn.Module) -> dict[str, Field]:
    """Our own layout: each tensor of the file is one parameter, under its own name."""
    return {name: Field([parameter]) for name, parameter in adapter_tensors(model).items()}


def prefix_of(kind: str) -> str:
    """What Hugging Face's peft writes before a tensor's name, by ``peft_type``; nothing in our own layout."""
    if kind == OWN_TYPE:
        return ""
    return "base_model." if kind in hugging_face.PROMPTS else "base_model.model."


def tensor_name(prefix: str, name: str) -> str:
    """The name in the file of one of hugging_face.fields: inside the library's wrappers and transformers' model."""
    if not prefix or name == "prompt_embeddings" or name.startswith(hugging_face.OURS):
        return name
    return f"{prefix}{name}" if name.startswith(("score.", "lm_head.")) else f"{prefix}transformer.{name}"


def finish(model: nn.Module) -> dict[str, nn.Module]:
    """Drop what only training needs, such as a prompt's encoder, in place. Returns the modules that stood there before,
    by name."""
    left = {name: finished(module) for name, module in model.named_modules() if name}
    unfinished = {name: model.get_submodule(name) for name in left}
    unfinished = {name: module for name, module in unfinished.items() if left[name] is not module}
    for name in unfinished:
        model.set_submodule(name, left[name])
    return unfinished


def num_classes(model: nn.Module) -> int | None:
    """Outputs of the classification head, whatever wraps it; None for a language model."""
    if not has_classification_head(model):
        return None
    return model.lm_head.out_features


def load(model: nn.Module, folder: str | Path, **changes) -> nn.Module:
    """Put a saved adapter, ours or Hugging Face peft's, onto a fresh base model, in place: trainable and savable
    again, output as when saved.

    A classification head is added when the adapter has one and the model does not. ``changes`` replace options of
    the method: ``quantize=False`` puts a QLoRA adapter over the full-precision weights, ready to merge. The base may be
    a copy in 16 bits of the one that the adapter was trained on. Raises InputError, and leaves the model as it was,
    when the base is another model, or when a file is damaged or does not belong.
    """
    folder, inner = Path(folder), uncompiled(model)
    config = read_config(folder)
    if already := state_of(inner).method:
        raise InputError(f"this model already carries {already!r}; load {folder} onto a fresh one")
    own = config.get("peft_type", OWN_TYPE) == OWN_TYPE
    file = TensorFile(folder / TENSOR_FILE, str if own else short_name)
    base = fingerprints(inner)
    if "base_fingerprint" in config and not same_base(saved_fingerprints(config), base):
        raise InputError(f"{folder} was trained on another base model; load the one it was trained on")
    with unchanged_if_refused(inner):
        try:
            if config.get("options") is not None:
                insert(inner, config, changes, file.shapes)
            elif own or changes or not isinstance(inner, GPT2):
                raise InputError("an adapter of Hugging Face's takes a GPT2 and no further options")
            else:
                hugging_face_config.insert(inner, config, file.shapes)
            fields = own_fields(inner) if own else hugging_face.fields(inner)
            if not own:
                fields |= hugging_face_config.untrained_fields(inner, file.shapes, fields)
        except InputError as error:
            raise InputError(f"{folder}: {error}") from error
        file.read(fields, may_lack=("ia3_l", "ln_tuning_layers") if inner.peft.options is None else ())
    inner.peft.base_fingerprints = base
    return model


def short_name(name: str) -> str:
    """base_model.model.transformer.h.0.… -> h.0.…"""
    return re.sub(r"^base_model\.(model\.)?(transformer\.)?", "", name)


def only_loaded(method: str) -> dict:
    """Values for the options that only serve training: a loaded adapter needs no network that makes it."""
    loaded = {name: field.metadata["loaded"] for name, field in METHODS[method].options.items()}
    return {name: value for name, value in loaded.items() if value is not NO_CHANGE}


def insert(model: nn.Module, config: dict, changes: dict, shapes: dict[str, tuple[int, ...]]) -> None:
    """Put the method of a file of ours into the model, in place, once it is sure that the file could fill it."""
    method, classes, saved = config["method"], config.get("num_classes"), config["options"] | without_numpy(changes)
    small = {name: new for name, new in only_loaded(method).items() if name in saved}

    def prepare(model: nn.Module, **options) -> None:
        if classes and not has_classification_head(model):
            add_classification_head(model, classes)
        if num_classes(model) != classes:
            raise InputError(f"it has {classes or 'no'} classes, but the model {num_classes(model) or 'none'}")
        put_in(model, method, **options)
        finish(model)

    with without_memory():  # what would these options build?
        shadow = copy.deepcopy(model, {id(p): nn.Parameter(p.to("meta")) for p in model.parameters()})
        prepare(shadow, **saved | small | ({"quantize": False} if "quantize" in saved else {}))
    wanted = sum(parameter.numel() for parameter in adapter_tensors(shadow).values())
    there = sum(math.prod(shape) for shape in shapes.values())
    if wanted > there:
        raise InputError(f"its options ask for {wanted:,} numbers, but {TENSOR_FILE} holds {there:,}")
    prepare(model, **saved | small)
    model.peft.options = saved
