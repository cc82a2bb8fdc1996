"""Measure how fast fine-tuning is: ours, beside the plainly written recipe and the production library.

    python scripts/benchmark.py --model practice --methods lora --steps 20     # a first look, in a minute
    python scripts/benchmark.py --out docs/performance.md                      # GPT-2 124M: an hour on two cores
    python scripts/benchmark.py --methods lora full --scaling --generation --out docs/performance.md
    python scripts/benchmark.py --model practice --methods --writing           # learning to write, nothing else

For each method, three arms train on the same messages, with the same rank, each in a process of its own:

  published            the reference recipe (Raschka, 2024), straightforward: all messages padded to the longest,
                       every position through every layer, plain AdamW
  transformers + peft  Hugging Face's, at their best common settings: length-grouped batches padded to their longest
                       message, SDPA attention, fused AdamW (left out where they are not installed)
  ours                 what finetune_spam.py does by default, on the very same batches as the library

They take turns in rounds; the others wait. Then ours is measured again, beside ours with one idea switched off
at a time: what that idea brings. `published` costs the same at each step, so it runs a sixth of the steps, the switches
a third, and both are scaled to an epoch. Where blocks are frozen, ours computes them once: all arms then make a second
pass over the same batches, and five epochs count as the first and four like the second.

Everything runs on the CPU in float32. Speed does not depend on the weights' values, so random ones serve; the losses
are compared too. Leave the machine alone meanwhile, and watch the memory: all arms of a method are loaded at once, and
GPT-2 124M takes up to 4 GB an arm.
"""

import argparse
import datetime
import shlex
import sys
import tempfile
from pathlib import Path

from common import cli
from gpt2.errors import InputError

METHODS = ("lora", "selective", "head", "full")
TABLES = "1000,10000,100000"


def main(argv: list[str]) -> None:
    args = parse(argv)
    if sys.platform == "win32":
        raise InputError("the benchmark reads peak memory as Linux and macOS tell it; run it there (or in WSL)")

    import torch

    from benchmarking.report import check_target, render, write
    from benchmarking.sections import model_folder, sections
    from common.machine import machine
    from gpt2.checkpoints.weights import read_config, weight_files
    from gpt2.devices import fit_threads

    if args.out:
        check_target(Path(args.out))  # before the hour, not after it
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        checkpoint = model_folder(args.model, args.assets, Path(name))
        config = read_config(checkpoint, weight_files(checkpoint))
        fit_threads(config.n_embd)
        results = {
            "command": shlex.join(["python", "scripts/benchmark.py", *argv]),
            "date": str(datetime.date.today()),
            "machine": machine() | {"threads": torch.get_num_threads()},
            "model": args.model,
            "shape": {"n_layer": config.n_layer, "n_embd": config.n_embd},
        }
        for section, part in sections(args, checkpoint, config, Path(name), results):
            results.setdefault(section, {}).update(part)
            if args.out:
                write(Path(args.out), results)  # after each part: interrupted, it leaves what was measured
    print(render(results))
    if args.out:
        print(f"Report in {args.out}", flush=True)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--methods",
        nargs="*",
        choices=METHODS,
        default=["lora", "selective", "head"],
        metavar="NAME",
        help=f"of {', '.join(METHODS)}; with nothing behind it none (default: lora selective head)",
    )
    parser.add_argument(
        "--model",
        default="random:gpt2",
        metavar="NAME|PATH",
        help="random:SIZE (random weights of a published size, no download), a name such as gpt2 or practice, or a "
        "folder in the Hugging Face layout (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        default="auto",
        metavar="auto|sms|practice|FILE.csv|FILE.tsv",
        help="auto: the SMS Spam Collection if available, else practice (default: %(default)s)",
    )
    parser.add_argument(
        "--assets", metavar="FOLDER", help="local folder to look in before any download, as for finetune_spam.py"
    )
    parser.add_argument(
        "--steps",
        type=cli.positive_int,
        metavar="N",
        help="of an epoch, for ours and the library (default: all, and 48 of --writing)",
    )
    parser.add_argument(
        "--rounds", type=cli.positive_int, default=4, metavar="N", help="turns of each arm (default: %(default)s)"
    )
    parser.add_argument(
        "--scaling",
        nargs="?",
        const=TABLES,
        type=table_sizes,
        metavar="N,N,…",
        help=f"also time and memory against the number of messages, practice model (without numbers: {TABLES})",
    )
    parser.add_argument("--profile", action="store_true", help="also where the time of our steps goes")
    parser.add_argument("--generation", action="store_true", help="also tokens a second of writing")
    parser.add_argument(
        "--scoring",
        nargs="?",
        const=10_000,
        type=cli.positive_int,
        metavar="N",
        help="also classifying N messages, beside transformers' pipeline on the exported model (without N: 10000)",
    )
    parser.add_argument(
        "--writing",
        nargs="?",
        const="practice",
        metavar="practice|e2e",
        help="also learning to write from these pairs, LoRA and full fine-tuning, beside the library (without a name: "
        "practice)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE.md",
        help="write the report there, between two marks if the file exists, and raw numbers to results/ beside it",
    )
    args = parser.parse_args(argv)
    if not (args.methods or args.scaling or args.generation or args.scoring or args.writing):
        parser.error("nothing to measure: name --methods, --scaling, --generation, --scoring or --writing")
    args.methods = list(dict.fromkeys(args.methods))
    return args


def table_sizes(text: str) -> list[int]:
    """``1000,10000``: two numbers of messages or more, each larger than the one before."""
    sizes = [cli.positive_int(number.strip()) for number in text.split(",")]
    if len(sizes) < 2 or sizes != sorted(set(sizes)) or sizes[0] < 20:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a rising list of at least two numbers from 20, such as 50,500"
        )
    return sizes


if __name__ == "__main__":
    cli.run(main)
