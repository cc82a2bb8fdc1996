"""Head surgery: from 50,257 vocabulary logits to a few class logits, read at one token of each message.

A language model scores every possible next token. For classification that head is cut off and a new, small
one takes its place. Which token's output should it read? GPT-2 is causal: a token sees only what stands before it,
so the last token is the only one that has read the whole message.

    Win   a   prize  now  [pad] [pad]
                      ▲
                      └── last real token: has read everything, and no padding

Source: Radford et al., 2018, "Improving Language Understanding by Generative Pre-Training" (section 3.2).
"""

import torch
from torch import Tensor, nn

from gpt2.errors import InputError
from gpt2.model import GPT2

POOLINGS = ("last", "last-position", "first", "mean")


def add_classification_head(model: GPT2, num_classes: int = 2) -> GPT2:
    """Replace ``model.lm_head`` by a new nn.Linear(n_embd, num_classes), untied from the embedding; in place.

    Afterwards ``model(tokens)`` is (B, T, num_classes). The head starts as nn.Linear does: uniform in ±1/√n_embd, so
    seed torch first. Returns the model.
    """
    if num_classes < 2:
        raise InputError(f"a classifier needs at least 2 classes, not {num_classes}")
    weight = model.wte.weight
    model.lm_head = nn.Linear(model.config.n_embd, num_classes, device=weight.device, dtype=weight.dtype)
    return model


def has_classification_head(model: nn.Module) -> bool:
    """True after head surgery; False for a language model, whose head shares its weight with the embedding."""
    head, embedding = getattr(model, "lm_head", None), getattr(model, "wte", None)
    return head is not None and embedding is not None and not set(head.parameters()) & set(embedding.parameters())


def classify(model: GPT2, tokens: Tensor, lengths: Tensor, pooling: str = "last") -> Tensor:
    """Class logits of right-padded messages: tokens (B, T) int64, lengths (B,) -> (B, num_classes).

    The head runs on one vector per message, picked by ``pooling``:
    ``last``           the last real token (default): the same whatever the padding
    ``last-position``  position T - 1, a padding token in all but the longest message: what the reference recipe
                       (Raschka, 2024) reads, and why its verdicts change with the padding
    ``first``          the first token, which has seen nothing else (to see why it fails)
    ``mean``           the average over the real tokens
    """
    h = model.hidden_states(tokens, lengths=lengths)  # (B, T, C)
    rows = torch.arange(len(tokens), device=tokens.device)
    if pooling == "last":
        h = h[rows, lengths - 1]
    elif pooling == "last-position":
        h = h[:, -1]
    elif pooling == "first":
        h = h[:, 0]
    elif pooling == "mean":
        real = torch.arange(tokens.size(1), device=tokens.device) < lengths[:, None]  # (B, T)
        h = (h * real[..., None]).sum(dim=1) / lengths[:, None]
    else:
        raise InputError(f"unknown pooling {pooling!r}; choose one of {', '.join(POOLINGS)}")
    return model.lm_head(h)  # (B, num_classes)
