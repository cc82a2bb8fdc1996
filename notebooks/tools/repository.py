"""The repository's name on GitHub, as the Colab badges, the setup cells and the READMEs have it.

    python notebooks/tools/repository.py                                  # what it is, and where it stands
    python notebooks/tools/repository.py --repository someone/course      # write another one everywhere

Whoever publishes the course runs the second command once and commits what it changed: the constant in this file, the
chapters, the solutions and the pages. It runs no chapter and changes no output.
"""

import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "scripts")]

from common import cli  # noqa: E402 - only now does the path find it

REPOSITORY = "OWNER/REPOSITORY"

NAME = r"[\w-]+/[\w.-]*\w"
PLACES = (  # where the name stands: in a badge's link, in a setup cell or a page, and in the constant above
    re.compile(rf"(?<=colab\.research\.google\.com/github/){NAME}(?=/blob/)"),
    re.compile(rf"(?<=git clone https://github\.com/){NAME}(?: && cd [\w.-]+)?"),
    re.compile(rf'(?<=^REPOSITORY = "){NAME}(?="$)', re.MULTILINE),
)


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--repository", metavar="OWNER/NAME", help="write this name (default: only show the present one)"
    )
    args = parser.parse_args(argv)

    from gpt2.errors import InputError
    from gpt2.files import atomic_write
    from tools.files import ROOT

    if args.repository is None:
        print(REPOSITORY)
    elif not re.fullmatch(NAME, args.repository):
        raise InputError(f"{args.repository!r} is not a repository's name; expected OWNER/NAME, as in someone/course")
    for file in files(ROOT):
        old = file.read_text(encoding="utf-8")
        if args.repository is None:
            if count := len(names_in(old)):
                print(f"{file.relative_to(ROOT).as_posix()}: {count}")
        elif (new := rename(old, args.repository)) != old:
            with atomic_write(file) as temporary:
                temporary.write_text(new, encoding="utf-8")
            print(f"{file.relative_to(ROOT).as_posix()}: written")


def files(root: Path) -> list[Path]:
    """All files in which the name may stand: chapters, solutions, pages, and this file."""
    notebooks = root / "notebooks"
    chapters = [*notebooks.glob("*.ipynb"), *(notebooks / "solutions").glob("*.ipynb")]
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *notebooks.glob("*.md")]
    return sorted([*chapters, *pages, notebooks / "tools" / "repository.py"])


def names_in(text: str) -> list[str]:
    """Every repository that a text names in one of these places."""
    return [found.split(" ")[0] for place in PLACES for found in place.findall(text)]


def rename(text: str, repository: str) -> str:
    """The text with this repository in all these places."""

    def put(match: re.Match) -> str:
        return f"{repository} && cd {repository.split('/')[1]}" if " && cd " in match[0] else repository

    for place in PLACES:
        text = place.sub(put, text)
    return text


if __name__ == "__main__":
    cli.run(main)
