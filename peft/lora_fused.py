"""LoRA as cheap as its arithmetic: its forward and backward pass written out, for a layer that is frozen.

Left to autograd, ``linear(x) + s · B A x`` makes a full-sized product for the change, scales it, and adds it: three
passes over (N, out) numbers, and as many backward. Here the change is added in the matrix product itself, and
the gradients are the formulas. With row vectors, as PyTorch stores them:

    forward     z = x Aᵀ                       (N, r)       y = x Wᵀ + b + s · z Bᵀ       (N, out)
    backward    dz = s · dy B                  (N, r)       given dy (N, out)
                dB = s · dyᵀ z                 (out, r)
                dA = dzᵀ x                     (r, in)
                dx = dy W + dz A               (N, in)      nothing for W and b: they are frozen

Only x and z are kept for the backward pass. Products with a side of r are slow or fast by their layout alone: measured
on a CPU, (zᵀ dy)ᵀ takes a fifth of the time of dyᵀ z, and dy (Bᵀ)ᵀ with a copied Bᵀ a third of that of dy B.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LowRankLinear(torch.autograd.Function):
    """y = x Wᵀ + b + s · (x Aᵀ) Bᵀ, with gradients for x, A and B."""

    @staticmethod
    def forward(ctx, x: Tensor, W: Tensor, b: Tensor | None, A: Tensor, B: Tensor, s: float) -> Tensor:
        z = F.linear(x, A)  # (…, r)
        y = F.linear(x, W, b)  # (…, out)
        y.flatten(0, -2).addmm_(z.flatten(0, -2), B.T, alpha=s)  # in place, in one pass
        ctx.save_for_backward(x, W, A, B, z)
        ctx.scale = s
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, W, A, B, z = ctx.saved_tensors
        dy = dy.flatten(0, -2)  # (N, out)
        dz = F.linear(dy, B.T.contiguous()) * ctx.scale  # (N, r)
        dB = (z.flatten(0, -2).T @ dy).T * ctx.scale  # (out, r)
        dA = dz.T @ x.flatten(0, -2)  # (r, in)
        dx = None
        if ctx.needs_input_grad[0]:  # not below the first trained layer
            dx = (dy @ W).addmm_(dz, A).view(x.shape)
        return dx, None, None, dA, dB, None


def fits(layer: nn.Module, x: Tensor) -> bool:
    """Is ``layer``, a LinearWithLoRA, such a layer: plain and frozen, no dropout before A, no mixed precision?"""
    frozen = type(layer.linear) is nn.Linear and not any(p.requires_grad for p in layer.linear.parameters())
    dropout = layer.lora.training and layer.lora.dropout.p > 0
    return frozen and not dropout and x.dim() > 1 and not torch.is_autocast_enabled(x.device.type)
