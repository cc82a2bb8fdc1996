"""Try what each method can do, and write it down: docs/methods.json, and from it the page docs/methods.md.

    python scripts/probe_methods.py

Each method of peft.METHODS goes through the probes of comparison/probes.py on a tiny model: does it merge, resume, load
from Hugging Face's layout, and so on. What a method refuses is kept in its own words. Any other error is a fault and
ends the command. tests/scripts/test_probe_methods.py says when the two files are out of date.
"""

from pathlib import Path

from common import cli


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--out", default=str(cli.ROOT / "docs"), metavar="FOLDER", help="default: docs")
    args = parser.parse_args(argv)

    from comparison.capabilities import find, page
    from gpt2.files import atomic_write, write_json

    found = find()
    write_json(Path(args.out) / "methods.json", found)
    with atomic_write(Path(args.out) / "methods.md") as temporary:
        temporary.write_text(page(found), encoding="utf-8")
    abilities = [able for one in found.values() for able in one["can"].values()]
    done = sum(able is True for able in abilities)
    cli.say(f"{len(found)} methods, {len(abilities)} probes: {done} work, {len(abilities) - done} are refused")


if __name__ == "__main__":
    cli.run(main)
