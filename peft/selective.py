"""Selective fine-tuning: train some of the weights that are already there, and add none.

The oldest way to save: of the network's parameters, pick a part, train it as usual, and leave the rest as it is.
GPT-2's lower blocks know spelling and grammar, which a new task needs unchanged; its upper blocks and the new head
decide what to make of it (Howard & Ruder, 2018, arXiv:1801.06146; Lee et al., 2019, "What would Elsa do?",
arXiv:1911.03090).

                     full    selective (blocks=1)    head
    new head          ▓             ▓                 ▓        ▓ trained
    final norm        ▓             ▓                 ░        ░ frozen
    block 11          ▓             ▓                 ░
    blocks 0-10       ▓             ░                 ░
    embeddings        ▓             ░                 ░

One can also cut the other way, and pick a kind of parameter in every block:

    linear layer   y = W x + b              BitFit: every b and β, that is, only shifts
    norm           y = γ · (x - μ)/σ + β    layernorm: every γ and β (RMSNorm: γ)

Papers: BitFit, Ben Zaken et al., 2021, arXiv:2106.10199; norms, Qi et al., 2022, arXiv:2211.08682, and Zhao et al.,
2023, arXiv:2312.11420.

Trained parameters with C = n_embd, L blocks, k classes: head (C + 1) k; besides it, selective 12 C² + 13 C per block
and 2 C for the final norm, bitfit (11 L + 1) C, layernorm (4 L + 2) C; full is everything. GPT-2 124M, two classes:
head 1,538, selective 7,090,946, bitfit 103,682, layernorm 39,938, full 124,441,346.

The trade-off: nothing is added, so inference costs nothing extra. With selective, gradients stop at the lowest trained
block, so time and memory fall with the number of blocks, but each task keeps its own copy of whole blocks. BitFit and
layernorm keep almost nothing per task, but gradients must flow through the whole network to reach block 0.
"""

from torch import nn

from gpt2.errors import InputError, whole_number
from gpt2.model import GPT2
from peft.options import Options, SelectiveOptions
from peft.quantization import refuse_quantized


def full(model: nn.Module, options: Options) -> None:
    """Train every parameter."""
    refuse_quantized(model)
    model.requires_grad_(True)


def head(model: GPT2, options: Options) -> None:
    """Train nothing besides the classification head, which every method of this file trains."""


def selective(model: GPT2, options: SelectiveOptions) -> None:
    """Train the last blocks and the final norm."""
    whole_number("blocks", options.blocks, least=0, most=len(model.h))
    model.ln_f.requires_grad_(True)
    for block in model.h[len(model.h) - options.blocks :]:
        refuse_quantized(block)
        block.requires_grad_(True)


def bitfit(model: nn.Module, options: Options) -> None:
    """Train every bias."""
    for name, parameter in model.named_parameters():
        kind = name.rsplit(".", 1)[-1]
        if kind.startswith("bias") or kind.endswith("bias"):  # also an LSTM's bias_hh_l0, an attention's in_proj_bias
            parameter.requires_grad_(True)


def layernorm(model: nn.Module, options: Options) -> None:
    """Train the gains and biases of every norm."""
    norms = [module for module in model.modules() if type(module).__name__.endswith(("LayerNorm", "RMSNorm"))]
    if not norms:
        raise InputError("this model has no LayerNorm or RMSNorm to train")
    for norm in norms:
        norm.requires_grad_(True)
