"""What a fine-tuning run is made of: the data, the batches, and the settings that config.json records."""

import argparse
import dataclasses

from data import Dataset, load_dataset
from gpt2.model import GPT2
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import MessageBatches, encode
from gpt2.training.recipe import Recipe
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
    )


def make_batches(
    dataset: Dataset, model: GPT2, batch_size: int, published: bool
) -> tuple[dict[str, MessageBatches], int, int]:
    """Batches of the three parts, the longest message allowed, and how many messages were truncated to it.

    published   as in the published recipes: everything is padded, or truncated, to the longest training message, and
                an incomplete last batch is dropped
    """
    room = model.config.n_positions - model.virtual_positions()
    pad_to, cut, batches = None, 0, {}
    for name in ("train", "validation", "test"):
        part = getattr(dataset, name)
        tokens, truncated = encode(part.text.tolist(), get_tokenizer(), room)
        if published and name == "train":
            pad_to = room = max(map(len, tokens))
        cut += truncated
        drop_last = published and name == "train"
        batches[name] = MessageBatches(tokens, part.label.tolist(), batch_size, pad_to, drop_last)
    return batches, room, cut


def run_settings(args: argparse.Namespace, source: str, dataset: Dataset, model: GPT2, recipe: Recipe) -> dict:
    """Every setting that can be known before the run, for config.json. ``source``: of the base model."""
    return {
        "method": args.method,
        "options": model.peft.options,
        "model": source,
        "model_asked_for": args.model,
        "data": args.data if dataset.name not in ("sms", "practice") else dataset.name,
        "text_column": args.text_column,
        "label_column": args.label_column,
        "protocol": dataset.protocol,
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
