"""LoRA: learn a low-rank update of each weight matrix, beside the frozen matrix (Hu et al., 2021, arXiv:2106.09685).

Fine-tuning moves W to W + ΔW. LoRA's finding: ΔW need not have full rank. So it is written as a product of
two thin matrices, and only these are trained:

    h = W x + s · B A x        W (out, in) frozen,  A (r, in),  B (out, r),  r much smaller than in and out

           x (in)
           ├──────────────────────┐
     ┌─────┴─────┐           ┌────┴────┐
     │           │           │    A    │  in -> r      starts random
     │  W frozen │           └────┬────┘
     │           │           ┌────┴────┐
     │           │           │    B    │  r -> out     starts at zero, so training starts at the pretrained model
     └─────┬─────┘           └────┬────┘
           └───────── + ──────────┘ · s
                 h (out)

Trained parameters: r (in + out) per layer. GPT-2 124M, every linear layer and a head of two classes: 166,658 r,
so 1,333,264 at rank 8. The trade-off: training stores no gradients and no optimiser state for W, but it still sends
gradients through W. After training, W + s B A can be merged into one matrix, so inference costs nothing extra.

The scale s: ``alpha/rank`` (the paper: another rank then needs no new learning rate), ``alpha`` (Raschka, 2024,
appendix E, until September 2025), ``alpha/sqrt(rank)`` (rsLoRA, Kalajdzievski, 2023, arXiv:2312.03732: large ranks keep
learning).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.errors import InputError, number, whole_number
from peft.merging import to_plain
from peft.options import LoRAOptions
from peft.targets import wrap_layers
from peft.wrappers import LinearWrapper, linear_kinds, matrix, plain_like, trained_dtype

SCALINGS = {
    "alpha/rank": lambda alpha, rank: alpha / rank,
    "alpha": lambda alpha, rank: alpha,
    "alpha/sqrt(rank)": lambda alpha, rank: alpha / math.sqrt(rank),
}


@torch.no_grad()
def start_at_random(A: Tensor, init: str) -> None:
    """Fill A (rank, in_dim), in place. Two of the ways draw it as (in_dim, rank), in the reference recipe's order."""
    rank, in_dim = A.shape
    if init == "kaiming":
        nn.init.kaiming_uniform_(A, a=math.sqrt(5))  # as loralib/layers.py; √5 makes the bound 1/√in_dim
    elif init == "kaiming-rank":
        A.copy_(nn.init.kaiming_uniform_(A.new_empty(in_dim, rank), a=math.sqrt(5)).T)  # bound 1/√rank
    elif init == "normal":
        A.copy_(A.new_empty(in_dim, rank).normal_(std=1 / math.sqrt(rank)).T)
    else:
        raise InputError(f"unknown init {init!r}; choose kaiming, kaiming-rank or normal", argument="init")


class LoRALayer(nn.Module):
    """The low-rank update alone: x (…, in_dim) -> s · B A x (…, out_dim).

    rank      r; at least 1
    alpha     numerator of the scale s
    scaling   one of SCALINGS
    dropout   probability of dropping an input of A during training
    init      start of A: ``kaiming`` (uniform in ±1/√in_dim, as in the paper's code and the libraries),
              ``kaiming-rank`` (uniform in ±1/√rank, as in Raschka's appendix E, whose A is stored as (in_dim, rank):
              PyTorch takes the second number for the width) or ``normal`` (std 1/√rank, as in its draft of May 2024).
              B always starts at zero.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        rank: int,
        alpha: float,
        scaling: str = "alpha/rank",
        dropout: float = 0.0,
        init: str = "kaiming",
    ):
        super().__init__()
        rank = whole_number("rank", rank)
        alpha, dropout = number("alpha", alpha, above=0), number("dropout", dropout, least=0, below=1)
        if scaling not in SCALINGS:
            raise InputError(f"unknown scaling {scaling!r}; choose one of {', '.join(SCALINGS)}", argument="scaling")
        self.rank, self.scale = rank, SCALINGS[scaling](alpha, rank)
        self.A = nn.Parameter(torch.empty(rank, in_dim))
        self.B = nn.Parameter(torch.zeros(out_dim, rank))
        start_at_random(self.A, init)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.update(self.dropout(x))

    def update(self, x: Tensor) -> Tensor:
        """s · B A x, computed in the precision of A and B, in that of x."""
        narrow = F.linear(x.to(self.A.dtype), self.A) * self.scale  # (…, r): scaled here, where it is narrow
        y = F.linear(narrow, self.B)
        return y if x.dtype == self.A.dtype else y.to(x.dtype)

    def delta(self) -> Tensor:
        """ΔW = s B A as a full matrix, (out_dim, in_dim): what merging adds to W."""
        return (self.B @ self.A) * self.scale


class LinearWithLoRA(LinearWrapper):
    """A linear layer and the low-rank update beside it: x (…, in_dim) -> W x + b + s · B A x (…, out_dim).

    Options as for LoRALayer, in whose place ``update`` may put another class.
    """

    lora: LoRALayer

    def __init__(self, linear: nn.Module, rank: int, alpha: float, update: type[LoRALayer] = LoRALayer, **options):
        super().__init__()
        self.linear = linear
        lora = update(self.in_features, self.out_features, rank, alpha, **options)
        self.lora = lora.to(linear.weight.device, trained_dtype(linear.weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.lora(x)


@to_plain.register
@torch.no_grad()
def _(layer: LinearWithLoRA) -> nn.Module:
    """W + s B A."""
    return plain_like(layer.linear, matrix(layer.linear) + layer.lora.delta())


class EmbeddingWithLoRA(nn.Module):
    """An embedding and a low-rank update: row i of W + s (B A)ᵀ. Here A (r, tokens) starts at zero and B (C, r) random,
    because one token only ever sees its own column of A (as in loralib and Hugging Face peft)."""

    def __init__(self, embedding: nn.Embedding, rank: int, alpha: float, **options):
        super().__init__()
        self.embedding = embedding
        self.num_embeddings, self.embedding_dim = embedding.num_embeddings, embedding.embedding_dim
        self.lora = LoRALayer(embedding.num_embeddings, embedding.embedding_dim, rank, alpha, **options)
        nn.init.zeros_(self.lora.A)
        nn.init.normal_(self.lora.B)
        self.lora.to(embedding.weight.device, trained_dtype(embedding.weight))

    @property
    def weight(self) -> Tensor:
        """The base weight (tokens, C), without the update."""
        return self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        y = self.embedding(tokens)
        narrow = F.embedding(tokens, self.lora.A.T)  # (…, r): A's columns, picked instead of multiplied
        return y + (F.linear(narrow, self.lora.B) * self.lora.scale).to(y.dtype)


@to_plain.register
@torch.no_grad()
def _(layer: EmbeddingWithLoRA) -> nn.Embedding:
    """W + s (B A)ᵀ."""
    weight = layer.embedding.weight + layer.lora.delta().T
    return nn.Embedding.from_pretrained(weight.to(layer.weight.dtype), freeze=True)


def replace_linear_with_lora(
    model: nn.Module,
    rank: int,
    alpha: float,
    target_modules: str = "all",
    layers_to_transform: str | None = None,
    train_head: bool = False,
    **options,
) -> list[str]:
    """Put LoRA on the chosen layers of any model, in place; returns their names. Freezing the rest is up to you."""

    def wrapper(layer: nn.Module) -> nn.Module:
        kind = EmbeddingWithLoRA if isinstance(layer, nn.Embedding) else LinearWithLoRA
        return kind(layer, rank, alpha, **options)

    return wrap_layers(
        model, wrapper, target_modules, layers_to_transform, train_head, kinds=(*linear_kinds(), nn.Embedding)
    )


def lora(model: nn.Module, options: LoRAOptions) -> None:
    """Put LoRA on every chosen layer, the classification head included."""
    replace_linear_with_lora(
        model,
        options.rank,
        options.alpha,
        options.target_modules,
        options.layers_to_transform,
        options.train_head,
        scaling=options.scaling,
        dropout=options.dropout,
        init=options.init,
    )
