"""What the methods can do: the probes find faults, and docs/methods.json and docs/methods.md are up to date."""

import json
from pathlib import Path

import pytest

import peft
from common.method_options import MARKS, method_list
from comparison import capabilities, probes
from gpt2.errors import InputError

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def stored() -> dict[str, dict]:
    return json.loads((DOCS / "methods.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_files_are_up_to_date(command, tmp_path):
    """If this fails, run scripts/probe_methods.py and look at the difference."""
    result = command("probe_methods", "--out", tmp_path)
    count = len(peft.METHODS) * len(capabilities.PROBES)
    assert result.status == 0 and f"{len(peft.METHODS)} methods, {count} probes" in result.out
    for name in ("methods.json", "methods.md"):
        new, old = ((folder / name).read_text(encoding="utf-8") for folder in (tmp_path, DOCS))
        assert new == old, f"docs/{name} is out of date: python scripts/probe_methods.py"


def test_they_name_every_method_and_every_probe(stored):
    assert list(stored) == list(peft.METHODS)
    assert all(list(one["can"]) == list(capabilities.PROBES) for one in stored.values())


def test_the_page_is_made_of_the_table(stored):
    assert capabilities.page(stored) == (DOCS / "methods.md").read_text(encoding="utf-8")


def test_declarations_agree_with_what_was_tried(stored):
    for name, method in peft.METHODS.items():
        can = stored[name]["can"]
        assert (can["merges"] is True) == (method.why_not_mergeable is None), name
        assert (can["exports"] is True) == method.exportable, name
        assert (can["saves_for_hugging_face"] is True) == bool(method.hugging_face), name
        assert (can["starts_unchanged"] is True) == method.starts_unchanged, name
        assert (can["trains_the_head"] is True) != method.lora_head, name
        assert (can["tunes_any_model"] is True) != method.only_gpt2, name
        assert stored[name]["family"] == method.family, name


def test_a_refusal_is_an_answer_and_anything_else_a_fault(monkeypatch):
    def refuses(method):
        raise InputError("not this one")

    def breaks(method):
        raise ValueError("broken")

    monkeypatch.setattr(probes, "merges", refuses)
    assert capabilities.attempt("merges", "lora") == "not this one"
    monkeypatch.setattr(probes, "merges", breaks)
    with pytest.raises(ValueError, match="broken") as fault:
        capabilities.attempt("merges", "lora")
    assert fault.value.__notes__ == ["lora: probe merges"]


def test_a_method_that_merges_wrongly_is_a_fault(monkeypatch):
    monkeypatch.setattr(peft, "merge", lambda model: model.requires_grad_(False) and probes.tuned("ia3"))
    with pytest.raises(AssertionError, match="not close"):
        capabilities.attempt("merges", "lora")


def test_a_run_that_forgets_its_optimiser_is_a_fault(monkeypatch):
    load_state = probes.load_state

    def forgets(path, model, optimizer):
        progress = load_state(path, model, optimizer)
        optimizer.state.clear()
        return progress

    monkeypatch.setattr(probes, "load_state", forgets)
    with pytest.raises(AssertionError, match="not equal"):
        capabilities.attempt("resumes_bit_for_bit", "lora")


def test_the_list_of_methods_in_the_help(stored):
    lines = method_list().splitlines()
    assert lines[0] == "methods:" and len(lines) == 2 + len(peft.METHODS)
    for name, line in zip(peft.METHODS, lines[1:], strict=False):
        expected = "".join(mark if stored[name]["can"][probe] is True else " " for mark, (probe, _) in MARKS.items())
        assert line == f"  {name:<17}{expected} {peft.METHODS[name].summary}"
