"""How the tokens of a batch lie, and what attention remembers: all that padded batches, packed batches and generation
differ in. The blocks of gpt2/model.py compute the same for all of them.

    padded (B, T, C)                        packed (1, N, C), N = all real tokens
    Win  a  prize  ·    ·
    See  you  at   8  tonight      ──►      Win a prize See you at 8 tonight Ok
    Ok   ·    ·    ·    ·

Shapes as in gpt2/model.py: B messages, T tokens, C = n_embd, H heads of D dimensions, S keys, P and Q virtual
positions.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


@dataclass(frozen=True)
class Layout:
    """How the tokens of a batch lie in x, who may look at whom, and where an output is needed.

    mask      (T, T) booleans: may query t look at key s? None: every token looks at itself and at all before it
    outputs   the positions of x.flatten(0, 1) that an answer is read at, equally many in each row of x; None: all
    packed    (B, P + T + Q) booleans: the positions of the padded batch that stay in the packed one; None: padded
    messages  (N,) the message to which each position of a packed batch belongs
    cache     keys and values of earlier calls, for generation
    attend    the function that computes attention; None: gpt2.model.fused_attention
    """

    mask: Tensor | None = None
    outputs: Tensor | None = None
    packed: Tensor | None = None
    messages: Tensor | None = None
    cache: KVCache | None = None
    attend: Callable[..., Tensor] | None = None

    @classmethod
    def of_packed(cls, lengths: Tensor, width: int) -> "Layout":
        """Messages of these lengths (B,), virtual positions included, cut out of a padded batch (B, width) and laid end
        to end; an output only at the last position of each. Attention sees one long row and a block-diagonal mask:

                      Win a prize See you Ok
            Win        x                            each token looks at the earlier ones of its own message
            a          x  x
            prize      x  x   x
            See                     x
            you                     x   x
            Ok                              x
        """
        packed = torch.arange(width, device=lengths.device) < lengths[:, None]  # (B, width)
        messages = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)  # (N,)
        N = len(messages)
        mask = (messages[:, None] == messages) & causal_mask(N, N, lengths.device)
        return cls(mask, outputs=lengths.cumsum(0) - 1, packed=packed, messages=messages)

    def arrange(self, x: Tensor) -> Tensor:
        """(B, P + T + Q, C) -> the same, or packed (1, N, C)."""
        return x if self.packed is None else x[self.packed][None]

    def read(self, x: Tensor) -> Tensor:
        """The vectors at the positions that need an output."""
        return x if self.outputs is None else x.flatten(0, 1)[self.outputs].view(len(x), -1, x.size(-1))

    def everywhere(self) -> "Layout":
        """For all blocks but the last: the keys and values above need every position."""
        return dataclasses.replace(self, outputs=None)

    def last(self, x: Tensor) -> "Layout":
        """For the last block: a query only where an output is needed."""
        if self.outputs is None:
            return self
        T = x.size(1)
        mask = causal_mask(T, T, x.device) if self.mask is None else self.mask
        mask = mask[self.outputs % T].view(len(x), 1, -1, T)  # padded (B, 1, 1, T), packed (1, 1, B, N)
        messages = None if self.messages is None else self.messages[self.outputs]
        return dataclasses.replace(self, mask=mask, messages=messages)

    def with_prefix(self, keys: Tensor, values: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """k, v (…, H, T, D) and the mask, with a prefix (H, P, D) or (B, H, P, D) in front, which all tokens see."""
        P, mask = keys.size(-2), self.mask
        if self.messages is None or keys.dim() == 3:
            keys, values = keys.expand(len(k), -1, -1, -1), values.expand(len(v), -1, -1, -1)
            mask = mask if mask is None else F.pad(mask, (P, 0), value=True)
        else:  # a prefix for each packed message: they lie side by side, and each message looks at its own
            owner = torch.arange(len(keys), device=k.device).repeat_interleave(P)  # (B P,)
            own = (self.messages[:, None] == owner).expand(*mask.shape[:-1], -1)
            mask = torch.cat([own, mask], dim=-1)
            keys, values = (part.transpose(0, 1).flatten(1, 2)[None] for part in (keys, values))  # (1, H, B P, D)
        return torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2), mask


CAUSAL = Layout()  # a padded batch, an output everywhere
