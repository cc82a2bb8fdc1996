"""minLoRA: the same LoRA by a mechanism that PyTorch already has (github.com/cccntu/minLoRA, 2023).

``torch.nn.utils.parametrize`` lets a parameter be *computed*: whenever anybody reads ``linear.weight``, PyTorch passes
the stored matrix through a chain of modules. LoRA is one such module, and the layer itself is not wrapped or replaced:

    linear.weight   =   W frozen ──► [ + s B A ] ──► [ + s' B' A' ] ──► …        one link per LoRA, as many as wanted
                        stored as ``linear.parametrizations.weight.original``

Compare peft/lora.py (Hu et al., 2021, arXiv:2106.09685), which computes W x + s B (A x) and never forms a full matrix.
Here (W + s B A) x is computed: the same function, the same trained parameters (r (in + out) per layer; GPT-2
124M, every linear layer and a head of two classes: 1,333,264 at rank 8), but another cost.

The trade-off: little code, any number of LoRAs on one weight, and the layer stays the nn.Linear that others expect.
But each forward builds an (out, in) matrix and keeps it for backward, as if W were trained; and dropout on the inputs
of A, which differ from token to token, has no place in a weight.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from peft.lora import LoRALayer
from peft.merging import to_plain
from peft.options import MinLoRAOptions
from peft.targets import wrap_layers
from peft.wrappers import is_transposed, matrix, plain_like, trained_dtype


class LoRAParametrization(nn.Module):
    """The link in the chain: W (out, in) -> W + s B A (out, in); options as for LoRALayer."""

    def __init__(self, linear: nn.Module, rank: int, alpha: float, **options):
        super().__init__()
        out_features, in_features = matrix(linear).shape
        self.transposed = is_transposed(linear)  # transformers' Conv1D: W is stored (in, out)
        lora = LoRALayer(in_features, out_features, rank, alpha, **options)
        self.lora = lora.to(linear.weight.device, trained_dtype(linear.weight))

    def forward(self, W: Tensor) -> Tensor:
        delta = self.lora.delta()
        return (W + (delta.T if self.transposed else delta)).to(W.dtype)


@to_plain.register
@torch.no_grad()
def _(layer: nn.Module) -> nn.Module:
    """The computed weight, stored. A layer without a chain gives itself.

    PyTorch's own ``parametrize.remove_parametrizations(layer, "weight")`` does it in place, but forgets W.
    """
    return plain_like(layer, matrix(layer).detach()) if parametrize.is_parametrized(layer, "weight") else layer


def add_lora(linear: nn.Module, rank: int, alpha: float, **options) -> nn.Module:
    """Append one LoRA to the chain behind ``linear.weight``, in place; returns the layer."""
    parametrize.register_parametrization(linear, "weight", LoRAParametrization(linear, rank, alpha, **options))
    return linear


def minlora(model: nn.Module, options: MinLoRAOptions) -> None:
    """Put a chain with one LoRA behind the weight of every chosen layer."""

    def wrapper(linear: nn.Module) -> nn.Module:
        return add_lora(linear, options.rank, options.alpha, scaling=options.scaling, init=options.init)

    where = options.target_modules, options.layers_to_transform, options.train_head
    wrap_layers(model, wrapper, *where, weight_only=True)
