"""Parameter-efficient fine-tuning, from scratch: one method a file, each readable alone.

import peft
peft.apply(model, "lora", rank=8, alpha=8)   # afterwards exactly the parameters to train require grad
peft.save(model, folder); peft.load(model, folder); peft.merge(model); peft.unmerge(model)
peft.export(model, folder)                   # a plain transformers model
peft.Adapters(model)                         # many adapters, one base
"""

from peft.files.adapter import load, save
from peft.files.export import export
from peft.merging import merge, merged, unmerge
from peft.registry import METHODS, Method, apply, trainable_parameters
from peft.switching import Adapters

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
