"""Classify messages with a model that finetune_spam.py has trained.

    python scripts/classify.py runs/FOLDER "You have won a prize! Call now" "see you at eight"
    python scripts/classify.py runs/FOLDER --file messages.txt          # one message a line
    some-command | python scripts/classify.py runs/FOLDER               # likewise, each line answered as it comes
    python scripts/classify.py runs/FOLDER -- "-50% today"              # a text that begins with -
    python scripts/classify.py runs/FOLDER --data new.csv --text-column message --out scored.csv
    python scripts/classify.py runs/FOLDER --explain "You have won a prize! Call now"

Prints a line for each message: label, probability, text, separated by tabs; a tab or line break inside a text is
written \\t or \\n, and a backslash is doubled. --json prints an object a line. A table is scored chunk by chunk: the
new one has its columns, the answer and the probability of each class. With --label-column the metrics are printed.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common import cli
from common.text import read_lines

if TYPE_CHECKING:
    from peft.run_classifier import RunClassifier


def main(argv: list[str]) -> None:
    args = parse(argv)
    texts = args.text or (read_lines(args.file) if args.file else [])

    from gpt2.devices import fit_threads
    from peft.run_classifier import RunClassifier

    run = RunClassifier.load(args.run, args.assets, args.device)
    fit_threads(run.model_.config.n_embd)
    if args.explain is not None:
        from common.explaining import explain

        explain(run, args.explain, args.html)
        return
    from common import answers

    if args.data is not None:
        from common import scoring

        out, columns = Path(args.out), (args.text_column, args.label_column)
        metrics = scoring.score_table(run, Path(args.data), out, *columns, args.encoding)
        print(f"Wrote {out}")
        if metrics:
            scoring.print_metrics(metrics)
    elif texts:
        if args.full_precision:
            run = full_precision(run, args, texts)
        answers.print_answers(run, texts, args.json)
    else:
        answers.print_stream(run, sys.stdin.buffer, args.json)
    if run.truncated_:
        print(f"Truncated to {run.max_length_} tokens: {run.truncated_:,} of the messages.", file=sys.stderr)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="folder of a run, such as runs/2026-01-31-143005-lora")
    add("text", nargs="*", help="messages; without any, --file, --data or standard input is read")
    add("--file", metavar="FILE", help="text file (UTF-8) with one message a line")
    add("--data", metavar="FILE", help="table to score: .csv, .tsv, .jsonl or .parquet")
    add("--text-column", default="text", metavar="NAME", help="of --data (default: %(default)s)")
    add("--label-column", metavar="NAME", help="of --data, where it has labels: metrics are printed")
    add("--encoding", default="utf-8", help="of --data, such as cp1252 (default: %(default)s)")
    add("--out", metavar="FILE", help="the scored table, a .csv")
    add("--json", action="store_true", help="print a JSON object a line, with the probability of each class")
    add("--explain", metavar="TEXT", help="show which tokens speak for the answer (integrated gradients)")
    add("--html", metavar="FILE", help="write --explain as a page, too")
    add("--assets", metavar="FOLDER", help="local folder with models, as in finetune_spam.py")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: a GPU if any")
    add(
        "--full-precision",
        action="store_true",
        help="put a QLoRA adapter over the full-precision base instead of a quantised one, and say what differs",
    )
    args = parser.parse_intermixed_args(argv)  # texts may stand behind options
    given = [name for name in ("text", "file", "data", "explain") if getattr(args, name) not in (None, [])]
    if len(given) > 1:
        parser.error("give messages, --file, --data or --explain, and one of them only")
    parser.refuse_unused(args, args.explain, "without --explain", "html")
    parser.refuse_unused(args, args.data, "without --data", "text_column", "label_column", "encoding")
    parser.refuse_unused(args, not (args.data or args.explain), "with --data or --explain", "json")
    parser.refuse_unused(args, args.text or args.file, "without messages or --file", "full_precision")
    if (args.data is None) != (args.out is None):
        parser.error("--data and --out go together: the table to read, and the one to write")
    return args


def full_precision(quantised: "RunClassifier", args: argparse.Namespace, texts: list[str]) -> "RunClassifier":
    """The run over its full-precision base; says how far its answers are from those over the quantised one."""
    from gpt2.errors import InputError
    from peft.run_classifier import RunClassifier

    if not quantised.model_.peft.options.get("quantize"):
        text = f"full_precision is for a run over a quantised base, as qlora makes one, and {args.run} is one of"
        raise InputError(f"{text} {quantised.model_.peft.method}; leave it out", "full_precision")
    run = RunClassifier.load(args.run, args.assets, args.device, quantize=False)
    before, after = quantised.predict_proba(texts), run.predict_proba(texts)
    changed = (before.argmax(axis=1) != after.argmax(axis=1)).sum()
    print(
        f"Over the full-precision base probabilities differ by at most {abs(after - before).max():.2%} from those over "
        f"{run.model_.peft.options['bits']} bits, and {changed:,} of {len(texts):,} labels change.",
        file=sys.stderr,
    )
    return run


if __name__ == "__main__":
    cli.run(main)
