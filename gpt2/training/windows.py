"""The stretches of text that a language model reads in pretraining, drawn so that any step can be repeated.

text  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
      offset └─window 2─┘└─window 0─┘└─window 1─┘…        T tokens each, and the one that follows:
                                                          inputs w[:-1], targets w[1:]
"""

import functools

import numpy as np
import torch
from torch import Tensor

from gpt2.errors import InputError

WINDOWS = 0  # what is drawn: part of the seed, so that other draws (gpt2/training/pretraining.py) do not repeat these


class Windows:
    """Every epoch cuts the text anew, from a random offset, into windows that do not overlap, in random order."""

    def __init__(self, tokens: np.ndarray, context: int, seed: int):
        self.tokens, self.context, self.seed = tokens, context, seed
        self.per_epoch = (len(tokens) - context) // context  # one less than fit, so that any offset leaves as many
        if self.per_epoch < 1:
            raise InputError(
                f"{len(tokens):,} tokens to train on are too few for a context of {context}; add texts, or shorten it"
            )
        self.starts = functools.lru_cache(maxsize=2)(self.draw_starts)  # a step may reach into the next epoch

    def draw_starts(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin (per_epoch,)."""
        random = np.random.default_rng((self.seed, WINDOWS, epoch))
        return random.integers(self.context) + self.context * random.permutation(self.per_epoch)

    def batch(self, number: int, size: int) -> Tensor:
        """Batch ``number`` of the whole run: (size, T + 1) int64."""
        indices = [divmod(i, self.per_epoch) for i in range(number * size, (number + 1) * size)]
        return windows_at(self.tokens, [self.starts(epoch)[index] for epoch, index in indices], self.context)


def windows_at(tokens: np.ndarray, starts: list[int] | np.ndarray, context: int) -> Tensor:
    """Windows of ``tokens`` (n,) at these starts (B,), each with the token after it: (B, context + 1) int64."""
    return torch.from_numpy(np.stack([tokens[start : start + context + 1] for start in starts]).astype(np.int64))
