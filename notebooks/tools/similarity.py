"""Pairs of students whose answers are nearly the same, once names and layout no longer matter.

An answer becomes the sequence of its syntax tree's nodes, with its own names numbered in the order in which they come.
Short answers are alike by necessity, so only those of some length count. The report is a reason to read two notebooks
side by side, and no proof: two students may have the same idea, or the same book. Answers like the course's own
solutions, which stand in the public repository, are listed too.
"""

import ast
import difflib
import itertools
import warnings
from collections.abc import Iterator

from tools import files
from tools.files import EXERCISE, code_cells, exercise_of, read
from tools.grading import assemble
from tools.handed_in import Task

SHORTEST = 60  # nodes
ALIKE = 0.9


class Plain(ast.NodeVisitor):
    """Collects the words of a syntax tree."""

    def __init__(self):
        self.words, self.names = [], {}

    def generic_visit(self, node: ast.AST) -> None:
        self.words.append(type(node).__name__)
        for name in ("id", "arg", "name"):
            if isinstance(own := getattr(node, name, None), str):
                self.words.append(f"name {self.names.setdefault(own, len(self.names))}")
        if isinstance(node, ast.Attribute):
            self.words.append(node.attr)
        if isinstance(node, ast.Constant):
            self.words.append(repr(node.value)[:40])
        super().generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:  # noqa: N802 - the name that ast looks for
        if not isinstance(node.value, ast.Constant):  # a docstring, or a text that stands alone
            self.generic_visit(node)


def words(source: str) -> list[str]:
    """The answer without its names, comments and layout; empty if it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    plain = Plain()
    plain.visit(tree)
    return plain.words


def answers(tasks: list[Task]) -> dict[str, dict[str, list[str]]]:
    """exercise -> student -> words, of answers that are long enough and are not the stub."""
    found: dict[str, dict[str, list[str]]] = {}
    for task in (task for task in tasks if task.file):
        original = read(task.original)
        stubs = {cell.id: words(cell.source) for cell in code_cells(original)}
        try:
            cells = assemble(original, read(task.file), quick=True)
        except Exception:  # noqa: BLE001 - the grades say what is wrong with the file
            continue
        for cell in cells:
            name, own = exercise_of(cell["id"], EXERCISE), words(cell["source"])
            if name and len(own) >= SHORTEST and own != stubs[cell["id"]]:
                found.setdefault(name, {})[task.student] = own
        solution = files.SOLUTIONS / task.original.name
        for cell in code_cells(read(solution)) if solution.is_file() else ():
            if (name := exercise_of(cell.id, EXERCISE)) and len(words(cell.source)) >= SHORTEST:
                found.setdefault(name, {})["the solution"] = words(cell.source)
    return found


def pairs(tasks: list[Task]) -> Iterator[tuple[str, str, list[tuple[str, float]]]]:
    """(student, other, [(exercise, how alike)]), those with most first."""
    alike: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for exercise, by_student in sorted(answers(tasks).items()):
        for (one, a), (other, b) in itertools.combinations(sorted(by_student.items()), 2):
            matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
            if matcher.real_quick_ratio() >= ALIKE and matcher.quick_ratio() >= ALIKE:
                if (ratio := matcher.ratio()) >= ALIKE:
                    alike.setdefault((one, other), []).append((exercise, ratio))
    for (one, other), found in sorted(alike.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        yield one, other, found


def report(tasks: list[Task]) -> str:
    lines = []
    for one, other, found in pairs(tasks):
        lines.append(f"{one} and {other}: " + ", ".join(f"{name} {ratio:.0%}" for name, ratio in found))
    return "\n".join(["Nearly the same answers (names and layout apart):", *(lines or ["none"])])
