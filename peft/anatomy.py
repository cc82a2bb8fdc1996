"""The anatomy of an update: what has a method done to the weights? Seen through singular values.

Every method that only changes weights has moved W to W' = W + ΔW, whatever its formula was. Two singular value
decompositions tell its story:

    ΔW = U Σ Vᵀ       **spectrum**. LoRA of rank r has at most r singular values above zero; full fine-tuning has all of
                      them, but most of its energy Σ σ² often lies in few.
    W' = U' Σ' V'ᵀ    **intruder dimensions** (Shuttleworth et al., 2024, arXiv:2410.21228): a column of U' with a large
                      singular value that is similar to no column of W's own U. It is a direction that pretraining did
                      not know. The paper finds them after LoRA, and hardly after full fine-tuning, and that scaling
                      them down takes back much of what was forgotten.

          similarity |U'ᵀ U|        columns of W's U
                                    0    1    2    3  …
          top columns of U'    0  .99  .02  .01  .03             still the first direction of W
                               1  .03  .12  .09  .11             an intruder: nothing above ε
                               2  .01  .97  .05  .02

The first r singular values give the nearest update of rank r (peft/combining.py). So every one of these methods can
become a LoRA: ``to_lora``.

All functions are for this repository's GPT2. The new classification head is left out: there is no pretrained W for it.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gpt2.checkpoints.fingerprints import fingerprints, same_base, uncompiled
from gpt2.classifier import has_classification_head
from gpt2.errors import InputError, number, whole_number
from gpt2.model import GPT2
from peft.combining import low_rank, with_update
from peft.files.export import plain
from peft.files.hugging_face import base_of, hugging_face_head, modules
from peft.merging import to_plain
from peft.registry import METHODS
from peft.state import PeftState, state_of
from peft.switching import over
from peft.wrappers import keep_trained_in_float32


@dataclass(frozen=True)
class Change:
    """What has happened to one matrix. Rows are outputs; of an embedding, tokens or positions."""

    before: Tensor  # W, float64
    delta: Tensor  # ΔW = W' - W, float64

    @property
    def singular_values(self) -> Tensor:
        """Of ΔW, descending: (min(rows, columns),)."""
        return torch.linalg.svdvals(self.delta)

    @property
    def relative_size(self) -> float:
        """‖ΔW‖ / ‖W‖, by Frobenius norms."""
        return (self.delta.norm() / self.before.norm()).item()


def weight_changes(model: GPT2, base: GPT2 | None = None) -> dict[str, Change]:
    """Name of the layer -> its change, for every linear layer and embedding that has changed.

    base   the pretrained language model. Without it, a layer is compared with the frozen weight inside it (of a
           quantised one, with what its codes stand for). LoRA and its relatives have one, selective methods do not

    The head of a language model counts where it has changed, also as one matrix with the embedding. Raises InputError
    when the method is more than a change of weights, when nothing has changed, and when ``base`` is another model.
    """
    model = uncompiled(model)
    check(model, base)
    found = {}
    for name in layer_names(model):
        before, after = before_and_after(model, base, name)
        if before["weight"].dim() == 2 and not before["weight"].equal(after["weight"]):
            found[name] = Change(before["weight"], after["weight"] - before["weight"])
    if not found:
        hint = "" if base else "; if its own weights were trained, give the pretrained model as base"
        raise InputError(f"no linear layer or embedding of this model has changed{hint}")
    return found


def check(model: GPT2, base: GPT2 | None) -> None:
    """Raise InputError unless ``model`` is only a change of weights, and of those of ``base``."""
    state = state_of(model)
    if state.method and not METHODS[state.method].exportable:
        raise InputError(f"{state.method} has no ΔW to look at: {METHODS[state.method].why_not_mergeable}")
    if base and (state_of(base).method or has_classification_head(base)):
        raise InputError("base is not a language model without a method; load it afresh", "base")
    known = state.base_fingerprints
    if base and (base.config != model.config or known and not same_base(known, fingerprints(base))):
        raise InputError("base is not the model that this one was trained from", "base")


def layer_names(model: GPT2) -> list[str]:
    """All layers with a weight but a classification head, in the model's order."""
    return [name for names in modules(model).values() for name in names]


@torch.no_grad()
def before_and_after(model: GPT2, base: GPT2 | None, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """weight and bias of a layer, of the base and now; in float64, or a small update would drown in rounding."""
    layer = copy.deepcopy(model.get_submodule(name)).cpu().double()
    found = base_of(base.get_submodule(name) if base else layer), base_of(to_plain(layer))
    before, after = ({kind: tensor.detach().cpu().double() for kind, tensor in one.items()} for one in found)
    return before, after


def energy_shares(values: Tensor) -> Tensor:
    """Singular values (n,) -> the share of Σ σ² that the first 1, 2, … n of them hold (n,)."""
    energy = values.double().square().cumsum(dim=0)
    return energy / energy[-1]


def effective_rank(values: Tensor) -> float:
    """exp of the entropy of σ / Σ σ (Roy & Vetterli, 2007): r for r equal singular values, 1 for a single one."""
    shares = values.double() / values.double().sum()
    return torch.special.entr(shares).sum().exp().item()


def rank_of(values: Tensor, rank: int | None = None, energy: float | None = None) -> int:
    """How many singular values to keep: ``rank``, or enough for this share of the energy; never one that is zero."""
    there = int((values > values[0] * len(values) * torch.finfo(values.dtype).eps).sum())
    if rank is not None and energy is None:
        return min(whole_number("rank", rank), there)
    if energy is None or rank is not None:
        raise InputError("give either a rank or an energy", "rank")
    energy = number("energy", energy, above=0, most=1)
    return min(int((energy_shares(values) < energy).sum()) + 1, there)


def intruders(change: Change, top: int = 10, epsilon: float = 0.5) -> list[int]:
    """Which of the first ``top`` left singular vectors of W' are intruders: |cos| < ``epsilon`` with all those of W."""
    U = torch.linalg.svd(change.before, full_matrices=False).U
    new = torch.linalg.svd(change.before + change.delta, full_matrices=False).U[:, :top]
    return ((new.T @ U).abs().amax(dim=1) < epsilon).nonzero()[:, 0].tolist()


@torch.no_grad()
def remove_intruders(
    model: GPT2, base: GPT2 | None = None, top: int = 10, epsilon: float = 0.5, keep: float = 0.0
) -> tuple[GPT2, dict[str, list[int]]]:
    """A plain model, W' - (1 - keep) Σ σ u vᵀ over its intruders, and their indices by layer; ``model`` stays as it is.

    keep   the share of their singular values that stays, the paper's λ
    """
    result, found = plain(uncompiled(model)), {}
    for name, change in weight_changes(model, base).items():
        found[name] = intruders(change, top, epsilon)
        if found[name]:
            i, now = found[name], change.before + change.delta
            U, values, Vt = torch.linalg.svd(now, full_matrices=False)
            replace(result, name, "weight", now - (1 - keep) * (U[:, i] * values[i]) @ Vt[i])
    return result, found


def replace(model: GPT2, name: str, kind: str, numbers: Tensor) -> nn.Parameter:
    """Put new numbers, in memory of their own, into the weight or bias of a layer; returns what is there now."""
    layer = model.get_submodule(name)
    new = nn.Parameter(numbers.to(layer.weight.device, layer.weight.dtype, copy=True))
    setattr(layer, kind, new)
    return new


@torch.no_grad()
def to_lora(model: GPT2, base: GPT2, rank: int | None = None, energy: float | None = None) -> GPT2:
    """A LoRA over the memory of ``base`` that does what ``model`` does, as nearly as its ranks allow.

    rank     of every layer's update, or
    energy   the share of each update's Σ σ² to keep: each layer gets the smallest rank that does

    Biases, norms and a classification head are taken over; the head as Hugging Face's peft has it, without a bias: that
    goes into the final norm. The result trains, merges and saves like a LoRA from there, and loads there (queries, keys
    and values share one update in the file, of their ranks together). Raises InputError as ``weight_changes`` does.
    """
    model = uncompiled(model)
    changes, result, exact = weight_changes(model, base), over(base), []
    for name in layer_names(model):
        before, after = before_and_after(model, base, name)
        for kind, numbers in after.items():
            if numbers.dim() == 1 and not numbers.equal(before[kind]):
                exact.append((replace(result, name, kind, numbers), numbers))
        if name in changes:
            layer = result.get_submodule(name)
            A, B = low_rank(changes[name].delta, rank_of(changes[name].singular_values, rank, energy))
            result.set_submodule(name, with_update(layer, *((B.T, A.T) if isinstance(layer, nn.Embedding) else (A, B))))
    if has_classification_head(model):
        score, norm = hugging_face_head(model)
        W = result.wte.weight
        result.lm_head = nn.Linear(score.size(1), len(score), bias=False, device=W.device, dtype=W.dtype)
        for name, kind, numbers in [("lm_head", "weight", score), *(("ln_f", *pair) for pair in norm.items())]:
            exact.append((replace(result, name, kind, numbers), numbers))
    keep_trained_in_float32(result)
    for parameter, numbers in exact:  # again, now that over a base in 16 bits there is room for them
        parameter.copy_(numbers)
    result.peft = PeftState("lora", base_fingerprints=fingerprints(base))
    return result.eval()
