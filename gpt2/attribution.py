"""Why this answer? Integrated gradients: how much each token adds to the difference of two class logits.

    attribution of token i = (x_i - b_i) · ∫ ∂f(b + a (x - b)) / ∂x_i da,  a from 0 to 1

x (T, C) are the embeddings of the message's tokens, b those of a baseline that says nothing (<|endoftext|> at every
place), and f is the logit of one class minus that of another. With the exact integral the attributions sum to
f(x) - f(b) (completeness): nothing of the answer is left unexplained. Here a sum replaces the integral, which adds a
small error.

Sundararajan, Taly & Yan, 2017, "Axiomatic Attribution for Deep Networks".
"""

import torch
from torch import Tensor

from gpt2.classifier import classify
from gpt2.model import GPT2
from gpt2.tokenizer import END_OF_TEXT

STEPS = 64  # points of the sum
BATCH = 16  # points computed at a time


def integrated_gradients(
    model: GPT2, tokens: Tensor, target: int, other: int, pooling: str = "last", steps: int = STEPS
) -> tuple[Tensor, float, float]:
    """Attributions (T,) of the tokens (T,) of one message, and f of the message and of the baseline, where f is the
    logit of class ``target`` minus that of class ``other``. ``pooling``: see ``classify``."""
    model.eval()
    with torch.no_grad():
        x, b = model.wte(tokens), model.wte(torch.full_like(tokens, END_OF_TEXT))  # (T, C)

    def f(embeddings: Tensor) -> Tensor:
        """(N, T, C) embeddings of N versions of the message -> (N,)."""
        N, T, _ = embeddings.shape
        hook = model.wte.register_forward_hook(lambda module, inputs, output: embeddings)  # instead of what it found
        try:
            logits = classify(model, tokens.expand(N, T), torch.full((N,), T, device=tokens.device), pooling)
        finally:
            hook.remove()
        return logits[:, target] - logits[:, other]

    points = (torch.arange(steps, device=x.device) + 0.5) / steps  # the middle of each piece of the path
    total = torch.zeros_like(x)
    for part in points.split(BATCH):
        between = (b + part[:, None, None] * (x - b)).requires_grad_()  # (points, T, C)
        (gradient,) = torch.autograd.grad(f(between).sum(), between)
        total += gradient.sum(dim=0)
    with torch.no_grad():
        of_message, of_baseline = f(torch.stack([x, b])).tolist()
    return ((x - b) * total / steps).sum(dim=-1), of_message, of_baseline
