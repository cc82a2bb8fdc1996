"""The tree as DESIGN.md draws it: which package may import which, and what lies in scripts/."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {  # package -> the packages of ours that it knows
    "gpt2": {"gpt2"},
    "data": {"data", "gpt2"},
    "peft": {"peft", "gpt2"},
    "scripts": {"scripts", "peft", "data", "gpt2"},
    "notebooks": {"notebooks", "scripts", "peft", "data", "gpt2"},
}
SHARED = {"common", "comparison", "benchmarking", "reproduction"}  # packages in scripts/
IN_NOTEBOOKS = {"tools", "checks", "course"}
FILES = sorted(file for package in MAY_IMPORT for file in (ROOT / package).rglob("*.py"))
LIBRARY_SIDE = ROOT / "scripts" / "benchmarking" / "hugging_face.py"  # its `peft` is Hugging Face's


def imports(file: Path) -> Iterator[tuple[str, list[str]]]:
    """(module, names taken from it) for every import in the file, also those within functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are written out from the package's name"
            yield node.module, [alias.name for alias in node.names]


def package_of(module: str) -> str | None:
    """The package of ours that a module is in, or None for somebody else's."""
    top = module.partition(".")[0]
    if top in SHARED or (ROOT / "scripts" / f"{top}.py").is_file():
        return "scripts"
    return "notebooks" if top in IN_NOTEBOOKS else top if top in MAY_IMPORT else None


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_the_arrows_between_packages_point_one_way(package):
    files = [file for file in FILES if file.is_relative_to(ROOT / package) and file != LIBRARY_SIDE]
    drawn = {(file, package_of(module)) for file in files for module, _ in imports(file)}
    wrong = {f"{file.relative_to(ROOT)} -> {to}" for file, to in drawn if to and to not in MAY_IMPORT[package]}
    assert files and not wrong


def test_every_arrow_of_the_design_is_drawn():
    """The test above sees imports at all."""
    found = {(file.relative_to(ROOT).parts[0], package_of(module)) for file in FILES for module, _ in imports(file)}
    assert found >= {
        ("data", "gpt2"),
        ("peft", "gpt2"),
        ("scripts", "peft"),
        ("scripts", "data"),
        ("notebooks", "peft"),
    }


def test_no_module_imports_a_private_name_of_another():
    private = [
        f"{file.relative_to(ROOT)}: {module} {', '.join(names)}"
        for file in FILES
        for module, names in imports(file)
        if package_of(module) and re.search(r"(^|[. ])_(?!_)", " ".join([module, *names]))
    ]
    assert not private


def test_scripts_holds_commands_and_packages_only():
    for entry in (ROOT / "scripts").iterdir():
        if entry.suffix == ".py":
            text = entry.read_text(encoding="utf-8")
            assert not entry.name.startswith("_") and 'if __name__ == "__main__":' in text, entry
            assert len(text.splitlines()) <= 160, f"{entry} is long for a command: move what others can share"
        elif entry.name != "__pycache__" and not entry.name.startswith("."):
            assert (entry / "__init__.py").is_file(), entry


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.is_relative_to(ROOT / "scripts")], ids=lambda f: f.stem
)
def test_one_habit_in_scripts_no_leading_underscore(file):
    names = re.findall(r"^\s*(?:def|class) (_\w+)|^(_\w+) =", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert not [name for name in names if not "".join(name).startswith("__")]
