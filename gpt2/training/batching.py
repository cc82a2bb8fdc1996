"""From texts to batches of tokens: encode, pad on the right, group, and shuffle so that it can be repeated.

    "Free prize"    ->  [11146, 11596]           ->  11146 11596 50256 50256     length 2
    "See you at 8"  ->  [6214, 345, 379, 807]    ->   6214   345   379   807     length 4

GPT-2 has no padding token; 50256 (<|endoftext|>) stands in. It may be anything: a causal model's output at a
position depends on what is left of it only, so padding on the right changes nothing at the real tokens.
``lengths`` says which those are.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tiktoken
import torch
from tqdm import tqdm

from gpt2.errors import InputError
from gpt2.tokenizer import END_OF_TEXT as PADDING

NEIGHBOURHOOD = 16  # batches among which messages are sorted by length
CHUNK = 1_000  # texts that are encoded at a time
MOST_TOKENS = 16_384  # of a batch with more messages than one to train on
BAND = 8  # tokens: messages that differ by less count as equally long
Tokens = Sequence[int] | np.ndarray  # of one message, not padded


class Batch(NamedTuple):
    """B messages, padded on the right to T tokens."""

    tokens: torch.Tensor  # (B, T) int64
    lengths: torch.Tensor  # (B,) int64, real tokens of each message
    labels: torch.Tensor  # (B,) int64, class ids


def encode(texts: Sequence[str], tokenizer: tiktoken.Encoding, max_length: int) -> tuple[list[list[int]], int]:
    """Return the tokens of each text, at most the first ``max_length``, and how many texts were truncated to that.

    "<|endoftext|>" inside a text is read as plain characters: messages come from strangers. An empty text
    becomes the one token 50256, because a classifier has to read its answer somewhere.
    """
    if max_length < 1:
        raise InputError(f"a message needs room for at least one token, not {max_length}; raise the maximum length")
    encoded = tokenizer.encode_ordinary_batch(list(texts))
    truncated = sum(len(tokens) > max_length for tokens in encoded)
    return [tokens[:max_length] or [PADDING] for tokens in encoded], truncated


def encode_many(texts: Sequence[str], tokenizer: tiktoken.Encoding, max_length: int) -> tuple[list[np.ndarray], int]:
    """As ``encode``, in a tenth of the memory: chunk by chunk, and each text is kept as an int32 array (tokens,)."""
    arrays, truncated = [], 0
    with tqdm(total=len(texts), desc="encoding", unit="text", leave=False, disable=None, delay=1.0) as bar:
        for some in cut(list(texts), CHUNK):
            token_lists, more = encode(some, tokenizer, max_length)
            arrays += [np.array(tokens, dtype=np.int32) for tokens in token_lists]
            truncated += more
            bar.update(len(some))
    return arrays, truncated


def check_vocabulary(vocab_size: int, tokenizer: tiktoken.Encoding) -> None:
    """Raise InputError when a model lacks embeddings for tokens that messages may have (padding is the last one)."""
    if vocab_size < tokenizer.n_vocab:
        raise InputError(
            f"the model knows {vocab_size:,} tokens, but the tokenizer has {tokenizer.n_vocab:,}; use a model with "
            "GPT-2's vocabulary"
        )


def make_batch(token_lists: Sequence[Tokens], labels: Sequence[int], pad_to: int | None = None) -> Batch:
    """Pad messages on the right to the longest of them, or to ``pad_to`` tokens, as one batch.

    Raises InputError when a message is longer than ``pad_to``.
    """
    longest = max(len(tokens) for tokens in token_lists)
    width = longest if pad_to is None else pad_to
    if longest > width:
        raise InputError(f"a message of {longest} tokens does not fit into {width}; truncate it or pad to more")
    padded = np.full((len(token_lists), width), PADDING, dtype=np.int64)
    for row, tokens in zip(padded, token_lists, strict=True):
        row[: len(tokens)] = tokens
    lengths = [len(tokens) for tokens in token_lists]
    return Batch(torch.from_numpy(padded), torch.tensor(lengths), torch.tensor([int(label) for label in labels]))


def cut(items: list, size: int) -> Iterator[list]:
    """Cut a list into chunks of ``size``; the last may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """``size`` batches at a time, as they come; the last group may be smaller."""
    remaining = iter(batches)
    while group := list(itertools.islice(remaining, size)):
        yield group


class MessageBatches:
    """The messages of one part of a dataset, served in batches: shuffled to train, in order to evaluate.

    ``drop_last`` leaves out an epoch's last batch when it is not full, as the published recipe does; which
    messages that hits changes with every epoch. It concerns ``shuffled`` alone: an evaluation that left
    messages out would be of something else.
    """

    def __init__(
        self,
        token_lists: Sequence[Tokens],
        labels: Sequence[int],
        batch_size: int,
        pad_to: int | None = None,
        drop_last: bool = False,
    ) -> None:
        if len(token_lists) != len(labels):
            raise ValueError(f"{len(token_lists)} messages but {len(labels)} labels")
        if batch_size < 1:
            raise InputError(
                f"batch_size is {batch_size}: a batch needs at least one message; choose 1 or more", "batch_size"
            )
        if drop_last and len(token_lists) < batch_size:
            raise InputError(
                f"batch_size is {batch_size}: with only {len(token_lists)} messages no batch is full, and "
                "the last incomplete one is dropped; choose a smaller batch size",
                argument="batch_size",
            )
        self.token_lists = [np.asarray(tokens, dtype=np.int32) for tokens in token_lists]  # a tenth of a list's memory
        self.labels = [int(label) for label in labels]
        self.batch_size = batch_size
        self.pad_to = pad_to
        self.drop_last = drop_last

    def __len__(self) -> int:
        """Batches per epoch of ``shuffled``."""
        full, rest = divmod(len(self.token_lists), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def order(self, seed: int, epoch: int) -> list[int]:
        """Return the messages' order in that epoch: at random, then alike in length within a neighbourhood.

        Messages are drawn in groups of ``NEIGHBOURHOOD`` batches, each group is sorted by length (in bands of
        ``BAND`` tokens, within which the order stays random) and cut into batches, and the batches are shuffled
        again: random enough to learn from, with little padding. Where all are padded to one width there is
        nothing to gain, and the order stays plainly random.

        It follows from the two numbers alone, not from the state of a generator that earlier epochs advanced:
        a run that resumes in epoch 3 sees what it would have seen.
        """
        generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
        order = torch.randperm(len(self.token_lists), generator=generator).tolist()
        if self.pad_to is not None:
            return order
        batches = []
        for group in cut(order, NEIGHBOURHOOD * self.batch_size):
            batches += cut(sorted(group, key=lambda i: len(self.token_lists[i]) // BAND), self.batch_size)
        partial = batches.pop() if len(batches[-1]) < self.batch_size else []  # stays last, where it can be dropped
        batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        return [i for batch in [*batches, partial] for i in batch]

    def shuffled(self, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield the batches of that epoch, ``len(self)`` of them."""
        return self._batches(self.order(seed, epoch)[: len(self) * self.batch_size], self.batch_size)

    def first(self, count: int | None = None) -> Iterator[Batch]:
        """The first ``count`` batches (default: all) in the order given."""
        return itertools.islice(self._batches(list(range(len(self.labels))), self.batch_size), count)

    def by_length(self, size: int | None = None) -> Iterator[tuple[list[int], Batch]]:
        """Yield every message once, to evaluate on, with its place in the order given: shortest first, so that a
        batch of ``size`` messages (default: as to train) holds hardly any padding. A batch that is larger than those of
        training has at most MOST_TOKENS tokens, as many long messages at once would take several GB."""
        order = sorted(range(len(self.token_lists)), key=lambda i: len(self.token_lists[i]))
        start, size = 0, size or self.batch_size
        while start < len(order):
            room = MOST_TOKENS // len(self.token_lists[order[min(start + size, len(order)) - 1]])
            chosen = order[start : start + max(self.batch_size, min(size, room))]
            yield chosen, self._batch(chosen)
            start += len(chosen)

    def _batches(self, order: list[int], size: int) -> Iterator[Batch]:
        return map(self._batch, cut(order, size))

    def _batch(self, chosen: list[int]) -> Batch:
        return make_batch([self.token_lists[i] for i in chosen], [self.labels[i] for i in chosen], self.pad_to)
