"""Writing as a task: the logits of the tokens that a text's target consists of, and of no others.

    tokens   The  mr  :  name  \\n  Blue  Spice  is  a  pub  <end>
    labels     ·   ·  ·    ·  Blue Spice     is   a pub <end>    ·       what should follow here; · is -100: not asked

A vocabulary has 50,257 tokens, so the head is the most expensive layer: it runs where something is asked only.
"""

import torch
from torch import Tensor

from gpt2.classifier import check_lengths, has_classification_head, layout_of
from gpt2.errors import InputError
from gpt2.model import GPT2

IGNORED = -100  # as in torch.nn.functional.cross_entropy


def target_logits(model: GPT2, tokens: Tensor, lengths: Tensor, labels: Tensor, batching: str = "padded") -> Tensor:
    """Logits (N, V) at the N positions of right-padded texts that have a label, text after text.

    tokens (B, T) int64, lengths (B,), labels (B, T): the token that should follow, or -100. ``batching``: ``padded``,
    or ``packed``, real tokens only; the same logits for less work.

    Raises InputError for a classifier, and for labels of another shape or at padding.
    """
    if has_classification_head(model):
        raise InputError("this model is a classifier: its head scores classes, not tokens; use a language model")
    check_lengths(tokens, lengths)
    if labels.shape != tokens.shape:
        raise InputError(f"labels are {tuple(labels.shape)} for tokens {tuple(tokens.shape)}, expected the same shape")
    layout = layout_of(model, tokens, lengths, "last", batching).everywhere()  # an output at every position
    h = model.hidden_states(tokens, lengths, layout)  # (B, T, C)
    return model.lm_head(h[labels != IGNORED])


def targets(labels: Tensor) -> Tensor:
    """The labels that are asked for: (B, T) -> (N,), in the order of ``target_logits``."""
    return labels[labels != IGNORED]


def next_token_labels(tokens: Tensor, lengths: Tensor, starts: Tensor) -> Tensor:
    """(B, T) labels of texts whose targets begin at token ``starts`` (B,), 1 or later, and end with the text."""
    position = torch.arange(tokens.size(1), device=tokens.device)
    asked = (position >= starts[:, None] - 1) & (position < lengths[:, None] - 1)
    return tokens.roll(-1, dims=1).masked_fill(~asked, IGNORED)
