"""The frozen-feature cache: blocks that nothing trains are run once a message, not once an epoch.

Blocks below the first trained parameter compute the same in every epoch (without dropout), so what enters the first
trained block is kept for each message, as long as there is room:

    block 11   trained    ◄── x, kept for each message
    blocks 0-10, embeddings   frozen: run the first time that a message is seen
"""

import time

import torch
from torch import Tensor
from tqdm import tqdm

from gpt2.classifier import classify
from gpt2.devices import autocast, to_device
from gpt2.errors import number
from gpt2.layout import Layout
from gpt2.model import GPT2
from gpt2.training.batching import MessageBatches

FEATURE_BATCH = 64  # messages that go through frozen blocks at a time


def frozen_blocks(model: GPT2) -> int:
    """How many of the lowest blocks, with the embeddings, hold nothing that trains and nothing random."""
    below = [model.wte, model.wpe] + ([] if model.prompt is None else [model.prompt])
    if any(p.requires_grad for module in below for p in module.parameters()) or model.config.dropout:
        return 0
    trained = (i for i, block in enumerate(model.h) if any(p.requires_grad for p in block.parameters()))
    return next(trained, len(model.h))


class FrozenFeatureCache:
    """What the frozen blocks give for each message; ``classify(…, batching="packed", features=…)`` asks for it.

    Made for one model after its method is in place; what is kept is only right while those blocks stay frozen.
    ``memory_mb``: room for it in MB (10⁶ bytes); what does not fit is computed again each time.
    """

    def __init__(self, model: GPT2, memory_mb: float = 500):
        memory_mb = number("feature_memory", memory_mb, least=0)
        self.blocks = frozen_blocks(model)
        # a message's tokens -> (positions, C), or (1, C) when all blocks are frozen
        self.kept: dict[bytes, Tensor] = {}
        self.room, self.full = memory_mb * 1e6, False

    def __call__(self, model: GPT2, tokens: Tensor, lengths: Tensor, layout: Layout) -> tuple[Tensor, int]:
        """(1, N, C), what enters the first block above the frozen ones in this packed layout, and its index."""
        assert layout.ends is not None and layout.rows is not None  # packed, an output at each message's end
        positions, width = layout.ends + 1, layout.rows.size(1)  # (B,) of each message, virtual ones included
        sizes = (positions - (width - tokens.size(1))).tolist()
        keys = [text[:n].numpy().tobytes() for text, n in zip(tokens.cpu(), sizes, strict=True)]
        fresh = {key: i for i, key in enumerate(keys) if key not in self.kept}
        found: dict[bytes, Tensor] = {}
        if fresh:
            chosen = torch.tensor(list(fresh.values()), device=tokens.device)
            with torch.no_grad():
                part = Layout.packed(positions[chosen], width)
                x = model.hidden_states(tokens[chosen], lengths[chosen], part, end=self.blocks)
            if self.blocks == len(model.h):
                messages = x.unbind()  # only the position that is read is left: (1, C) each
            else:
                messages = x[0].split(positions[chosen].tolist())
            found = dict(zip(fresh, messages, strict=True))
        parts = [found[key] if key in found else self.kept[key] for key in keys]
        for key, message in found.items():
            if message.nbytes > self.room:
                self.full = True
                continue
            self.room -= message.nbytes
            self.kept[key] = message.clone()  # a view would hold the whole batch in memory
        return torch.stack(parts) if self.blocks == len(model.h) else torch.cat(parts)[None], self.blocks

    def fill(self, model: GPT2, batches: MessageBatches, device: torch.device, pooling: str = "last") -> float:
        """Run the frozen blocks over all messages now, as far as there is room for what they give: many messages at a
        time are faster than the few of a training batch. Returns the seconds that it took."""
        start, total = time.perf_counter(), len(batches.labels)
        with tqdm(desc="frozen blocks", total=total, unit="message", leave=False, disable=None) as bar:
            for indices, batch in batches.by_length(FEATURE_BATCH):
                tokens, lengths, _ = to_device(batch, device)
                with torch.no_grad(), autocast(device):
                    classify(model, tokens, lengths, pooling, "packed", self)
                bar.update(len(indices))
                if self.full:
                    break
        return time.perf_counter() - start


def choose_batching(
    model: GPT2, device: torch.device, pooling: str, batching: str | None = None, memory_mb: float = 500
) -> tuple[str, FrozenFeatureCache | None]:
    """``batching`` and ``features`` for ``classify``, after the method is in place: what costs least, or what is asked.

    On a GPU batches stay padded, as starting a kernel costs more there than a few padded positions; unless blocks are
    frozen, whose features are kept for packed batches.
    """
    features = FrozenFeatureCache(model, memory_mb)
    usable = features.blocks > 0 and pooling in ("last", "last-position")
    batching = batching or ("packed" if device.type == "cpu" or usable else "padded")
    return batching, features if usable and batching == "packed" else None
