"""The arithmetic limit: the operations that fine-tuning cannot do without, and how many this machine can do a second.

A product of (N, in) with (in, out) takes 2 · N · in · out operations, one multiplication and one addition each. Counted
are products, and of them what the loss and the gradients need:

    forward                    2 · rows · in · out      rows: all real tokens; in the last block one a message, but k, v
    gradient of the input      as much                  where something trains below
    gradient of the weight     as much                  where the weight trains; for LoRA of A and B alone
    attention                  4 · C · pairs            q·k and weights·v, a pair being a token and one it may look at;
                               8 · C · pairs more       the four products of its gradients, where something trains below

Norms, GELU, softmax, the embedding and the optimiser are not counted: they are small, and limited by memory, not by
arithmetic. Frozen blocks (gpt2/training/frozen_features.py) are needed once for each different message, in the
first epoch.
"""

import time
from collections.abc import Sequence

import torch
from torch import nn

from gpt2.model import GPT2
from gpt2.training.frozen_features import frozen_blocks
from peft.lora import LinearWithLoRA

SIDE = 2048  # of the square matrices that measure the machine


def needed(model: GPT2, messages: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Operations of the first epoch and of each later one. ``model``, with its method in place, may be on "meta"."""
    frozen = frozen_blocks(model)
    below = sum(operations(model, len(message), range(frozen)) for message in {tuple(message) for message in messages})
    above = sum(operations(model, len(message), range(frozen, len(model.h))) for message in messages)
    head = sum(linear(model.lm_head, 1, trains(model.ln_f, model.h, model.wte, model.wpe)) for _ in messages)
    return below + above + head, above + head


def operations(model: GPT2, length: int, blocks: range) -> int:
    """Of one message in these blocks, forward and backward."""
    total, C = 0, model.config.n_embd
    upstream = trains(model.wte, model.wpe, *model.h[: blocks.start])  # does anything train on the way to here?
    for i in blocks:
        block, attn = model.h[i], model.h[i].attn
        rows = 1 if i == len(model.h) - 1 else length
        upstream |= trains(block.ln_1)
        total += linear(attn.q_proj, rows, upstream)
        total += linear(attn.k_proj, length, upstream) + linear(attn.v_proj, length, upstream)
        upstream |= trains(attn.q_proj, attn.k_proj, attn.v_proj)
        pairs = length if rows == 1 else length * (length + 1) // 2
        total += (12 if upstream else 4) * C * pairs
        for layer, before in ((attn.out_proj, ()), (block.mlp.fc_in, (block.ln_2,)), (block.mlp.fc_out, ())):
            upstream |= trains(*before)
            total += linear(layer, rows, upstream)
            upstream |= trains(layer)
    return total


def linear(layer: nn.Module, rows: int, upstream: bool) -> int:
    """A linear layer, plain or with LoRA; ``upstream``: something trains below, so the gradient must pass through."""
    plain = layer.linear if isinstance(layer, LinearWithLoRA) else layer
    product = 2 * rows * plain.in_features * plain.out_features
    total = product * (1 + upstream + plain.weight.requires_grad)
    if isinstance(layer, LinearWithLoRA):
        down = 2 * rows * layer.lora.rank * plain.in_features
        up = 2 * rows * layer.lora.rank * plain.out_features
        total += (down + up) + (up + up + down) + (down if upstream else 0)  # forward; dz, dB and dA; dx
    return total


def trains(*modules: nn.Module) -> bool:
    """Does anything in these modules require grad?"""
    return any(p.requires_grad for module in modules for p in module.parameters())


def machine_peak(repetitions: int = 10) -> float:
    """Operations a second of a large float32 product: the best of several, as what disturbs only makes it slower."""
    a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    out = a @ b  # the first also starts the threads
    best = float("inf")
    for _ in range(repetitions):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best
