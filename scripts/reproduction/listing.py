"""The rows in words, and the table of ``reproduce.py --list``."""

import pandas as pd
import torch

from common.markdown import counted
from gpt2.devices import choose_device, describe
from reproduction.costs import SHARE, cost_of, duration, machine_speed, seconds_expected
from reproduction.rows import SIZES, SPLITS, Row, every_row, rows

READS = {
    "last-position": "last position",
    "last": "last real token",
    "first": "first token",
    "mean-positions": "mean of all positions",
}


def trains(row: Row) -> str:
    """What a row trains, in words."""
    if not row.trains:
        return "nothing"
    if row.method == "lora":
        return f"LoRA on every linear layer, rank {row.options['rank']}, alpha {row.options['alpha']:g}"
    if row.method == "selective":
        blocks = "last block" if row.options["blocks"] == 1 else f"last {row.options['blocks']} blocks"
        return f"{blocks}, final norm, head"
    return {"head": "head", "full": "everything"}[row.method]


def scale(row: Row) -> str:
    """The convention by which a LoRA row scales its update, with the factor it gives; empty for other rows."""
    if row.method != "lora":
        return ""
    alpha, rank = row.options["alpha"], row.options["rank"]
    factor = {"alpha": alpha, "alpha/rank": alpha / rank, "alpha/sqrt(rank)": alpha / rank**0.5}[row.options["scaling"]]
    return f"{row.options['scaling']} = {factor:g}"


def size_of(row: Row) -> str:
    """124M, 355M, 774M or 1558M."""
    return next(size.upper() for size, model in SIZES.items() if model == row.model)


def padded(row: Row) -> str:
    """How long the messages of a row are made."""
    return {"longest": "padded to 120", "none": "not padded"}.get(row.padding, f"padded to {row.max_length:,}")


def peculiar(row: Row) -> list[str]:
    """What is special about a row's data, weights, mask, batches or epochs."""
    found = [] if row.data == "sms" else ["film reviews"]
    found += [] if row.pretrained else ["random weights"]
    found += [] if row.causal else ["no causal mask"]
    if row.padding == "none":
        batches = f", gradients of {row.accumulate} summed" if row.accumulate > 1 else ""
        found.append(f"batches of one{batches}")
    found += [counted(row.epochs, "epoch")] if row.trains and row.epochs != 5 else []
    found += ["80 messages of each part"] if not row.trains else []
    return [*found, f"the same settings as {row.same_as}"] if row.same_as else found


def words(row: Row) -> str:
    """All settings of a row in one line."""
    start = f"A {row.options['init'].split('-')[0]}" if row.method == "lora" else ""
    return "; ".join(filter(None, [trains(row), start, f"reads {READS[row.pooling]}, {padded(row)}", *peculiar(row)]))


def special(row: Row) -> str:
    """What sets a row apart, in a few words."""
    reads = {"last": "last real token", "first": "first token", "mean-positions": "mean of positions"}
    trained = {"full": "everything", "head": "head" if row.trains else "untuned, 80 messages"}.get(row.method)
    if row.method == "selective":
        trained = f"last {row.options['blocks']} blocks" if row.options["blocks"] > 1 else "last block"
    elif row.method == "lora":
        trained = f"LoRA, rank {row.options['rank']}, scale {scale(row).split(' = ')[1]}"
    parts = [
        size_of(row),
        trained,
        reads.get(row.pooling) if row.padding != "none" else None,
        {"context": padded(row), "none": "no padding"}.get(row.padding),
        f"{row.accumulate} gradients summed" if row.accumulate > 1 else None,
        None if row.pretrained else "random weights",
        None if row.causal else "no causal mask",
        f"as {row.same_as}" if row.same_as else None,
    ]
    return ", ".join(part for part in parts if part)


def published(row: Row) -> str:
    """The published accuracies of training, validation and test messages, in percent."""
    shares = [row.published[part] for part in SPLITS]
    return " ".join("     –" if share is None else f"{100 * share:6.2f}" for share in shares)


def listing(device_name: str) -> str:
    """A line a row, and what the columns mean."""
    device = choose_device(device_name)
    speed = machine_speed(device)
    lines = []
    for row in every_row().values():
        costs = cost_of(row)
        lines.append(
            {
                "row": row.id,
                "model": size_of(row),
                "parameters trained": f"{costs.trained:,}",
                "time": duration(seconds_expected(costs.operations, speed)),
                "memory": f"{costs.memory_mb / 1000:.1f} GB",
                "published: train, val., test": published(row),
                "LoRA's scale": scale(row),
                "settings": words(row),
            }
        )
    return f"{aligned(pd.DataFrame(lines))}\n\n{explained(device, speed)}"


def explained(device: torch.device, speed: float) -> str:
    """What is below the table."""
    return (
        f"{len(rows())} rows on SMS spam, {len(rows('imdb'))} on film reviews. Where not said otherwise: pretrained "
        "weights, 5 epochs, batches of 8, learning rate 5e-05, weight decay 0.1.\n"
        f"Time is a rough estimate for {describe(device)}: the row's multiplications and additions, at {SHARE:.0%} of "
        f"the {speed / 1e9:,.0f} GFLOP/s of a large matrix product\nhere (just "
        "measured). It can be wrong by a factor of two; on a GPU, small batches take longer. Memory is an estimate "
        "too.\nStart some with --rows, such as --rows book-ch6,extra-16 or --rows 124m or --rows imdb."
    )


def aligned(table: pd.DataFrame) -> str:
    """Text columns to the left, numbers to the right."""
    right = ("parameters trained", "time", "memory", "published: train, val., test")
    widths = {name: max(len(name), int(table[name].str.len().max())) for name in table}

    def line(cells: list[str]) -> str:
        pairs = zip(table, cells, strict=True)
        return "  ".join(f"{c:>{widths[n]}}" if n in right else f"{c:<{widths[n]}}" for n, c in pairs).rstrip()

    return "\n".join([line(list(table)), *(line(list(cells)) for cells in table.itertuples(index=False))])
