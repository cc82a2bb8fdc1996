"""One model for one batch, in which every row has an adapter of its own.

    x (B, T, C) ──┬───────────────── W ──────────────────┐
                  ├─ rows of spam ──── A, B of spam ──── + ──► y (B, T, out)
                  └─ rows of topics ── A, B of topics ───┘

The product with W, nearly all of the work, is done once for all rows. Then the rows of each task get their own small
update (S-LoRA, Sheng et al., 2023, arXiv:2311.03285; Punica, Chen et al., 2023, arXiv:2310.18547). Where a task has
something else than a LoRA at a layer, each task's rows go through a module of their own, and nothing is shared.

Beam search continues a text in several ways and drops others, so the rows change after each step. The cache knows which
text each row continues, so it also knows the row's task (``CacheOfTasks``).
"""

from typing import Any

import torch
from torch import Tensor, nn

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from gpt2.layout import CAUSAL, KVCache, Layout
from gpt2.model import GPT2, MLP
from peft.lora import LinearWithLoRA
from peft.prefix import PrefixPerTask
from peft.prompt import PromptPerTask, select_tasks
from peft.wrappers import LinearWrapper


def plain_layers(base: GPT2) -> list[tuple[str, nn.Module]]:
    """The modules that methods replace: name and what stands there in the base, outer ones first."""
    kinds = (nn.Linear, nn.Embedding, nn.LayerNorm, MLP)
    return [(name, module) for name, module in base.named_modules() if isinstance(module, kinds)]


def differs(module: nn.Module, plain: nn.Module) -> bool:
    """Is this another module than the base's, or one with other memory?"""
    if type(module) is not type(plain):
        return True
    pairs = zip(module.parameters(recurse=False), plain.parameters(recurse=False), strict=True)
    return any(ours.data_ptr() != theirs.data_ptr() for ours, theirs in pairs)


class Rows:
    """Which task each row of the current batch belongs to. All modules of a model look at one such object."""

    def __init__(self, tasks: Tensor):
        self.set(tasks)

    def set(self, tasks: Tensor) -> None:
        self.tasks = tasks  # (B,)
        self.of_task = [(task, (tasks == task).nonzero()[:, 0]) for task in tasks.unique().tolist()]
        grouped = torch.cat([rows for _, rows in self.of_task])
        self.back = grouped.argsort()  # from the order of the groups to the batch's


class PerRow(nn.Module):
    """A module per task in the place of one: every row of a batch (B, …) goes through the module of its task."""

    def __init__(self, modules: list[nn.Module], rows: Rows):
        super().__init__()
        self.of_task, self.rows = nn.ModuleList(modules), rows

    def groups(self, x: Tensor) -> list[tuple[nn.Module, Tensor]]:
        """For each task in the batch its module and the indices of its rows."""
        if len(x) != len(self.rows.tasks):
            raise InputError(
                f"this model is for batches of {len(self.rows.tasks)} padded messages, but got {len(x)} rows; "
                "call mix with an adapter for each message, and do not pack them"
            )
        return [(self.of_task[task], rows) for task, rows in self.rows.of_task]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([module(x[rows]) for module, rows in self.groups(x)])[self.rows.back]


class LoRAPerRow(PerRow, LinearWrapper):
    """The same for LoRA, with the product with W done once for all rows: W x + s_task · B_task A_task x."""

    def __init__(self, linear: nn.Linear, modules: list[nn.Module], rows: Rows):
        super().__init__(modules, rows)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        groups, y = self.groups(x), self.linear(x)
        for module, rows in groups:
            if isinstance(module, LinearWithLoRA):
                y = y.index_add(0, rows, module.lora(x[rows]))
        return y


class HeadPerRow(PerRow):
    """Classification heads, padded with -inf to the width of the widest."""

    def forward(self, h: Tensor) -> Tensor:
        logits = [head(h[rows]) for head, rows in self.groups(h)]
        width = max(part.size(-1) for part in logits)
        filled = [nn.functional.pad(part, (0, width - part.size(-1)), value=float("-inf")) for part in logits]
        return torch.cat(filled)[self.rows.back]


class CacheOfTasks(KVCache):
    """Keys and values, and the task of each text."""

    def __init__(self, capacity: int, rows: Rows, tasks: Tensor):
        super().__init__(capacity)
        self.rows, self.tasks = rows, tasks

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self.tasks = self.tasks[rows]
        self.rows.set(self.tasks)


class GPT2PerRow(GPT2):
    """From ``model``, a plain one over the base, a model that sends row i of a batch through models[tasks[i]].

    Where all tasks are classifiers, its head is their heads side by side. Else the head is that for tokens, and the
    rows of classifiers need their own heads (``Adapters.answer``).
    """

    def __init__(self, model: GPT2, models: list[GPT2], tasks: Tensor):
        nn.Module.__init__(self)  # not GPT2's, which would make weights
        self.__dict__.update(vars(model))
        self.tasks, self.rows = tasks, Rows(tasks)
        done: list[str] = []
        for name, plain in plain_layers(model):
            if name.startswith(tuple(done)):
                continue
            layers = [plain if is_class_head(name, task) else task.get_submodule(name) for task in models]
            if not any(differs(layer, plain) for layer in layers):
                continue
            if isinstance(plain, nn.Embedding):
                raise InputError(f"adapters that change the embedding {name} cannot share a batch")
            alone = all(not differs(inside(layer), plain) for layer in layers)
            lora = alone and all(type(layer) in (LinearWithLoRA, nn.Linear) for layer in layers)
            new = LoRAPerRow(plain, layers, self.rows) if lora else PerRow(layers, self.rows)
            self.set_submodule(name, new)
            done.append(f"{name}.")  # what is inside goes with it
        if all(map(has_classification_head, models)):
            self.lm_head = HeadPerRow([task.lm_head for task in models], self.rows)
        self.place_virtual_tokens(models)
        self.eval()

    def place_virtual_tokens(self, models: list[GPT2]) -> None:
        if all(task.prompt is not None for task in models):
            self.prompt = PromptPerTask([task.prompt for task in models])
        for i, block in enumerate(self.h):
            if all(task.h[i].attn.prefix is not None for task in models):
                block.attn.prefix = PrefixPerTask([task.h[i].attn.prefix for task in models])
        if any(task.virtual_positions() for task in models):
            select_tasks(self, self.tasks)
            if any(task.virtual_positions() != self.virtual_positions() for task in models):
                raise InputError("some of the adapters have virtual tokens and some have none; use separate batches")

    def new_cache(self, positions: int | None = None) -> CacheOfTasks:
        return CacheOfTasks(positions or self.config.n_positions, self.rows, self.tasks)

    def hidden_states(
        self, tokens: Tensor, lengths: Tensor | None = None, layout: Layout = CAUSAL, *args: Any, **options: Any
    ) -> Tensor:
        """As GPT2's. The tasks of the rows are those given to mix, or, with a cache, those of the texts in it."""
        tasks = layout.cache.tasks if isinstance(layout.cache, CacheOfTasks) else self.tasks
        if tasks is not self.rows.tasks:
            self.rows.set(tasks)
        return super().hidden_states(tokens, lengths, layout, *args, **options)


def is_class_head(name: str, task: GPT2) -> bool:
    """Is this module of the task a classification head?"""
    return name == "lm_head" and has_classification_head(task)


def inside(layer: nn.Module) -> nn.Module:
    """The layer inside a wrapper; for any other layer, the layer itself."""
    return layer.linear if isinstance(layer, LinearWrapper) else layer
