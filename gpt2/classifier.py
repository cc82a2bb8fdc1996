"""Head surgery: from 50,257 vocabulary logits to a few class logits, read at one token of each message.

A language model scores every possible next token. For classification that head is cut off and a new, small
one takes its place. Which token's output should it read? GPT-2 is causal: a token sees only what stands before it,
so the last token is the only one that has read the whole message.

    Win   a   prize  now  [pad] [pad]
                      ▲
                      └── last real token: has read everything, and no padding

Source: Radford et al., 2018, "Improving Language Understanding by Generative Pre-Training" (section 3.2).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt2.errors import InputError, whole_number
from gpt2.layout import CAUSAL, Layout
from gpt2.model import GPT2

POOLINGS = ("last", "last-position", "first", "mean", "mean-positions")
BATCHINGS = ("padded", "packed")


def add_classification_head(model: GPT2, num_classes: int = 2) -> GPT2:
    """Replace ``model.lm_head`` by a new nn.Linear(n_embd, num_classes), untied from the embedding; in place.

    Afterwards ``model(tokens)`` is (B, T, num_classes). The head starts as nn.Linear does: uniform in ±1/√n_embd, so
    seed torch first. Returns the model.
    """
    num_classes = whole_number("num_classes", num_classes, least=2)
    weight = model.wte.weight
    model.lm_head = nn.Linear(model.config.n_embd, num_classes, device=weight.device, dtype=weight.dtype)
    return model


def has_classification_head(model: nn.Module) -> bool:
    """True after head surgery; False for a language model.

    A language model's head shares its weight with the embedding. It may have got a weight of its own, as when a LoRA
    was merged into one of the two; then it still scores every token of the vocabulary, without a bias.
    """
    head, embedding = getattr(model, "lm_head", None), getattr(model, "wte", None)
    if head is None or embedding is None:
        return False
    if set(head.parameters()) & set(embedding.parameters()):
        return False
    scores_tokens = getattr(head, "out_features", None) == embedding.num_embeddings and head.bias is None
    return not scores_tokens


def classify(
    model: GPT2,
    tokens: Tensor,
    lengths: Tensor,
    pooling: str = "last",
    batching: str = "padded",
    features: Callable[..., tuple[Tensor, int]] | None = None,
) -> Tensor:
    """Class logits of right-padded messages: tokens (B, T) int64, lengths (B,) -> (B, num_classes).

    The head runs on one vector per message, picked by ``pooling``:
    ``last``           the last real token (default): the same whatever the padding
    ``last-position``  position T - 1, a padding token in all but the longest message: what the reference recipe
                       (Raschka, 2024) reads, and why its verdicts change with the padding
    ``first``          the first token, which has seen nothing else (to see why it fails)
    ``mean``           the average over the real tokens
    ``mean-positions`` the average over all T positions, padding too

    batching  ``padded``, or ``packed``: real tokens only, laid end to end; the same logits for less work
    features  what frozen blocks gave for these messages (gpt2/training/frozen_features.py)

    Raises InputError for an unknown pooling and for a length below 1 or above T.
    """
    check_lengths(tokens, lengths)
    layout = layout_of(model, tokens, lengths, pooling, batching)
    x, first = (None, 0) if features is None else features(model, tokens, lengths, layout)
    h = model.hidden_states(tokens, lengths, layout, x, first)  # (B, C); first and means: (B, T, C)
    if pooling == "first":
        h = h[:, 0]
    elif pooling == "mean":
        real = torch.arange(tokens.size(1), device=tokens.device) < lengths[:, None]  # (B, T)
        h = (h * real[..., None]).sum(dim=1) / lengths[:, None]
    elif pooling == "mean-positions":
        h = h.mean(dim=1)
    return model.lm_head(h)  # (B, num_classes)


def layout_of(model: GPT2, tokens: Tensor, lengths: Tensor, pooling: str, batching: str) -> Layout:
    """Where the blocks must compute an output: for ``last`` and ``last-position`` at one position of each message."""
    for name, value, known in (("pooling", pooling, POOLINGS), ("batching", batching, BATCHINGS)):
        if value not in known:
            raise InputError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")
    if pooling not in ("last", "last-position"):
        return CAUSAL
    T = tokens.size(1)
    virtual = model.virtual_positions() - model.prefix_positions()  # of a prompt: they lie in the batch itself
    lengths = virtual + (lengths if pooling == "last" else torch.full_like(lengths, T))  # (B,)
    return Layout.packed(lengths, virtual + T) if batching == "packed" else Layout(ends=lengths - 1)


def check_lengths(tokens: Tensor, lengths: Tensor) -> None:
    """Raise InputError unless every length (B,) is from 1 to T, the width of tokens (B, T)."""
    if lengths.shape != tokens.shape[:1] or not len(lengths) or lengths.is_floating_point():
        raise InputError(
            f"lengths is {lengths.dtype} {tuple(lengths.shape)} for tokens {tuple(tokens.shape)}, expected a whole "
            "number for each message, and at least one message"
        )
    shortest, longest = torch.stack(lengths.aminmax()).tolist()  # one look, for which a GPU has to wait
    if shortest < 1 or longest > tokens.size(1):
        raise InputError(f"lengths go from {shortest} to {longest}, expected 1 to {tokens.size(1)}, the tokens' width")
