"""Pretrain a GPT-2 of any size on text files: the script that makes the practice model.

    python scripts/pretrain.py --texts my_books/ --steps 2000 --sampled 4096         # from a random start
    python scripts/pretrain.py --texts my_books/ --steps 500 --from practice         # from these weights
    python scripts/pretrain.py --texts a.txt b.xz --layers 4 --width 128 --heads 4 --context 128 --steps 1000
    torchrun --nproc-per-node 2 scripts/pretrain.py --texts my_books/ --steps 2000   # two cores, or two GPUs

A step reads batch-size x accumulate x context tokens. How many steps? Twenty tokens per parameter spend a given amount
of computing best (Hoffmann et al., 2022); beyond a few times through the same text the held-out loss rises again.
On a CPU, one process a core with OMP_NUM_THREADS=1 is faster than one process with many threads.

Every --every steps the run evaluates, writes a sample and a checkpoint. Interrupted, the same command with the same
--out resumes from there, exactly as if it had never stopped. The folder then holds model/ (scripts/generate.py --model
reads it), config.json, metrics.json, history.csv, curves.png and samples.txt.
"""

import argparse
import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from common import cli

if TYPE_CHECKING:
    import torch


def main(argv: list[str]) -> None:
    args = parse(argv)

    from gpt2.devices import choose_device, keep_freed_memory
    from gpt2.training.distributed import process_group

    keep_freed_memory()
    with process_group(choose_device(args.device)) as device, contextlib.ExitStack() as stack:
        pretrain_on(device, args, stack)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    positive, default = cli.positive_int, "(default: %(default)s)"

    text = parser.add_argument_group("text")
    add = text.add_argument
    add(
        "--texts",
        nargs="+",
        metavar="PATH",
        help=".txt, .gz and .xz files, or folders of them; a line <|endoftext|> separates documents "
        "(default: the folder corpus/ of --assets)",
    )
    add("--assets", metavar="FOLDER", help="default: the environment variable GPT2_PEFT_ASSETS")
    add("--held-out", type=float, default=0.01, metavar="SHARE", help=f"of the text, to measure on {default}")
    add("--cache", metavar="FOLDER", help="where the token files are kept (default: data/cache)")

    model = parser.add_argument_group("model")
    add = model.add_argument
    add("--model", default="practice", metavar="SIZE", help=f"shape: practice, gpt2, gpt2-medium, … {default}")
    for option, what in (("layers", "blocks"), ("width", "dimensions"), ("heads", "heads"), ("context", "tokens")):
        add(f"--{option}", type=positive, metavar="N", help=f"so many {what} instead of the size's")
    add("--from", dest="start", metavar="NAME|PATH", help="start from these weights (default: random ones)")

    steps = parser.add_argument_group("training")
    add = steps.add_argument
    add("--steps", type=positive, required=True, metavar="N", help="of the whole run: the schedule follows from it")
    add("--batch-size", type=positive, default=8, metavar="N", help=f"windows computed at a time {default}")
    add("--accumulate", type=positive, default=8, metavar="N", help=f"batches a step, over all processes {default}")
    add("--lr", type=float, default=1e-3, help=f"AdamW's learning rate at its highest {default}")
    add("--warmup", type=float, default=0.02, metavar="SHARE", help=f"of the steps, in which it rises {default}")
    add("--final-lr", type=float, default=0.05, metavar="SHARE", help=f"of --lr, to which it falls {default}")
    add("--weight-decay", type=float, default=0.1, help=f"of matrices {default}")
    add(
        "--sampled",
        type=int,
        default=0,
        metavar="K",
        help="train with a softmax over K sampled words, which makes a small model on a CPU several times faster; "
        "see gpt2/training/sampled_softmax.py (default: %(default)s, the full softmax)",
    )
    add(
        "--full-share",
        type=float,
        default=0.15,
        metavar="SHARE",
        help=f"of the steps, the last ones, that use the full softmax after --sampled {default}",
    )
    add("--seed", type=cli.seed, default=123, help=f"same seed, same model, on the same kind of machine {default}")

    machine = parser.add_argument_group("running")
    add = machine.add_argument
    add("--every", type=positive, default=100, metavar="N", help=f"steps to the next evaluation, checkpoint {default}")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: a GPU if any")
    add(
        "--precision",
        default="auto",
        choices=("auto", "float32", "bfloat16"),
        help="of matrix products; auto: bfloat16 on GPUs that can. CPUs with avx512_bf16 gain from it too",
    )
    add("--compile", action="store_true", help="torch.compile: takes a minute, then steps are faster, mostly on GPUs")
    add("--prompt", default="", help="what the samples continue")
    add("--out", metavar="FOLDER", help="default: runs/<date>-pretrain; an interrupted run resumes")
    return parser.parse_args(argv)


def pretrain_on(device: "torch.device", args: argparse.Namespace, stack: contextlib.ExitStack) -> None:
    """The run, in one process of possibly several; only the main one prints and writes. ``stack`` keeps its lock."""
    import torch

    from common.pretraining_run import PretrainingRun
    from common.pretraining_setup import find_texts, make_model, make_recipe
    from common.runs import new_folder
    from data.corpus import CACHE, load_corpus
    from gpt2.checkpoints.fingerprints import fingerprint
    from gpt2.tokenizer import get_tokenizer
    from gpt2.training.distributed import agree, is_main, main_first
    from gpt2.training.pretraining import PretrainingProgress, pretrain, pretraining_optimizer
    from gpt2.training.runs import STATE_FILE, load_state, locked, open_run, versions
    from gpt2.training.windows import Windows

    recipe, texts = make_recipe(args, device), find_texts(args)
    torch.manual_seed(args.seed)  # the random start
    model = make_model(args)
    with main_first():
        corpus = load_corpus(texts, get_tokenizer(), Path(args.cache or CACHE), args.held_out)
    windows = Windows(corpus.train, model.config.n_positions, args.seed)
    model.to(device)
    optimizer, progress = pretraining_optimizer(model, recipe), PretrainingProgress()
    config = {"texts": corpus.meta["sources"], "held_out": args.held_out, "start": args.start}
    config |= dataclasses.asdict(model.config) | dataclasses.asdict(recipe) | {"device": device.type}
    config |= {"base_sha256": fingerprint(model) if args.start else None, "versions": versions()}
    folder = Path(args.out or agree(str(new_folder("pretrain"))))
    with main_first():
        if is_main():
            stack.enter_context(locked(folder))
        resuming = open_run(folder, config)
    if resuming:
        progress = load_state(folder / STATE_FILE, model, optimizer, PretrainingProgress)

    run = PretrainingRun(model, optimizer, recipe, corpus, folder, args.prompt) if is_main() else None
    if run:
        run.describe()
        if resuming:
            run.saved = progress.step
            print(f"Resuming after step {progress.step:,}.", flush=True)
    try:
        text = windows, corpus.held_out, corpus.bytes_per_token()
        after_evaluation = run.after_evaluation if run else lambda progress: None
        final = pretrain(model, *text, recipe, optimizer, progress, args.compile, after_evaluation)
        if run:
            run.finish(progress, final)
    except BaseException as error:
        if run:
            run.stopped(error, progress)
        raise


if __name__ == "__main__":
    cli.run(main)
