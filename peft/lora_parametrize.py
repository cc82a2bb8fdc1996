"""minLoRA: the same LoRA by a mechanism that PyTorch already has (after cccntu's minLoRA, 2023).

``torch.nn.utils.parametrize`` lets a parameter be *computed*: whenever anybody reads ``linear.weight``, PyTorch passes
the stored matrix through a chain of modules. LoRA is one such module, and the layer itself is not wrapped or replaced:

    linear.weight   =   W frozen ──► [ + s B A ] ──► [ + s' B' A' ] ──► …        one link per LoRA, as many as wanted
                        stored as ``linear.parametrizations.weight.original``

Compare peft/lora.py, which computes W x + s B (A x) and never forms a full matrix. Here (W + s B A) x is computed: the
same function, the same trained parameters (r (in + out) per layer; GPT-2 124M, every linear layer and a head of two
classes: 1,333,264 at rank 8), but another cost.

The trade: little code, any number of LoRAs on one weight, and the layer stays the nn.Linear that other code expects.
But each forward builds an (out, in) matrix and keeps it for backward, as if W were trained; and dropout on the inputs
of A, which differ from token to token, has no place in a weight.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from peft.lora import LoRALayer, linear_like, wrap_linear_layers


class LoRAParametrization(nn.Module):
    """The link in the chain: W (out, in) -> W + s B A (out, in); options as for LoRALayer."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, **options):
        super().__init__()
        self.lora = LoRALayer(linear.in_features, linear.out_features, rank, alpha, **options).to(linear.weight)

    def forward(self, W: Tensor) -> Tensor:
        return W + self.lora.delta()


@torch.no_grad()
def plain(linear: nn.Linear) -> nn.Linear:
    """What peft.merge puts in this layer's place: its computed weight, stored. ``linear`` stays as it is.

    PyTorch's own ``parametrize.remove_parametrizations(linear, "weight")`` does it in place, but forgets W.
    """
    return linear_like(linear, linear.weight.detach())


def add_lora(linear: nn.Linear, rank: int, alpha: float, **options) -> nn.Linear:
    """Append one LoRA to the chain behind ``linear.weight``, in place; returns the layer."""
    parametrize.register_parametrization(linear, "weight", LoRAParametrization(linear, rank, alpha, **options))
    type(linear).merged = plain  # PyTorch has just made a class for this one layer, so a method can be added to it
    return linear


def minlora(
    model: nn.Module,
    rank: int = 8,
    alpha: float = 8,
    scaling: str = "alpha/rank",
    target: str = "all",
    layers: str | None = None,
    init: str = "kaiming",
    train_head: bool = False,
) -> None:
    """LoRA through PyTorch's parametrizations: the same numbers by another mechanism.

    Args:
        rank: inner dimension r of the update
        alpha: numerator of the update's scale
        scaling: scale of the update: alpha/rank, alpha, or alpha/sqrt(rank)
        target: linear layers to change: all, or names such as q_proj,v_proj
        layers: only in these blocks, such as 0-3,11
        init: start of A: kaiming, or normal (std 1/√rank)
        train_head: train the head fully instead of by LoRA
    """

    def wrapper(linear: nn.Module) -> nn.Module:
        return add_lora(linear, rank, alpha, scaling=scaling, init=init)

    wrap_linear_layers(model, wrapper, target, layers, train_head)
