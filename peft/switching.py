"""Many adapters, one base: a model for each task, while the 124 million frozen numbers are in memory once.

What a task adds is small, so one process can serve many. Every task gets modules of its own, Python objects that
weigh nothing, and all of them look at the same base tensors:

    adapters.set_adapter("spam")    ──►  GPT2 ─ h.0.attn.q_proj ─ LoRA of spam   ─┐
    adapters.set_adapter("topics")  ──►  GPT2 ─ h.0.attn.q_proj ─ LoRA of topics ─┼─►  W of the base, stored once
    adapters.set_adapter("urgent")  ──►  GPT2 ─ h.0.attn.q_proj ─ LoRA of urgent ─┘

To switch is to use another of these objects: no number is copied, added or subtracted.

**One batch, many tasks.** The messages of a batch may need different adapters (S-LoRA, Sheng et al., 2023,
arXiv:2311.03285; Punica, Chen et al., 2023, arXiv:2310.18547). The product with W, nearly all of the work, is done for
all messages at once, and then each group gets its own small update:

    x (B, T, C) ──┬───────────────── W ──────────────────┐
                  ├─ rows of spam ──── A, B of spam ──── + ──► y (B, T, out)
                  └─ rows of topics ── A, B of topics ───┘

**Adding adapters** (task arithmetic, Ilharco et al., 2023, arXiv:2212.04089). ΔW = w₁ s₁ B₁ A₁ +
w₂ s₂ B₂ A₂ is a LoRA again, of rank r₁ + r₂: the A one under the other, the scaled B side by side. A negative weight
takes a skill away. peft/combining.py has this sum, and TIES and DARE.
"""

import copy
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from gpt2.model import GPT2, MLP
from peft.combining import check_combination, combine, low_rank, side_by_side, with_update
from peft.files.adapter import load
from peft.lora import LinearWithLoRA
from peft.merging import finished
from peft.prefix import PrefixPerTask
from peft.prompt import PromptPerTask, select_tasks
from peft.state import state_of
from peft.wrappers import LinearWrapper


class Adapters:
    """Named adapters over one base.

    adapters = Adapters(load_gpt2("gpt2"))
    adapters.add("spam", "runs/a/adapter")
    classify(adapters.set_adapter("spam"), tokens, lengths)
    """

    def __init__(self, base: GPT2):
        if state_of(base).method or has_classification_head(base):
            raise InputError("adapters are added to a fresh language model, without a method or head of its own")
        self.base = base.eval()
        self.models: dict[str, GPT2] = {}

    def add(self, name: str, folder: str | Path) -> None:
        """Load a folder that peft.save or Hugging Face's peft has written. Raises InputError as peft.load does."""
        self.models[name] = load(over(self.base), folder).eval()

    def set_adapter(self, name: str) -> GPT2:
        """The model of one adapter, ready to run.

        Hugging Face's method of this name changes one model in place. Here each adapter has a model object of its own,
        so nothing changes, and models that were handed out before stay valid.
        """
        if name not in self.models:
            raise InputError(f"no adapter is called {name!r}; there are {', '.join(self.models) or 'none yet'}")
        return self.models[name]

    def mix(self, rows: list[str]) -> GPT2:
        """A model for batches of len(rows) messages, each by the adapter of its row.

        Class logits are as wide as the widest head; where a row's task has fewer classes, the rest is -inf. Raises
        InputError when some of the adapters have virtual tokens and others none, or another number of them.
        """
        if not rows:
            raise InputError("rows names no adapter; expected one for each message of the batch", "rows")
        names = list(dict.fromkeys(rows))
        tasks = torch.tensor([names.index(row) for row in rows], device=self.base.wte.weight.device)
        return mixed(over(self.base), [self.set_adapter(name) for name in names], tasks)

    @torch.no_grad()
    def add_weighted_adapter(
        self,
        weights: dict[str, float],
        head: str | None = None,
        combination_type: str = "cat",
        density: float | None = None,
        svd_rank: int | None = None,
        seed: int = 0,
    ) -> GPT2:
        """A model with the LoRA updates of some adapters as one, and the classification head of one (None: of none).

        combination_type   ``cat``, the exact sum, or another of peft.combining.COMBINATIONS, cut to ``svd_rank`` (the
                           largest rank among the adapters without)
        density, seed      the share that TIES and DARE keep of each update, and what draws it in DARE

        As Hugging Face's method of this name, but the model is returned and gets no name. Raises InputError when one of
        the adapters is anything but LoRA on linear layers.
        """
        check_combination(combination_type, density, svd_rank)
        for name, weight in weights.items():
            if not math.isfinite(weight):
                raise InputError(f"the weight of adapter {name!r} is {weight}, expected a finite number", "weights")
        models = {name: self.set_adapter(name) for name in weights}
        result, generator = over(self.base), torch.Generator(self.base.wte.weight.device).manual_seed(seed)
        for name, layer in plain_layers(self.base):
            among = {task: m for task, m in models.items() if name != "lm_head" or not has_classification_head(m)}
            layers = {task: model.get_submodule(name) for task, model in among.items()}
            changed = {task: new for task, new in layers.items() if differs(new, layer)}
            for task, new in changed.items():
                if type(new) is not LinearWithLoRA or differs(new.linear, layer):
                    raise InputError(f"adapter {task!r} changes {name} by more than a LoRA; only LoRA can be added")
            if changed:
                loras = [finished(new.lora) for new in changed.values()]  # a DyLoRA at its chosen rank
                own = [weights[task] for task in changed]
                if combination_type == "cat":
                    A, B = side_by_side(loras, own)
                else:
                    delta = combine([lora.delta() for lora in loras], own, combination_type, density or 1.0, generator)
                    A, B = low_rank(delta, svd_rank or max(lora.rank for lora in loras))
                result.set_submodule(name, with_update(layer, A, B))
        for task, model in models.items():
            if model.virtual_positions():
                raise InputError(f"adapter {task!r} has virtual tokens; only LoRA can be added")
        if head is not None:
            result.lm_head = self.set_adapter(head).lm_head
        return result.eval()


def over(base: GPT2) -> GPT2:
    """A model of its own over the same memory. (peft.load writes into no memory that it has not taken itself.)"""
    return copy.deepcopy(base, {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in base.parameters()})


def plain_layers(base: GPT2) -> list[tuple[str, nn.Module]]:
    """The modules that methods replace: name and what stands there in the base, outer ones first."""
    kinds = (nn.Linear, nn.Embedding, nn.LayerNorm, MLP)
    return [(name, module) for name, module in base.named_modules() if isinstance(module, kinds)]


def differs(module: nn.Module, plain: nn.Module) -> bool:
    """Is this something else than the base's module over the base's memory?"""
    if type(module) is not type(plain):
        return True
    pairs = zip(module.parameters(recurse=False), plain.parameters(recurse=False), strict=True)
    return any(ours.data_ptr() != theirs.data_ptr() for ours, theirs in pairs)


class PerRow(nn.Module):
    """One module per task in the place of one: every row of a batch (B, …) goes through that of its own task."""

    def __init__(self, modules: list[nn.Module], tasks: Tensor):
        super().__init__()
        self.of_task = nn.ModuleList(modules)
        self.rows = [(tasks == task).nonzero()[:, 0] for task in range(len(modules))]
        self.back = torch.cat(self.rows).argsort()  # from the order of the groups to that of the batch

    def check(self, x: Tensor) -> None:
        if len(x) != len(self.back):
            raise InputError(
                f"this model is for batches of {len(self.back)} padded messages, and here are {len(x)} rows; "
                "call mix with an adapter for each message, and do not pack them"
            )

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        groups = [module(x[rows]) for module, rows in zip(self.of_task, self.rows, strict=True)]
        return torch.cat(groups)[self.back]


class LoRAPerRow(PerRow, LinearWrapper):
    """The same for LoRA, with the product with W done once for all rows: W x + s_task · B_task A_task x."""

    def __init__(self, linear: nn.Linear, modules: list[nn.Module], tasks: Tensor):
        super().__init__(modules, tasks)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        y = self.linear(x)
        for module, rows in zip(self.of_task, self.rows, strict=True):
            if isinstance(module, LinearWithLoRA):
                y = y.index_add(0, rows, module.lora(x[rows]))
        return y


class HeadPerRow(PerRow):
    """Classification heads, padded with -inf to the width of the widest."""

    def forward(self, h: Tensor) -> Tensor:
        self.check(h)
        logits = [head(h[rows]) for head, rows in zip(self.of_task, self.rows, strict=True)]
        width = max(part.size(-1) for part in logits)
        filled = [nn.functional.pad(part, (0, width - part.size(-1)), value=float("-inf")) for part in logits]
        return torch.cat(filled)[self.back]


def inside(layer: nn.Module) -> nn.Module:
    """The layer that a wrapper stands around; any other layer is itself."""
    return layer.linear if isinstance(layer, LinearWrapper) else layer


def mixed(model: GPT2, models: list[GPT2], tasks: Tensor) -> GPT2:
    """Put into ``model``, a plain one over the same base, what sends each row of a batch through its task's model."""
    classify = any(map(has_classification_head, models))
    done = ["lm_head"] if classify else []
    for name, plain in plain_layers(model):
        layers = [task.get_submodule(name) for task in models] if not name.startswith(tuple(done)) else []
        if not any(differs(layer, plain) for layer in layers):
            continue
        if isinstance(plain, nn.Embedding):
            raise InputError(f"adapters that change the embedding {name} cannot share a batch")
        alone = all(not differs(inside(layer), plain) for layer in layers)
        lora = alone and all(type(layer) in (LinearWithLoRA, nn.Linear) for layer in layers)
        model.set_submodule(name, LoRAPerRow(plain, layers, tasks) if lora else PerRow(layers, tasks))
        done.append(f"{name}.")  # what is inside goes with it
    if classify:
        model.lm_head = HeadPerRow([task.lm_head for task in models], tasks)
    if all(task.prompt is not None for task in models):
        model.prompt = PromptPerTask([task.prompt for task in models])
    for i, block in enumerate(model.h):
        if all(task.h[i].attn.prefix is not None for task in models):
            block.attn.prefix = PrefixPerTask([task.h[i].attn.prefix for task in models])
    if any(task.virtual_positions() for task in models):
        select_tasks(model, tasks)
        if any(task.virtual_positions() != model.virtual_positions() for task in models):
            raise InputError("some of the adapters have virtual tokens and some have none; use separate batches")
    return model.eval()
