"""One update out of several: sums, TIES and DARE; and any update cut to a low rank.

Each task has learned an update ΔW_t of the same matrix W. Which one update serves all tasks?

    sum     Σ w_t ΔW_t                              task arithmetic (Ilharco et al., 2023, arXiv:2212.04089)
    TIES    trim, elect a sign, disjoint merge      Yadav et al., 2023, arXiv:2306.01708
    DARE    drop at random, rescale, then sum       Yu et al., 2024, arXiv:2311.03099; or then the last two of TIES

A sum lets tasks cancel each other: +0.5 and -0.4 leave 0.1. TIES keeps the largest numbers of each update (*trim*),
asks for each entry which sign has more weight in total (*elect*), and averages those that have it (*disjoint merge*):

    task 1    0.5   0.1  -0.3        0.5   0    -0.3       sign + + -
    task 2   -0.4   0.6   0.0  trim -0.4   0.6   0    ──►  mean of those with this sign   ──►   0.5  0.6  -0.3

DARE sets each number to zero with probability 1 - d and divides the others by d: the expectation stays, and few numbers
of two tasks meet.

A sum of LoRAs is a LoRA of rank r₁ + r₂ exactly. TIES and DARE work on single numbers of ΔW. What they leave has full
rank, so it is cut to a low one. By the theorem of Eckart and Young the largest singular values are the best choice:

    ΔW = U Σ Vᵀ  ≈  B A,      B = U_r √Σ_r  (out, r),     A = √Σ_r V_rᵀ  (r, in)

The names are those of Hugging Face's peft. Its ``ties`` and ``dare_…`` without ``_svd`` treat A and B as if they were
updates themselves; they are not here, because A of one task and A of another have no common axes.
"""

import torch
from torch import Tensor, nn

from gpt2.errors import InputError, number
from peft.lora import EmbeddingWithLoRA, LinearWithLoRA, LoRALayer


def trim(delta: Tensor, density: float, generator: torch.Generator | None = None) -> Tensor:
    """Keep this share of the numbers, the largest in absolute value; the others become zero. Nothing is random."""
    kept = delta.abs().flatten().topk(int(density * delta.numel())).indices
    mask = torch.zeros_like(delta).flatten()
    mask[kept] = 1
    return delta * mask.view_as(delta)


def drop_and_rescale(delta: Tensor, density: float, generator: torch.Generator | None = None) -> Tensor:
    """Keep each number with probability ``density``, divided by it; the others become zero."""
    return delta * torch.bernoulli(torch.full_like(delta, density), generator=generator) / density


def keep(delta: Tensor, density: float, generator: torch.Generator | None = None) -> Tensor:
    """All of it."""
    return delta


COMBINATIONS = {  # name -> what is done to each update, and whether a sign is elected; "cat": the sum, exactly
    "cat": (keep, False),
    "svd": (keep, False),
    "ties_svd": (trim, True),
    "dare_linear_svd": (drop_and_rescale, False),
    "dare_ties_svd": (drop_and_rescale, True),
}


def check_combination(combination_type: str, density: float | None, svd_rank: int | None) -> None:
    """Raise InputError unless this combination exists and has the settings that it takes."""
    if combination_type not in COMBINATIONS:
        text = f"unknown combination_type {combination_type!r}; choose one of {', '.join(COMBINATIONS)}"
        raise InputError(text, "combination_type")
    takes_density = COMBINATIONS[combination_type][0] is not keep
    if takes_density != (density is not None):
        raise InputError(f"{combination_type} takes {'a' if takes_density else 'no'} density", "density")
    if density is not None:
        number("density", density, above=0, most=1)
    if svd_rank is not None and (combination_type == "cat" or svd_rank < 1):
        raise InputError(f"svd_rank is {svd_rank}; it is at least 1, and cat takes none", "svd_rank")


def combine(
    deltas: list[Tensor],
    weights: list[float],
    combination_type: str,
    density: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The combined update (out, in) of the tasks' updates, each (out, in) and with a weight.

    ``density`` is the share that ``trim`` and ``drop_and_rescale`` keep of each matrix (the paper of TIES takes the
    largest of all matrices together). Signs are elected before the weights come in, as in Hugging Face's peft.
    """
    thin, elects = COMBINATIONS[combination_type]
    tasks = torch.stack([thin(delta, density, generator) for delta in deltas])  # (tasks, out, in)
    weighted = tasks * torch.tensor(weights, dtype=tasks.dtype, device=tasks.device)[:, None, None]
    if not elects:
        return weighted.sum(dim=0)
    elected = torch.where(tasks.sum(dim=0) >= 0, 1, -1)
    agrees = tasks.sign() == elected
    return (weighted * agrees).sum(dim=0) / agrees.sum(dim=0).clamp(min=1)


def low_rank(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """ΔW (out, in) -> A (r, in) and B (out, r), whose product B A is the nearest matrix of this rank."""
    U, values, Vt = torch.linalg.svd(delta, full_matrices=False)
    root = values[:rank].sqrt()
    return root[:, None] * Vt[:rank], U[:, :rank] * root


def side_by_side(loras: list[LoRALayer], weights: list[float]) -> tuple[Tensor, Tensor]:
    """A (r₁ + r₂ + …, in) and B (out, r₁ + r₂ + …) of the weighted sum of some LoRAs, exactly."""
    A = torch.cat([lora.A for lora in loras])
    return A, torch.cat([lora.B * (lora.scale * weight) for lora, weight in zip(loras, weights, strict=True)], dim=1)


def with_update(layer: nn.Module, A: Tensor, B: Tensor) -> LinearWithLoRA | EmbeddingWithLoRA:
    """The layer and the update B A beside it, scaled by 1. Of an embedding (tokens, C), (B A)ᵀ: A is (r, tokens)."""
    kind = EmbeddingWithLoRA if isinstance(layer, nn.Embedding) else LinearWithLoRA
    result = kind(layer, len(A), alpha=1, scaling="alpha")
    with torch.no_grad():
        result.lora.A.copy_(A)
        result.lora.B.copy_(B)
    return result
