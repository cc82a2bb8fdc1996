"""Choose the methods' learning rates on equal terms. No message of the grouped test sets and no test pair is used.

    python scripts/tune.py --sizes                               # all methods, the bundled practice model
    python scripts/tune.py --methods lora,full --model gpt2 --seeds 1
    python scripts/tune.py --task text --data e2e --steps 100 --seeds 1     # for writing (finetune_text.py)
    python scripts/tune.py --report-only                         # the report again, from what was measured

For classifying, all methods get the same grid of rates. For writing, all get the same multiples of their rate for
classifying. The results folder has results.csv, a row for each training, and report.md with its pictures. An
interrupted command resumes when it is repeated. If you need one rate for your own model, scripts/finetune_spam.py
--find-lr is quicker.
"""

import argparse
import functools
import shlex
from pathlib import Path

from common import cli
from gpt2.errors import InputError


def main(argv: list[str]) -> None:
    args = parse(argv)

    from gpt2.training.run_files import read_json
    from tuning.trials import check_same

    out = Path(args.out)
    file, record = out / "results.csv", out / "tuning.json"
    said = read_json(record)
    if args.report_only:
        if not said or not file.is_file():
            raise InputError(f"{out} holds no sweep: run without --report-only first", "out")
        tuned = said.get("settings", {})
        args.task, args.data = tuned.get("task", args.task), tuned.get("data", args.data)
    checkpoint = cli.choose_model(args)
    data = args.data if args.task == "text" else "sms"
    settings = {"task": args.task, "model": checkpoint.source, "data": data, "steps": args.steps}
    if not args.report_only:
        check_same(out, said, settings)

    from common.machine import machine
    from comparison.forgetting import find_texts, loss_before, windows
    from comparison.rows import base_name
    from comparison.runs import seeds, without_folders
    from data.text_pairs import load_pairs
    from gpt2.files import write_json
    from gpt2.training.runs import locked
    from tuning.report import write_report
    from tuning.studies import classifying, reserve, writing
    from tuning.sweep import sweep
    from tuning.trials import Bench, ClassifierBench, WritingBench, carry_out, read

    texts = [] if args.task == "text" else find_texts(args.general_text, args.assets)
    general = windows(texts) if texts and not args.report_only else None
    shared = {"model": checkpoint.source, "assets": args.assets, "general": general}
    bench: Bench
    if args.task == "text":
        pairs = load_pairs(args.data, assets=args.assets)
        study, bench = writing(pairs), WritingBench(**shared, pairs=pairs)
    else:
        dataset = reserve(args.assets)
        study, bench = classifying(dataset), ClassifierBench(**shared, datasets={0: dataset}, part="validation")
    if not args.report_only:
        before = None if general is None else loss_before(checkpoint.source, args.assets, general)
        about = machine()
        facts = {
            "model": base_name(checkpoint.source),
            "command": without_folders("python scripts/tune.py " + shlex.join(argv)),
            "machine": f"{about['processor']}, PyTorch {about['torch']}, {args.jobs} at a time",
        }
        with locked(out):
            said = {"settings": settings, "facts": facts, "before": before}
            write_json(record, said)
            train = functools.partial(carry_out, bench, file=file, jobs=args.jobs)
            sweep(args.methods, study.rates, seeds(args.seeds), args.steps, args.sizes, train)
    print(f"Report in {write_report(out, read(file), study, said['before'], said['facts'])}", flush=True)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    cli.add_task_argument(parser)
    parser.add_argument("--methods", type=cli.methods, default="all", metavar="NAME,…", help="default: all")
    parser.add_argument("--seeds", type=cli.positive_int, default=2, metavar="N", help="how many (default: 2)")
    cli.add_model_arguments(parser, default="practice")
    parser.add_argument("--data", choices=("e2e", "practice"), default="e2e", help="with --task text (default: e2e)")
    parser.add_argument("--steps", type=cli.positive_int, default=450, help="at least so many (default: %(default)s)")
    parser.add_argument("--sizes", action="store_true", help="also try one other rank or size, where a method has one")
    parser.add_argument("--general-text", metavar="FILE", help="English text to measure forgetting on, see --assets")
    parser.add_argument("--jobs", type=cli.positive_int, default=1, metavar="N", help="trainings at the same time")
    parser.add_argument("--out", default="runs/tuning", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--report-only", action="store_true", help="train nothing; write the report from results.csv")
    args = parser.parse_args(argv)
    if args.task == "text":
        args.methods = cli.writing_methods(parser, args.methods)
        parser.refuse_unused(args, False, "with --task text", "general_text")
    else:
        parser.refuse_unused(args, False, "without --task text", "data")
    parser.refuse_unused(args, False, "here, for trials are trained on the CPU", "device")
    return args


if __name__ == "__main__":
    cli.run(main)
