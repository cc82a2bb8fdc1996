"""Fine-tune GPT-2 into a spam classifier, by any method of peft/.

    python scripts/finetune_spam.py --method lora
    python scripts/finetune_spam.py --method lora --rank 4 --target-modules q_proj,v_proj
    python scripts/finetune_spam.py --method selective --recipe book           # Raschka (2024), chapter 6
    python scripts/finetune_spam.py --method adapter --data mine.csv --text-column message --label-column topic
    python scripts/finetune_spam.py @runs/FOLDER/command.txt --seed 124        # a run again, with another seed
    python scripts/finetune_spam.py --method ia3 --model my_model --find-lr    # suggests a learning rate; no training

    torchrun --nproc-per-node 2 scripts/finetune_spam.py --method lora          # several processes or GPUs, same result

Leaves a folder in runs/ with metrics.json, history.csv, curves.png, confusion.png and the adapter; try it with
    python scripts/classify.py runs/FOLDER "You have won a prize!"
"""

import argparse
import contextlib
import time
from typing import TYPE_CHECKING

from common import cli
from common.method_options import add_method_options, method_list, method_options
from common.recipes import (
    RECIPE_OPTIONS,
    add_classifier_arguments,
    add_training_arguments,
    lr_source,
    make_recipe,
)

if TYPE_CHECKING:
    import torch

    from gpt2.checkpoints.hub import Checkpoint


def main(argv: list[str]) -> None:
    started = time.perf_counter()
    args, options = parse(argv)
    checkpoint = cli.choose_model(args)  # says which model it will be before PyTorch is imported, which takes seconds

    from common.processes import one_speaks

    with one_speaks(args.device) as (device, stack):
        fine_tune(args, options, checkpoint, device, started, stack)


def fine_tune(
    args: argparse.Namespace,
    options: dict,
    checkpoint: "Checkpoint",
    device: "torch.device",
    started: float,
    stack: contextlib.ExitStack,
) -> None:
    """Prepare everything that a run needs, and run it. ``stack`` keeps the lock of the run's folder."""
    from common import find_lr
    from common.classifying import ClassifierExperiment, describe_dataset, describe_untuned
    from common.experiment import describe_run, say_what_to_expect
    from common.prepare import load_data, make_batches, run_settings, untuned
    from common.processes import open_folder
    from common.sizes import check_size
    from gpt2.checkpoints.weights import load_gpt2
    from gpt2.devices import describe, fit_threads
    from gpt2.errors import InputError
    from gpt2.tokenizer import get_tokenizer
    from gpt2.training.batching import check_vocabulary
    from gpt2.training.distributed import main_first
    from gpt2.training.frozen_features import choose_batching
    from peft.applying import prepare_classifier

    if args.find_lr is not None:
        find_lr.check(args)
    with main_first():
        dataset, model = load_data(args), load_gpt2(checkpoint.source, args.assets)
    check_vocabulary(model.config.vocab_size, get_tokenizer())
    if args.threshold and dataset.positive is None:
        raise InputError(f"a threshold is for two classes; {dataset.name} has {len(dataset.classes)}", "threshold")
    check_size(args.method, options, model.config, len(dataset.classes))
    fit_threads(model.config.n_embd)
    recipe = make_recipe(args, model.config.n_embd)

    positions = model.config.n_positions
    longest = min(args.max_length or positions, positions)

    def measure_untuned() -> dict:
        first, _, _ = make_batches(dataset, longest, args.batch_size, reference=True)
        return untuned(model, first, device, args.seed, recipe.pooling)

    before_method = measure_untuned if recipe.reference else dict
    total, before = prepare_classifier(model, len(dataset.classes), args.method, options, args.seed, before_method)
    room = min(longest, positions - model.virtual_positions())
    batches, max_length, cut = make_batches(dataset, room, args.batch_size, recipe.reference)
    config = run_settings(args, checkpoint.source, dataset, model, recipe) | {"device": str(device)}
    config |= {"total_parameters": total, "max_length": max_length, "pad_to": batches["train"].pad_to}
    config |= {"lr_source": lr_source(args, model.config.n_embd)}

    batching, features = choose_batching(model, device, recipe.pooling, args.batching, args.feature_memory)

    about = (describe_dataset(dataset), dataset.notes, config, f"{cut:,} of the messages" if cut else "")
    model.checkpointing = args.checkpointing
    if args.find_lr is not None:
        describe_run(model, *about, describe(device))
        return find_lr.find_lr(args, model, batches["train"], recipe, device, batching)
    folder, resuming = open_folder(args, config, stack)
    describe_run(model, *about, describe(device))
    if before:
        describe_untuned(before)
    if device.type == "cpu" and checkpoint.name != "practice":
        say_what_to_expect(model, batches["train"], recipe.epochs)
    parts = (model, batches, recipe, device, folder, config, started, batching, features)
    decision = {"threshold": args.threshold, "calibrate": args.calibrate}
    ClassifierExperiment(*parts, dataset=dataset, untuned=before, **decision).run(resuming)


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict]:
    """The settings of the run, and the options of its method."""
    parser = cli.Parser(description=f"{__doc__}\n{method_list()}")
    parser.add_argument("--method", default="lora", metavar="NAME", help="one of those above (default: %(default)s)")
    cli.add_model_arguments(parser)
    cli.add_data_arguments(parser, protocol="published")
    add_training_arguments(parser)
    add_classifier_arguments(parser)
    parser.add_argument("--out", metavar="FOLDER", help="default: runs/<date>-<method>; an interrupted run resumes")
    parser.add_argument(
        "--batching",
        choices=("packed", "padded"),
        help="packed: no padding, messages laid end to end; same results (default: packed on a CPU or with frozen "
        "blocks, else padded)",
    )
    parser.add_argument(
        "--feature-memory",
        type=float,
        default=500,
        metavar="MB",
        help="memory limit of the frozen-feature cache: outputs of frozen blocks, reused in later epochs (default: "
        "%(default)s)",
    )
    add_method_options(parser)
    argv = cli.with_settings(argv)
    args = parser.parse_args(argv)
    args.given = argv
    return args, method_options(parser, args, RECIPE_OPTIONS.get((args.recipe, args.method), {}))


if __name__ == "__main__":
    cli.run(main)
