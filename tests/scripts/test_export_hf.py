"""Taking a run elsewhere: a plain transformers folder, and several adapters over one base; docs/commands.md."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TEXTS = ["soup and bread number 3", "the goal of the match", "song<|endoftext|>"]  # in a message this is text
ELSEWHERE = """
import json, sys
import transformers
classifier = transformers.pipeline("text-classification", model=sys.argv[1], top_k=None)
model = transformers.AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
texts = json.loads(sys.argv[2])
print(json.dumps({"answers": classifier(texts, batch_size=3), "labels": model.config.id2label,
                  "ids": classifier.tokenizer(texts)["input_ids"],
                  "text": transformers.pipeline("text-generation", model=sys.argv[3])("The old house", max_new_tokens=5,
                          do_sample=False)[0]["generated_text"]}))
"""


@pytest.mark.slow
def test_a_run_answers_the_same_elsewhere(trained, command, tmp_path):
    pytest.importorskip("transformers")
    run = trained("lora", "--rank", 4)
    result = command("export_hf", run, tmp_path / "out")
    assert result.status == 0 and "classifier of food, music, sport" in result.out
    assert command("export_hf", run, tmp_path / "lm", "--language-model").status == 0
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    arguments = [tmp_path / "out", json.dumps(TEXTS), tmp_path / "lm"]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, arguments)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout.splitlines()[-1])

    from gpt2.tokenizer import get_tokenizer

    assert there["ids"] == [get_tokenizer().encode_ordinary(text) for text in TEXTS]
    assert there["labels"] == {"0": "food", "1": "music", "2": "sport"}
    here = [line.split("\t") for line in command("classify", run, *TEXTS).out.splitlines()]
    for (label, probability, _), answers in zip(here, there["answers"], strict=True):  # a padded batch there
        best = max(answers, key=lambda answer: answer["score"])
        assert best["label"] == label and f"{best['score']:.1%}" == probability
    assert there["text"].startswith("The old house")


@pytest.mark.parametrize(
    "method, arguments, said",
    [
        ("adapter", [], "no plain GPT-2 can do it; use it with"),
        ("prompt", [], "its adapter folder loads with Hugging Face's peft"),
        ("head", ["--pooling", "mean"], "train it with --pooling last"),
    ],
)
def test_what_cannot_be_exported(method, arguments, said, trained, command, tmp_path):
    result = command("export_hf", trained(method, *arguments), tmp_path / "out")
    assert result.status == 2 and said in result.err and result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_export_writes_over_nothing(trained, command, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    result = command("export_hf", trained("head"), tmp_path / "out")
    assert result.status == 2 and "not empty" in result.err


@pytest.mark.slow
def test_three_adapters_answer(trained, command):
    runs = [trained("lora"), trained("lora", "--rank", 2, "--seed", 5), trained("ia3")]
    one_by_one = command("switch_adapters", *runs, "--text", TEXTS[0], "--text", TEXTS[1])
    assert one_by_one.status == 0 and len(re.findall(r"switched in \d+\.\d{3} ms", one_by_one.out)) == 6
    together = command("switch_adapters", *runs, "--text", TEXTS[0], "--text", TEXTS[1], "--together")
    assert together.status == 0
    answers = [line.rsplit("\t", 1)[0] if "switched" in line else line for line in one_by_one.out.splitlines()]
    assert together.out.splitlines() == answers
    for run in runs:
        spoken = command("classify", run, TEXTS[0]).out.split("\t")
        assert f"{run}\t{spoken[0]}\t{spoken[1]}" in together.out


@pytest.mark.slow
def test_a_quantised_run_over_the_full_base_says_what_differs(trained, command):
    run = trained("qlora")
    result = command("classify", run, *TEXTS, "--full-precision")
    assert result.status == 0 and "Over the full-precision base" in result.err and len(result.out.splitlines()) == 3
    assert command("classify", trained("lora"), "x", "--full-precision").status == 2


def test_the_commands_of_the_page(trained, command, monkeypatch, tmp_path):
    """Each line of "Take it elsewhere" in docs/commands.md runs, with folders of this test for its placeholders."""
    page = Path(__file__).parents[2] / "docs" / "commands.md"
    section = page.read_text(encoding="utf-8").partition("## Take it elsewhere\n")[2].partition("\n## ")[0]
    lines = [shlex.split(line, comments=True) for line in section.splitlines() if line.startswith("python scripts/")]
    runs = iter([trained("lora") for _ in range(5)])
    monkeypatch.chdir(tmp_path)
    assert {Path(line[1]).stem for line in lines} == {"export_hf", "switch_adapters"}
    for line in lines:
        arguments = [str(next(runs)) if argument.startswith("runs/") else argument for argument in line[2:]]
        result = command(Path(line[1]).stem, *arguments)
        assert result.status == 0, result.err
