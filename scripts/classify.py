"""Classify messages with a model that finetune_spam.py has trained.

    python scripts/classify.py runs/FOLDER "You have won a prize! Call now" "see you at eight"
    python scripts/classify.py runs/FOLDER --file messages.txt          # one message a line
    some-command | python scripts/classify.py runs/FOLDER               # likewise, from standard input
    python scripts/classify.py runs/FOLDER -- "-50% today"              # a text that begins with -

Prints a line for each message: label, probability, text, separated by tabs; a tab or line break inside a text is
written \\t or \\n, and a backslash is doubled.
"""

import sys

from common import cli
from common.text import one_line, read_lines


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", metavar="RUN", help="folder of a run, such as runs/2026-01-31-143005-lora")
    parser.add_argument("text", nargs="*", help="messages; without any, --file or standard input is read")
    parser.add_argument("--file", metavar="FILE", help="text file (UTF-8) with one message a line")
    parser.add_argument("--assets", metavar="FOLDER", help="local folder with models, as in finetune_spam.py")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: a GPU if any"
    )
    parser.add_argument(
        "--full-precision",
        action="store_true",
        help="put a QLoRA adapter over the full-precision base instead of a quantised one, and say what differs",
    )
    args = parser.parse_intermixed_args(argv)  # texts may stand behind options
    if args.text and args.file:
        parser.error("give messages or --file, not both")
    texts = args.text or read_lines(args.file)

    from gpt2.devices import fit_threads
    from peft.estimator import TextClassifier

    run = TextClassifier.load(args.run, args.assets, args.device)
    fit_threads(run.model_.config.n_embd)
    probabilities = run.predict_proba(texts)
    if run.truncated_:
        print(f"Truncated to {run.max_length_} tokens: {run.truncated_:,} of the messages.", file=sys.stderr)
    if args.full_precision:
        quantised = probabilities
        run = TextClassifier.load(args.run, args.assets, args.device, quantize=False)
        probabilities = run.predict_proba(texts)
        changed = (probabilities.argmax(axis=1) != quantised.argmax(axis=1)).sum()
        print(
            f"Over the full-precision base probabilities differ by at most {abs(probabilities - quantised).max():.2%} "
            f"from those over {run.model_.peft.options['bits']} bits, and {changed:,} of {len(texts):,} labels change.",
            file=sys.stderr,
        )
    answers = run.decision_.answers(probabilities, run.positive_)
    for text, row, answer in zip(texts, probabilities, answers, strict=True):
        print(f"{one_line(str(run.classes_[answer]))}\t{row[answer]:.1%}\t{one_line(text)}")


if __name__ == "__main__":
    cli.run(main)
