"""Writing with GPT-2: one token after the other, each drawn from the model's scores for what comes next.

logits ─► / temperature ─► keep the top k ─► keep the top p ─► softmax ─► draw
          0: take the best      (Fan et al., 2018)   (Holtzman et al., 2019, "nucleus sampling")
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from gpt2.model import GPT2


def generate(model: GPT2, tokens: Tensor, max_new_tokens: int = 50, **options) -> Tensor:
    """Continue ``tokens`` (B, T) int64; returns (B, T + up to max_new_tokens). Options as in ``stream``."""
    return torch.cat([tokens, *stream(model, tokens, max_new_tokens, **options)], dim=1)


@torch.no_grad()
def stream(
    model: GPT2,
    tokens: Tensor,
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    seed: int | None = None,
    use_cache: bool = True,
) -> Iterator[Tensor]:
    """Yield the next token of every row, (B, 1), until ``max_new_tokens``, the stop token, or the end of the context.

    temperature  0 takes the likeliest token (greedy); 1 draws from the model's own distribution
    top_k        draw among the k likeliest tokens only
    top_p        draw among the likeliest tokens that together have probability p
    stop_token   a row that has produced it repeats it; ends when every row has
    seed         same seed, same text (on the same kind of machine); None draws anew each time
    use_cache    keep keys and values, so that each step reads one token; False recomputes the text (same result)

    Raises InputError for a classifier, for an empty or too long prompt, and for options out of range.
    """
    check_options(model, tokens, max_new_tokens, temperature, top_k, top_p)
    generator = None
    if seed is not None:
        generator = torch.Generator(tokens.device).manual_seed(seed)
    was_training = model.training
    model.eval()
    try:
        cache = model.new_cache() if use_cache else None
        room = model.config.n_positions - model.virtual_positions() - tokens.size(1)
        done = torch.zeros(len(tokens), 1, dtype=torch.bool, device=tokens.device)
        lengths = torch.full((len(tokens),), tokens.size(1))  # where the given text ends and the new one begins
        new = tokens
        for _ in range(min(max_new_tokens, room + 1)):  # the last token drawn need not be read
            if use_cache:
                h = model.hidden_states(new, cache)
            else:
                h = model.hidden_states(tokens, lengths=lengths)
            new = draw(model.lm_head(h[:, -1]), temperature, top_k, top_p, generator)  # (B, 1)
            if stop_token is not None:
                new = new.masked_fill(done, stop_token)
                done |= new == stop_token
            yield new
            if stop_token is not None and done.all():
                return
            if not use_cache:
                tokens = torch.cat([tokens, new], dim=1)
    finally:
        model.train(was_training)


def draw(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float | None, generator: torch.Generator | None
) -> Tensor:
    """Choose one token per row: logits (B, V) -> (B, 1)."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    logits = logits / temperature
    if top_k is not None and top_k < logits.size(-1):
        kth_best = torch.topk(logits, top_k).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < kth_best, float("-inf"))
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(descending=True)
        p = ordered.softmax(dim=-1)
        before = p.cumsum(dim=-1) - p  # probability of all likelier tokens: 0 for the best, which always stays
        ordered = ordered.masked_fill(before >= top_p, float("-inf"))
        logits = torch.full_like(logits, float("-inf")).scatter(1, order, ordered)
    return torch.multinomial(logits.softmax(dim=-1), num_samples=1, generator=generator)


def check_options(
    model: GPT2, tokens: Tensor, max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    if has_classification_head(model):
        raise InputError("this model is a classifier: its head scores classes, not tokens; use a language model")
    room = model.config.n_positions - model.virtual_positions()
    if tokens.dim() != 2 or tokens.size(1) == 0:
        raise InputError("generation needs a prompt of at least one token, shaped (batch, time)")
    if tokens.size(1) > room:
        raise InputError(f"the prompt has {tokens.size(1)} tokens, more than the context of {room}; shorten it")
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}, expected at least 1")
    if not 0 <= temperature < float("inf"):
        raise InputError(f"temperature is {temperature}, expected 0 (greedy) or more")
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, expected at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}, expected more than 0 and at most 1")
