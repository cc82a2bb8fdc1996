"""GPT-2 (Radford et al., 2019, "Language Models are Unsupervised Multitask Learners"), read from top to bottom.

    tokens ── wte ──┐
                    +──► [ block ] x n_layer ──► ln_f ──► lm_head ──► logits
    positions ─ wpe ┘
                          block:  x ──► ln_1 ─► attention ─► + ──► ln_2 ─► MLP ─► + ──►
                                  └──────────────────────────┘ └──────────────────┘

Shapes in comments: B messages in a batch, T tokens in a message, C = n_embd, H = n_head heads of D = C / H
dimensions, V = vocab_size, S keys that a query may look at, P virtual positions.

Two seams let fine-tuning methods add virtual positions without changing this file; both are empty (None) by
default. ``model.prompt`` returns vectors (P, C) placed before the token embeddings. ``block.attn.prefix`` returns
keys and values, each (H, P, D), that every token may attend to, and has an attribute ``length`` = P. Either may
lead with a batch dimension, for a different prompt per message. Text positions then start at P, and the model
still returns one row per real token. A prompt may also have an attribute ``trailing`` = Q and a method ``after()`` that
returns vectors (Q, C) to stand behind each message; the row of a message's last token is then the one read behind them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.config import GPT2Config
from gpt2.errors import InputError


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(Q Kᵀ / √D) V with a causal mask, as the formula is written (Vaswani et al., 2017).

    For reading, and for the tests: the model calls PyTorch's fused kernel, which computes the same thing without
    ever storing the (T, S) matrix of weights. q (B, H, T, D); k, v (B, H, S, D) -> (B, H, T, D). The T queries are
    the last T of the S positions.
    """
    T, S = q.size(-2), k.size(-2)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, S)
    scores = scores.masked_fill(~causal_mask(T, S, q.device), float("-inf"))  # no looking ahead
    return torch.softmax(scores, dim=-1) @ v  # each row of weights sums to 1


def causal_mask(T: int, S: int, device: torch.device) -> Tensor:
    """(T, S) booleans: may query t, which stands at position S - T + t, look at key s? Only when s is not later."""
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(diagonal=S - T)


class LayerCache:
    """Keys and values that one attention layer has already computed, kept in buffers allocated once.

    Texts of different lengths are read padded on the right, where no real token looks. ``padding`` (B,), set after
    that, says how many positions each row lags behind the longest. The next tokens, one a call, go over the padding,
    and a mask hides what is left of it:

        Win  a    prize   ·         padding 1        Win  a    prize   NOW    ·
        See  you  at      8                 0        See  you  at      8      TONIGHT
    """

    def __init__(self, capacity: int):
        self.capacity, self.length = capacity, 0
        self.padding = None  # None: all rows are equally long
        self.k = self.v = None  # (B, H, capacity, D), allocated at the first append

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, H, T, D) after what is there; return all of it, (B, H, length, D) each."""
        B, H, T, D = k.shape
        if self.k is None:  # zeros: a masked value still counts 0 times, and 0 x NaN would be NaN
            self.k, self.v = k.new_zeros(B, H, self.capacity, D), v.new_zeros(B, H, self.capacity, D)
        start, self.length = self.length, self.length + T
        if self.padding is None:
            self.k[:, :, start : self.length] = k
            self.v[:, :, start : self.length] = v
        else:  # T is 1
            rows, ends = torch.arange(B, device=k.device), start - self.padding
            self.k[rows, :, ends], self.v[rows, :, ends] = k[:, :, 0], v[:, :, 0]
        return self.k[:, :, : self.length], self.v[:, :, : self.length]


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
        self.register_module("prefix", None)  # seam, see the top of the file

    def split_heads(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        return x.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, H, T, D)

    def forward(self, x: Tensor, cache: LayerCache | None = None) -> Tensor:
        return self.out_proj(self.gather(self.q_proj(x), self.k_proj(x), self.v_proj(x), cache))

    def gather(self, q: Tensor, k: Tensor, v: Tensor, cache: LayerCache | None = None) -> Tensor:
        """What each query finds: q (B, T, C), k and v (B, S, C) -> (B, T, C). The T queries are the last positions."""
        B, T, C = q.shape
        q, k, v = self.split_heads(q), self.split_heads(k), self.split_heads(v)
        if self.prefix is not None and (cache is None or cache.length == 0):
            prefix_k, prefix_v = self.prefix()  # (H, P, D) or (B, H, P, D) each
            k = torch.cat([prefix_k.expand(B, -1, -1, -1), k], dim=2)  # the prefix stands before every token
            v = torch.cat([prefix_v.expand(B, -1, -1, -1), v], dim=2)
        if cache is not None:
            k, v = cache.append(k, v)
        S = k.size(2)
        mask = None if S == T or T == 1 else causal_mask(T, S, q.device)
        if cache is not None and cache.padding is not None:  # (B, 1, 1, S): is key s the row's own already?
            mask = (torch.arange(S, device=q.device) < cache.length - cache.padding[:, None])[:, None, None]
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(  # S == T is the common case, for which the kernel needs no mask
            q, k, v, attn_mask=mask, is_causal=S == T, dropout_p=dropout
        )  # (B, H, T, D)
        return y.transpose(1, 2).reshape(B, T, C)  # heads side by side again


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

    def forward(self, x: Tensor, cache: LayerCache | None = None) -> Tensor:
        x = x + self.drop(self.attn(self.ln_1(x), cache))
        return x + self.drop(self.mlp(self.ln_2(x)))


def insert_after(x: Tensor, after: Tensor, lengths: Tensor) -> Tensor:
    """Put after[b] (Q, C) behind the first lengths[b] rows of x[b]: (B, T, C) -> (B, T + Q, C)."""
    rows = zip(x, after, lengths.tolist(), strict=True)
    return torch.stack([torch.cat([row[:n], new, row[n:]]) for row, new, n in rows])


def remove_after(x: Tensor, Q: int, lengths: Tensor) -> Tensor:
    """Undo ``insert_after``, but keep its last row, in the place of row lengths[b] - 1: (B, T + Q, C) -> (B, T, C)."""
    rows = zip(x, lengths.tolist(), strict=True)
    return torch.stack([torch.cat([row[: n - 1], row[n - 1 + Q :]]) for row, n in rows])


class GPT2(nn.Module):
    """The whole model. ``model(tokens)``: (B, T) int64 -> logits (B, T, V)."""

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
        self.register_module("prompt", None)  # seam, see the top of the file
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

    def new_cache(self, positions: int | None = None) -> list[LayerCache]:
        """An empty key/value cache, with room for ``positions`` (default: all): pass it to every call for one batch."""
        return [LayerCache(positions or self.config.n_positions) for _ in self.h]

    def virtual_positions(self) -> int:
        """Positions taken by prompt and prefix; the text has n_positions minus this many left."""
        prompt = 0 if self.prompt is None else self.prompt().size(-2) + self.trailing_positions()
        return prompt + self.prefix_positions()

    def trailing_positions(self) -> int:
        return getattr(self.prompt, "trailing", 0)

    def prefix_positions(self) -> int:
        return max((block.attn.prefix.length for block in self.h if block.attn.prefix is not None), default=0)

    def embed(
        self, tokens: Tensor, past: int = 0, lengths: Tensor | None = None, padding: Tensor | None = None
    ) -> Tensor:
        """(B, T) tokens -> (B, T, C), with a prompt (B, P + T + Q, C), at positions ``past`` less ``padding`` (B,)."""
        x = self.wte(tokens)  # (B, T, C)
        if past == 0:
            past = self.prefix_positions()
            if self.trailing_positions():
                x = insert_after(x, self.prompt.after().expand(len(tokens), -1, -1), lengths)  # (B, T + Q, C)
            if self.prompt is not None:
                x = torch.cat([self.prompt().expand(len(tokens), -1, -1), x], dim=1)  # (B, P + T + Q, C)
        end = past + x.size(1)
        positions = torch.arange(past, end, device=tokens.device)
        if padding is not None:
            positions = positions - padding[:, None]  # (B, T)
        elif end > self.config.n_positions:
            raise InputError(
                f"{end} positions are more than this model's context of {self.config.n_positions}; shorten the text"
            )
        return self.drop(x + self.wpe(positions))

    def hidden_states(
        self, tokens: Tensor, cache: list[LayerCache] | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """(B, T) tokens -> (B, T, C): the residual stream after the final norm, one row per real token.

        ``lengths`` (B,) says where each message ends, which only a prompt with a trailing part asks; by default at T.
        """
        B, T = tokens.shape
        past = max(layer.length for layer in cache) if cache else 0
        Q = self.trailing_positions() if past == 0 else 0
        lengths = torch.full((B,), T) if lengths is None else lengths
        x = self.embed(tokens, past, lengths, cache[0].padding if cache else None)
        for i, block in enumerate(self.h):
            x = block(x, cache[i] if cache else None)
        x = x[:, -T - Q :]  # the rows of a prompt have done their work
        return self.ln_f(remove_after(x, Q, lengths) if Q else x)

    def forward(self, tokens: Tensor, cache: list[LayerCache] | None = None) -> Tensor:
        """(B, T) int64 -> logits (B, T, V).

        With a ``cache`` (from ``new_cache``), ``tokens`` are only the new ones, and they attend to all earlier calls.
        Raises InputError when the text is longer than the context.
        """
        return self.lm_head(self.hidden_states(tokens, cache))
