"""LoRA: learn a low-rank change to each weight matrix, beside the frozen matrix (Hu et al., 2021).

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
so 1,333,264 at rank 8. The trade: training stores no gradients and optimiser state for W, but still
sends gradients through it; after training W + s B A can be merged into one matrix, so inference costs nothing extra.

The scale s: ``alpha/rank`` (the paper: a change of rank then needs no new learning rate), ``alpha`` (Raschka,
2024, appendix E, until September 2025), ``alpha/sqrt(rank)`` (rsLoRA, Kalajdzievski 2023: large ranks keep learning).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from peft import lora_fused
from peft.targets import select

SCALINGS = {
    "alpha/rank": lambda alpha, rank: alpha / rank,
    "alpha": lambda alpha, rank: alpha,
    "alpha/sqrt(rank)": lambda alpha, rank: alpha / math.sqrt(rank),
}


class LoRALayer(nn.Module):
    """The low-rank change alone: x (…, in_dim) -> s · B A x (…, out_dim).

    rank      r; at least 1
    alpha     numerator of the scale s
    scaling   one of SCALINGS
    dropout   probability of dropping an input of A during training
    init      start of A: ``kaiming`` (uniform in ±1/√in_dim, as in the paper's code and the libraries) or
              ``normal`` (std 1/√rank, as in the draft of Raschka's appendix E). B always starts at zero.
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
        if not isinstance(rank, int) or rank < 1:
            raise InputError(f"rank is {rank}, expected a whole number of at least 1")
        if not 0 < alpha < math.inf:
            raise InputError(f"alpha is {alpha}, expected a number above 0")
        if scaling not in SCALINGS:
            raise InputError(f"unknown scaling {scaling!r}; choose one of {', '.join(SCALINGS)}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is {dropout}, expected 0 <= dropout < 1")
        self.rank, self.scale = rank, SCALINGS[scaling](alpha, rank)
        self.A = nn.Parameter(torch.empty(rank, in_dim))
        self.B = nn.Parameter(torch.zeros(out_dim, rank))
        if init == "kaiming":
            nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))  # a=√5 makes the bound 1/√in_dim
        elif init == "normal":
            nn.init.normal_(self.A, std=1 / math.sqrt(rank))
        else:
            raise InputError(f"unknown init {init!r}; choose kaiming or normal")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(self.dropout(x), self.A)  # (…, r): the narrow place
        return F.linear(x, self.B) * self.scale

    def delta(self) -> Tensor:
        """ΔW = s B A as a full matrix, (out_dim, in_dim): what merging adds to W."""
        return (self.B @ self.A) * self.scale


class LinearWithLoRA(nn.Module):
    """A linear layer and the low-rank change beside it; options as for LoRALayer, which ``change`` may replace."""

    fused = False  # see ``fuse``

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, change: type = LoRALayer, **options):
        super().__init__()
        self.linear = linear
        self.lora = change(linear.in_features, linear.out_features, rank, alpha, **options).to(linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and lora_fused.fits(self, x):
            weights = self.linear.weight, self.linear.bias, self.lora.A, self.lora.B
            return lora_fused.LowRankLinear.apply(x, *weights, self.lora.scale)
        return self.linear(x) + self.lora(x)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain nn.Linear with the same output; ``self`` stays as it is."""
        return linear_like(self.linear, self.linear.weight + self.lora.delta())


class EmbeddingWithLoRA(nn.Module):
    """An embedding and a low-rank change: row i of W + s (B A)ᵀ. Here A (r, tokens) starts at zero and B (C, r) random,
    because one token only ever sees its own column of A (as in loralib and Hugging Face peft)."""

    def __init__(self, embedding: nn.Embedding, rank: int, alpha: float, **options):
        super().__init__()
        self.embedding = embedding
        self.lora = LoRALayer(embedding.num_embeddings, embedding.embedding_dim, rank, alpha, **options)
        nn.init.zeros_(self.lora.A)
        nn.init.normal_(self.lora.B)
        self.lora.to(embedding.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        narrow = F.embedding(tokens, self.lora.A.T)  # (…, r): A's columns, picked instead of multiplied
        return self.embedding(tokens) + F.linear(narrow, self.lora.B) * self.lora.scale

    @torch.no_grad()
    def merged(self) -> nn.Embedding:
        weight = self.embedding.weight + self.lora.delta().T
        return nn.Embedding.from_pretrained(weight, freeze=True)


def fuse(model: nn.Module, on: bool = True) -> None:
    """Compute LoRA by peft/lora_fused.py where it fits: the same numbers, sooner."""
    for module in model.modules():
        if type(module) is LinearWithLoRA and type(module.lora) is LoRALayer:
            module.fused = on


def linear_like(linear: nn.Linear, weight: Tensor) -> nn.Linear:
    """A frozen nn.Linear with this weight and the bias of ``linear``, which it shares."""
    new = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")  # allocates nothing
    new.weight = nn.Parameter(weight, requires_grad=False)
    new.bias = linear.bias
    return new


def wrap_linear_layers(
    model: nn.Module,
    wrapper: Callable[[nn.Module], nn.Module],
    target: str = "all",
    layers: str | None = None,
    train_head: bool = False,
    kinds: type | tuple[type, ...] = nn.Linear,
) -> list[str]:
    """Put ``wrapper(layer)`` in the place of every chosen layer, as all of LoRA's relatives do; returns their names.

    With ``train_head`` a classification head is left as it is and trains fully.
    """
    names = select(model, target, layers, kinds=kinds, head=not train_head)
    for name in names:
        layer = model.get_submodule(name)
        model.set_submodule(name, wrapper(layer).train(layer.training))  # or dropout would start in a model that rests
    if train_head and has_classification_head(model):
        model.lm_head.requires_grad_(True)
    return names


def replace_linear_with_lora(
    model: nn.Module,
    rank: int,
    alpha: float,
    target: str = "all",
    layers: str | None = None,
    train_head: bool = False,
    **options,
) -> list[str]:
    """Put LoRA on the chosen layers of any model, in place; returns their names. Freezing the rest is up to you."""

    def wrapper(layer: nn.Module) -> nn.Module:
        kind = EmbeddingWithLoRA if isinstance(layer, nn.Embedding) else LinearWithLoRA
        return kind(layer, rank, alpha, **options)

    return wrap_linear_layers(model, wrapper, target, layers, train_head, kinds=(nn.Linear, nn.Embedding))


def lora(
    model: nn.Module,
    rank: int = 8,
    alpha: float = 8,
    scaling: str = "alpha/rank",
    target: str = "all",
    layers: str | None = None,
    dropout: float = 0.0,
    init: str = "kaiming",
    train_head: bool = False,
) -> None:
    """Low-rank updates beside frozen linear layers, the classification head included.

    Args:
        rank: inner dimension r of the update
        alpha: numerator of the update's scale
        scaling: scale of the update: alpha/rank, alpha, or alpha/sqrt(rank)
        target: layers to change: all, or names such as q_proj,v_proj
        layers: only in these blocks, such as 0-3,11
        dropout: dropout before A while training
        init: start of A: kaiming, or normal (std 1/√rank)
        train_head: train the head fully instead of by LoRA
    """
    options = {"scaling": scaling, "dropout": dropout, "init": init}
    replace_linear_with_lora(model, rank, alpha, target, layers, train_head, **options)
