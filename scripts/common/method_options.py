"""The methods' own options on the command line. They come from the methods' signatures."""

import argparse
import typing

PREFIX = "option_"  # keeps them apart from the command's own


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """An option for each that any method has, with the help of the first."""
    import peft

    group = parser.add_argument_group("options of the methods")
    for option, methods in users().items():
        parameter = peft.METHODS[methods[0]].options[option]
        kind = (typing.get_args(parameter.annotation) or (parameter.annotation,))[0]
        how = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind, "metavar": kind.__name__}
        text = f"{peft.METHODS[methods[0]].help(option)} ({', '.join(methods)})".replace("%", "%%")
        group.add_argument(flag(option), dest=PREFIX + option, help=text, default=None, **how)
    group.add_argument("--modules-to-save", metavar="NAMES", help="modules to train fully besides, such as wte,ln_f")


def method_options(parser: argparse.ArgumentParser, args: argparse.Namespace, recipe: dict) -> dict:
    """The options for ``args.method``: those of the recipe, overridden by those given. Exits for one of another
    method."""
    import peft

    if args.method not in peft.METHODS:
        parser.error(f"unknown method {args.method!r}; choose one of {', '.join(peft.METHODS)}")
    given = {option: getattr(args, PREFIX + option) for option in users()}
    options = recipe | {option: value for option, value in given.items() if value is not None}
    for option in options:
        if option not in peft.METHODS[args.method].options:
            takes = ", ".join(map(flag, peft.METHODS[args.method].options))
            parser.error(f"{flag(option)} is no option of {args.method} (it takes {takes or 'none'})")
    if args.modules_to_save:
        options["modules_to_save"] = args.modules_to_save
    return options


def users() -> dict[str, list[str]]:
    """option -> the methods that have it."""
    import peft

    found: dict[str, list[str]] = {}
    for name, method in peft.METHODS.items():
        for option in method.options:
            found.setdefault(option, []).append(name)
    return found


def flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
