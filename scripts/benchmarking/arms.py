"""The benchmark's own arms: the published recipe written plainly, ours, and ours with one idea left out.

Run as a program, it is a worker (see worker.py):  python -m benchmarking.arms job.json
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

import peft
from benchmarking.worker import Arm, Batch, read_batches, serve_arm
from gpt2 import GPT2, load_gpt2
from gpt2.classifier import add_classification_head, classify
from gpt2.training.batching import MessageBatches, make_batch
from gpt2.training.finetune import Recipe, make_optimizer
from gpt2.training.frozen_features import FrozenFeatureCache, frozen_blocks

LORA = {"rank": 8, "alpha": 8}  # in every arm


class Published(Arm):
    """The reference recipe (Raschka, 2024), straightforward: every message padded to the longest, every position
    through every layer and the head, and one of them read."""

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

    def positions(self, batch: Batch) -> int:
        return len(batch[0]) * self.longest


class Ours(Arm):
    """What finetune_spam.py does by default; each switch turns one idea off."""

    clip = Recipe.clip

    def __init__(
        self,
        job: dict,
        grouped: bool = True,  # messages of like length share a batch
        packed: bool = True,  # else batches stay padded
        last_only: bool = True,  # the last block computes only the position that is read
        features: bool = True,  # what frozen blocks compute is kept
        checkpointing: bool = False,  # recompute blocks in the backward pass
    ):
        self.order = "grouped" if grouped else "random"
        self.packed, self.last_only, self.keep = packed, last_only, packed and features
        self.model = with_method(load_gpt2(job["model"]), job)
        self.model.checkpointing = checkpointing
        self.optimizer = make_optimizer(self.model, Recipe(lr=job["lr"]))

    def start(self) -> None:
        features = FrozenFeatureCache(self.model)
        self.features = features if self.keep and features.blocks else None

    def prepare(self, batches: list[Batch]) -> None:
        if self.features is not None:
            messages = [message for batch in batches for message in batch[0]]
            self.features.fill(self.model, MessageBatches(messages, [0] * len(messages), 8), torch.device("cpu"))

    def loss(self, batch: Batch) -> Tensor:
        tokens, lengths, labels = make_batch(*batch)
        if self.last_only:
            how = "packed" if self.packed else "padded"
            return F.cross_entropy(classify(self.model, tokens, lengths, "last", how, self.features), labels)
        h = self.model.hidden_states(tokens, lengths)[torch.arange(len(tokens)), lengths - 1]  # (B, C)
        return F.cross_entropy(self.model.lm_head(h), labels)

    def positions(self, batch: Batch) -> int:
        return sum(map(len, batch[0])) if self.packed else super().positions(batch)

    def about(self) -> dict:
        return {"frozen_blocks": frozen_blocks(self.model) if self.keep else 0}


@dataclass(frozen=True)
class Switch:
    """Ours with something off: how the report calls it, and the methods for which that matters."""

    text: str
    methods: tuple[str, ...]
    off: dict = field(default_factory=dict)


SWITCHES = {
    "padded": Switch("padded batches: `--batching padded`", ("lora", "selective", "head", "full"), {"packed": False}),
    "every-position": Switch(
        "padded batches, every position of the last block",
        ("lora", "selective", "full"),
        {"packed": False, "last_only": False},
    ),
    "no-features": Switch("frozen blocks recomputed in every epoch", ("selective", "head"), {"features": False}),
    "ungrouped": Switch("messages in random order", ("lora", "full"), {"grouped": False}),
    "checkpointing": Switch("activation checkpointing on", ("lora", "full"), {"checkpointing": True}),
}


def with_method(model: GPT2, job: dict) -> GPT2:
    """Head and method in place. One seed: every arm starts with the same head and the same adapters."""
    torch.manual_seed(job["seed"])
    add_classification_head(model, job["classes"])
    return peft.apply(model, job["method"], **(LORA if job["method"] == "lora" else {})).train()


def make_arm(job: dict) -> Arm:
    """The arm that a job names: the published recipe, ours, or ours with one switch off."""
    if job["arm"] == "published":
        return Published(job)
    return Ours(job) if job["arm"] == "ours" else Ours(job, **SWITCHES[job["arm"]].off)


if __name__ == "__main__":
    serve_arm(make_arm)
