"""Prefix tuning: trained keys and values before the text, in every block (Li & Liang, 2021, arXiv:2101.00190).

A soft prompt acts on a block only through what the blocks below have made of it. A prefix speaks to each block
directly: P positions whose keys and values are trained, and which every token may look at.

    attention(x) = softmax( q [P_k ; K]ᵀ / √D ) [P_v ; V]        P_k, P_v: (H, P, D) for each block

      keys and values      ░░  ░░  ░░ Win   a  prize        in every block; ░░ has no query, no MLP, no output
                            ▲   ▲   ▲   ▲   ▲
      query of "a"          └───┴───┴───┴───┘

How positions and padding are counted: a prefix is what a cached text of P tokens would be, so the text starts at
position P and the context is shorter by P. Padding stays on the right, where no real token looks.

Training P_k and P_v directly was found unstable, so Li & Liang let a small network make them, and drop it afterwards:

    E (P, C) ─► Linear ─► tanh (P, h) ─► Linear of block i ─► P_k, P_v of block i        (reparametrisation)

P-tuning v2 (Liu et al., 2022, arXiv:2110.07602) is the same without the network, which helps some tasks and hurts
others, they found. One ``PrefixTuning`` does both: ``prefix`` (reparametrised, h = prefix_hidden) and ``p-tuning-v2``
(h = 0, keys and values trained themselves).

Trained parameters with L blocks: 2 L P C; reparametrised P C + h C + h + 2 L C (h + 1). What is saved is 2 L P C
either way. GPT-2 124M, P = 20, h = 512, two classes, with the head: p-tuning-v2 370,178, prefix 9,866,242 (370,178 of
them saved).

The trade-off: no token is added to the MLPs, so P positions cost less than a soft prompt's, and each block has its own.
But the prefix takes room in every key/value cache and cannot be merged into the weights.
"""

import torch
from torch import Tensor, nn

from gpt2.errors import InputError, whole_number
from gpt2.model import GPT2
from peft.merging import finished
from peft.options import PrefixOptions
from peft.prompt import PerTask, check_virtual_tokens, chosen
from peft.wrappers import trained_dtype


class PrefixTuning(nn.Module):
    """Keys and values of P virtual positions for one block: forward() -> two tensors (H, P, D).

    shared   the part of the reparametrisation that all blocks share, () -> (P, h); None trains the keys and values
             themselves, which start as standard normal numbers, as in the papers' code
    """

    def __init__(self, n_head: int, head_dim: int, virtual_tokens: int, shared: "SharedStart | None" = None):
        super().__init__()
        self.length, self.n_head = virtual_tokens, n_head
        self.shared = shared
        if shared is None:
            self.keys = nn.Parameter(torch.randn(n_head, virtual_tokens, head_dim))
            self.values = nn.Parameter(torch.randn(n_head, virtual_tokens, head_dim))
        else:
            self.out = nn.Linear(shared.linear.out_features, 2 * n_head * head_dim)
        # empty: only its precision counts, which is that of the text's keys, and follows model.to(…)
        self.register_buffer("like", torch.empty(0), persistent=False)

    def over(self, weight: Tensor) -> "PrefixTuning":
        """This prefix for a model of such weights: on their device, and answering in their precision."""
        self.to(weight.device, trained_dtype(weight))
        self.like = weight.new_empty(0)
        return self

    def forward(self) -> tuple[Tensor, Tensor]:
        keys, values = self.exact()
        return keys.to(self.like.dtype), values.to(self.like.dtype)

    def exact(self) -> tuple[Tensor, Tensor]:
        """Keys and values in the precision in which they train."""
        if self.shared is None:
            return self.keys, self.values
        x = self.out(self.shared())  # (P, 2 C): first the keys of all heads, then the values
        keys, values = x.view(self.length, 2, self.n_head, -1).permute(1, 2, 0, 3)  # (H, P, D) each
        return keys, values


@finished.register
@torch.no_grad()
def _(prefix: PrefixTuning) -> PrefixTuning:
    """The same prefix without the network: all that a trained prefix needs."""
    if prefix.shared is None:
        return prefix
    keys, values = prefix.exact()
    plain = PrefixTuning(prefix.n_head, keys.size(-1), prefix.length).over(prefix.like)
    plain.keys.data, plain.values.data = keys.contiguous(), values.contiguous()
    return plain


class SharedStart(nn.Module):
    """The first half of the reparametrisation, one for all blocks: () -> tanh(Linear(E)) (P, hidden)."""

    def __init__(self, virtual_tokens: int, dim: int, hidden: int):
        super().__init__()
        self.start = nn.Parameter(torch.randn(virtual_tokens, dim))  # E
        self.linear = nn.Linear(dim, hidden)

    def forward(self) -> Tensor:
        return torch.tanh(self.linear(self.start))


class PrefixPerTask(PerTask):
    """Several prefixes of one block, and for each message of a batch the one to use: -> (B, H, P, D) twice.

    for block, other in zip(spam_model.h, news_model.h):
        block.attn.prefix = PrefixPerTask([block.attn.prefix, other.attn.prefix])
    select_tasks(spam_model, [0, 1, 1])
    """

    def __init__(self, prefixes: list[PrefixTuning]):
        super().__init__(prefixes)
        self.length = prefixes[0].length
        if len({prefix.length for prefix in prefixes}) > 1:
            raise InputError("the prefixes of one batch must have the same number of virtual tokens")

    def forward(self) -> tuple[Tensor, Tensor]:
        keys, values = zip(*(prefix() for prefix in self.prompts), strict=True)
        return chosen(keys, self.tasks), chosen(values, self.tasks)


def prefix(model: GPT2, options: PrefixOptions) -> None:
    """Put a prefix before the text in every block: made by a network while training, or, as in P-tuning v2
    (``prefix_hidden`` is 0), trained directly."""
    P, hidden = options.virtual_tokens, whole_number("prefix_hidden", options.prefix_hidden, least=0)
    check_virtual_tokens(model, P)
    shared = SharedStart(P, model.config.n_embd, hidden) if hidden else None
    for block in model.h:
        new = PrefixTuning(model.config.n_head, model.config.head_dim, P, shared)
        block.attn.prefix = new.over(model.wte.weight)
