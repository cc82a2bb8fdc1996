"""The random numbers of the reference recipe (Raschka, 2024, chapter 6 and appendix E), to the letter.

There, PyTorch's own DataLoader shuffles the messages, and it draws from the global generator: two numbers for a pass
over the training data (one of them seeds the shuffle), one for a pass over data in order. So every pass moves the
generator, passes that only evaluate included, and which messages stand in which batch depends on all passes before it:

    torch.manual_seed(123)     the head's start
    torch.manual_seed(123)     accuracy of the untuned model: a pass over training, validation and test data each
                               LoRA's matrices A are drawn here, layer by layer
    torch.manual_seed(123)     training: a pass for each epoch; after every 50 batches, and after each epoch, a pass
                               over the training and one over the validation data for the learning curve

A seed of our own recipe gives the order of an epoch by itself (gpt2/training/batching.py), which is easier to resume.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader

from gpt2.training.batching import Batch, MessageBatches, Tokens, make_batch

if TYPE_CHECKING:
    from gpt2.training.finetune import Progress

UNTUNED_BATCHES = 10  # of each part: 80 messages, on which the untuned model's published accuracies were measured


class ReferenceBatches(MessageBatches):
    """MessageBatches in the order of PyTorch's DataLoader: the training part (``shuffle``) at random and without an
    incomplete last batch, the others in order."""

    def __init__(
        self,
        token_lists: Sequence[Tokens],
        labels: Sequence[int],
        batch_size: int,
        pad_to: int | None = None,
        shuffle: bool = False,
    ) -> None:
        super().__init__(token_lists, labels, batch_size, pad_to, drop_last=shuffle)
        messages = list(zip(self.token_lists, self.labels, strict=True))
        self.loader = DataLoader(
            messages,  # type: ignore[arg-type]
            batch_size,
            shuffle=shuffle,
            drop_last=shuffle,
            collate_fn=lambda chosen: make_batch(*zip(*chosen, strict=True), pad_to),
        )

    def shuffled(self, seed: int, epoch: int) -> Iterator[Batch]:
        """A pass of the loader. ``seed`` and ``epoch`` do not matter: the global generator has both."""
        return iter(self.loader)

    def first(self, count: int | None = None) -> Iterator[Batch]:
        """The first ``count`` batches (default: all) of a fresh pass of the loader."""
        return itertools.islice(iter(self.loader), count)


def restore_generator(progress: "Progress", seed: int) -> None:
    """Put the global generator where it was at the end of the last epoch; before the first one, seed it."""
    if progress.generator:
        torch.set_rng_state(torch.frombuffer(bytearray.fromhex(progress.generator), dtype=torch.uint8))
    else:
        torch.manual_seed(seed)


def keep_generator(progress: "Progress") -> None:
    """Note where the global generator is, for ``restore_generator``, in this run or when it resumes."""
    progress.generator = bytes(torch.get_rng_state().tolist()).hex()
