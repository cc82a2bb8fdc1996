"""DyLoRA: one training run, and every rank up to r works (Valipour et al., 2022, arXiv:2210.07558).

Which rank does a task need? LoRA must be trained again for each one that is tried. DyLoRA draws a rank b for every
training step and uses only the first b rows of A and columns of B, so the first ones learn what matters most and
each further one adds to them. Afterwards the rank is a dial: cut A and B at any b, no training needed.

    h = W x + (α/b) · B[:, :b] A[:b] x            b drawn uniformly from 1 … r, one b for all layers of the step

              A   ░░░░░░░░░░░░  1                 B   1 2 3 4
     in ->        ░░░░░░░░░░░░  2   b = 2             ░ ░ · ·
                  · · · · · · ·  3                    ░ ░ · ·    -> out
                  · · · · · · ·  4 = r                ░ ░ · ·

Trained parameters: LoRA's at rank r, r (in + out) per layer. GPT-2 124M, every linear layer and a head of two
classes: 1,333,264 at r = 8. The trade-off: a search over ranks for the price of one run, and the layers merge like
LoRA's; but at the full rank it is usually a little behind a LoRA trained for that rank alone, whose last rows are
trained in every step.

In the paper's *frozen* variant a step with rank b updates row and column b alone; the earlier ones take part without
learning. It trades accuracy for speed. A gradient of zero is not enough for that: AdamW moves all of a tensor, by its
momentum and by weight decay. So every optimiser's step is watched, and what should have stood still is put back.
"""

import functools
import weakref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from gpt2.errors import InputError, whole_number
from peft.lora import LinearWithLoRA, LoRALayer
from peft.merging import finished
from peft.options import DyLoRAOptions
from peft.targets import wrap_layers


class RankDial:
    """The rank in use: one object that all layers of a model share."""

    def __init__(self, maximum: int):
        self.maximum = maximum
        self.drawn = maximum  # while training
        self.chosen = maximum  # otherwise, see set_rank

    def draw(self) -> None:
        self.drawn = int(torch.randint(1, self.maximum + 1, ()))  # from torch's CPU generator: torch.manual_seed


class DyLoRALayer(LoRALayer):
    """A LoRALayer of which only the first ranks are used: x (…, in_dim) -> (α/b) · B[:, :b] A[:b] x (…, out_dim).

    dial      where b stands
    leads     draw a new b at every training forward; true for the first layer of a model, whose draw the others use
    frozen    let only row and column b learn; the earlier ones take part as constants
    """

    def __init__(self, in_dim: int, out_dim: int, rank: int, alpha: float, dial: RankDial, leads: bool, frozen: bool):
        super().__init__(in_dim, out_dim, rank, alpha)
        self.alpha, self.dial, self.leads, self.frozen = alpha, dial, leads, frozen

    def update(self, x: Tensor) -> Tensor:
        if self.training and self.leads:
            self.dial.draw()
        b = self.dial.drawn if self.training else self.dial.chosen
        A, B = self.A[:b], self.B[:, :b]
        if self.training and self.frozen:
            watch_optimizers()
            learning.setdefault(self, set()).add(b)
            A = torch.cat([A[:-1].detach(), A[-1:]])
            B = torch.cat([B[:, :-1].detach(), B[:, -1:]], dim=1)
        y = F.linear(F.linear(x.to(A.dtype), A), B) * (self.alpha / b)
        return y if x.dtype == A.dtype else y.to(x.dtype)

    def delta(self) -> Tensor:
        """ΔW (out_dim, in_dim) at the rank chosen by set_rank, for merging."""
        b = self.dial.chosen
        return (self.B[:, :b] @ self.A[:b]) * (self.alpha / b)


learning: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # frozen layer -> the b of the next step (a set)
before: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # frozen layer -> A and B, during a step


@functools.cache
def watch_optimizers() -> None:
    """From the first call on, a step of any optimiser moves only row and column b of the frozen variant's layers."""
    register_optimizer_step_pre_hook(before_step)
    register_optimizer_step_post_hook(after_step)


def before_step(optimizer: torch.optim.Optimizer, *_) -> None:
    """Keep A and B of the frozen variant's layers that this optimiser is about to move."""
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for layer in [layer for layer in learning if id(layer.A) in moved]:
        before[layer] = layer.A.detach().clone(), layer.B.detach().clone()


@torch.no_grad()
def after_step(*_) -> None:
    """Put back every row and column but b."""
    for layer, (A, B) in list(before.items()):
        still = [i for i in range(layer.rank) if i + 1 not in learning[layer]]
        layer.A[still], layer.B[:, still] = A[still], B[:, still]
        del before[layer], learning[layer]


@finished.register
def _(layer: DyLoRALayer) -> DyLoRALayer:
    """The layer cut at the chosen rank: what is saved, exported and added up is what the model computes now."""
    b = layer.dial.chosen
    if b == layer.rank:
        return layer
    cut = DyLoRALayer(layer.A.size(1), layer.B.size(0), b, layer.alpha, RankDial(b), layer.leads, layer.frozen)
    cut.A = nn.Parameter(layer.A[:b].detach(), requires_grad=layer.A.requires_grad)
    cut.B = nn.Parameter(layer.B[:, :b].detach(), requires_grad=layer.B.requires_grad)
    return cut


def set_rank(model: nn.Module, rank: int) -> None:
    """From here on, evaluate, merge, save and export with the first ``rank`` rows and columns. Training still draws
    from 1 … r. A file then holds these rows and columns alone; to keep all, set the largest rank before saving.

    Raises InputError when the model carries no DyLoRA (a merged one does not), or was trained for fewer ranks.
    """
    dials = [module.dial for module in model.modules() if isinstance(module, DyLoRALayer)]
    if not dials:
        raise InputError("this model has no DyLoRA layers to set a rank for; if it is merged, peft.unmerge it first")
    rank = whole_number("rank", rank, least=0)
    for dial in dials:
        if not 1 <= rank <= dial.maximum:
            raise InputError(
                f"rank is {rank}, but this DyLoRA was trained for ranks 1 to {dial.maximum}", argument="rank"
            )
        dial.chosen = rank


def dylora(model: nn.Module, options: DyLoRAOptions) -> None:
    """Put DyLoRA on every chosen layer, all with one dial."""
    dial = RankDial(options.rank)
    leads = True

    def wrapper(linear: nn.Module) -> nn.Module:
        nonlocal leads
        own = {"dial": dial, "leads": leads, "frozen": options.frozen}
        leads = False
        return LinearWithLoRA(linear, options.rank, options.alpha, DyLoRALayer, **own)

    wrap_layers(model, wrapper, options.target_modules, options.layers_to_transform, options.train_head)
