"""How many messages does a method need? Train with 8, 16, 32 … all of them, beside TF-IDF and random weights.

    python scripts/data_sizes.py
    python scripts/data_sizes.py --methods lora,full --seeds 5 --jobs 2

Leaves results.csv and random.csv, a row a training, and report.md with its picture. Interrupted, the same command
resumes.
"""

import argparse
import shlex
from pathlib import Path

from common import cli

RANDOM_METHODS = ("lora", "full")  # of those asked for, also from random weights


def main(argv: list[str]) -> None:
    args = parse(argv)
    checkpoint = cli.choose_model(args)

    import pandas as pd

    import peft
    from common.machine import machine
    from comparison.runs import seeds, without_folders
    from data import load_dataset
    from gpt2 import load_gpt2
    from gpt2.files import write_json
    from gpt2.training.run_files import read_json
    from gpt2.training.runs import locked
    from tuning.sizes import RANDOM, evenly, sizes_of, tfidf_rows, write_report
    from tuning.trials import ClassifierBench, Trial, carry_out, check_same

    out = Path(args.out)
    record, settings = out / "study.json", {"model": checkpoint.source}
    check_same(out, read_json(record), settings)
    datasets = {seed: evenly(load_dataset("sms", "grouped", seed, args.assets)) for seed in seeds(args.seeds)}
    sizes = sizes_of(len(next(iter(datasets.values())).train), args.factor)

    shape = load_gpt2(checkpoint.source, args.assets).config

    def trials(methods: list[str]) -> list[Trial]:
        return [
            Trial(method, peft.METHODS[method].learning_rate(shape.n_embd), args.steps, seed, "", seed, size)
            for seed in datasets
            for size in sizes
            for method in methods
        ]

    judged = {"assets": args.assets, "datasets": datasets, "part": "test"}
    with locked(out):
        write_json(record, {"settings": settings})
        bench = ClassifierBench(**judged, model=checkpoint.source)
        pretrained = carry_out(bench, trials(args.methods), out / "results.csv", args.jobs)
        bench = ClassifierBench(**judged, model=f"random:{checkpoint.source}")
        random = carry_out(
            bench, trials([m for m in RANDOM_METHODS if m in args.methods]), out / "random.csv", args.jobs
        )
    random = random.assign(method=random.method + f", {RANDOM}")
    pretrained, random = (rows[rows.n_train.isin(sizes)] for rows in (pretrained, random))
    rows = pd.concat([tfidf_rows(datasets, sizes), pretrained, random], ignore_index=True)
    about = machine()
    facts = {
        "command": without_folders("python scripts/data_sizes.py " + shlex.join(argv)),
        "model": Path(checkpoint.source).name,
        "seeds": ", ".join(map(str, datasets)),
        "steps": args.steps,
        "machine": f"{about['processor']}, PyTorch {about['torch']}",
    }
    print(f"Report in {write_report(out, rows[['method', 'split', 'n_train', 'accuracy', 'f1']], facts)}", flush=True)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--methods",
        type=cli.methods,
        default="head,selective,lora,ia3,prompt,full",
        metavar="NAME,…",
        help="default: %(default)s",
    )
    parser.add_argument("--seeds", type=cli.positive_int, default=3, metavar="N", help="default: %(default)s")
    cli.add_model_arguments(parser, default="practice")
    parser.add_argument(
        "--steps", type=cli.positive_int, default=300, help="of each training, at least (default: %(default)s)"
    )
    parser.add_argument(
        "--factor", type=factor, default=2, metavar="N", help="each size N times the one before (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=cli.positive_int, default=1, metavar="N", help="trainings at a time")
    parser.add_argument("--out", default="runs/data_sizes", metavar="FOLDER", help="default: %(default)s")
    args = parser.parse_args(argv)
    parser.refuse_unused(args, False, "here, for trials are trained on the CPU", "device")
    return args


def factor(text: str) -> int:
    """Type of an option: a whole number of at least 2."""
    if cli.positive_int(text) < 2:
        raise argparse.ArgumentTypeError("sizes grow by a factor of at least 2")
    return int(text)


if __name__ == "__main__":
    cli.run(main)
