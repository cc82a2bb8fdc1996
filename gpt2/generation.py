"""Writing with GPT-2: one token after the other, each drawn from the model's scores for what comes next.

logits ─► / temperature ─► keep the top k ─► keep the top p ─► softmax ─► draw
          0: take the best      (Fan et al., 2018)   (Holtzman et al., 2019, "nucleus sampling")

Reading the prompt (prefill) is one pass over all its tokens; after that each new token is a pass over one token
(decode), because the keys and values of all earlier ones are kept. ``gpt2.layout.KVCache`` shows how prompts of
different lengths share one batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError, number, whole_number
from gpt2.layout import Layout
from gpt2.model import GPT2

SMALLEST = torch.finfo(torch.float32).tiny  # a temperature below it counts as 0
ENDED = -1  # what ``stream`` yields for a row that has ended, where rows have different lengths


def generate(
    model: GPT2,
    tokens: Tensor,
    max_new_tokens: int = 50,
    lengths: Tensor | Sequence[int] | None = None,
    timings: "Timings | None" = None,
    **options,
) -> Tensor | list[Tensor]:
    """Continue ``tokens`` (B, T) int64; returns (B, T + up to max_new_tokens). Options as in ``stream``.

    Prompts of different lengths are padded on the right, and ``lengths`` (B,) says where each ends. What comes back is
    then a list of B rows, each its prompt and directly behind it what it writes: as long as when it is written alone,
    without padding; a row that has produced the stop token ends with it. ``timings`` collects the speed.
    """
    steps = stream(model, tokens, max_new_tokens, lengths=lengths, **options)
    if timings is not None:
        read = tokens.numel() if lengths is None else int(torch.as_tensor(lengths).sum())
        steps = timings.watch(steps, read, tokens.device)
    new = torch.cat([*steps], dim=1)
    if lengths is None:
        return torch.cat([tokens, new], dim=1)
    rows = zip(tokens, torch.as_tensor(lengths).tolist(), new, strict=True)
    return [torch.cat([prompt[:n], written[written != ENDED]]) for prompt, n, written in rows]


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
    lengths: Tensor | Sequence[int] | None = None,
    vocabulary: int | None = None,
) -> Iterator[Tensor]:
    """Yield the next token of every row, (B, 1), until ``max_new_tokens``, the stop token, or the end of the context.

    temperature  0 takes the likeliest token (greedy); 1 draws from the model's own distribution
    top_k        draw among the k likeliest tokens only
    top_p        draw among the likeliest tokens that together have probability p
    stop_token   a row that has produced it repeats it; ends when every row has
    seed         same seed, same text (on the same kind of machine); None draws anew each time. All rows draw from one
                 source of chance, so a row drawn in other company, or alone, is another text (greedy: the same)
    use_cache    keep keys and values, so that each step reads one token; False recomputes the text (same result)
    lengths      (B,) tokens of each prompt; what follows them in ``tokens`` is padding, whichever token it is. Each row
                 continues behind its own prompt, as if it were alone. A row that has produced the stop token, or is at
                 the end of its context, yields ENDED (-1) from then on
    vocabulary   write only tokens below this one. A model's vocabulary may be larger than its tokenizer's (50,304
                 instead of 50,257, say, because such a matrix is faster), and nobody can decode the tokens beyond

    Raises InputError for a classifier, for an empty or too long prompt, and for options out of range.
    """
    after = ENDED if lengths is not None or stop_token is None else stop_token
    lengths = torch.full((len(tokens),), tokens.size(-1)) if lengths is None else torch.as_tensor(lengths)
    check_options(model, tokens, max_new_tokens, temperature, top_k, top_p, lengths)
    generator = None
    if seed is not None:
        generator = torch.Generator(tokens.device).manual_seed(seed)
    was_training = model.training
    model.eval()
    try:
        shortest, longest = int(lengths.min()), int(lengths.max())
        virtual = model.virtual_positions()
        context = model.config.n_positions - virtual
        cache = model.new_cache(virtual + min(longest + max_new_tokens - 1, context)) if use_cache else None
        rows, lengths = torch.arange(len(tokens), device=tokens.device), lengths.to(tokens.device, torch.long)
        ends = lengths.clone()  # (B,) where each row's text ends
        padding = longest - lengths  # (B,) how far it lags behind the longest; the layers of the cache see it change
        done = torch.zeros_like(lengths, dtype=torch.bool)
        new = tokens = tokens[:, :longest]
        for step in range(min(max_new_tokens, context - shortest + 1)):  # the last token drawn need not be read
            if step == 0 or cache is None:
                h = model.hidden_states(tokens, lengths, Layout(cache=cache))[rows, ends - 1]  # (B, C)
            else:
                h = model.hidden_states(new, layout=Layout(cache=cache))[:, -1]
            if step == 0 and cache and shortest < longest:
                cache.padding = padding
            new = draw(model.lm_head(h)[:, :vocabulary], temperature, top_k, top_p, generator)  # (B, 1)
            new = new.masked_fill(done[:, None], after)
            done |= ends == context
            if stop_token is not None:
                done |= new[:, 0] == stop_token
            yield new
            if stop_token is not None and done.all():
                return
            new = new.clamp(min=0)
            ends += ~done  # a row that is done stands still: it reads its last position again, and nobody looks
            padding += done
            if cache is None:
                tokens = torch.cat([tokens, new], dim=1)[:, :context]
                tokens[rows, ends - 1] = new[:, 0]
    finally:
        model.train(was_training)


def draw(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float | None, generator: torch.Generator | None
) -> Tensor:
    """Choose one token per row: logits (B, V) -> (B, 1)."""
    if temperature < SMALLEST:
        return logits.argmax(dim=-1, keepdim=True)
    kept = keep_likely(logits, temperature, top_k, top_p)
    return torch.multinomial(kept.softmax(dim=-1), num_samples=1, generator=generator)


def keep_likely(logits: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """Logits (B, V) in float32, divided by the temperature; -inf for every token that may not be drawn.

    Whatever the model's dtype: sums of 50,000 probabilities in bfloat16 would be wrong by several percent.
    """
    logits = logits.float()
    logits = (logits - logits.max(dim=-1, keepdim=True).values) / temperature  # the best is 0: nothing overflows
    if top_k is not None and top_k < logits.size(-1):
        kth_best = torch.topk(logits, top_k).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < kth_best, float("-inf"))
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(descending=True)
        p = ordered.softmax(dim=-1)
        drop = p.cumsum(dim=-1) - p >= top_p  # the probability of all likelier tokens suffices already
        drop[:, 0] = False  # the best always stays, however small top_p is
        ordered = ordered.masked_fill(drop, float("-inf"))
        logits = torch.full_like(logits, float("-inf")).scatter(1, order, ordered)
    return logits


def check_options(
    model: GPT2,
    tokens: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    lengths: Tensor,
) -> None:
    """Raise InputError unless ``generate`` can continue tokens (B, T) of these lengths (B,) with these options."""
    if has_classification_head(model):
        raise InputError("this model is a classifier: its head scores classes, not tokens; use a language model")
    room = model.config.n_positions - model.virtual_positions()
    if tokens.dim() != 2 or tokens.numel() == 0:
        raise InputError("generation needs a prompt of at least one token, shaped (batch, time)")
    B, T = tokens.shape
    if lengths.shape != (B,) or lengths.is_floating_point():
        raise InputError(f"lengths is {lengths.tolist()}, expected a whole number for each of the {B} prompts")
    for i, n in enumerate(lengths.tolist(), start=1):
        name = "the prompt" if B == 1 else f"prompt {i}"
        if n < 1:
            raise InputError(f"{name} has {n} tokens, expected at least 1")
        if n > T:
            raise InputError(f"lengths says that {name} has {n} tokens, but tokens has only {T} columns")
        if n > room:
            raise InputError(f"{name} has {n} tokens, more than the context of {room}; shorten it")
    if (largest := int(tokens.max())) >= model.config.vocab_size:
        raise InputError(
            f"the prompt holds token {largest}, but the model knows only {model.config.vocab_size} tokens; "
            "it was made for another tokenizer"
        )
    if tokens.min() < 0:
        raise InputError(f"the prompt holds token {int(tokens.min())}, expected 0 or more")
    whole_number("max_new_tokens", max_new_tokens)
    number("temperature", temperature, least=0)
    if top_k is not None:
        whole_number("top_k", top_k)
    if top_p is not None:
        number("top_p", top_p, above=0, most=1)


@dataclass
class Timings:
    """How fast text is written: prefill reads the prompts and draws their first new token, decode draws the others.

        timings = Timings()
        generate(model, tokens, timings=timings)
        print(timings)  # prefill 120 tokens in 0.050 s (2,400 tokens/s), decode 49 tokens in 1.289 s (38 tokens/s)

    Real tokens of all rows are counted, not padding. Several calls add up. The first one on a GPU also pays for the
    start of its kernels.
    """

    prefill_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_tokens: int = 0
    decode_seconds: float = 0.0

    def watch(self, steps: Iterator[Tensor], prompt_tokens: int, device: torch.device) -> Iterator[Tensor]:
        """Pass on what a ``stream`` yields, and time it; what the caller does between two tokens does not count."""
        start = finished(device)
        for i, new in enumerate(steps):
            seconds = finished(device) - start
            if i == 0:
                self.prefill_tokens += prompt_tokens
                self.prefill_seconds += seconds
            else:
                self.decode_tokens += int((new != ENDED).sum())
                self.decode_seconds += seconds
            yield new
            start = finished(device)

    def __str__(self) -> str:
        parts = [("prefill", self.prefill_tokens, self.prefill_seconds)]
        if self.decode_tokens:
            parts.append(("decode", self.decode_tokens, self.decode_seconds))
        return ", ".join(f"{name} {n:,} tokens in {s:.3f} s ({n / max(s, 1e-9):,.0f} tokens/s)" for name, n, s in parts)


def finished(device: torch.device) -> float:
    """The time in seconds, read when the device has done all that it was asked so far: a GPU works ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return perf_counter()
