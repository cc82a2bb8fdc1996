"""The benchmark's own arms: the published recipe as one would first write it, ours, and ours with one idea left out.

Run as a program, it is a worker (see _benchmark_worker.py):  python _benchmark_arms.py job.json
"""

from dataclasses import dataclass, field

import _cli  # noqa: F401 - puts our packages on the path
import torch
import torch.nn.functional as F
from _benchmark_worker import Arm, Batch, read_batches, serve_arm
from _experiment import TRUNK_BATCH
from torch import Tensor, nn

import peft
from data.batching import cut, make_batch
from gpt2 import GPT2, load_gpt2
from gpt2.classifier import add_classification_head, classify
from gpt2.finetune import Recipe, make_optimizer
from gpt2.packing import FastClassify, frozen_blocks

LORA = {"rank": 8, "alpha": 8}  # in every arm


class Published(Arm):
    """The reference recipe (Raschka, 2024), straightforward: every message padded to the longest, every
    position through every layer and the head, and one of them read."""

    order = "random"

    def __init__(self, job: dict):
        self.model = with_method(load_gpt2(job["model"]), job)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=5e-5, weight_decay=0.1)
        self.longest = max(len(message) for batch in read_batches(job, self.order) for message in batch[0])

    def loss(self, batch: Batch) -> Tensor:
        tokens, _, labels = make_batch(*batch, pad_to=self.longest)
        logits = self.model(tokens)[:, -1, :]  # (B, T, classes) -> (B, classes)
        return F.cross_entropy(logits, labels)

    def rows(self, batch: Batch) -> int:
        return len(batch[0]) * self.longest


class Ours(Arm):
    """What finetune_spam.py does by default; each switch turns one idea off."""

    clip = Recipe.clip

    def __init__(
        self,
        job: dict,
        grouped: bool = True,  # messages of like length share a batch
        packed: bool = True,  # gpt2/packing.py, else the plain path with padding
        last_row: bool = True,  # the last block computes the row that is read
        trunk: bool = True,  # what frozen blocks compute is kept
        fused: bool = True,  # LoRA's gradients by peft/lora_fused.py, else by autograd
        checkpointing: bool = False,  # recompute blocks in the backward pass
    ):
        self.order = "grouped" if grouped else "random"
        self.packed, self.last_row, self.trunk, self.checkpointing = packed, last_row, trunk, checkpointing
        self.model = with_method(load_gpt2(job["model"]), job)
        peft.fuse(self.model, on=fused)
        self.optimizer = make_optimizer(self.model, Recipe(lr=job["lr"]))

    def start(self) -> None:
        self.forward = classify
        if self.packed:
            kind = FastClassify if self.last_row else EveryRow
            self.forward = kind(self.model, checkpointing=self.checkpointing)
            if not self.trunk:
                self.forward.trunk = 0

    def prepare(self, batches: list[Batch]) -> None:
        if isinstance(self.forward, FastClassify):
            messages = sorted((message for batch in batches for message in batch[0]), key=len)
            pieces = (make_batch(piece, [0] * len(piece))[:2] for piece in cut(messages, TRUNK_BATCH))
            self.forward.remember(self.model, pieces)

    def loss(self, batch: Batch) -> Tensor:
        tokens, lengths, labels = make_batch(*batch)
        return F.cross_entropy(self.forward(self.model, tokens, lengths), labels)

    def rows(self, batch: Batch) -> int:
        return sum(map(len, batch[0])) if self.packed else super().rows(batch)

    def about(self) -> dict:
        return {"frozen_blocks": frozen_blocks(self.model) if self.packed and self.trunk else 0}


class EveryRow(FastClassify):
    """The last block, too, computes all rows of a message, and only then is the last one picked."""

    def run(self, block: nn.Module, x: Tensor, rows: list[int], last_only: bool) -> Tensor:
        x = super().run(block, x, rows, last_only=False)
        return x[torch.tensor(rows).cumsum(0) - 1] if last_only else x


@dataclass(frozen=True)
class Switch:
    """Ours with something off: how the report calls it, and the methods for which that matters."""

    text: str
    methods: tuple[str, ...]
    off: dict = field(default_factory=dict)


SWITCHES = {
    "simple": Switch(
        "all of them off but grouping: `--engine simple`",
        ("lora", "selective", "head", "full"),
        {"packed": False, "fused": False},
    ),
    "padded": Switch("no packing: padded batches, every row of the last block", ("lora",), {"packed": False}),
    "every-row": Switch("every row of the last block", ("lora", "selective", "full"), {"last_row": False}),
    "autograd": Switch("LoRA's gradients by autograd", ("lora",), {"fused": False}),
    "no-trunk": Switch("frozen trunk recomputed in every epoch", ("selective", "head"), {"trunk": False}),
    "ungrouped": Switch("messages in random order", ("lora", "full"), {"grouped": False}),
    "checkpointing": Switch("activation checkpointing on", ("lora", "full"), {"checkpointing": True}),
}


def with_method(model: GPT2, job: dict) -> GPT2:
    """Head and method in place. One seed: every arm starts with the same head and the same adapters."""
    torch.manual_seed(job["seed"])
    add_classification_head(model, job["classes"])
    return peft.apply(model, job["method"], **(LORA if job["method"] == "lora" else {})).train()


def make_arm(job: dict) -> Arm:
    if job["arm"] == "published":
        return Published(job)
    return Ours(job) if job["arm"] == "ours" else Ours(job, **SWITCHES[job["arm"]].off)


if __name__ == "__main__":
    serve_arm(make_arm)
