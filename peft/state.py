"""What a method leaves on a model besides its modules, and how a refusal leaves nothing at all."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn


@dataclass
class PeftState:
    """What ``apply`` and ``load`` note down as ``model.peft``.

    method             a name of METHODS; None where layers were wrapped by hand
    options            the method's options, defaults included; None for an adapter that Hugging Face's peft has written
    base_fingerprints  the model that the method stands on (gpt2/checkpoints/fingerprints.py), before anything changed
    merged             while the model is merged: name -> the module whose place a plain layer has taken
    """

    method: str | None = None
    options: dict | None = None
    base_fingerprints: dict[str, str] = field(default_factory=dict)
    merged: dict[str, nn.Module] = field(default_factory=dict)


def state_of(model: nn.Module) -> PeftState:
    """The state of a model; an empty one where no method is in place."""
    return getattr(model, "peft", None) or PeftState()


@contextlib.contextmanager
def unchanged_if_refused(model: nn.Module) -> Iterator[None]:
    """Whatever goes wrong inside, the model is afterwards as it was: every module, tensor and requires_grad.

    Nothing is copied but references, so nothing inside may write into a tensor's memory; new numbers get new memory.
    """
    modules = [(module, type(module), shallow_copy(vars(module))) for module in model.modules()]
    parameters = [(parameter, parameter.data, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    except BaseException:
        for module, kind, attributes in modules:
            module.__class__ = kind  # parametrize gives a layer a class of its own
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for parameter, data, requires_grad in parameters:
            parameter.data = data
            parameter.requires_grad_(requires_grad)
        raise


def shallow_copy(attributes: dict) -> dict:
    """A module's attributes; dictionaries, of parameters, submodules and hooks, are copied; what is in them is not."""
    return {name: value.copy() if isinstance(value, dict) else value for name, value in attributes.items()}
