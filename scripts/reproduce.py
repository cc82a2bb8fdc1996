"""Repeat the published comparison: GPT-2 as a spam classifier, 25 runs that others have published; and two on films.

    python scripts/reproduce.py --list                           # the rows, their settings, time to expect here
    python scripts/reproduce.py --golden                         # is the model the right one? a check in ten minutes
    python scripts/reproduce.py --rows book-ch6,extra-16         # train two rows
    python scripts/reproduce.py --rows 124m --seeds 3 --protocol both
    python scripts/reproduce.py --rows imdb --out runs/films     # 50,000 film reviews (84 MB), for a GPU
    python scripts/reproduce.py --rows 124m --weights practice --smoke      # try everything without GPT-2's weights

The rows are those of the notes of a 2024 article on fine-tuning GPT-2 124M, of Raschka's "Build a Large Language Model
(From Scratch)" (2024), chapter 6 and appendix E, and of his table of nineteen additional experiments;
docs/published.md tells what they teach. Each was published from one run with one seed, and the test part has 300
messages. So the report gives an interval with every accuracy, and says which differences such numbers can show at all.

The results folder has results.csv, report.md with its figures, and a run folder for each row, protocol and seed. The
same command resumes where it stopped: finished rows are not repeated, and an interrupted one continues.
"""

import argparse
import shlex
from pathlib import Path

from common import cli
from gpt2.errors import RunError
from reproduction.rows import choose


def main(argv: list[str]) -> None:
    args = parse(argv)
    chosen = [] if args.rows is None else choose(args.rows)
    if args.list:
        from reproduction.listing import listing

        print(listing(args.device))
        return

    from reproduction.running import Settings

    out = Path(args.out)
    settings = Settings(out, "published", args.device, args.assets, args.weights, args.smoke)
    if args.golden:
        from reproduction.ladder import show

        missed = show(settings)
        if missed:
            raise RunError(f"published values missed: {missed}; the lines above say what that means")
        return

    from common.machine import machine
    from gpt2.devices import choose_device
    from gpt2.training.runs import locked
    from reproduction.report import write_report
    from reproduction.results import collect
    from reproduction.runs import all_runs, carry_out, cautions, open_folder, summary, unavailable

    failures: dict[str, str] = {}
    choose_device(args.device)  # one that is not here is refused before anything starts
    if not args.report_only:
        runs = all_runs(chosen, args.protocol, args.seeds)
        missing = unavailable(runs, settings)
        with locked(out):
            command = "python scripts/reproduce.py " + shlex.join(argv)
            open_folder(out, args.weights, args.smoke, command, machine(), chosen[0].data)
            for sentence in cautions(runs, settings):
                cli.say(sentence)
            failures = carry_out(runs, settings, missing)
    if args.report_only or len(failures) < len(runs):
        file = write_report(out, collect(out, args.assets))
        cli.say(f"Report in {file}; a line for each run in {out / 'results.csv'}")
    if failures:
        raise RunError(summary(failures, len(runs)))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    what = parser.add_argument_group("what to do (one of these)")
    what.add_argument("--list", action="store_true", help="show the 27 rows, what each trains, time to expect here")
    what.add_argument(
        "--golden",
        action="store_true",
        help="compare the model and the first steps of training with published values, rung by rung",
    )
    what.add_argument(
        "--rows",
        metavar="NAME,…",
        help="train rows: their names, or a size such as 124m, or all (those on spam), or imdb",
    )
    what.add_argument("--report-only", action="store_true", help="train nothing; write the report from what is there")
    parser.add_argument(
        "--seeds",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="seeds 123, 124, …: 123 is the published one, the others show the spread (default: %(default)s)",
    )
    parser.add_argument(
        "--protocol",
        default="published",
        choices=("published", "grouped", "both"),
        help="split of the messages: that of the published figures, or one with all copies and near-copies in one part "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        default="pretrained",
        choices=("pretrained", "random", "practice"),
        help="random: random weights of each row's size, for time and memory; practice: the bundled small model. "
        "Accuracies then mean nothing as a reproduction (default: %(default)s)",
    )
    parser.add_argument("--smoke", action="store_true", help="one epoch on few of the messages: does it all run?")
    parser.add_argument("--out", default="runs/reproduction", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--assets", metavar="FOLDER", help="local folder to look in before any download, as for finetune_spam.py"
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: a GPU if any"
    )
    args = parser.parse_args(argv)
    asked = [args.list, args.golden, args.rows is not None, args.report_only]
    if sum(asked) != 1:
        parser.error("name one of --list, --golden, --rows and --report-only")
    return args


if __name__ == "__main__":
    cli.run(main)
