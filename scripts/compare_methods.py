"""Compare fine-tuning methods: the same data, the same splits, several seeds, one table.

    python scripts/compare_methods.py --methods head,lora,full --seeds 3
    python scripts/compare_methods.py --protocol published --out results/published --jobs 2
    python scripts/compare_methods.py --experiments experiments --out results/published      # adds rows of your own
    python scripts/compare_methods.py --experiments experiments/ranks --out results/strict   # LoRA at ranks 1 to 64
    python scripts/compare_methods.py --out results/strict --report-only         # the report again, from the runs
    python scripts/compare_methods.py --task text --data e2e --epochs 1 --out results/e2e

Classification (default): an accuracy depends on its split. On 300 test messages, an accuracy of 95 % has a standard
error of 1.3 points. So every method runs with several seeds, and each seed draws another split. With one seed all
methods see the same messages, so they can be compared message by message.

--task text: every method but head learns to write from pairs (finetune_text.py); --data is practice, e2e or a file of
pairs. The report gives BLEU and other measures, beside those of the model before training and of the nearest training
source. The pairs are the same with each seed.

The results folder has results.csv, report.md with its pictures (and outputs.md with texts), and a run folder for each
row and seed. An interrupted command resumes when it is repeated, and finished runs are kept. More --methods,
--experiments or --seeds add rows or runs. experiments/README.md says how to write a row.
"""

import argparse
import dataclasses
import shlex
from pathlib import Path

from common import cli
from common.pair_arguments import add_text_arguments
from gpt2.errors import RunError


def main(argv: list[str]) -> None:
    args = parse(argv)
    checkpoint = cli.choose_model(args)

    from common.machine import machine
    from comparison.choosing import choose_data, fitting
    from comparison.forgetting import find_texts, windows
    from comparison.rows import Row, read_rows
    from comparison.runs import all_runs, carry_out, finished_runs, open_comparison
    from comparison.settings import Settings, TextSettings
    from gpt2.training.runs import locked

    out = Path(args.out)
    failures: dict[str, str] = {}
    texts = find_texts(args.general_text, args.assets)
    if not args.report_only:
        if args.general_text:
            windows(texts)  # a file that cannot be used is refused before anything is trained
        added = read_rows(args.experiments)
        kind = TextSettings if args.task == "text" else Settings
        given = {field.name: getattr(args, field.name) for field in dataclasses.fields(kind)}
        settings = kind(**given | {"model": checkpoint.source, "data": choose_data(args)})
        rows = [*(Row(method, method) for method in args.methods), *fitting(added, settings, args.assets)]
        runs = all_runs(rows, args.seeds)
        with locked(out):
            open_comparison(out, settings, rows, "python scripts/compare_methods.py " + shlex.join(argv), machine())
            failures = carry_out(out, runs, settings, args.assets, args.jobs)
    if finished_runs(out) or args.report_only:
        file = report(out, args)
        print(f"Report in {file}; a row for each run in {out / 'results.csv'}", flush=True)
    if failures:
        raise RunError(f"{len(failures)} of {len(runs)} runs failed: {', '.join(failures)}; see their output.txt")


def report(out: Path, args: argparse.Namespace) -> Path:
    """Write the report on whatever was compared there."""
    from gpt2.training.run_files import read_json

    if read_json(out / "comparison.json").get("task") == "text":
        from comparison import text_report, text_results

        return text_report.write_report(out, text_results.collect(out, args.assets, args.general_text))
    from comparison.report import write_report
    from comparison.results import collect

    return write_report(out, collect(out, args.assets, args.general_text), args.check_memory)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    cli.add_task_argument(parser)
    parser.add_argument(
        "--methods", type=cli.methods, default="all", metavar="NAME,…", help="such as head,lora,full (default: all)"
    )
    parser.add_argument(
        "--seeds", type=cli.positive_int, default=3, metavar="N", help="how many, from 123 on (default: %(default)s)"
    )
    cli.add_model_arguments(parser, default="practice")
    cli.add_data_arguments(parser, protocol="grouped")
    parser.add_argument("--epochs", type=cli.positive_int, default=5, help="of each run (default: %(default)s)")
    parser.add_argument("--out", default="runs/comparison", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--jobs",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="runs at the same time; they share the CPU's threads (default: %(default)s)",
    )
    parser.add_argument(
        "--experiments",
        nargs="+",
        default=[],
        metavar="FOLDER|FILE",
        help="add a row for each settings file NAME.toml that fits this data and protocol (see experiments/README.md)",
    )
    parser.add_argument("--report-only", action="store_true", help="train nothing; report on the finished runs")
    parser.add_argument(
        "--general-text",
        metavar="FILE",
        help="English text (UTF-8, .xz too) to measure forgetting on (default: FOLDER/corpus/*.txt.xz of --assets)",
    )
    parser.add_argument(
        "--check-memory",
        action="store_true",
        help="measure the memory of real training steps, up to GPT-2 124M, beside the computed one (minutes, 3 GB)",
    )
    add_text_arguments(parser)
    args = parser.parse_args(argv)
    if args.task == "text":
        args.methods = cli.writing_methods(parser, args.methods)
        parser.refuse_unused(args, False, "with --task text", *CLASSIFIER_ONLY)
    else:
        parser.refuse_unused(args, False, "without --task text", *TEXT_ONLY)
    return args


CLASSIFIER_ONLY = (
    *("text_column", "label_column", "protocol", "group_near_duplicates", "group_column"),
    *("keep_duplicates", "split_column", "validation_data", "test_data", "check_memory"),
)
TEXT_ONLY = ("source_column", "target_column", "max_pairs", "evaluation_pairs", "test_sources", "num_beams")


if __name__ == "__main__":
    cli.run(main)
