"""Every dependency has a tested range, and the versions that were tested lie in it."""

import importlib.metadata
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def requirements(file: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r")]


FILES = ("requirements.txt", "requirements-course.txt", "requirements-dev.txt")
DECLARED = [requirement for file in FILES for requirement in requirements(file)]
TESTED = {exact.name.lower().replace("_", "-"): exact for exact in requirements("requirements-tested.txt")}


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda requirement: requirement.name)
def test_every_dependency_has_a_lower_and_an_upper_bound_and_a_tested_version(requirement):
    operators = {bound.operator for bound in requirement.specifier}
    assert operators in ({">=", "<"}, {">=", "<="}), requirement
    (exact,) = TESTED[requirement.name.lower().replace("_", "-")].specifier
    assert exact.operator == "==" and exact.version in requirement.specifier


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda requirement: requirement.name)
def test_what_is_installed_lies_in_the_range(requirement):
    if requirement.marker and not requirement.marker.evaluate():
        pytest.skip(f"not needed on {sys.platform}")
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed")
    assert requirement.specifier.contains(version.partition("+")[0]), f"{requirement}: {version} is installed"
