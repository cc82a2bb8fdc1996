"""Adapters: small bottleneck networks inserted between frozen layers (Houlsby et al., 2019, arXiv:1902.00751).

    adapter(x) = s · up( f( down(x) ) )        down: C -> m,  f a non-linearity,  up: m -> C starts at zero

      serial (Houlsby)                            parallel (He et al., 2021, arXiv:2110.04366)

         sub-layer (attention or MLP)                x ──────────┬──────────────┐
              │ y                                                │              │
              ├─────────────┐                               sub-layer      down ▷ f ▷ up
              │        down ▷ f ▷ up                              │              │ · s
              + ◄───────────┘ · s                                 + ◄────────────┘
              │                                                   │

A serial adapter reads what the sub-layer has made of its input; a parallel one reads the input itself. Because ``up``
starts at zero, either leaves the untrained model exactly as it was.

Trained parameters: 2 C m + C + m per adapter. Houlsby puts two into each block (after attention, after the MLP),
Pfeiffer et al. (2020, arXiv:2005.00247) one, after the MLP; the parallel form stands beside the MLP. GPT-2 124M,
m = 32, two classes, with the head: 1,200,386 after Houlsby, 600,962 the others.

The trade-off: the non-linearity makes adapters more than a change of weights, so they cannot be merged: each
adds 2 C m multiply-adds per token and, worse for a GPU, two small layers in sequence.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.errors import InputError, number, whole_number
from gpt2.model import GPT2
from peft.options import AdapterOptions
from peft.wrappers import LinearWrapper, trained_dtype

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "tanh": F.tanh}


class BottleneckAdapter(nn.Module):
    """x (…, dim) -> scale · up(f(down(x))) (…, dim), zero at the start.

    bottleneck    m, the inner width; at least 1
    nonlinearity  one of NONLINEARITIES
    """

    def __init__(self, dim: int, bottleneck: int = 32, nonlinearity: str = "relu", scale: float = 1.0):
        super().__init__()
        bottleneck = whole_number("bottleneck", bottleneck)
        if nonlinearity not in NONLINEARITIES:
            raise InputError(
                f"unknown nonlinearity {nonlinearity!r}; choose one of {', '.join(NONLINEARITIES)}",
                argument="nonlinearity",
            )
        scale = number("adapter_scale", scale)
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.f, self.scale = NONLINEARITIES[nonlinearity], scale

    def forward(self, x: Tensor) -> Tensor:
        own = self.down.weight.dtype
        y = self.up(self.f(self.down(x.to(own)))) * self.scale
        return y if x.dtype == own else y.to(x.dtype)  # over a base in 16 bits


class SerialAdapter(LinearWrapper):
    """A sub-layer's last linear layer, then the adapter on its output, with a skip around it: (…, in) -> (…, dim)."""

    def __init__(self, linear: nn.Module, adapter: BottleneckAdapter):
        super().__init__()
        self.linear, self.adapter = linear, adapter

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return y + self.adapter(y)


class ParallelAdapter(nn.Module):
    """A sub-layer and, beside it, an adapter that reads the same input: (…, dim) -> (…, dim)."""

    def __init__(self, sublayer: nn.Module, adapter: BottleneckAdapter):
        super().__init__()
        self.sublayer, self.adapter = sublayer, adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.sublayer(x) + self.adapter(x)


def new_adapter(model: GPT2, options: AdapterOptions) -> BottleneckAdapter:
    """An adapter of the model's width, where the model's weights are."""
    weight = model.wte.weight
    new = BottleneckAdapter(model.config.n_embd, options.bottleneck, options.nonlinearity, options.adapter_scale)
    return new.to(weight.device, trained_dtype(weight))


def adapter(model: GPT2, options: AdapterOptions) -> None:
    """Serial adapters (Houlsby): in every block after attention and after the MLP."""
    for block in model.h:
        block.attn.out_proj = SerialAdapter(block.attn.out_proj, new_adapter(model, options))
        block.mlp.fc_out = SerialAdapter(block.mlp.fc_out, new_adapter(model, options))


def adapter_pfeiffer(model: GPT2, options: AdapterOptions) -> None:
    """Serial adapters (Pfeiffer): in every block after the MLP only."""
    for block in model.h:
        block.mlp.fc_out = SerialAdapter(block.mlp.fc_out, new_adapter(model, options))


def adapter_parallel(model: GPT2, options: AdapterOptions) -> None:
    """Parallel adapters (He et al.): in every block beside the MLP."""
    for block in model.h:
        block.mlp = ParallelAdapter(block.mlp, new_adapter(model, options))
