"""QLoRA: LoRA beside a base model that is kept in four bits (Dettmers et al., 2023).

LoRA made gradients and optimiser state small; what is left is the frozen model itself. As nothing trains it, it can
be stored coarsely: quantised to NF4 once (peft/quantization.py), and turned back into numbers layer by layer where a
product needs them. The trained A and B stay in full precision, and learn on top of what quantisation has lost.

    h = dequantise(W₄) x + b + s · B A x

           x (in)
           ├──────────────────────┐
     ┌─────┴─────┐           ┌────┴────┐
     │ W frozen  │           │    A    │     trained, full precision
     │ 4.127 bits│           ├─────────┤
     │ a weight  │           │    B    │     gradients reach A and B of lower layers through dequantise(W₄)
     └─────┬─────┘           └────┬────┘
           └───────── + ──────────┘ · s
                 h (out)

All linear layers in the blocks are quantised, with LoRA or without; embeddings, norms, biases and the head stay as
they are. Trained parameters: LoRA's, r (in + out) per layer. GPT-2 124M, every linear layer and a head of two classes:
1,333,264 at rank 8; the 84.9 million weights of the blocks shrink from 340 MB to 44 MB.

The trade: about an eighth of the memory for the base's linear layers, for a slower step (dequantising, twice) and a
base that is not exactly the pretrained one. The update cannot be merged into four bits: it is finer than the levels.
Load the adapter with ``quantize=False`` to put it on the full-precision base, which can be merged, and answers
slightly differently.
"""

from torch import nn

from gpt2.model import GPT2
from peft.lora import LinearWithLoRA
from peft.quantization import quantize_linear_layers
from peft.targets import wrap_layers


def qlora(
    model: GPT2,
    rank: int = 8,
    alpha: float = 8,
    scaling: str = "alpha/rank",
    target_modules: str = "all",
    layers_to_transform: str | None = None,
    dropout: float = 0.0,
    init: str = "kaiming",
    train_head: bool = False,
    bits: int = 4,
    double_quant: bool = True,
    quantize: bool = True,
) -> None:
    """LoRA beside linear layers that are stored in four (or eight) bits.

    Args:
        rank: inner dimension r of the update
        alpha: numerator of the update's scale
        scaling: scale of the update: alpha/rank, alpha, or alpha/sqrt(rank)
        target_modules: linear layers to give LoRA to: all, or names such as q_proj,v_proj
        layers_to_transform: LoRA only in these blocks, such as 0-3,11
        dropout: dropout before A while training
        init: start of A: kaiming, or normal (std 1/√rank)
        train_head: train the head fully instead of by LoRA
        bits: 4 (NormalFloat) or 8 (int8) for the base's weights
        double_quant: quantise the blocks' constants too (4 bits only)
        quantize: store the base in few bits; otherwise keep it in full precision
    """

    def wrapper(linear: nn.Module) -> nn.Module:
        return LinearWithLoRA(linear, rank, alpha, scaling=scaling, dropout=dropout, init=init)

    wrap_layers(model, wrapper, target_modules, layers_to_transform, train_head)
    if quantize:
        quantize_linear_layers(model.h, bits, double_quant)  # those under a LoRA, and those without
