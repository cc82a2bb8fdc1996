"""What all commands share: the oldest Python, seeds, signals, several processes, and one line for what is wrong."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(file for file in (ROOT / "scripts").glob("[!_]*.py"))


TOOLS = [ROOT / "notebooks" / "tools" / name for name in ("classroom.py", "refresh.py")]
HEAVY = {"torch", "pandas", "sklearn", "matplotlib", "transformers"}
ASK_FOR_HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", *(name for name in sys.modules if "." not in name), file=sys.stderr)
"""


@pytest.fixture
def cli(command):
    return importlib.import_module("common.cli")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_old_python_is_told_so_in_one_line(script):
    """The file parses there up to the check, and the check comes before anything newer."""
    ast.parse(script.read_text(encoding="utf-8"), feature_version=(3, 8))
    old = "import sys, collections\nVersion = collections.namedtuple('V', 'major minor micro releaselevel serial')\n"
    old += f"sys.version_info = Version(3, 8, 18, 'final', 0)\nsys.path.insert(0, {str(script.parent)!r})\n"
    done = subprocess.run([sys.executable, "-c", f"{old}import {script.stem}"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert "needs Python 3.11 or newer, and this is 3.8" in done.stderr


def test_half_a_checkout_is_told_so_in_one_line(tmp_path):
    """A folder without __init__.py can be imported too, but comes from no file."""
    (tmp_path / "scripts" / "common").mkdir(parents=True)
    (tmp_path / "gpt2").mkdir()
    copy = shutil.copy(SCRIPTS[0].parent / "common" / "cli.py", tmp_path / "scripts" / "common")
    done = subprocess.run([sys.executable, "-P", copy], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "`import gpt2` finds nowhere" in done.stderr


@pytest.mark.parametrize("script", [*SCRIPTS, *TOOLS], ids=lambda path: path.stem)
def test_help_imports_nothing_heavy(script):
    """And so answers within a second."""
    command = [sys.executable, "-c", ASK_FOR_HELP, str(script)]
    environment = os.environ | {"PYTHONPATH": str(script.parent)}  # as where a script is started by its name
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr
    assert not HEAVY & set(done.stderr.split())


def test_an_error_that_names_an_argument_gets_the_option_of_that_name(cli, command, tmp_path):
    error = cli.InputError("too many", "batch_size")
    cli.Parser().parse_args([])
    assert cli.with_option(error) == "too many"  # this command has no such option
    parser = cli.Parser()
    parser.add_argument("--batch-size")
    parser.parse_args([])
    assert cli.with_option(error) == "too many (--batch-size)"
    assert cli.with_option(cli.RunError("too late")) == "too late"
    (tmp_path / "t.csv").write_text("text,label\nhello,ham\n", encoding="utf-8")
    line = command("finetune_spam", "--data", tmp_path / "t.csv", "--label-column", "topic").one_line(2)
    assert line.endswith("name one of them (--label-column)\n")


def test_the_minimum_is_stated_once(cli):
    ast.parse((ROOT / "scripts" / "common" / "cli.py").read_text(encoding="utf-8"), feature_version=(3, 8))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["ruff"]["target-version"] == "py{}{}".format(*cli.MINIMUM_PYTHON)


@pytest.mark.parametrize(
    "arguments",
    [
        ["finetune_spam", "--split-seed"],
        ["generate", "hello", "--seed"],
        ["pretrain", "--steps", "1", "--seed"],
    ],
)
@pytest.mark.parametrize("seed", ["-1", str(2**64), "1.5", "one"])
def test_a_seed_out_of_range_is_one_line(arguments, seed, command):
    line = command(*arguments, seed).one_line(2)
    assert f"'{seed}' is not a whole number from 0 to 4294967295" in line or "argument --" in line


@pytest.mark.parametrize("script", ["benchmark", "compare_methods", "finetune_spam"])
def test_data_is_auto_by_default(script, command):
    module = importlib.import_module(script)
    parsed = module.parse([])
    assert (parsed[0] if isinstance(parsed, tuple) else parsed).data == "auto"


@pytest.mark.parametrize(
    "environment, status, said",
    [
        ({"WORLD_SIZE": ""}, 0, ""),
        ({"WORLD_SIZE": "1"}, 0, ""),
        ({"WORLD_SIZE": "2"}, 2, "WORLD_SIZE says 2 processes, but RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, 2, "WORLD_SIZE says 2 processes, but MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "two"}, 2, "WORLD_SIZE is 'two', not a number of processes"),
        ({"WORLD_SIZE": "0"}, 2, "WORLD_SIZE is '0'"),
    ],
)
def test_a_world_size_left_in_the_environment(
    environment, status, said, command, table, columns, tmp_path, monkeypatch
):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    arguments = ["--method", "head", "--data", table, *columns, "--epochs", 1, "--out", tmp_path / "run"]
    result = command("finetune_spam", *arguments)
    assert result.status == status, result.err
    if status:
        assert said in result.one_line(2)


def test_an_error_of_the_system_names_its_file(cli):
    assert cli.describe(OSError(28, "No space left on device", "/a/b")) == "/a/b: No space left on device"
    assert cli.describe(ValueError("one\n  two")) == "ValueError: one two"


def test_commands_are_quoted_and_found_from_where_one_is(cli, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert cli.command_line("classify.py", "my run", "it's") == """python scripts/classify.py 'my run' 'it'"'"'s'"""
    monkeypatch.chdir(ROOT / "docs")
    assert cli.command_line("classify.py") == "python ../scripts/classify.py"
    monkeypatch.chdir(tmp_path)
    assert cli.command_line("classify.py") == f"python {ROOT / 'scripts' / 'classify.py'}"


def test_an_argument_is_shown_as_its_option(cli):
    """The packages speak of arguments, the commands of options."""
    parser = cli.Parser()
    for option in ("--batch-size", "--scaling", "--out"):
        parser.add_argument(option)
    parser.parse_args([])
    for message, argument, shown in [
        ("batch_size is 0, expected more", "batch_size", "--batch-size is 0, expected more"),
        ("unknown scaling 'x'; choose a scaling", "scaling", "unknown --scaling 'x'; choose a scaling"),
        ("cannot write runs/x; choose another folder", "out", "cannot write runs/x; choose another folder (--out)"),
        ("no such file", None, "no such file"),
    ]:
        assert cli.with_option(cli.InputError(message, argument)) == shown


def test_a_methods_option_out_of_range_names_the_flag(command):
    for value, shown in [("0", "--rank is 0, expected"), ("2.5", "--rank: invalid int")]:
        result = command("finetune_spam", "--model", "practice", "--data", "practice", "--rank", value)
        assert shown in result.one_line(2)


def test_an_empty_value_is_no_value_unless_it_is_a_text_or_the_default(cli, capsys):
    parser = cli.Parser()
    parser.add_argument("text", nargs="*")
    for option, how in {"--out": {}, "--runs": {"nargs": "+"}, "--prompt": {"default": ""}}.items():
        parser.add_argument(option, **how)
    assert parser.parse_intermixed_args(["", "--out", "x", ""]).text == ["", ""]
    assert parser.parse_args(["--prompt", ""]).prompt == ""
    for wrong in (["--out", ""], ["--out="], ["--runs", "a", ""]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)
        assert f"{wrong[0].rstrip('=')} is empty" in capsys.readouterr().err


def test_an_option_that_is_not_used_is_refused_where_it_is_given(cli, capsys):
    parser = cli.Parser()
    parser.add_argument("--data")
    parser.add_argument("--text-column", default="text")
    parser.refuse_unused(parser.parse_args([]), None, "without --data", "text_column")
    args = parser.parse_args(["--text-column", "body"])
    parser.refuse_unused(args, "x.csv", "without --data", "text_column")
    with pytest.raises(SystemExit):
        parser.refuse_unused(args, None, "without --data", "text_column")
    assert "--text-column has no effect without --data; leave it out" in capsys.readouterr().err
