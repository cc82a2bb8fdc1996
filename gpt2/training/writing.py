"""Fine-tuning to write: pairs of a source and a target, and the task of predicting the target, token by token.

source  name[Blue Spice], eatType[pub]        target  Blue Spice is a pub.
read    name[Blue Spice], eatType[pub] \\n Blue Spice is a pub. <|endoftext|>
learn                                     Blue Spice is a pub. <|endoftext|>
"""

import math
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import tiktoken
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from gpt2.devices import autocast, to_device
from gpt2.errors import InputError
from gpt2.language import next_token_labels, target_logits, targets
from gpt2.tokenizer import END_OF_TEXT
from gpt2.training.batching import Batch, MessageBatches, Tokens
from gpt2.training.finetune import Task

SEPARATOR = "\n"  # between source and target


class PairBatches(MessageBatches):
    """Pairs in batches, as MessageBatches serves messages: ``starts`` says where each text's target begins."""

    def __init__(self, token_lists: Sequence[Tokens], starts: Sequence[int], batch_size: int):
        super().__init__(token_lists, starts, batch_size)

    def first_pairs(self, count: int) -> "PairBatches":
        """At most the first ``count`` pairs."""
        return PairBatches(self.token_lists[:count], self.labels[:count], self.batch_size)

    def _batch(self, chosen: list[int]) -> Batch:
        tokens, lengths, starts = super()._batch(chosen)
        return Batch(tokens, lengths, next_token_labels(tokens, lengths, starts))


def encode_pairs(
    sources: Sequence[str],
    written: Sequence[str],
    tokenizer: tiktoken.Encoding,
    max_length: int,
    separator: str = SEPARATOR,
    include_source: bool = False,
) -> tuple[list[list[int]], list[int], int]:
    """Tokens of each pair, where its target begins, and how many targets were truncated to ``max_length`` in all.

    A target ends with <|endoftext|>, so that the model learns to stop; a truncated one does not. An empty source stands
    for nothing: the text begins with <|endoftext|>, and all of it is target. ``include_source``: the source is learned
    too.

    Raises InputError for an empty target, and for a source that leaves no room for one.
    """
    token_lists, starts, truncated = [], [], 0
    prompts = prompt_tokens(sources, tokenizer, separator)
    check_room(sources, prompts, max_length)
    texts = tokenizer.encode_ordinary_batch([text.strip() for text in written])
    for i, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        if not text:
            raise InputError(f"pair {i + 1}: the target is empty; leave the pair out, or write what should follow")
        whole = [*prompt, *text, END_OF_TEXT]
        truncated += len(whole) > max_length
        token_lists.append(whole[:max_length])
        starts.append(1 if include_source else len(prompt))
    return token_lists, starts, truncated


def prompt_tokens(sources: Sequence[str], tokenizer: tiktoken.Encoding, separator: str = SEPARATOR) -> list[list[int]]:
    """What stands before the target: the source and the separator; <|endoftext|> where there is no source."""
    texts = [source.strip() + separator if source.strip() else "" for source in sources]
    return [tokens or [END_OF_TEXT] for tokens in tokenizer.encode_ordinary_batch(texts)]


def check_room(sources: Sequence[str], prompts: Sequence[Tokens], room: int) -> None:
    """Raise InputError, with its first words, for a source that leaves no room for a target within ``room`` tokens."""
    for source, prompt in zip(sources, prompts, strict=True):
        if len(prompt) >= room:
            start = shorten(source[:1000], 60, placeholder=" …")
            raise InputError(
                f"the source {start!r} has {len(prompt)} tokens with the separator, which leaves no room for a target "
                f"within {room}; shorten it, or leave the pair out"
            )


def token_logits(
    model: nn.Module, tokens: Tensor, lengths: Tensor, labels: Tensor, pooling: str, batching: str, features: Any
) -> Tensor:
    """(N, V): a text has as many answers as target tokens. ``pooling`` and ``features`` are of classifiers."""
    return target_logits(model, tokens, lengths, labels, batching)


@torch.no_grad()
def perplexity(
    model: nn.Module,
    batches: PairBatches,
    device: torch.device,
    pooling: str = "last",
    batching: str = "padded",
    features: Any = None,
) -> dict:
    """``loss`` in nats per target token, ``perplexity`` (its exponential), ``accuracy`` (share of target tokens that
    are the likeliest), ``n`` target tokens. The model is in evaluation mode meanwhile."""
    was_training = model.training
    model.eval()
    loss, right, n = 0.0, 0, 0
    bar = tqdm(batches.by_length(), desc="evaluating", total=len(batches), unit="batch", leave=False, disable=None)
    for _, batch in bar:
        tokens, lengths, labels = to_device(batch, device)
        with autocast(device):
            logits = target_logits(model, tokens, lengths, labels, batching).float()
        answers = targets(labels)
        loss += F.cross_entropy(logits, answers, reduction="sum").item()
        right += int((logits.argmax(dim=-1) == answers).sum())
        n += len(answers)
    model.train(was_training)
    return {"loss": loss / n, "perplexity": math.exp(loss / n), "accuracy": right / n, "n": n}


WRITING = Task(token_logits, targets, perplexity, "loss")
