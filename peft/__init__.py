"""Parameter-efficient fine-tuning, from scratch: one method a file, each readable alone.

import peft
peft.apply(model, "lora", rank=8, alpha=8)   # afterwards exactly the parameters to train require grad
peft.save(model, folder); peft.load(model, folder); peft.merge(model); peft.unmerge(model)
peft.export(model, folder)                   # a plain transformers model
peft.Adapters(model)                         # many adapters, one base

Names are imported when first used, as in gpt2/__init__.py: the table of methods is there without PyTorch.
"""

from importlib import import_module

HOMES = {
    "METHODS": "peft.registry",
    "Method": "peft.registry",
    "apply": "peft.applying",
    "trainable_parameters": "peft.applying",
    "load": "peft.files.adapter",
    "save": "peft.files.adapter",
    "export": "peft.files.export",
    "merge": "peft.merging",
    "merged": "peft.merging",
    "unmerge": "peft.merging",
    "Adapters": "peft.switching",
}
__all__ = list(HOMES)


def __getattr__(name: str):
    if name not in HOMES:
        raise AttributeError(f"module 'peft' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
