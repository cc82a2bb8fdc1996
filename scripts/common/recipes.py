"""The recipes of fine-tuning: what a published one sets of a method and of its training, and what the command line says
otherwise."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt2.training.recipe import Recipe

POOLINGS = ("last", "last-position", "first", "mean", "mean-positions")  # gpt2/classifier.py, without its imports
RECIPES = ("default", "source-notes", "book")
RECIPE_OPTIONS = {  # of methods, where a published recipe has others than ours; sources: gpt2/training/recipe.py
    ("source-notes", "lora"): {"rank": 8, "alpha": 8.0, "scaling": "alpha", "init": "normal"},
    ("book", "lora"): {"rank": 16, "alpha": 16.0, "scaling": "alpha", "init": "kaiming-rank"},  # appendix E, as of 2025
}
RECIPE_EPOCHS = {("source-notes", "lora"): 6}  # else those of the recipe, five


def make_recipe(args: argparse.Namespace, width: int) -> "Recipe":
    """The training recipe: ours, with a learning rate that suits method and width, or a published one; then what the
    command line says otherwise."""
    import peft
    from gpt2.training.recipe import BOOK, SOURCE_NOTES, Recipe

    published = {"book": BOOK, "source-notes": SOURCE_NOTES}
    recipe = published.get(args.recipe) or Recipe(lr=peft.METHODS[args.method].learning_rate(width))
    epochs = args.epochs or RECIPE_EPOCHS.get((args.recipe, args.method))
    overrides = {"epochs": epochs, "lr": args.lr, "weight_decay": args.weight_decay, "pooling": args.pooling}
    overrides |= {"accumulate": args.accumulate, "class_weight": args.class_weights}
    overrides = {key: value for key, value in overrides.items() if value is not None}
    return dataclasses.replace(recipe, seed=args.seed, **overrides)
