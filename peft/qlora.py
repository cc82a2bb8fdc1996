"""QLoRA: LoRA beside a base model that is kept in four bits (Dettmers et al., 2023, arXiv:2305.14314).

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

The trade-off: about an eighth of the memory for the base's linear layers, for a slower step (dequantising, twice) and a
base that is not exactly the pretrained one. The update cannot be merged into four bits: it is finer than the levels.
Load the adapter with ``quantize=False`` to put it on the full-precision base, which can be merged, and answers
slightly differently.
"""

from gpt2.model import GPT2
from peft.lora import lora
from peft.options import QLoRAOptions
from peft.quantization import quantize_linear_layers


def qlora(model: GPT2, options: QLoRAOptions) -> None:
    """Put LoRA on every chosen layer, and quantise the linear layers of all blocks: with a LoRA, or without."""
    lora(model, options)
    if options.quantize:
        quantize_linear_layers(model.h, options.bits, options.double_quant)
