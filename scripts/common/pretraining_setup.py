"""What pretraining starts from: the settings, the texts and the model that the options of scripts/pretrain.py name."""

import argparse
import dataclasses
from pathlib import Path

import torch

from gpt2 import GPT2
from gpt2.checkpoints.hub import assets_folder
from gpt2.checkpoints.weights import load_gpt2
from gpt2.config import SIZES
from gpt2.errors import InputError
from gpt2.training.pretraining import PretrainingRecipe


def make_recipe(args: argparse.Namespace, device: torch.device) -> PretrainingRecipe:
    """PretrainingRecipe's fields are named as the options are."""
    names = {field.name for field in dataclasses.fields(PretrainingRecipe)}
    settings = {name: value for name, value in vars(args).items() if name in names}
    if args.precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        settings["precision"] = "bfloat16" if able else "float32"
    return PretrainingRecipe(**settings)


def find_texts(args: argparse.Namespace) -> list[Path]:
    """Those of --texts, or the corpus of the assets folder."""
    if args.texts:
        return [Path(text).expanduser() for text in args.texts]
    assets = assets_folder(args.assets)
    if assets is None or not (assets / "corpus").is_dir():
        raise InputError("no text to train on; name files or folders with --texts")
    return [assets / "corpus"]


def make_model(args: argparse.Namespace) -> GPT2:
    """The weights of --from, or a random model of the shape asked for."""
    shape = {"n_layer": args.layers, "n_embd": args.width, "n_head": args.heads, "n_positions": args.context}
    shape = {name: value for name, value in shape.items() if value is not None}
    if args.start:
        if shape:
            raise InputError("--from brings its own shape; leave out --layers, --width, --heads and --context")
        model = load_gpt2(args.start, args.assets)
        if model.config.vocab_size != SIZES["gpt2"].vocab_size:
            raise InputError(f"--from {args.start}: its vocabulary has {model.config.vocab_size:,} tokens, not GPT-2's")
        return model
    if args.model not in SIZES:
        raise InputError(f"unknown size {args.model!r}; choose one of {', '.join(SIZES)}, or see --from")
    return GPT2(dataclasses.replace(SIZES[args.model], **shape))
