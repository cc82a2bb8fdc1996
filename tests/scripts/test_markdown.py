"""Names and messages of people's own in reports and pictures: shown as they are, never read as markup."""

import importlib
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

markdown = importlib.import_module("common.markdown")

EVIL = ["a|b", "*bold*", "_under_", "<script>alert(1)</script>", "`code`", "$x$", "[link](http://x)", "# head", "x\ny"]


@pytest.mark.parametrize("text", EVIL)
def test_plain_text_has_no_markup_left(text):
    shown = markdown.plain(text)
    assert "\n" not in shown and "<" not in shown
    assert not re.search(r"(?<!\\)[*_`|$\[\]#]", shown)
    unescaped = re.sub(r"\\(.)", r"\1", shown).replace("&lt;", "<").replace("&amp;", "&")
    assert unescaped == " ".join(text.split())


@pytest.mark.parametrize("text, span", [("a", "`a`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("x\ny", "`x y`")])
def test_code_is_fenced_by_more_backticks_than_it_has(text, span):
    assert markdown.code(text) == span


def test_blocks_too():
    assert markdown.code_block("a\nb") == "```\na\nb\n```" and markdown.code_block("a```b").startswith("````\n")


def test_a_bar_does_not_make_a_cell():
    lines = markdown.table(["name", "n"], [["a|b", "1"], [markdown.plain("c|d"), "2"], ["`e|f`", "3"]]).splitlines()
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3] * 5


@pytest.mark.parametrize("name", ["$_$", "_hidden", "天气", "a|b <i>*x*"])
def test_bases_of_any_name_are_compared(name, command, tmp_path, recwarn):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        row = {"run": "head-123", "method": "head", "rank_swept": None, "seed": 123, "test_accuracy": 0.9}
        row |= {"data": "sms|x", "protocol": "strict", "epochs": 1}
        pd.DataFrame([row]).to_csv(tmp_path / folder / "results.csv", index=False)
    bases = [f"{name}={tmp_path / 'first'}", f"last one={tmp_path / 'second'}"]
    result = command("compare_bases", *bases, "--out", tmp_path / "out")
    assert result.status == 0, result.err
    report = (tmp_path / "out" / "bases.md").read_text(encoding="utf-8")
    header = next(line for line in report.splitlines() if line.startswith("| method"))
    assert header == f"| method | {markdown.plain(name)} | last one |"
    assert "sms\\|x" in report and f"'last one={tmp_path / 'second'}'" in report
    assert pd.read_csv(tmp_path / "out" / "bases.csv").base.tolist() == [name, "last one"]
    assert not [str(w.message) for w in recwarn if "Glyph" in str(w.message)]
