"""What a fine-tuning run is made of: the data, the batches, and the settings that config.json records."""

import argparse
import dataclasses
from collections.abc import Callable

import torch

import peft
from data import SOURCES, Dataset, load_dataset
from gpt2.classifier import add_classification_head
from gpt2.model import GPT2
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import MessageBatches, encode_many
from gpt2.training.curve import measure
from gpt2.training.recipe import Recipe
from gpt2.training.reference import UNTUNED_BATCHES, ReferenceBatches
from gpt2.training.runs import versions


def load_data(args: argparse.Namespace) -> Dataset:
    """The data that the options name. The published split has its own seed, whichever seed a model is trained with."""
    return load_dataset(
        args.data,
        args.protocol,
        args.seed if args.split_seed is None else args.split_seed,
        args.assets,
        text_column=args.text_column,
        label_column=args.label_column,
        published_seed=123 if args.split_seed is None else args.split_seed,
        group_near_duplicates=args.group_near_duplicates,
        group_column=args.group_column,
    )


def make_batches(
    dataset: Dataset, room: int, batch_size: int, reference: bool = False, padding: str = "longest"
) -> tuple[dict[str, MessageBatches], int, int]:
    """Batches of the three parts, the longest message allowed, and how many messages were truncated to it.

    room        tokens that a message may have in this model
    reference   as in the reference recipe: PyTorch's DataLoader makes the batches, an incomplete last one is dropped,
                and everything is padded to the ``padding``: "longest" (the longest training message, and truncated to
                it), "context" (``room``) or "none"
    """
    pad_to, cut, batches = (room if reference and padding == "context" else None), 0, {}
    for name in ("train", "validation", "test"):
        part = getattr(dataset, name)
        tokens, truncated = encode_many(part.text.tolist(), get_tokenizer(), room)
        cut += truncated
        labels = part.label.tolist()
        if not reference:
            batches[name] = MessageBatches(tokens, labels, batch_size)
            continue
        if padding == "longest" and name == "train":
            pad_to = room = max(map(len, tokens))
        batches[name] = ReferenceBatches(tokens, labels, batch_size, pad_to, shuffle=name == "train")
    return batches, room, cut


def prepare_model(
    model: GPT2, num_classes: int, method: str, options: dict, seed: int, before_method: Callable[[], dict] = dict
) -> tuple[int, dict]:
    """Put a new head and a method into a language model, both drawn from ``seed``. Returns the number of parameters
    with the head and before the method, and what ``before_method`` gives, which is called then: the reference recipe
    measures the ``untuned`` model there, and LoRA's draws depend on it (gpt2/training/reference.py)."""
    torch.manual_seed(seed)
    add_classification_head(model, num_classes)
    total = sum(p.numel() for p in model.parameters())  # before quantised weights stop being parameters
    before = before_method()
    peft.apply(model, method, **options)
    return total, before


def untuned(
    model: GPT2, batches: dict[str, MessageBatches], device: torch.device, seed: int, pooling: str
) -> dict[str, dict[str, float]]:
    """Loss and accuracy before training, over the first batches of each part, as the reference recipe measures them:
    the seed comes first."""
    model.to(device)
    torch.manual_seed(seed)
    return {name: measure(model, part.first(UNTUNED_BATCHES), device, pooling) for name, part in batches.items()}


def run_settings(args: argparse.Namespace, source: str, dataset: Dataset, model: GPT2, recipe: Recipe) -> dict:
    """Every setting that can be known before the run, for config.json. ``source``: of the base model."""
    return {
        "method": args.method,
        "options": model.peft.options,
        "model": source,
        "model_asked_for": args.model,
        "data": dataset.name if dataset.name in SOURCES else args.data,
        "text_column": args.text_column,
        "label_column": args.label_column,
        "group_near_duplicates": args.group_near_duplicates,
        "group_column": args.group_column,
        "protocol": dataset.protocol,
        "leakage": dataset.leakage(),
        "split_seed": args.split_seed,
        "recipe": args.recipe,
        "batch_size": args.batch_size,
        **dataclasses.asdict(recipe),
        "classes": list(dataset.classes),
        "positive": dataset.positive,
        "data_sha256": dataset.sha256(),
        "base_sha256": model.peft.base_fingerprints["float32"],
        "versions": versions(),
    }
