"""Fine-tune GPT-2 into a spam classifier, by any method of peft/.

    python scripts/finetune_spam.py --method lora
    python scripts/finetune_spam.py --method lora --rank 4 --target-modules q_proj,v_proj
    python scripts/finetune_spam.py --method selective --recipe book           # Raschka (2024), chapter 6
    python scripts/finetune_spam.py --method adapter --data mine.csv --text-column message --label-column topic

    torchrun --nproc-per-node 2 scripts/finetune_spam.py --method lora          # several processes or GPUs, same result

Leaves a folder in runs/ with metrics.json, history.csv, curves.png, confusion.png and the adapter; try it with
    python scripts/classify.py runs/FOLDER "You have won a prize!"
"""

import argparse
import contextlib
import dataclasses
import datetime
import io
import time
import typing
from pathlib import Path

from common import cli

RECIPES = ("default", "source-notes", "book")
RECIPE_OPTIONS = {  # of methods, where a published recipe has others than ours; sources: gpt2/training/finetune.py
    ("source-notes", "lora"): {"rank": 8, "alpha": 8.0, "scaling": "alpha", "init": "normal"},
    ("book", "lora"): {"rank": 16, "alpha": 16.0, "scaling": "alpha", "init": "kaiming"},  # appendix E, as of 2025
}
RECIPE_EPOCHS = {("source-notes", "lora"): 6}  # else those of the recipe, five


def main(argv: list[str]) -> None:
    started = time.perf_counter()
    checkpoint = early_choice(argv)  # says which model it will be before PyTorch is imported, which takes seconds
    args, options = parse(argv)

    from gpt2.devices import choose_device
    from gpt2.training.distributed import is_main, process_group

    with process_group(choose_device(args.device)) as device, contextlib.ExitStack() as stack:
        if not is_main():  # of several processes one speaks
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        fine_tune(args, options, checkpoint, device, started, stack)


def fine_tune(args: argparse.Namespace, options: dict, checkpoint, device, started: float, stack) -> None:
    """Prepare everything that a run needs, and run it. ``stack`` keeps the lock of the run's folder."""
    import torch

    import peft
    from common.sizes import check_size
    from data import load_dataset
    from gpt2.checkpoints.weights import load_gpt2
    from gpt2.classifier import add_classification_head
    from gpt2.devices import describe, fit_threads
    from gpt2.tokenizer import get_tokenizer
    from gpt2.training.batching import check_vocabulary
    from gpt2.training.distributed import agree, is_main, main_first
    from gpt2.training.frozen_features import choose_batching
    from gpt2.training.runs import locked, open_run, versions

    with main_first():
        dataset = load_dataset(
            args.data,
            args.protocol,
            args.seed if args.split_seed is None else args.split_seed,
            args.assets,
            text_column=args.text_column,
            label_column=args.label_column,
            published_seed=123 if args.split_seed is None else args.split_seed,
        )
        model = load_gpt2(checkpoint.source, args.assets)
    check_vocabulary(model.config.vocab_size, get_tokenizer())
    check_size(args.method, options, model.config, len(dataset.classes))
    fit_threads(model.config.n_embd)
    torch.manual_seed(args.seed)  # the new head, and what the method draws at random
    add_classification_head(model, len(dataset.classes))
    total = sum(p.numel() for p in model.parameters())  # before quantised weights stop being parameters
    peft.apply(model, args.method, **options)
    recipe = make_recipe(args, model.config.n_embd)
    batches, max_length, cut = make_batches(dataset, args, model)
    config = {
        "method": args.method,
        "options": model.peft.options,
        "model": checkpoint.source,
        "model_asked_for": args.model,
        "data": args.data if dataset.name not in ("sms", "practice") else dataset.name,
        "text_column": args.text_column,
        "label_column": args.label_column,
        "protocol": dataset.protocol,
        "split_seed": args.split_seed,
        "recipe": args.recipe,
        "batch_size": args.batch_size,
        **{key: value for key, value in dataclasses.asdict(recipe).items() if key not in ("seed", "epochs")},
        "seed": args.seed,
        "epochs": recipe.epochs,
        "classes": list(dataset.classes),
        "positive": dataset.positive,
        "device": str(device),
        "total_parameters": total,
        "data_sha256": dataset.sha256(),
        "base_sha256": model.peft.base_fingerprints["float32"],
        "versions": versions(),
        "max_length": max_length,
        "pad_to": batches["train"].pad_to,
    }

    from common.experiment import Experiment, describe_run, say_what_to_expect

    folder = Path(args.out or agree(str(new_folder(args.method))))
    with main_first():
        if is_main():
            stack.enter_context(locked(folder))
        resuming = open_run(folder, config)
    describe_run(model, dataset, config, cut, describe(device))
    if device.type == "cpu" and checkpoint.name != "practice":
        say_what_to_expect(model, batches["train"], recipe.epochs)
    model.checkpointing = args.checkpointing
    batching, features = choose_batching(model, device, recipe.pooling, args.batching, args.feature_memory)
    Experiment(model, dataset, batches, recipe, device, folder, config, started, batching, features).run(resuming)


def early_choice(argv: list[str]):
    """Find the model before the slow imports. Help and wrong usage are left to the real parser."""
    if {"-h", "--help"} & set(argv):
        parse(argv)
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.error = lambda message: parse(argv)
    cli.add_model_arguments(early)
    return cli.choose_model(early.parse_known_args(argv)[0])


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict]:
    """The settings of the run, and the options of its method. The methods' options come from their signatures."""
    import peft

    names = "\n".join(f"  {name:<17}{method.summary}" for name, method in peft.METHODS.items())
    parser = cli.Parser(description=f"{__doc__}\nmethods:\n{names}")
    parser.add_argument("--method", default="lora", metavar="NAME", help="one of those above (default: %(default)s)")
    cli.add_model_arguments(parser)
    parser.add_argument(
        "--data",
        default="auto",
        metavar="NAME|FILE",
        help="auto (the SMS Spam Collection if available, else practice), sms, practice (2,000 bundled messages), "
        "or your own table, .csv or .tsv (default: %(default)s)",
    )
    parser.add_argument("--text-column", default="text", help="of your own table (default: %(default)s)")
    parser.add_argument("--label-column", default="label", help="of your own table (default: %(default)s)")
    parser.add_argument(
        "--protocol", default="published", choices=("published", "strict"), help="split of the SMS data"
    )
    parser.add_argument(
        "--recipe",
        default="default",
        choices=RECIPES,
        help="source-notes, book: repeat runs published in 2024 (default: %(default)s, better and faster)",
    )
    parser.add_argument("--epochs", type=cli.positive_int, metavar="N", help="default: the recipe's, 5 or 6")
    parser.add_argument("--batch-size", type=cli.positive_int, default=8, metavar="N", help="default: %(default)s")
    parser.add_argument("--lr", type=float, help="learning rate (default: one that suits the method)")
    parser.add_argument("--weight-decay", type=float, help="default: 0.01, published recipes 0.1")
    parser.add_argument("--seed", type=cli.seed, default=123, help="same seed, same result (default: %(default)s)")
    parser.add_argument(
        "--split-seed",
        type=cli.seed,
        metavar="SEED",
        help="draws the split, for comparisons over splits (default: 123 for the published one, else --seed)",
    )
    parser.add_argument("--pooling", choices=("last", "last-position", "first", "mean"), help="token the head reads")
    parser.add_argument("--out", metavar="FOLDER", help="default: runs/<date>-<method>; an interrupted run resumes")
    parser.add_argument(
        "--batching",
        choices=("packed", "padded"),
        help="packed: no padding, messages laid end to end; same results (default: packed on a CPU, else padded, "
        "unless frozen blocks can be run once)",
    )
    parser.add_argument(
        "--checkpointing", action="store_true", help="recompute blocks in the backward pass: less memory, more time"
    )
    parser.add_argument(
        "--feature-memory",
        type=float,
        default=500,
        metavar="MB",
        help="room for the frozen-feature cache: what frozen lower blocks give, kept from epoch to epoch (default: "
        "%(default)s)",
    )
    parser.add_argument("--modules-to-save", metavar="NAMES", help="modules to train fully besides, such as wte,ln_f")

    group = parser.add_argument_group("options of the methods")
    users: dict[str, list[str]] = {}
    for name, method in peft.METHODS.items():
        for option in method.options:
            users.setdefault(option, []).append(name)
    for option, methods in users.items():
        parameter = peft.METHODS[methods[0]].options[option]
        kind = (typing.get_args(parameter.annotation) or (parameter.annotation,))[0]
        how = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind, "metavar": kind.__name__}
        help_text = f"{peft.METHODS[methods[0]].help(option)} ({', '.join(methods)})".replace("%", "%%")
        group.add_argument(
            f"--{option.replace('_', '-')}", dest=f"option_{option}", help=help_text, default=None, **how
        )

    args = parser.parse_args(argv)
    if args.method not in peft.METHODS:
        parser.error(f"unknown method {args.method!r}; choose one of {', '.join(peft.METHODS)}")
    given = {option: vars(args)[f"option_{option}"] for option in users}
    options = dict(RECIPE_OPTIONS.get((args.recipe, args.method), {}))
    options |= {option: value for option, value in given.items() if value is not None}
    for option in options:
        if option not in peft.METHODS[args.method].options:
            takes = ", ".join(f"--{name.replace('_', '-')}" for name in peft.METHODS[args.method].options)
            parser.error(f"--{option.replace('_', '-')} is no option of {args.method} (it takes {takes or 'none'})")
    if args.modules_to_save:
        options["modules_to_save"] = args.modules_to_save
    return args, options


def make_recipe(args: argparse.Namespace, width: int):
    """The training recipe: ours, with a learning rate that suits method and width, or a published one; then what the
    command line says otherwise."""
    import peft
    from gpt2.training.recipe import BOOK, SOURCE_NOTES, Recipe

    published = {"book": BOOK, "source-notes": SOURCE_NOTES}
    recipe = published.get(args.recipe) or Recipe(lr=peft.METHODS[args.method].learning_rate(width))
    epochs = args.epochs or RECIPE_EPOCHS.get((args.recipe, args.method))
    overrides = {"epochs": epochs, "lr": args.lr, "weight_decay": args.weight_decay, "pooling": args.pooling}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    return dataclasses.replace(recipe, seed=args.seed, **overrides)


def make_batches(dataset, args: argparse.Namespace, model) -> tuple[dict, int, int]:
    """Batches of the three parts, the longest message allowed, and how many messages were cut to it."""
    from gpt2.tokenizer import get_tokenizer
    from gpt2.training.batching import MessageBatches, encode

    published = args.recipe != "default"
    room = model.config.n_positions - model.virtual_positions()
    tokenizer, pad_to, cut, batches = get_tokenizer(), None, 0, {}
    for name in ("train", "validation", "test"):
        part = getattr(dataset, name)
        tokens, truncated = encode(part.text.tolist(), tokenizer, room)
        if published and name == "train":  # everything is padded, or cut, to the longest training message
            pad_to = room = max(map(len, tokens))
        cut += truncated
        drop_last = published and name == "train"
        batches[name] = MessageBatches(tokens, part.label.tolist(), args.batch_size, pad_to, drop_last)
    return batches, room, cut


def new_folder(method: str) -> Path:
    """runs/2026-01-31-143005-lora, with a number behind it if that is taken."""
    name = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{method}"
    candidates = (Path("runs") / f"{name}{suffix}" for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    return next(folder for folder in candidates if not folder.exists())


if __name__ == "__main__":
    cli.run(main)
