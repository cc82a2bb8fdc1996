"""``finetune_spam.py --find-lr``: a range test on training batches (gpt2/training/lr_range.py), printed and drawn."""

import argparse
import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from common.runs import new_folder
from gpt2.classifier import classify
from gpt2.devices import autocast, to_device
from gpt2.errors import InputError
from gpt2.files import atomic_write
from gpt2.model import GPT2
from gpt2.training.batching import Batch, MessageBatches
from gpt2.training.distributed import world_size
from gpt2.training.finetune import make_optimizer
from gpt2.training.lr_range import SAFETY, chart, lr_range_test
from gpt2.training.plots import plot_lr_range
from gpt2.training.recipe import Recipe


def check(args: argparse.Namespace) -> None:
    """Raise InputError for options that a range test would not follow."""
    if world_size() > 1:
        raise InputError("a range test runs in one process; start it without torchrun", "find_lr")
    for name in ("lr", "out", "epochs", "accumulate", "threshold", "calibrate"):
        if getattr(args, name) not in (None, False):
            raise InputError(
                f"{name} is for training, and with --find-lr nothing is trained; leave it out (the picture's name is "
                "given as --find-lr FILE.png)",
                name,
            )
    if args.find_lr != "auto" and Path(args.find_lr).suffix.lower() != ".png":
        raise InputError(f"the picture is to be {args.find_lr}; give a name that ends with .png", "find_lr")


def find_lr(
    args: argparse.Namespace, model: GPT2, train: MessageBatches, recipe: Recipe, device: torch.device, batching: str
) -> None:
    """Run the test, print chart and suggestion, and draw the picture. The model is left as it was."""
    model.to(device)

    def loss_of(batch: Batch) -> Tensor:
        tokens, lengths, labels = to_device(batch, device)
        with autocast(device):
            logits = classify(model, tokens, lengths, recipe.pooling, batching)  # (B, classes)
        return F.cross_entropy(logits.float(), labels)

    epochs = (train.shuffled(recipe.seed, epoch) for epoch in itertools.count())
    batches = itertools.chain.from_iterable(epochs)
    found = lr_range_test(model, make_optimizer(model, recipe), loss_of, batches, clip=recipe.clip)
    print(f"\n{chart(found)}\n")
    best = f"the rate with the lowest running mean ({found.rates[found.best]:.1e})"
    print(f"Suggestion: --lr {found.suggestion:.1e}, {best} divided by {SAFETY}.")
    print("It is a first guess: compare a few values around it on validation data.")
    file = Path(args.find_lr) if args.find_lr != "auto" else new_folder(f"{args.method}-find-lr").with_suffix(".png")
    with atomic_write(file) as temporary:
        plot_lr_range(found, temporary)
    print(f"Drawn in {file}; nothing was trained.")
