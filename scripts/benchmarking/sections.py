"""The parts of a benchmark, measured one after another, and the checkpoint that all of them read."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarking.generation import measure_generation
from benchmarking.methods import measure_method, serve
from benchmarking.profile import measure_profile
from benchmarking.scaling import measure_scaling
from benchmarking.scoring import measure_scoring
from benchmarking.writing import METHODS, measure_writing
from gpt2 import GPT2Config
from gpt2.checkpoints.hub import find_checkpoint
from gpt2.checkpoints.weights import load_gpt2, save_gpt2
from gpt2.errors import InputError


def sections(
    args: argparse.Namespace, checkpoint: Path, config: GPT2Config, folder: Path, results: dict
) -> Iterator[tuple[str, dict]]:
    """Measure part after part: (section of the results, what is new in it)."""
    if args.methods:
        served = serve(args.data, args.assets, config, folder)
        results["data"] = served.about
        for method in args.methods:
            measured = measure_method(method, served, checkpoint, config, args.steps, args.rounds, folder)
            yield "methods", {method: measured}
            if args.profile:
                yield "profiles", {method: measure_profile(method, served, checkpoint, config)}
    if args.scaling:
        yield "scaling", measure_scaling(args.scaling, folder)
    if args.generation:
        yield "generation", measure_generation(checkpoint)
    if args.scoring:
        yield "scoring", measure_scoring(args.scoring, checkpoint, args.data, args.assets, args.rounds, folder)
    for method in METHODS if args.writing else ():
        how = (checkpoint, config, args.steps, args.rounds, folder)
        yield "writing", {method: measure_writing(method, args.writing, args.assets, *how)}


def model_folder(model: str, assets: str | None, folder: Path) -> Path:
    """The folder of a checkpoint in the Hugging Face layout, which both libraries read; ``random:`` ones are made."""
    checkpoint = find_checkpoint(model, assets)
    path = checkpoint.path
    if checkpoint.random:
        print(f"Making random weights of the size of {checkpoint.name or path}.", flush=True)
        save_gpt2(load_gpt2(model), folder / "model")
        return folder / "model"
    if not (path / "config.json").is_file():
        raise InputError(
            f"--model {model}: {path} is no folder with a config.json, which transformers needs to load it"
        )
    return path
