"""GPT-2 (Radford et al., 2019, "Language Models are Unsupervised Multitask Learners"), read from top to bottom.

    tokens ── wte ──┐
                    +──► [ block ] x n_layer ──► ln_f ──► lm_head ──► logits
    positions ─ wpe ┘
                          block:  x ──► ln_1 ─► attention ─► + ──► ln_2 ─► MLP ─► + ──►
                                  └──────────────────────────┘ └──────────────────┘

Shapes in comments: B messages in a batch, T tokens in a message, C = n_embd, H = n_head heads of D = C / H
dimensions, V = vocab_size, S keys that a query may look at, P virtual positions.

Two extension points let fine-tuning methods add virtual positions without changing this file; both are empty (None) by
default. ``model.prompt`` returns vectors (P, C) placed before the token embeddings. ``block.attn.prefix`` returns
keys and values, each (H, P, D), that every token may attend to, and has an attribute ``length`` = P. Either may
lead with a batch dimension, for a different prompt per message. Text positions then start at P, and the model
still returns one vector per real token. A prompt may also have an attribute ``trailing`` = Q and a method ``after()``
that returns vectors (Q, C) to stand behind each message; the vector of a message's last token is then read behind them.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt2.config import GPT2Config
from gpt2.errors import InputError
from gpt2.layout import CAUSAL, KVCache, Layout, causal_mask


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q Kᵀ / √D): how much of each key's value a query takes; each row sums to 1.

    q (B, H, T, D), k (B, H, S, D) -> (B, H, T, S). ``mask``: booleans that broadcast to it, who may look at whom;
    None: the T queries are the last T of the S positions, and none looks ahead.
    """
    mask = causal_mask(q.size(-2), k.size(-2), q.device) if mask is None else mask
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """softmax(Q Kᵀ / √D) V, as the formula is written (Vaswani et al., 2017): (B, H, T, D), v (B, H, S, D)."""
    return F.dropout(attention_weights(q, k, mask), dropout) @ v


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """The same by PyTorch's fused kernel, which never stores the (T, S) weights: what the model uses by default."""
    T, S = q.size(-2), k.size(-2)
    if mask is None and 1 < T < S:
        mask = causal_mask(T, S, q.device)
    causal = mask is None and T == S  # the kernel's own mask; a single query may look at everything
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)


class CausalSelfAttention(nn.Module):
    """Multi-head attention: every token gathers from itself and the tokens before it."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        C = config.n_embd
        self.n_head, self.dropout = config.n_head, config.dropout
        self.q_proj = nn.Linear(C, C)  # what am I looking for?
        self.k_proj = nn.Linear(C, C)  # what do I contain?
        self.v_proj = nn.Linear(C, C)  # what do I pass on?
        self.out_proj = nn.Linear(C, C)
        self.register_module("prefix", None)  # extension point, see the top of the file

    def split_heads(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        return x.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, H, T, D)

    def forward(self, x: Tensor, layout: Layout = CAUSAL) -> Tensor:
        q, k, v = self.q_proj(layout.read(x)), layout.unpack(self.k_proj(x)), layout.unpack(self.v_proj(x))
        if layout.ends is None:
            q = layout.unpack(q)
        q, k, v = self.split_heads(q), self.split_heads(k), self.split_heads(v)
        P = 0
        if self.prefix is not None and (layout.cache is None or self not in layout.cache.k):
            P, (prefix_k, prefix_v) = self.prefix.length, self.prefix()  # (H, P, D) or (B, H, P, D) each
            k = torch.cat([prefix_k.expand(len(k), -1, -1, -1), k], dim=2)  # the prefix stands before every token
            v = torch.cat([prefix_v.expand(len(v), -1, -1, -1), v], dim=2)
        mask = layout.mask(k.size(2), P)
        if layout.cache is not None:
            k, v, mask = layout.cache.append(self, k, v)
        attend = layout.attend or fused_attention
        y = attend(q, k, v, mask, self.dropout if self.training else 0.0)  # (B, H, T, D)
        y = y.transpose(1, 2).flatten(2)  # heads side by side again
        return self.out_proj(layout.pack(y) if layout.ends is None else y)


class MLP(nn.Module):
    """Two linear layers with a GELU between: every token thinks for itself, in 4 C dimensions."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.fc_in = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.act = nn.GELU(approximate="tanh")  # the approximation that GPT-2 was trained with
        self.fc_out = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc_out(self.act(self.fc_in(x)))


class Block(nn.Module):
    """Attention, then MLP; each reads a normalised copy of the residual stream and adds its result to it."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, layout: Layout = CAUSAL) -> Tensor:
        x = layout.read(x) + self.drop(self.attn(self.ln_1(x), layout))
        return x + self.drop(self.mlp(self.ln_2(x)))


def insert_after(x: Tensor, after: Tensor, lengths: Tensor) -> Tensor:
    """Put after[b] (Q, C) behind the first lengths[b] vectors of x[b]: (B, T, C) -> (B, T + Q, C)."""
    rows = zip(x, after, lengths.tolist(), strict=True)
    return torch.stack([torch.cat([row[:n], new, row[n:]]) for row, new, n in rows])


def remove_after(x: Tensor, Q: int, lengths: Tensor) -> Tensor:
    """Undo ``insert_after``, but keep its last vector, in the place of lengths[b] - 1: (B, T + Q, C) -> (B, T, C)."""
    rows = zip(x, lengths.tolist(), strict=True)
    return torch.stack([torch.cat([row[: n - 1], row[n - 1 + Q :]]) for row, n in rows])


class GPT2(nn.Module):
    """The whole model. ``model(tokens)``: (B, T) int64 -> logits (B, T, V)."""

    checkpointing = False  # True: keep only each block's input for the backward pass, and compute the rest again there

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)  # what the token is
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)  # where it stands
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight  # tied: one matrix reads tokens in and scores them on the way out
        self.register_module("prompt", None)  # extension point, see the top of the file
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Random start as in GPT-2: normal with std 0.02; what is added to the stream is scaled by 1/√(2 n_layer)."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 2:
                into_stream = name.endswith(("out_proj.weight", "fc_out.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layer) if into_stream else 0.02)
            else:
                parameter.fill_(1.0)  # norm gains

    def new_cache(self, positions: int | None = None) -> KVCache:
        """An empty key/value cache, with room for ``positions`` (default: all): pass it to every call for one batch."""
        return KVCache(positions or self.config.n_positions)

    def virtual_positions(self) -> int:
        """Positions taken by prompt and prefix; the text has n_positions minus this many left."""
        prompt = 0 if self.prompt is None else self.prompt().size(-2) + self.trailing_positions()
        return prompt + self.prefix_positions()

    def trailing_positions(self) -> int:
        return getattr(self.prompt, "trailing", 0)

    def prefix_positions(self) -> int:
        return max((block.attn.prefix.length for block in self.h if block.attn.prefix is not None), default=0)

    def embed(self, tokens: Tensor, lengths: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """(B, T) tokens -> (B, T, C), with a prompt (B, P + T + Q, C). They follow the tokens of ``cache``."""
        B, T = tokens.shape
        x = self.wte(tokens)  # (B, T, C)
        start = cache.length if cache else 0
        if start == 0:
            start = self.prefix_positions()
            if self.trailing_positions():
                lengths = torch.full((B,), T) if lengths is None else lengths
                x = insert_after(x, self.prompt.after().expand(B, -1, -1), lengths)  # (B, T + Q, C)
            if self.prompt is not None:
                x = torch.cat([self.prompt().expand(B, -1, -1), x], dim=1)  # (B, P + T + Q, C)
        end = start + x.size(1)
        positions = torch.arange(start, end, device=tokens.device)
        if cache and cache.padding is not None:
            positions = positions - cache.padding[:, None]  # (B, T)
        elif end > self.config.n_positions:
            raise InputError(
                f"{end} positions are more than this model's context of {self.config.n_positions}; shorten the text"
            )
        return self.drop(x + self.wpe(positions))

    def hidden_states(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        layout: Layout = CAUSAL,
        x: Tensor | None = None,
        first: int = 0,
        end: int | None = None,
    ) -> Tensor:
        """(B, T) tokens -> (B, T, C): the residual stream after the final norm, one vector per real token. Where the
        layout names ``ends``, only those: (B, C).

        lengths   (B,) where each message ends, which only a prompt with a trailing part asks; by default at T
        x, first  start at block ``first``, with ``x`` as what enters it, instead of with the embeddings at block 0
        end       stop there, and return what would enter block ``end``, in the layout's arrangement
        """
        new_text = not (layout.cache and layout.cache.length)
        if x is None:
            x = layout.pack(self.embed(tokens, lengths, layout.cache))
        for i in range(first, len(self.h) if end is None else end):
            block = functools.partial(checkpoint, self.h[i], use_reentrant=False) if self.checkpointing else self.h[i]
            x = block(x, layout if i + 1 == len(self.h) else layout.everywhere())
        if end is not None:
            return x
        if layout.ends is not None:
            return self.ln_f(x[:, 0])
        B, T = tokens.shape
        Q = self.trailing_positions() if new_text else 0
        x = layout.unpack(x)[:, -T - Q :]  # the vectors of a prompt have done their work
        return self.ln_f(remove_after(x, Q, torch.full((B,), T) if lengths is None else lengths) if Q else x)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """(B, T) int64 -> logits (B, T, V).

        With a ``cache`` (from ``new_cache``), ``tokens`` are only the new ones, and they attend to all earlier calls.
        Raises InputError when the text is longer than the context.
        """
        return self.lm_head(self.hidden_states(tokens, layout=Layout(cache=cache) if cache else CAUSAL))
