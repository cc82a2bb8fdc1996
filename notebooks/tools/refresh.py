"""Run chapters and solutions again and store them with their new outputs, after a change of code, data or model.

    python notebooks/tools/refresh.py                  # all of them: a quarter of an hour on two cores
    python notebooks/tools/refresh.py --only 09,15     # these chapters and their solutions
    python notebooks/tools/refresh.py --map            # run nothing; only the times in notebooks/README.md
    python notebooks/tools/refresh.py --setup          # run nothing; chapter 01's setup cell for all the others

Each runs in a fresh kernel with notebooks/ as its working directory. Ids and text of the cells stay as they are, and no
times of execution are stored. A notebook that fails, or writes to standard error, is named and stays as it was.
"""

import re
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "scripts")]

from common import cli  # noqa: E402 - only now does the path find it

TIMES = re.compile(r"Reading (?:about )?(\d+) minutes?, running (?:about )?(\d+) seconds?")
ROW = re.compile(r"^(\| \[\d\d [^\]]*\]\((\d\d)_\w+\.ipynb\) \|.*\|) [^|]* \| [^|]* \|$", re.MULTILINE)


def main(argv: list[str]) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--only", metavar="NN,NN", help="chapters, such as 09,15 (default: all)")
    parser.add_argument("--map", action="store_true", help="only bring the times in notebooks/README.md up to date")
    parser.add_argument("--setup", action="store_true", help="only copy the first chapter's setup cell to all others")
    args = parser.parse_args(argv)

    from tqdm import tqdm

    from gpt2.errors import InputError
    from gpt2.files import atomic_write
    from tools import index
    from tools.files import NOTEBOOKS, SOLUTIONS, chapters, choose, read

    if not (args.map or args.setup or sms_data()):
        raise InputError(
            "the SMS collection is not available here, and the outputs shown are from it; connect to the network, or "
            "set GPT2_PEFT_ASSETS to a folder with sms-spam/SMSSpamCollection"
        )
    paths = list(choose(args.only).values())
    paths += [SOLUTIONS / path.name for path in paths if (SOLUTIONS / path.name).is_file()]
    failed = 0
    if args.setup:
        copy_setup([*paths, *NOTEBOOKS.glob("reproduce_on_gpu.ipynb")])
    bar = tqdm([] if args.map or args.setup else paths, desc="running", unit="notebook", disable=None)
    for path in bar:
        started = time.monotonic()
        problem = refresh(path)
        failed += problem is not None
        words = f"{time.monotonic() - started:.0f} s" if problem is None else f"left as it was: {problem}"
        bar.write(f"{path.relative_to(NOTEBOOKS).as_posix()}: {words}", sys.stderr if problem else sys.stdout)
    readme = NOTEBOOKS / "README.md"
    if readme.is_file():
        old = readme.read_text(encoding="utf-8")
        new = fill_map(old, chapters())
        if new != old:
            with atomic_write(readme) as temporary:
                temporary.write_text(new, encoding="utf-8")
            print("notebooks/README.md: new times in the map")
        page, text = NOTEBOOKS / "index.md", index.render({n: (path, read(path)) for n, path in chapters().items()})
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            with atomic_write(page) as temporary:
                temporary.write_text(text, encoding="utf-8")
            print("notebooks/index.md: new")
    return 1 if failed else 0


def sms_data() -> bool:
    from data import load_dataset

    return load_dataset("auto").name == "sms"


def refresh(path: Path) -> str | None:
    """Run one notebook and store it. Returns what kept it from being stored, or None."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from gpt2.files import atomic_write
    from tools.files import NOTEBOOKS, code_cells, execute, write

    try:
        notebook = execute(path, cwd=NOTEBOOKS)
    except CellExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError, ValueError) as error:  # ValueError: not a notebook
        return " ".join(str(error).split())[:300]
    noisy = [cell.id for cell in code_cells(notebook) for out in cell.outputs if out.get("name") == "stderr"]
    if noisy:
        return f"cell {noisy[0]} writes to standard error"
    with atomic_write(path) as temporary:
        write(notebook, temporary)
    return None


def copy_setup(paths: list[Path]) -> None:
    """Give all notebooks the setup cell of the first."""
    from gpt2.files import atomic_write
    from tools.files import code_cells, read, write

    wanted = code_cells(read(paths[0]))[0].source
    for path in paths:
        notebook = read(path)
        cell = code_cells(notebook)[0]
        if cell.id == "setup" and cell.source != wanted:
            cell.source = wanted
            with atomic_write(path) as temporary:
                write(notebook, temporary)
            print(f"{path.name}: new setup cell")


def fill_map(text: str, paths: dict[str, Path]) -> str:
    """README's table, its last two columns (minutes to read, seconds to run) taken from the chapters' first cells."""
    from tools.files import read

    def row(match: re.Match) -> str:
        path = paths.get(match[2])
        times = path and TIMES.search(read(path).cells[0].source)
        return f"{match[1]} {times[1] if times else '–'} | {times[2] if times else '–'} |"

    return ROW.sub(row, text)


if __name__ == "__main__":
    cli.run(main)
