"""What the methods that wrap a linear layer have in common.

Two kinds of linear layer are known: nn.Linear, whose matrix is (out, in), and transformers' Conv1D, the same layer with
its matrix stored (in, out). ``matrix`` and ``plain_like`` hide the difference.

**Precision.** What is trained is at least float32, whatever the base is: AdamW's small updates vanish in 16 bits, and
its ε = 1e-8 is zero in float16. So an update is computed in float32, and its result takes the precision of the base.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn


def linear_kinds() -> tuple[type[nn.Module], ...]:
    """The classes of linear layers: nn.Linear, and Conv1D where transformers is in use."""
    library = sys.modules.get("transformers.pytorch_utils")
    return (nn.Linear, library.Conv1D) if library else (nn.Linear,)


def is_transposed(linear: nn.Module) -> bool:
    """Does this layer store W as (in, out)?"""
    return isinstance(linear, linear_kinds()[1:])


def matrix(linear: nn.Module) -> Tensor:
    """W (out, in) of a linear layer."""
    return linear.weight.T if is_transposed(linear) else linear.weight


def trained_dtype(weight: Tensor) -> torch.dtype:
    """The precision of what is trained beside this weight: float32, or float64 beside float64."""
    return torch.promote_types(weight.dtype, torch.float32)


class LinearWrapper(nn.Module):
    """Stands in the place of a linear layer, which is inside as ``linear``.

    ``weight``, ``bias``, ``in_features`` and ``out_features`` are those of that layer, so that foreign code which looks
    at them keeps working. ``weight`` is the base weight, *without* what was learned beside it.
    """

    linear: nn.Module

    @property
    def weight(self) -> Tensor:
        return self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        return self.linear.bias

    @property
    def in_features(self) -> int:
        return matrix(self.linear).size(1)

    @property
    def out_features(self) -> int:
        return matrix(self.linear).size(0)


def plain_like(linear: nn.Module, W: Tensor) -> nn.Module:
    """A frozen layer of the kind and precision of ``linear``, with this W (out, in) and its bias, which it shares."""
    weight = nn.Parameter(W.to(linear.weight.dtype), requires_grad=False)
    if is_transposed(linear):
        kind = linear_kinds()[1]
        new = nn.Module.__new__(kind)
        new.__dict__.update(vars(linear), _modules={}, _parameters={"weight": None, "bias": linear.bias})
        new.weight = nn.Parameter(weight.T.contiguous(), requires_grad=False)
        return new
    new = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")  # allocates nothing
    new.weight, new.bias = weight, linear.bias
    return new


def keep_trained_in_float32(model: nn.Module) -> None:
    """Where weights of a half-precision base train, such as its head: let their module compute in float32, on inputs
    that are cast to it, and answer in the precision that it had."""
    of_its_own = [(module, list(module.parameters(recurse=False))) for module in model.modules()]
    chosen = [
        (module, parameters, coarse.pop())
        for module, parameters in of_its_own
        if (coarse := {p.dtype for p in parameters if p.requires_grad and trained_dtype(p) != p.dtype})
    ]
    for module, parameters, dtype in chosen:
        module.register_forward_pre_hook(lambda module, inputs: cast(inputs, torch.float32))
        module.register_forward_hook(lambda module, inputs, output, dtype=dtype: cast(output, dtype))
        for parameter in parameters:
            parameter.data = parameter.data.float()


def cast(x: Any, dtype: torch.dtype) -> Any:
    """A tensor of floating-point numbers, or a tuple with such tensors, in this precision; anything else as it is."""
    if isinstance(x, tuple):
        return tuple(cast(part, dtype) for part in x)
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x
