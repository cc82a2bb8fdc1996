"""The table of what each method can do: every probe on every method, what it costs, and the page that is made of it."""

import re

import torch

import peft
from common.markdown import DASH, operations, size, table
from comparison import probes
from comparison.taxonomy import MESSAGE_TOKENS, dissect, flops_without
from gpt2.config import SIZES
from gpt2.errors import InputError

PROBES = {  # function of comparison/probes.py -> its column on the page, and what it means there
    "merges": ("merges", "becomes plain weights without extra cost, and comes apart again bit for bit"),
    "exports": ("exports", "the result is a plain `transformers` model"),
    "becomes_a_lora": ("to LoRA", "its whole update can be written as a LoRA (`peft.anatomy.to_lora`)"),
    "saves_for_hugging_face": ("to HF", "the adapter file is in the layout of Hugging Face's `peft`"),
    "loads_from_hugging_face": ("from HF", "reads such a file without anything that only we write"),
    "shares_a_batch": ("one batch", "two adapters serve one batch, each its own messages"),
    "adds_up": ("adds up", "two adapters can be added by weights"),
    "starts_unchanged": ("starts unchanged", "before training the model answers as without it"),
    "trains_the_head": ("trains head", "trains the new classification head fully, by default"),
    "tunes_a_language_model": ("language model", "also without a classification head, to write texts"),
    "tunes_any_model": ("any model", "also a PyTorch model that is no GPT-2"),
    "changes_embeddings": ("embeddings", "can change the token embedding, by default or by `target_modules`"),
    "works_on_a_quantised_base": ("4 bits", "trains, saves and loads over linear layers in four bits"),
    "works_on_a_half_precision_base": ("bfloat16", "trains in float32 over a base in bfloat16"),
    "runs_on_packed_batches": ("packed", "packed batches give the same results as padded ones"),
    "runs_compiled": ("compiled", "`torch.compile` traces a block of it whole, with the same gradients"),
    "resumes_bit_for_bit": ("resumes", "an interrupted run ends at the same numbers"),
}
NEEDS = {  # what somebody may want -> the probe that decides
    "One adapter for each of many tasks, in one batch": "shares_a_batch",
    "The adapter in Hugging Face's `peft`": "saves_for_hugging_face",
    "A plain `transformers` model at the end": "exports",
    "Plain weights after training, and the adapter back at any time": "merges",
    "Adapters that can be added and subtracted": "adds_up",
    "A base in four bits": "works_on_a_quantised_base",
    "A model that is no GPT-2": "tunes_any_model",
    "A model that writes": "tunes_a_language_model",
}
NOTE = (
    "<!-- Written by scripts/probe_methods.py, from what docs/methods.json holds. Do not edit it by hand. -->\n\n"
    "Every ✓ was tried: `python scripts/probe_methods.py` puts each method into a tiny model and checks the numbers "
    "([scripts/comparison/probes.py](../scripts/comparison/probes.py)). How accurate the methods are is another "
    "question: [results](results/README.md)."
)


def find() -> dict[str, dict]:
    """Method -> what it costs at GPT-2 124M with two classes, and what it can do: True, or why not."""
    return {method: costs(method) | {"can": capabilities(method)} for method in peft.METHODS}


def costs(method: str) -> dict:
    """Operations are those of matrix products, per token of a short message, beyond those of the model itself."""
    found = dissect(SIZES["gpt2"], method)
    return {
        "family": found.family,
        "trained_parameters": found.trainable,
        "stored_bytes": found.stored_bytes,
        "extra_operations": round(found.extra_flops),
        "extra_operations_merged": round(found.extra_flops_merged),
    }


def capabilities(method: str) -> dict[str, bool | str]:
    """Name of each probe -> True, or the sentence with which the method refuses."""
    return {name: attempt(name, method) for name in PROBES}


def attempt(name: str, method: str) -> bool | str:
    """True, or why not. Anything but a refusal is a fault, and says where."""
    with torch.random.fork_rng(devices=[]):
        try:
            getattr(probes, name)(method)
        except InputError as refusal:
            return str(refusal)
        except Exception as fault:
            fault.add_note(f"{method}: probe {name}")
            raise
    return True


def page(found: dict[str, dict]) -> str:
    """docs/methods.md."""
    marks = [
        [f"`{method}`", *("✓" if able is True else DASH for able in one["can"].values())]
        for method, one in found.items()
    ]
    price = [
        [
            f"`{method}`",
            one["family"],
            f"{one['trained_parameters']:,}",
            size(one["stored_bytes"]),
            operations(one["extra_operations"]),
            operations(one["extra_operations_merged"]) if one["can"]["merges"] is True else DASH,
        ]
        for method, one in found.items()
    ]
    parts = [
        "# Which method should I use?",
        NOTE,
        "## By need",
        table(["you need", "methods"], needs(found)),
        "## What each can do",
        table(["method", *(column for column, _ in PROBES.values())], marks),
        "\n".join(f"- **{column}**: {meaning}." for column, meaning in PROBES.values()),
        "## What each costs",
        "At GPT-2 124M with two classes and default options. *Stored*: the numbers in the adapter file, without the "
        "zeros that Hugging Face's layout adds for the LoRA family. *Extra operations*: floating-point operations of "
        f"matrix products for each token of a message of {MESSAGE_TOKENS} tokens, before merging and after it; the "
        f"model itself needs {operations(flops_without(SIZES['gpt2'], 2) / MESSAGE_TOKENS)}.",
        table(["method", "family", "trained parameters", "stored", "extra operations", "merged"], price),
        "## Why not",
        "What the methods say themselves; *it* is the method.",
        *refusals(found),
    ]
    return "\n\n".join(parts) + "\n"


def needs(found: dict[str, dict]) -> list[list[str]]:
    """Rows: a need, and the methods that meet it."""
    free = [method for method, one in found.items() if cheapest(one) == 0]
    small = sorted(found, key=lambda method: found[method]["stored_bytes"])[:5]
    few = sorted(found, key=lambda method: found[method]["trained_parameters"])[:5]
    by_probe = {need: [m for m, one in found.items() if one["can"][probe] is True] for need, probe in NEEDS.items()}
    rows = {
        "No extra operations at inference (merged, where it can be)": free,
        "A small file": small,
        "Few trained parameters": few,
    } | by_probe
    return [[need, names(methods, list(found))] for need, methods in rows.items()]


def cheapest(one: dict) -> int:
    """Extra operations at inference, merged where that is possible."""
    return one["extra_operations_merged" if one["can"]["merges"] is True else "extra_operations"]


def names(methods: list[str], every: list[str]) -> str:
    """A list of methods; of many, the ones that are not in it."""
    others = [method for method in every if method not in methods]
    if not others:
        return "all"
    short = len(others) <= 5
    return ("all but " if short else "") + ", ".join(f"`{method}`" for method in (others if short else methods))


def refusals(found: dict[str, dict]) -> list[str]:
    """A paragraph for each column with a gap: each reason once, with the methods that give it."""
    paragraphs = []
    for probe, (column, _) in PROBES.items():
        reasons: dict[str, list[str]] = {}
        for method, one in found.items():
            if (why := one["can"][probe]) is not True:
                reasons.setdefault(re.sub(rf"^{method} (?!')", "it ", why), []).append(method)
        lines = [f"- {', '.join(f'`{m}`' for m in methods)}: {reason}." for reason, methods in reasons.items()]
        if lines:
            paragraphs.append(f"**{column}**\n\n" + "\n".join(lines))
    return paragraphs
