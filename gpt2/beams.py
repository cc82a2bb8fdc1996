"""Beam search: keep the K best beginnings of a text instead of one, and return the best whole text.

    prompt ─┬─ The ──┬─ river   -1.9   ◄ kept          K = 2: of all continuations of all kept beginnings,
            │        └─ old     -3.0                   the two with the highest log-probability go on. A text
            └─ A ────┬─ cold    -2.4   ◄ kept          that ends is put aside, at its score
                     └─ bridge  -2.7

A text's score is the sum of the log-probabilities of its tokens, divided by length ** length_penalty (Wu et al., 2016,
without their constants; as in transformers). A sum falls with every token, so 0 prefers short texts and larger
penalties prefer longer ones. Greedy search is K = 1. Costs K times the decoding of greedy search; the prompt is read
once.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt2.errors import InputError, number, whole_number
from gpt2.generation import check_options
from gpt2.layout import KVCache, Layout
from gpt2.model import GPT2
from gpt2.tokenizer import END_OF_TEXT

MOST_BEAMS = 1000  # each takes the memory of a text


@torch.no_grad()
def beam_search(
    model: GPT2,
    tokens: Tensor,
    max_new_tokens: int = 50,
    num_beams: int = 4,
    length_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    early_stopping: bool | str = True,
    stop_token: int = END_OF_TEXT,
    lengths: Tensor | Sequence[int] | None = None,
    vocabulary: int | None = None,
    start: tuple[Tensor, KVCache] | None = None,
) -> Tensor | list[Tensor]:
    """Continue each prompt of ``tokens`` (B, T) by its best text: (B, T + new), filled with ``stop_token`` behind a
    shorter one. Equal to transformers' ``generate(do_sample=False, num_beams=…)``, token by token.

    num_beams             texts that are kept at a time
    length_penalty        see the top of the file
    no_repeat_ngram_size  n: no n tokens in a row, prompt included, stand in a text twice; 0: they may
    early_stopping        True: a prompt is done when it has ``num_beams`` whole texts; False: when, besides, the best
                          unfinished text would not beat the worst of them if it ended now; "never": when it could not,
                          however it goes on
    lengths, vocabulary   as in ``gpt2.generation.stream``; with lengths a list of B rows is returned, each ending with
                          its stop token
    start                 what ``read`` has made of these prompts, in this order; None: they are read here

    Raises InputError for options out of range, and for what ``generate`` refuses.
    """
    equal = lengths is None
    lengths = torch.full((len(tokens),), tokens.size(-1)) if lengths is None else torch.as_tensor(lengths)
    check_options(model, tokens, max_new_tokens, temperature=0.0, top_k=None, top_p=None, lengths=lengths)
    check_beams(num_beams, length_penalty, no_repeat_ngram_size)
    if early_stopping not in (True, False, "never"):
        raise InputError(f"early_stopping is {early_stopping!r}, expected True, False or 'never'", "early_stopping")

    prompts = [row[:n] for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    context = model.config.n_positions - model.virtual_positions()
    searches = [
        Search(prompt, min(max_new_tokens, context - len(prompt) + 1), num_beams, length_penalty, early_stopping)
        for prompt in prompts
    ]
    was_training = model.training
    model.eval()
    try:
        h, cache = (
            read(model, tokens, lengths.to(tokens.device, torch.long), max_new_tokens) if start is None else start
        )
        running = searches
        while True:
            log_probs = F.log_softmax(model.lm_head(h)[:, :vocabulary].float(), dim=-1)  # (texts, V)
            rows: list[int] = []  # which text each one of the next step continues
            first = 0
            for search in running:
                last = first + len(search.texts)
                parents = search.step(log_probs[first:last], stop_token, no_repeat_ngram_size)
                rows += [first + parent for parent in parents if not search.done]
                first = last
            running = [search for search in running if not search.done]
            if not running:
                break
            cache.select(torch.tensor(rows, device=tokens.device))
            new = torch.tensor([text[-1:] for search in running for text in search.texts], device=tokens.device)
            h = model.hidden_states(new, layout=Layout(cache=cache))[:, -1]  # (texts, C)
    finally:
        model.train(was_training)
    written = [prompt + search.best() for prompt, search in zip(prompts, searches, strict=True)]
    found = [torch.tensor(text, device=tokens.device) for text in written]
    if not equal:
        return found
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=stop_token)


@torch.no_grad()
def read(model: GPT2, tokens: Tensor, lengths: Tensor, max_new_tokens: int) -> tuple[Tensor, KVCache]:
    """Read right-padded prompts (B, T) of these lengths (B,): the vectors (B, C) behind which they are continued, and a
    cache with room for ``max_new_tokens``."""
    longest, virtual = int(lengths.max()), model.virtual_positions()
    cache = model.new_cache(virtual + min(longest + max_new_tokens - 1, model.config.n_positions - virtual))
    ends = torch.arange(len(tokens), device=tokens.device), lengths - 1
    h = model.hidden_states(tokens[:, :longest], lengths, Layout(cache=cache))[ends]
    if (lengths < longest).any():
        cache.padding = longest - lengths
    return h, cache


def check_beams(num_beams: int, length_penalty: float, no_repeat_ngram_size: int) -> None:
    """Raise InputError unless ``beam_search`` takes these options."""
    whole_number("num_beams", num_beams, most=MOST_BEAMS)
    whole_number("no_repeat_ngram_size", no_repeat_ngram_size, least=0)
    number("length_penalty", length_penalty, least=-100, most=100)


class Search:
    """The beam of one prompt: the texts that it continues, and the whole ones that it has found."""

    def __init__(
        self, prompt: list[int], limit: int, num_beams: int, length_penalty: float, early_stopping: bool | str
    ):
        self.prompt, self.limit, self.num_beams = prompt, limit, num_beams
        self.length_penalty, self.early_stopping = length_penalty, early_stopping
        self.texts: list[list[int]] = [[]]  # what each beam has written
        self.totals = torch.zeros(1)  # (texts,) sums of their log-probabilities, best first
        self.whole: list[tuple[float, list[int]]] = []  # (score, text), at most num_beams, best first
        self.done = False

    def step(self, log_probs: Tensor, stop_token: int, no_repeat_ngram_size: int) -> list[int]:
        """Write one more token: log_probs (texts, V). Returns for each new text the index of the one it continues.

        Twice as many candidates as beams are looked at, since each text has one candidate that ends it. One that ends
        counts only among the best ``num_beams``, else worse texts would win by being short.
        """
        for row, text in zip(log_probs, self.texts, strict=True):
            known = [token for token in forbidden(self.prompt + text, no_repeat_ngram_size) if token < len(row)]
            row[known] = float("-inf")
        totals = (self.totals.to(log_probs.device)[:, None] + log_probs).flatten()  # (texts · V,)
        best = totals.topk(min(2 * self.num_beams, len(totals)))
        continued = []
        for rank, (total, index) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            parent, token = divmod(index, log_probs.size(1))
            text = [*self.texts[parent], token]
            if token == stop_token or len(text) == self.limit:
                if rank < self.num_beams:
                    self.whole.append((self.score(total, len(text)), text))
            elif len(continued) < self.num_beams:
                continued.append((total, text, parent))
        self.whole = sorted(self.whole, key=lambda found: -found[0])[: self.num_beams]
        self.texts = [text for _, text, _ in continued]
        self.totals = torch.tensor([total for total, _, _ in continued])
        self.done = not continued or (len(self.whole) == self.num_beams and not self.can_improve(continued[0][0]))
        return [parent for _, _, parent in continued]

    def score(self, total: float, length: int) -> float:
        return total / length**self.length_penalty

    def can_improve(self, total: float) -> bool:
        """May the best unfinished text still become better than the worst whole one?"""
        if self.early_stopping is True:
            return False
        longest = self.early_stopping == "never" and self.length_penalty > 0
        return self.score(total, self.limit if longest else len(self.texts[0])) > self.whole[-1][0]

    def best(self) -> list[int]:
        return self.whole[0][1]


def forbidden(text: list[int], n: int) -> list[int]:
    """The tokens that would repeat n tokens in a row of ``text``."""
    if n == 0 or len(text) < n:
        return []
    last = text[len(text) - n + 1 :]
    return [text[i + n - 1] for i in range(len(text) - n + 1) if text[i : i + n - 1] == last]
