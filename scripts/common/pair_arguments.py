"""The options of scripts/finetune_text.py that say which pairs are read, and how."""

import argparse

from common import cli


def add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` to ``--include-source``."""
    add = parser.add_argument
    add(
        "--data",
        default="practice",
        metavar="NAME|FILE",
        help="practice, e2e (12 MB, downloaded once), or a .csv, .tsv, .jsonl, .parquet, .json or .txt file (default: "
        "%(default)s)",
    )
    add("--encoding", default="utf-8", help="of a table or text, such as cp1252 (default: %(default)s)")
    add_choice_of_pairs(parser)
    add(
        "--separator",
        type=separator,
        default="\n",
        metavar="TEXT",
        help="between source and target, with \\n and \\t as in Python (default: \\n, a line break)",
    )
    add("--include-source", action="store_true", help="learn to write the sources, too")


def add_choice_of_pairs(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add the options that say which columns and how many pairs are read."""
    add = parser.add_argument
    add("--source-column", default="source", metavar="NAME", help="of a table (default: %(default)s)")
    add("--target-column", default="target", metavar="NAME", help="of a table (default: %(default)s)")
    add("--max-pairs", type=cli.positive_int, metavar="N", help="train on the first N pairs only")
    add(
        "--evaluation-pairs",
        type=cli.positive_int,
        default=1000,
        metavar="N",
        help="measure perplexity on at most N pairs of each part (default: %(default)s)",
    )


def add_amount_of_writing(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add ``--test-sources`` and ``--num-beams``."""
    add = parser.add_argument
    add("--test-sources", type=cli.positive_int, default=200, metavar="N", help="at most (default: %(default)s)")
    add("--num-beams", type=cli.positive_int, default=4, metavar="N", help="1 is greedy (default: %(default)s)")


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the above that a comparison of methods has, too."""
    group = parser.add_argument_group("with --task text (as in finetune_text.py)")
    add_choice_of_pairs(group)
    add_amount_of_writing(group)


def separator(text: str) -> str:
    """Type of an option: a text in which \\n stands for a line break, as in Python."""
    try:
        found = text.encode("latin-1", "backslashreplace").decode("unicode_escape")
        found.encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise argparse.ArgumentTypeError(f"{text!a} is no text as Python writes them: {error.reason}") from error
    return found
