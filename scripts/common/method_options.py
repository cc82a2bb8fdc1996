"""The methods' own options on the command line, as peft/options.py declares them."""

import argparse
import json

from common.cli import ROOT
from peft.registry import METHODS, options_of_all

PREFIX = "option_"  # keeps them apart from the command's own
MARKS = {  # in the list of methods -> what scripts/probe_methods.py has tried, and what it means
    "M": ("merges", "merges"),
    "X": ("exports", "exports to transformers"),
    "H": ("saves_for_hugging_face", "opens in Hugging Face's peft"),
    "Q": ("works_on_a_quantised_base", "takes a base in four bits"),
}


def method_list() -> str:
    """For a command's help: each method with its marks and what it is; marks are blank where nothing was tried."""
    file = ROOT / "docs" / "methods.json"
    tried = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    lines = ["methods:"]
    for name, method in METHODS.items():
        able = tried.get(name, {}).get("can", {})
        marks = "".join(mark if able.get(probe) is True else " " for mark, (probe, _) in MARKS.items())
        lines.append(f"  {name:<17}{marks} {method.summary}")
    legend = ", ".join(f"{mark} {meaning}" for mark, (_, meaning) in MARKS.items())
    return "\n".join([*lines, f"{legend}; see docs/methods.md"])


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """An option for each that any method has."""
    group = parser.add_argument_group("options of the methods")
    for option, (kind, text) in options_of_all().items():
        how = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind, "metavar": kind.__name__}
        group.add_argument(flag(option), dest=PREFIX + option, help=text.replace("%", "%%"), default=None, **how)
    group.add_argument("--modules-to-save", metavar="NAMES", help="modules to train fully besides, such as wte,ln_f")


def method_options(parser: argparse.ArgumentParser, args: argparse.Namespace, recipe: dict) -> dict:
    """The options for ``args.method``: those of the recipe, overridden by those given. Exits for one of another
    method."""
    if args.method not in METHODS:
        parser.error(f"unknown method {args.method!r}; choose one of {', '.join(METHODS)}")
    given = {option: getattr(args, PREFIX + option) for option in options_of_all()}
    options = recipe | {option: value for option, value in given.items() if value is not None}
    for option in options:
        if option not in METHODS[args.method].options:
            takes = ", ".join(map(flag, METHODS[args.method].options))
            parser.error(f"{flag(option)} is no option of {args.method} (it takes {takes or 'none'})")
    if args.modules_to_save:
        options["modules_to_save"] = args.modules_to_save
    return options


def flag(option: str) -> str:
    """The command line's name of a method's option."""
    return f"--{option.replace('_', '-')}"
