"""DoRA: train how long each weight vector is, and where it points, separately (Liu et al., 2024).

Write each row of W, the weights of one output, as a length times a direction. Full fine-tuning often turns a row
without making it longer, or the reverse; LoRA, whose one update does both, tends to move the two together. DoRA
gives the length a parameter of its own, and lets LoRA turn the direction:

    h = W' x + b,      W' = m · V / ‖V‖,      V = W + s · B A        ‖V‖: one norm per row

           x (in)
             │
     ┌───────┴────────┐    V = W frozen + s · B A     trained, as in LoRA: B starts at zero
     │   V / ‖V‖      │    every row a unit vector
     └───────┬────────┘
             · m           m (out)                    trained, starts at ‖W‖, so that W' = W before training
             + b
           h (out)

Trained parameters: r (in + out) + out per layer, LoRA's and one length per output. GPT-2 124M, every linear layer and a
head of two classes: 166,658 r + 82,946, so 1,416,210 at rank 8. In its paper a little better than LoRA at
the same rank, and merged it costs as little; but every training step builds the (out, in) matrix V to take its norms.
(The paper calls the norm column-wise, because it writes one output's weights as a column; nn.Linear keeps rows.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peft.lora import LinearWithLoRA, linear_like, wrap_linear_layers


class LinearWithDoRA(LinearWithLoRA):
    """A linear layer whose rows are turned by a low-rank change and stretched to a learned length; options as there."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, **options):
        super().__init__(linear, rank, alpha, **options)
        self.magnitude = nn.Parameter(linear.weight.detach().norm(dim=1))  # m (out)

    def stretch(self) -> Tensor:
        """m / ‖V‖ (out). The norm counts as a constant in backward, as the paper's section 4.3 proposes: no gradient
        goes through it, which saves the memory of a graph through V and changes the result little."""
        with torch.no_grad():
            norm = (self.linear.weight + self.lora.delta()).norm(dim=1)
        return self.magnitude / norm.clamp_min(torch.finfo(norm.dtype).tiny)  # a row of zeros has no direction

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.linear.weight) + self.lora(x)  # V x, without ever multiplying by the sum
        y = y * self.stretch()
        return y if self.linear.bias is None else y + self.linear.bias

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain nn.Linear with the same output; ``self`` stays as it is."""
        V = self.linear.weight + self.lora.delta()
        return linear_like(self.linear, V * self.stretch()[:, None])


def dora(
    model: nn.Module,
    rank: int = 8,
    alpha: float = 8,
    scaling: str = "alpha/rank",
    target: str = "all",
    layers: str | None = None,
    dropout: float = 0.0,
    init: str = "kaiming",
    train_head: bool = False,
) -> None:
    """LoRA for the direction of every weight vector, and a trained length for each.

    Args:
        rank: inner dimension r of the update
        alpha: numerator of the update's scale
        scaling: scale of the update: alpha/rank, alpha, or alpha/sqrt(rank)
        target: linear layers to change: all, or names such as q_proj,v_proj
        layers: only in these blocks, such as 0-3,11
        dropout: dropout before A while training
        init: start of A: kaiming, or normal (std 1/√rank)
        train_head: train the head fully instead of by DoRA
    """

    def wrapper(linear: nn.Module) -> nn.Module:
        return LinearWithDoRA(linear, rank, alpha, scaling=scaling, dropout=dropout, init=init)

    wrap_linear_layers(model, wrapper, target, layers, train_head)
