"""The recipes of fine-tuning: what a published one sets of a method and of its training, and what the command line says
otherwise."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from common import cli

if TYPE_CHECKING:
    from gpt2.training.recipe import Recipe

POOLINGS = ("last", "last-position", "first", "mean", "mean-positions")  # gpt2/classifier.py, without its imports
RECIPES = ("default", "source-notes", "book")
RECIPE_OPTIONS = {  # of methods, where a published recipe has others than ours; sources: gpt2/training/recipe.py
    ("source-notes", "lora"): {"rank": 8, "alpha": 8.0, "scaling": "alpha", "init": "normal"},
    ("book", "lora"): {"rank": 16, "alpha": 16.0, "scaling": "alpha", "init": "kaiming-rank"},  # appendix E, as of 2025
}
RECIPE_EPOCHS = {("source-notes", "lora"): 6}  # else those of the recipe, five


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of how to train, whatever the task."""
    parser.add_argument("--epochs", type=cli.positive_int, metavar="N", help="default: the recipe's, 5 or 6")
    parser.add_argument("--batch-size", type=cli.positive_int, default=8, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--max-length",
        type=cli.positive_int,
        metavar="N",
        help="read only the first N tokens of a text: less time and memory (default: as many as the model takes)",
    )
    parser.add_argument(
        "--accumulate",
        type=cli.positive_int,
        metavar="N",
        help="add up the gradients of N batches before a step: as one batch N times as large, in the memory of one",
    )
    parser.add_argument(
        "--lr",
        type=float,
        help="learning rate (default: the method's, tuned on the practice model; for GPT-2's sizes one that others "
        "published, for other models the rule lr x 128/width: docs/learning_rates_published.md; a run says which)",
    )
    parser.add_argument("--weight-decay", type=float, help="default: 0.01, published recipes 0.1")
    parser.add_argument("--label-smoothing", type=float, metavar="SHARE", help="default: 0")
    parser.add_argument("--seed", type=cli.seed, default=123, help="same seed, same result (default: %(default)s)")
    parser.add_argument(
        "--checkpointing", action="store_true", help="recompute blocks in the backward pass: less memory, more time"
    )


def add_classifier_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of how to train a classifier, besides those."""
    parser.add_argument(
        "--recipe",
        default="default",
        choices=RECIPES,
        help="source-notes, book: repeat runs published in 2024 (default: %(default)s, better and faster)",
    )
    parser.add_argument(
        "--find-lr",
        nargs="?",
        const="auto",
        metavar="FILE.png",
        help="train nothing: a short range test on training batches, printed and drawn, that suggests a learning rate",
    )
    parser.add_argument(
        "--split-seed",
        type=cli.seed,
        metavar="SEED",
        help="draws the split (default: 123 for the published one and a table of your own, else --seed)",
    )
    parser.add_argument("--pooling", choices=POOLINGS, help="what the head reads (default: last, the last token)")
    parser.add_argument(
        "--class-weights", choices=("balanced",), help="rare classes count as much as frequent ones while training"
    )
    parser.add_argument(
        "--threshold",
        type=threshold,
        metavar="RULE",
        help="of two classes, when the rarer one (or spam) is answered: from a probability such as 0.5 on (default), "
        "best-f1, or precision=0.99; chosen on validation data",
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="temperature scaling on validation data: confidence nearer to accuracy"
    )


def threshold(text: str) -> str:
    """Type of an option: a rule for the threshold, checked before anything is trained."""
    from gpt2.errors import InputError
    from gpt2.training.decision import check_rule

    try:
        check_rule(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def make_recipe(args: argparse.Namespace, width: int, writing: bool = False) -> "Recipe":
    """The training recipe: ours, with a learning rate that suits method, width and task, or a published one; then what
    the command line says otherwise."""
    import peft
    from gpt2.training.recipe import BOOK, SOURCE_NOTES, Recipe

    named = getattr(args, "recipe", "default")  # only a classifier has others
    published = {"book": BOOK, "source-notes": SOURCE_NOTES}
    recipe = published.get(named) or Recipe(lr=peft.METHODS[args.method].learning_rate(width, writing))
    epochs = args.epochs or RECIPE_EPOCHS.get((named, args.method))
    given = ("lr", "weight_decay", "accumulate", "label_smoothing", "pooling")
    overrides: dict[str, Any] = {name: getattr(args, name, None) for name in given}
    overrides |= {"epochs": epochs, "class_weight": getattr(args, "class_weights", None)}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    return dataclasses.replace(recipe, seed=args.seed, **overrides)


def lr_source(args: argparse.Namespace, width: int, writing: bool = False) -> str:
    """Where the learning rate of ``make_recipe`` comes from, in a few words for the first lines of a run."""
    import peft

    if args.lr is not None:
        return "given by --lr"
    named = getattr(args, "recipe", "default")
    return peft.METHODS[args.method].rate(width, writing).source if named == "default" else f"recipe {named}"
