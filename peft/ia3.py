"""IA³: learn to scale signals, with one number per channel (Liu et al., 2022, "T-Few", arXiv:2205.05638).

"Infused Adapter by Inhibiting and Amplifying Inner Activations": keys, values and the MLP's hidden layer are each
multiplied by a learned vector. Nothing is added to the network; its own features gain or lose weight.

    softmax( Q (l_k ⊙ K)ᵀ / √D ) (l_v ⊙ V)             fc_out( l_ff ⊙ GELU(fc_in(x)) )

         x ──┬── q_proj ────────┐                      x ── fc_in ── GELU ── · l_ff ── fc_out ──►
             ├── k_proj ── · l_k┼─ attention ──►
             └── v_proj ── · l_v┘                      all three start at one: the untrained model is unchanged

Trained parameters: 6 C per block (C for keys, C for values, 4 C for the hidden layer), and the head. GPT-2 124M, two
classes: 56,834. The trade-off: few parameters (only head, prompt and layernorm have fewer), and they merge, because a
scaled output is a matrix with scaled rows and a scaled input one with scaled columns. But scaling cannot make
a feature that the model does not have.

Hugging Face's peft targets GPT-2's fused c_attn and so scales the queries too: ``queries=True`` does the same.
"""

import torch
from torch import Tensor, nn

from gpt2.model import GPT2
from peft.merging import to_plain
from peft.options import IA3Options
from peft.wrappers import LinearWrapper, plain_like, trained_dtype


class ScaledOutput(LinearWrapper):
    """A linear layer, then one learned factor per output: x (…, in) -> l ⊙ (W x + b) (…, out)."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear = linear
        self.scale = nn.Parameter(torch.ones_like(linear.weight[:, 0], dtype=trained_dtype(linear.weight)))  # l (out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return (y * self.scale).to(y.dtype)


@to_plain.register
@torch.no_grad()
def _(layer: ScaledOutput) -> nn.Linear:
    """Scaled rows and bias."""
    new = plain_like(layer.linear, layer.linear.weight * layer.scale[:, None])
    if layer.linear.bias is not None:
        bias = (layer.linear.bias * layer.scale).to(layer.linear.bias.dtype)
        new.bias = nn.Parameter(bias, requires_grad=False)
    return new


class ScaledInput(LinearWrapper):
    """One learned factor per input, then a linear layer: x (…, in) -> W (l ⊙ x) + b (…, out)."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear = linear
        self.scale = nn.Parameter(torch.ones_like(linear.weight[0], dtype=trained_dtype(linear.weight)))  # l (in)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear((x * self.scale).to(x.dtype))


@to_plain.register
@torch.no_grad()
def _(layer: ScaledInput) -> nn.Linear:
    """Scaled columns."""
    return plain_like(layer.linear, layer.linear.weight * layer.scale)


def ia3(model: GPT2, options: IA3Options) -> None:
    """Put learned factors on keys, values and the MLP's hidden layer of every block."""
    for block in model.h:
        if options.queries:
            block.attn.q_proj = ScaledOutput(block.attn.q_proj)
        block.attn.k_proj = ScaledOutput(block.attn.k_proj)
        block.attn.v_proj = ScaledOutput(block.attn.v_proj)
        block.mlp.fc_out = ScaledInput(block.mlp.fc_out)
