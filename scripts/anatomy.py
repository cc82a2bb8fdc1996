"""What have runs done to the weights? Spectra of the updates, intruder dimensions, and the language loss without them.

    python scripts/anatomy.py runs/A runs/B --out results/anatomy
    python scripts/anatomy.py runs/A --top 20 --epsilon 0.6 --general-text book.txt

The runs are folders of finetune_spam.py, by any method that only changes weights. An intruder dimension
(Shuttleworth et al., 2024) is a leading singular vector of a fine-tuned weight that is like no pretrained one.
Leaves anatomy.md, anatomy.csv and spectra.png.
"""

import argparse
from pathlib import Path

from common import cli

MOST_RUNS = 7  # colours that can be told apart


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help=f"folder of a run; at most {MOST_RUNS}")
    parser.add_argument("--out", default="results/anatomy", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--top", type=cli.positive_int, default=10, metavar="K", help="singular vectors to look at (default: 10)"
    )
    parser.add_argument(
        "--epsilon", type=share, default=0.5, help="an intruder's cosine with all others is below (default: 0.5)"
    )
    parser.add_argument(
        "--keep", type=share, default=0.0, metavar="SHARE", help="of an intruder's singular value (default: 0, remove)"
    )
    parser.add_argument(
        "--general-text",
        metavar="FILE",
        help="English text (UTF-8, .xz too) to measure forgetting on (default: FOLDER/corpus/*.txt.xz of --assets)",
    )
    parser.add_argument("--assets", metavar="FOLDER", help="local folder with models, as in finetune_spam.py")
    args = parser.parse_args(argv)
    if len(args.runs) > MOST_RUNS:
        parser.error(f"{len(args.runs)} runs are too many for one picture; name at most {MOST_RUNS}")

    from comparison.anatomy import examine, names_of, write
    from comparison.forgetting import find_texts, windows

    texts = find_texts(args.general_text, args.assets)
    tokens = windows(texts) if texts else None
    runs, found = [Path(run) for run in args.runs], []
    for run, name in zip(runs, names_of(runs), strict=True):
        one = examine(run, name, args.assets, args.top, args.epsilon, args.keep, tokens)
        found.append(one)
        losses = ""
        if one.losses:
            pretrained, tuned, without = one.losses
            losses = f"; language loss {pretrained:.3f} pretrained, {tuned:.3f} tuned, {without:.3f} without intruders"
        cli.say(f"{name}: {len(one.layers)} layers changed, {one.layers.intruders.sum()} intruders{losses}")
    out = Path(args.out)
    note = write(out, found, cli.quoted("python", "scripts/anatomy.py", *argv), args.top, args.epsilon, args.keep)
    if note:
        cli.say(note)
    cli.say(f"Report in {out / 'anatomy.md'}")


def share(text: str) -> float:
    """Type of an option: a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


if __name__ == "__main__":
    cli.run(main)
