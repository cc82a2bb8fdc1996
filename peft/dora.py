"""DoRA: train length and direction of each weight vector separately (Liu et al., 2024, arXiv:2402.09353).

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

With dropout, which falls on what is learned and not on the pretrained layer, the same is (formula of the paper's code)

    h = W x + b + (m/‖V‖ - 1) · W drop(x) + m/‖V‖ · s · B A drop(x)

Trained parameters: r (in + out) + out per layer, LoRA's and one length per output. GPT-2 124M, every linear layer and a
head of two classes: 166,658 r + 82,946, so 1,416,210 at rank 8. In its paper a little better than LoRA at
the same rank, and merged it costs as little; but every training step builds the (out, in) matrix V to take its norms.
(The paper calls the norm column-wise, because it writes one output's weights as a column; nn.Linear keeps rows.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peft.lora import LinearWithLoRA
from peft.merging import to_plain
from peft.options import LoRAOptions
from peft.targets import wrap_layers
from peft.wrappers import matrix, plain_like


class LinearWithDoRA(LinearWithLoRA):
    """A linear layer whose rows are turned by a low-rank update and stretched to a learned length; options as there."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, **options):
        super().__init__(linear, rank, alpha, **options)
        self.magnitude = nn.Parameter(matrix(linear).detach().to(self.lora.A.dtype).norm(dim=1))  # m (out)

    def stretch(self) -> Tensor:
        """m / ‖V‖ (out). The norm counts as a constant in backward, as the paper's section 4.3 proposes: no gradient
        goes through it, which saves the memory of a graph through V and changes the result little."""
        with torch.no_grad():
            norm = (matrix(self.linear) + self.lora.delta()).norm(dim=1)
        return self.magnitude / norm.clamp_min(torch.finfo(norm.dtype).tiny)  # a row of zeros has no direction

    def forward(self, x: Tensor) -> Tensor:
        W = matrix(self.linear).to(x.dtype)
        stretch, kept = self.stretch(), self.lora.dropout(x)
        y = F.linear(x, W)
        turned = y if not self.drops else F.linear(kept, W)
        # V x stretched, without ever multiplying by V. Dropout is for what is learned: W x itself stays whole.
        y = y + ((stretch - 1) * turned + stretch * self.lora.update(kept)).to(y.dtype)
        return y if self.linear.bias is None else y + self.linear.bias

    @property
    def drops(self) -> bool:
        return self.training and self.lora.dropout.p > 0


@to_plain.register
@torch.no_grad()
def _(layer: LinearWithDoRA) -> nn.Module:
    """m · V / ‖V‖."""
    V = matrix(layer.linear) + layer.lora.delta()
    return plain_like(layer.linear, V * layer.stretch()[:, None])


def dora(model: nn.Module, options: LoRAOptions) -> None:
    """Put DoRA on every chosen layer."""
    own = {"scaling": options.scaling, "dropout": options.dropout, "init": options.init}

    def wrapper(linear: nn.Module) -> nn.Module:
        return LinearWithDoRA(linear, options.rank, options.alpha, **own)

    wrap_layers(model, wrapper, options.target_modules, options.layers_to_transform, options.train_head)
