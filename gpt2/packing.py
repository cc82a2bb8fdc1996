"""Classifying for less work, and the same numbers: nothing is computed that the answer does not depend on.

``gpt2.classifier.classify`` is the plain path: every row of a padded batch, through every block. This file leaves out
three things, none of which changes the class logits beyond rounding.

1. No padding. Messages are laid end to end; linear layers and norms work on rows and never notice. Only attention
   must know where a message begins and ends, and each message attends to itself alone.

       padded (B, T, C)                       packed (N, C), N = all real rows
       Win  a  prize  ·    ·
       See you  at    8  tonight      ──►     Win a prize See you at 8 tonight Ok
       Ok   ·   ·     ·    ·

2. Only the row that is read. The last block's keys and values are needed for every row, but its queries, and all
   that follows them, only for the row that the head reads.

       last block   k, v:  Win a prize        q, MLP, norm, head:  prize

3. A frozen trunk runs once. Blocks below the first trained parameter compute the same in every epoch (without dropout),
   so what enters the first trained block is kept for each message, as long as there is room.

On a GPU, where starting a kernel costs more than a few padded rows, batches stay padded, unless a trunk is frozen.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt2.classifier import classify
from gpt2.model import GPT2, Block


def pack(x: Tensor, lengths: list[int]) -> Tensor:
    """(B, T, C) -> (N, C): the first lengths[b] rows of each message, end to end."""
    return torch.cat([row[:n] for row, n in zip(x, lengths, strict=True)])


def embed_packed(model: GPT2, tokens: Tensor, lengths: Tensor, needed: list[int]) -> tuple[Tensor, list[int]]:
    """The packed embeddings of the first needed[b] tokens of each message, and how many rows that is with a prompt."""
    x = model.embed(tokens, lengths=lengths)  # (B, T, C), with a prompt (B, P + T + Q, C)
    rows = [n + x.size(1) - tokens.size(1) for n in needed]
    return pack(x, rows), rows


def packed_block(block: Block, x: Tensor, lengths: list[int], last_only: bool = False) -> Tensor:
    """``Block.forward`` on packed rows: (N, C) -> (N, C); with ``last_only`` -> (B, C), each message's last row."""
    attn, h, rows, queries = block.attn, block.ln_1(x), slice(None), lengths  # from all rows, or …
    if last_only:
        rows, queries = torch.tensor(lengths, device=x.device).cumsum(0) - 1, [1] * len(lengths)
    q, k, v = attn.q_proj(h[rows]), attn.k_proj(h), attn.v_proj(h)
    messages = zip(q.split(queries), k.split(lengths), v.split(lengths), strict=True)
    found = torch.cat([attn.gather(q[None], k[None], v[None])[0] for q, k, v in messages])
    x = x[rows] + block.drop(attn.out_proj(found))
    return x + block.drop(block.mlp(block.ln_2(x)))


def frozen_blocks(model: GPT2) -> int:
    """How many of the lowest blocks, with the embeddings, hold nothing that trains and nothing random: the trunk."""
    below = [model.wte, model.wpe] + ([] if model.prompt is None else [model.prompt])
    if any(p.requires_grad for module in below for p in module.parameters()) or model.config.dropout:
        return 0
    trained = (i for i, block in enumerate(model.h) if any(p.requires_grad for p in block.parameters()))
    return next(trained, len(model.h))


class FastClassify:
    """Called like ``classify``, and returns the same: (model, tokens (B, T), lengths (B,), pooling) -> (B, classes).

    Made for one model after its method is in place; what is kept is only right while its trunk stays frozen.

    memory_mb      room for the rows that a frozen trunk gave, in MB (10⁶ bytes); further messages are recomputed
    checkpointing  keep only each block's input for the backward pass, and compute the rest of the block again there:
                   less memory, about a third more time (Chen et al., 2016)
    """

    def __init__(self, model: GPT2, memory_mb: float = 500, checkpointing: bool = False):
        self.trunk = frozen_blocks(model)
        self.kept: dict[bytes, Tensor] = {}  # a message's tokens -> its rows
        self.room = memory_mb * 1e6
        self.checkpointing = checkpointing

    def __call__(self, model: GPT2, tokens: Tensor, lengths: Tensor, pooling: str = "last") -> Tensor:
        on_gpu = tokens.device.type != "cpu"
        if pooling not in ("last", "last-position") or (on_gpu and not self.trunk):
            return classify(model, tokens, lengths, pooling)  # these read other rows than the last, or gain nothing
        x, rows = self.enter(model, tokens, lengths, pooling)
        for i, block in enumerate(model.h[self.trunk :], start=self.trunk):
            x = self.run(block, x, rows, last_only=i == len(model.h) - 1)
        return model.lm_head(model.ln_f(x))

    def remember(self, model: GPT2, batches: Iterable[tuple[Tensor, Tensor]], pooling: str = "last") -> None:
        """Run a frozen trunk over these (tokens, lengths) now, as far as there is room for what it gives: many messages
        at a time are faster than the few of a training batch."""
        for tokens, lengths in batches if self.trunk else ():
            before = len(self.kept)
            self.enter(model, tokens, lengths, pooling)
            if len(self.kept) == before:
                return

    def run(self, block: nn.Module, x: Tensor, rows: list[int], last_only: bool) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(packed_block, block, x, rows, last_only, use_reentrant=False)
        return packed_block(block, x, rows, last_only)

    def enter(self, model: GPT2, tokens: Tensor, lengths: Tensor, pooling: str) -> tuple[Tensor, list[int]]:
        """What enters the first block above the trunk, and how many rows each message has of it."""
        needed = (lengths if pooling == "last" else torch.full_like(lengths, tokens.size(1))).tolist()
        if self.trunk == 0:
            return embed_packed(model, tokens, lengths, needed)
        keys = [message[:n].numpy().tobytes() for message, n in zip(tokens.cpu(), needed, strict=True)]
        fresh = {key: i for i, key in enumerate(keys) if key not in self.kept}
        found = {}
        if fresh:
            places = list(fresh.values())
            with torch.no_grad():
                x, rows = embed_packed(model, tokens[places], lengths[places], [needed[i] for i in places])
                for i in range(self.trunk):
                    x = packed_block(model.h[i], x, rows, last_only=i == len(model.h) - 1)
            everything_frozen = self.trunk == len(model.h)  # then only the last row goes on
            found = dict(zip(fresh, x.split(1 if everything_frozen else rows), strict=True))
        messages = [self.kept[key] if key in self.kept else found[key] for key in keys]
        for key, message in found.items():
            if message.nbytes <= self.room:
                self.room -= message.nbytes
                self.kept[key] = message.clone()  # a view would hold the whole batch in memory
        return torch.cat(messages), [len(message) for message in messages]
