"""What a comparison is of: its data, and the rows that fit. What is not available is refused before training."""

import argparse

from common.prepare import load_data
from comparison.rows import Row
from comparison.settings import Settings, TextSettings
from data.text_pairs import load_pairs
from gpt2.checkpoints.hub import find_checkpoint
from gpt2.errors import InputError
from peft.registry import METHODS


def choose_data(args: argparse.Namespace) -> str:
    """The data's name. ``auto`` is replaced once, so that all runs have the same data. Data that cannot be read or
    split is refused here, before anything is trained."""
    if args.task == "text":
        name = "practice" if args.data == "auto" else args.data
        pairs = load_pairs(name, args.source_column, args.target_column, assets=args.assets, encoding=args.encoding)
        if pairs.form == "text":
            raise InputError(f"{name} is a plain text; a comparison needs pairs of a source and a target", "data")
        return name
    dataset = load_data(argparse.Namespace(**vars(args), seed=123, split_seed=None))
    if args.data != "auto":
        return args.data
    if dataset.name != "sms":
        print(dataset.notes[0], flush=True)
    return dataset.name


def fitting(rows: list[Row], settings: Settings | TextSettings, assets: str | None) -> list[Row]:
    """The rows that fit this comparison; prints which it leaves out. A base model that is not available is refused."""
    why = {row.name: row.why_not(settings.data, settings.protocol) for row in rows}
    if settings.task == "text":
        unable = [row for row in rows if METHODS[row.method].head_only and not why[row.name]]
        why |= {row.name: f"{row.method} trains a classification head only" for row in unable}
    if any(why.values()):
        left_out = ", ".join(f"{name} ({reason})" for name, reason in why.items() if reason)
        print(f"Left out, for this comparison has no place for them: {left_out}.", flush=True)
    chosen = [row for row in rows if not why[row.name]]
    for row in chosen:
        find_checkpoint(row.base(settings.model), assets)
    return chosen
