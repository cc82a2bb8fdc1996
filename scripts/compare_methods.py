"""Compare fine-tuning methods: the same messages, the same splits, several seeds, one table.

    python scripts/compare_methods.py --methods head,lora,full --seeds 3
    python scripts/compare_methods.py --protocol published --out results/published --jobs 2
    python scripts/compare_methods.py --rank-sweep --out results/strict          # adds LoRA at ranks 1 to 64
    python scripts/compare_methods.py --out results/strict --report-only         # the report again, from the runs

One accuracy depends on its split: of 300 test messages one standard error is 1.2 points. So every method is run
with several seeds, each seed draws another split, and all methods with one seed see the same messages, which lets them
be compared message by message.

The results folder has results.csv, report.md with its pictures, and a run folder for each method and seed. The same
command resumes where it stopped: finished runs are not repeated, more --methods or --seeds add to what is there.
"""

import argparse
import shlex
from pathlib import Path

from common import cli
from gpt2.errors import RunError


def main(argv: list[str]) -> None:
    args = parse(argv)
    checkpoint = cli.choose_model(args)

    from common.machine import machine
    from comparison.forgetting import find_texts
    from comparison.runs import Settings, carry_out, finished_runs, main_runs, open_comparison, sweep_runs
    from gpt2.training.runs import locked

    out = Path(args.out)
    failures: dict[str, str] = {}
    find_texts(args.general_text, args.assets)  # a file that is not there is refused before anything is trained
    if not args.report_only:
        data = choose_data(args)
        settings = Settings(
            checkpoint.source,
            data,
            args.protocol,
            args.epochs,
            args.text_column,
            args.label_column,
            args.device,
            args.group_near_duplicates,
            args.group_column,
        )
        runs = main_runs(args.methods, args.seeds) + (sweep_runs(args.seeds) if args.rank_sweep else [])
        with locked(out):
            open_comparison(out, settings, "python scripts/compare_methods.py " + shlex.join(argv), machine())
            failures = carry_out(out, runs, settings, args.assets, args.jobs)
    if finished_runs(out) or args.report_only:
        from comparison.report import write_report
        from comparison.results import collect

        file = write_report(out, collect(out, args.assets, args.general_text), args.check_memory)
        print(f"Report in {file}; a row for each run in {out / 'results.csv'}", flush=True)
    if failures:
        raise RunError(f"{len(failures)} of {len(runs)} runs failed: {', '.join(failures)}; see their output.txt")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--methods", type=cli.methods, default="all", metavar="NAME,…", help="such as head,lora,full (default: all)"
    )
    parser.add_argument(
        "--seeds", type=cli.positive_int, default=3, metavar="N", help="seeds 123, 124, … (default: %(default)s)"
    )
    cli.add_model_arguments(parser, default="practice")
    cli.add_data_arguments(parser, protocol="strict")
    parser.add_argument("--epochs", type=cli.positive_int, default=5, help="of each run (default: %(default)s)")
    parser.add_argument("--out", default="runs/comparison", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--jobs",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="runs at a time, each with its share of the CPU's threads (default: %(default)s)",
    )
    parser.add_argument("--rank-sweep", action="store_true", help="also LoRA and rsLoRA at ranks 1, 2, 4, … 64")
    parser.add_argument("--report-only", action="store_true", help="train nothing; write the report from what is there")
    parser.add_argument(
        "--general-text",
        metavar="FILE",
        help="English text (UTF-8, .xz too) to measure forgetting on (default: FOLDER/corpus/*.txt.xz of --assets)",
    )
    parser.add_argument(
        "--check-memory",
        action="store_true",
        help="measure real training steps, up to GPT-2 124M, beside the memory arithmetic (minutes, 3 GB)",
    )
    return parser.parse_args(argv)


def choose_data(args: argparse.Namespace) -> str:
    """The data's name; what ``auto`` stands for is settled once, for all runs alike. Data that cannot be read or split
    is refused here, before anything is trained."""
    from data import load_dataset

    dataset = load_dataset(
        args.data,
        args.protocol,
        assets=args.assets,
        text_column=args.text_column,
        label_column=args.label_column,
        group_near_duplicates=args.group_near_duplicates,
        group_column=args.group_column,
    )
    if args.data != "auto":
        return args.data
    if dataset.name != "sms":
        print(dataset.notes[0], flush=True)
    return dataset.name


if __name__ == "__main__":
    cli.run(main)
