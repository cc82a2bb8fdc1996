"""The index of functions: which names of the packages each chapter imports, and where it shows their source."""

import ast
from pathlib import Path

from nbformat import NotebookNode

PACKAGES = ("gpt2", "peft", "data")
HEADING = """# Index of functions

What each chapter uses of the packages, and where its source is shown (**bold**).

| name | module | chapters |
|---|---|---|
"""


def render(chapters: dict[str, tuple[Path, NotebookNode]]) -> str:
    """The page for chapters by number."""
    homes: dict[str, set[str]] = {}
    used: dict[str, dict[str, bool]] = {}  # name -> chapter -> is its source shown?
    for number, (_, notebook) in chapters.items():
        for name, module, shown in names_in(notebook):
            homes.setdefault(name, set()).add(module)
            used.setdefault(name, {})[number] = shown or used.get(name, {}).get(number, False)
    rows = []
    for name in sorted(used, key=str.lower):
        links = ", ".join(
            f"[{'**' if shown else ''}{number}{'**' if shown else ''}]({chapters[number][0].name})"
            for number, shown in sorted(used[name].items())
        )
        rows.append(f"| `{name}` | {', '.join(f'`{home}`' for home in sorted(homes[name]))} | {links} |")
    return HEADING + "\n".join(rows) + "\n"


def names_in(notebook: NotebookNode) -> list[tuple[str, str, bool]]:
    """(name, module, is its source shown) for each import from a package."""
    imported: dict[str, str] = {}
    shown: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type != "code" or cell.id == "setup":
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                imported |= {name.name: node.module or "" for name in node.names}
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "show_source" and node.args:
                first = node.args[0]  # LoRALayer, or LoRALayer.forward
                shown.add(getattr(first, "id", "") or getattr(getattr(first, "value", None), "id", ""))
    return [(name, module, name in shown) for name, module in imported.items()]
