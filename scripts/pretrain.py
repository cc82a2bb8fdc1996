"""Pretrain a GPT-2 of any size on text files: the script that made the practice model.

    python scripts/pretrain.py --texts my_books/ --steps 2000                        # from a random start
    python scripts/pretrain.py --texts my_books/ --steps 500 --from practice         # go on from weights
    python scripts/pretrain.py --texts a.txt b.xz --layers 4 --width 128 --heads 4 --context 128 --steps 1000
    torchrun --nproc-per-node 2 scripts/pretrain.py --texts my_books/ --steps 2000   # the same run, on two cores or GPUs

A step reads batch-size x accumulate x context tokens; 20 tokens per parameter are a common measure (Hoffmann et al., 2022).
Every --every steps the run is evaluated, writes a sample and a checkpoint; interrupted, the same command with the same
--out goes on from there, exactly as if it had never stopped. Leaves in runs/FOLDER: model/ (load_gpt2 reads it),
metrics.json, history.csv, curves.png, samples.txt.
"""

import argparse
import dataclasses
import datetime
from pathlib import Path

import _cli


def main(argv: list[str]) -> None:
    args = parse(argv)

    import torch

    from gpt2.devices import choose_device
    from gpt2.distributed import process_group

    torch.set_float32_matmul_precision("high")  # TF32, on GPUs that have it
    with process_group(choose_device(args.device)) as device:
        pretrain_on(device, args)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = _cli.Parser(description=__doc__)
    add = parser.add_argument
    add(
        "--texts",
        nargs="+",
        metavar="PATH",
        help=".txt, .gz, .xz files, or folders of them (default: the folder corpus/ in the assets folder); "
        "a line <|endoftext|> separates documents",
    )
    add("--assets", metavar="FOLDER", help="default: the environment variable GPT2_PEFT_ASSETS")
    add("--model", default="practice", metavar="SIZE", help="shape: practice, gpt2, … gpt2-xl (default: %(default)s)")
    for option, what in (("layers", "blocks"), ("width", "n_embd"), ("heads", "a block"), ("context", "tokens")):
        add(f"--{option}", type=_cli.positive_int, metavar="N", help=f"another shape than the size's: {what}")
    add("--from", dest="start", metavar="NAME|PATH", help="start from these weights, and their shape (default: random)")
    add("--steps", type=_cli.positive_int, required=True, metavar="N", help="steps of the whole run; sets the schedule")
    add("--batch-size", type=_cli.positive_int, default=8, metavar="N", help="windows at a time (default: %(default)s)")
    add(
        "--accumulate",
        type=_cli.positive_int,
        default=8,
        metavar="N",
        help="batches a step, shared by all processes (default: %(default)s)",
    )
    add("--lr", type=float, default=1e-3, help="highest step size (default: %(default)s)")
    add("--warmup", type=float, default=0.02, metavar="SHARE", help="of the steps (default: %(default)s)")
    add("--final-lr", type=float, default=0.05, metavar="SHARE", help="of --lr, at the end (default: %(default)s)")
    add("--weight-decay", type=float, default=0.1, help="of matrices (default: %(default)s)")
    add(
        "--sampled",
        type=int,
        default=0,
        metavar="K",
        help="train with a softmax over K sampled words, several times faster for small models on a CPU, see "
        "gpt2/sampled_softmax.py (default: %(default)s, the full softmax)",
    )
    add(
        "--full-share",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="the last part of the steps that has the full softmax all the same (default: %(default)s)",
    )
    add("--every", type=_cli.positive_int, default=100, metavar="N", help="steps to evaluation and checkpoint")
    add("--precision", default="auto", choices=("auto", "float32", "bfloat16"), help="auto: bfloat16 on GPUs that can")
    add("--compile", action="store_true", help="torch.compile: a minute to start, then faster, on GPUs")
    add("--seed", type=int, default=123, help="same seed, same model on the same machine (default: %(default)s)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    add("--prompt", default="", help="what the samples continue")
    add("--out", metavar="FOLDER", help="default: runs/<date>-pretrain; an interrupted run goes on")
    return parser.parse_args(argv)


def pretrain_on(device, args: argparse.Namespace) -> None:
    """The run in one process of possibly several; only the main one prints and writes."""
    import torch

    from data.corpus import load_corpus
    from gpt2.distributed import is_main
    from gpt2.pretraining import Progress, Recipe, make_optimizer, pretrain
    from gpt2.runs import STATE_FILE, load_state, open_run
    from gpt2.tokenizer import get_tokenizer

    precision = args.precision
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    names = {field.name for field in dataclasses.fields(Recipe)}
    settings = {name: value for name, value in vars(args).items() if name in names}
    recipe = Recipe(**settings | {"evaluate_every": args.every, "precision": precision})
    corpus = main_first(lambda: load_corpus(find_texts(args), get_tokenizer()))
    torch.manual_seed(args.seed)  # a random start
    model = make_model(args).to(device)
    optimizer, progress = make_optimizer(model, recipe), Progress()
    config = {
        "model": dataclasses.asdict(model.config),
        "start": args.start,
        "texts": corpus.meta["sources"],
        **dataclasses.asdict(recipe),
        "device": device.type,
    }
    folder = Path(args.out or f"runs/{datetime.datetime.now():%Y-%m-%d-%H%M%S}-pretrain")
    resuming = main_first(lambda: open_run(folder, config))
    if resuming:
        progress = load_state(folder / STATE_FILE, model, optimizer, Progress)

    from _pretraining_run import PretrainingRun

    run = PretrainingRun(model, optimizer, recipe, corpus, folder, args.prompt)
    if is_main():
        run.describe(resuming, progress)
    pretrain(
        model,
        corpus.train,
        corpus.held_out,
        corpus.bytes_per_token(),
        recipe,
        optimizer,
        progress,
        args.compile,
        run.after_evaluation if is_main() else lambda progress: None,
    )
    if is_main():
        run.finish(progress)


def main_first(work):
    """Let the main process do it while the others wait; then they find it done."""
    import torch.distributed as dist

    from gpt2.distributed import is_main, world_size

    result = work() if is_main() else None
    if world_size() > 1:
        dist.barrier()
    return result if is_main() else work()


def find_texts(args: argparse.Namespace) -> list[Path]:
    from gpt2.errors import InputError
    from gpt2.hub import assets_folder

    if args.texts:
        return [Path(text) for text in args.texts]
    assets = assets_folder(args.assets)
    if assets is None or not (assets / "corpus").is_dir():
        raise InputError("which texts? name files or folders with --texts")
    return [assets / "corpus"]


def make_model(args: argparse.Namespace):
    """The weights of --from, or a random model of the shape asked for."""
    from gpt2 import GPT2
    from gpt2.config import SIZES
    from gpt2.errors import InputError
    from gpt2.weights import load_gpt2

    shape = {"n_layer": args.layers, "n_embd": args.width, "n_head": args.heads, "n_positions": args.context}
    shape = {name: value for name, value in shape.items() if value is not None}
    if args.start:
        if shape:
            raise InputError("--from brings its own shape; leave out --layers, --width, --heads and --context")
        return load_gpt2(args.start, args.assets)
    if args.model not in SIZES:
        raise InputError(f"unknown size {args.model!r}; choose one of {', '.join(SIZES)}")
    return GPT2(dataclasses.replace(SIZES[args.model], **shape))


if __name__ == "__main__":
    _cli.run(main)
