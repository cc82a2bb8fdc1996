"""How the tokens of a batch lie, and what attention stores: all that padded batches, packed batches and generation
differ in. The blocks of gpt2/model.py compute the same for all of them.

    padded (B, T, C)                        packed (1, N, C), N = all real tokens
    Win  a  prize  ·    ·
    See  you  at   8  tonight      ──►      Win a prize See you at 8 tonight Ok
    Ok   ·    ·    ·    ·

Linear layers and norms treat every token alone and never notice. Attention unpacks: it gets each message as a row of
its own, so that no token sees another message.

Shapes as in gpt2/model.py: B messages, T tokens, C = n_embd, H heads of D dimensions, S keys, P and Q virtual
positions.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gpt2.errors import InputError


def causal_mask(T: int, S: int, device: torch.device) -> Tensor:
    """(T, S) booleans: may query t, which stands at position S - T + t, look at key s? Only when s is not later."""
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(diagonal=S - T)


class KVCache:
    """Keys and values that each attention layer has already computed, kept in buffers that are allocated once.

    Texts of different lengths are read padded on the right, where no real token looks. ``padding`` (B,), set after
    that, says how many positions each text lags behind the longest. The next tokens, one a call, overwrite the padding,
    and a mask hides what is left of it:

        Win  a    prize   ·         padding 1        Win  a    prize   NOW    ·
        See  you  at      8                 0        See  you  at      8      TONIGHT
    """

    def __init__(self, capacity: int):
        self.capacity = capacity  # positions
        self.padding: Tensor | None = None  # None: all texts are equally long
        self.k: dict[nn.Module, Tensor] = {}  # layer -> (B, H, capacity, D), allocated at its first append
        self.v: dict[nn.Module, Tensor] = {}
        self.lengths: dict[nn.Module, int] = {}  # layer -> positions in use, a prefix included

    @property
    def length(self) -> int:
        """Positions in use; 0 before the first text has been read."""
        return max(self.lengths.values(), default=0)

    def append(self, layer: nn.Module, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Store k, v (B, H, T, D) of a layer behind what it has; return all of it, (B, H, S, D) each, and the mask
        (B, 1, 1, S) that hides padding (None: the usual causal one)."""
        B, H, T, D = k.shape
        if self.padding is not None and T > 1:
            raise InputError(f"texts of different lengths go on by one token a call, not by {T}")
        if layer not in self.k:  # zeros: a masked value still counts 0 times, and 0 x NaN would be NaN
            self.k[layer], self.v[layer] = k.new_zeros(B, H, self.capacity, D), v.new_zeros(B, H, self.capacity, D)
        start = self.lengths.get(layer, 0)
        S = self.lengths[layer] = start + T
        if self.padding is None:
            self.k[layer][:, :, start:S], self.v[layer][:, :, start:S] = k, v
            mask = None
        else:  # T is 1
            messages, ends = torch.arange(B, device=k.device), start - self.padding
            self.k[layer][messages, :, ends], self.v[layer][messages, :, ends] = k[:, :, 0], v[:, :, 0]
            kept = torch.arange(min(S, self.capacity), device=k.device)
            mask = (kept < S - self.padding[:, None])[:, None, None]
        return self.k[layer][:, :, :S], self.v[layer][:, :, :S], mask

    def select(self, rows: Tensor) -> None:
        """Keep these texts (R,) in this order; one may be named several times, to be continued in several ways."""
        if self.padding is not None:
            self.padding = self.padding[rows]
        for kept in (self.k, self.v):
            for layer, buffer in kept.items():
                kept[layer] = buffer[rows]


@dataclass(frozen=True)
class Layout:
    """How the tokens of a batch lie in x, and where an output is needed.

    ends    (B,) the one position of each message, virtual ones counted, that the answer is read at; None: all positions
    rows    (B, W) of a packed batch: where in x each message's positions stand (behind its end, its last one again)
    tokens  (N,) of a packed batch: which of the B · W positions are real; None: the batch is padded
    cache   keys and values of earlier calls, for generation
    attend  the function that computes attention; None: gpt2.model.fused_attention
    """

    ends: Tensor | None = None
    rows: Tensor | None = None
    tokens: Tensor | None = None
    cache: KVCache | None = None
    attend: Callable[..., Tensor] | None = None

    @classmethod
    def packed(cls, lengths: Tensor, width: int) -> "Layout":
        """Messages of these lengths (B,), cut out of a padded batch (B, width, C) and laid end to end, with an output
        only at the last position of each."""
        column = torch.arange(width, device=lengths.device)
        starts = lengths.cumsum(0) - lengths
        rows = starts[:, None] + torch.minimum(column, lengths[:, None] - 1)
        tokens = (column < lengths[:, None]).flatten().nonzero()[:, 0]
        return cls(lengths - 1, rows, tokens)

    def pack(self, x: Tensor) -> Tensor:
        """(B, W, C) -> itself where the batch is padded, else the real positions: (1, N, C)."""
        return x if self.tokens is None else x.flatten(0, 1).index_select(0, self.tokens)[None]

    def unpack(self, x: Tensor) -> Tensor:
        """(1, N, C) -> (B, W, C), a message a row, as attention wants it; a padded batch is so already."""
        return x if self.rows is None else x[0].index_select(0, self.rows.flatten()).view(*self.rows.shape, -1)

    def read(self, x: Tensor) -> Tensor:
        """The vectors at the positions that need an output: x itself, or (B, 1, C)."""
        if self.ends is None:
            return x
        messages = torch.arange(len(self.ends), device=x.device)
        return (x[messages, self.ends] if self.rows is None else x[0, self.rows[messages, self.ends]])[:, None]

    def everywhere(self) -> "Layout":
        """For all blocks but the last: the keys and values above need every position."""
        return dataclasses.replace(self, ends=None)

    def mask(self, S: int, P: int = 0) -> Tensor | None:
        """Which of the S keys, the first P of them a prefix, may the query at ``ends`` look at? (B, 1, 1, S) booleans.
        None where queries stand everywhere: then the causal mask is all that is needed."""
        if self.ends is None:
            return None
        return (torch.arange(S, device=self.ends.device) <= P + self.ends[:, None])[:, None, None]


CAUSAL = Layout()  # a padded batch, an output everywhere
