"""Taking a run elsewhere: a plain transformers folder, and several adapters over one base; docs/commands.md."""

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

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
WRITES_ELSEWHERE = """
import json, sys
import transformers
writer = transformers.pipeline("text-generation", model=sys.argv[1])
prompts = json.loads(sys.argv[2])
rows = lambda **options: [writer.model.generate(**writer.tokenizer(prompt, return_tensors="pt"), **options)[0].tolist()
                          for prompt in prompts]
print(json.dumps({"ids": writer.tokenizer(prompts)["input_ids"], "class": type(writer.model).__name__,
                  "texts": [answer[0]["generated_text"] for answer in writer(prompts, batch_size=2)],
                  "as trained": rows(), "greedy": rows(num_beams=1, early_stopping=None, length_penalty=None)}))
"""


def elsewhere(code: str, folder: Path, *arguments: object) -> dict:
    """What a program prints that finds nothing of ours: the JSON of its last line."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_run_answers_the_same_elsewhere(trained, command, tmp_path):
    pytest.importorskip("transformers")
    run = trained("lora", "--rank", 4)
    result = command("export_hf", run, tmp_path / "out")
    assert result.status == 0 and "classifier of food, music, sport" in result.out
    assert command("export_hf", run, tmp_path / "lm", "--language-model").status == 0
    there = elsewhere(ELSEWHERE, tmp_path, tmp_path / "out", json.dumps(TEXTS), tmp_path / "lm")

    from gpt2.tokenizer import get_tokenizer

    assert there["ids"] == [get_tokenizer().encode_ordinary(text) for text in TEXTS]
    assert there["labels"] == {"0": "food", "1": "music", "2": "sport"}
    here = [line.split("\t") for line in command("classify", run, *TEXTS).out.splitlines()]
    for (label, probability, _), answers in zip(here, there["answers"], strict=True):  # a padded batch there
        best = max(answers, key=lambda answer: answer["score"])
        assert best["label"] == label and f"{best['score']:.1%}" == probability
    assert there["text"].startswith("The old house")


@pytest.fixture
def written(command, tmp_path) -> Callable[..., Path]:
    """written("lora", "--rank", 2) -> the folder of a run of finetune_text.py on a little table of colours."""
    colours = ("red", "green", "blue", "grey", "black", "white", "brown", "pink", "yellow", "silver")
    rows = [{"mr": f"colour[{c}]", "ref": f"It is {c}{mark}"} for c in colours for mark in (".", " , says the book .")]
    pd.DataFrame(rows).to_csv(tmp_path / "colours.csv", index=False)
    columns = ["--source-column", "mr", "--target-column", "ref"]

    def written(*arguments: object, data: tuple = ("--data", tmp_path / "colours.csv", *columns)) -> Path:
        out = tmp_path / f"run {len(list(tmp_path.glob('run *')))}"
        common = ["--model", "practice", *data, "--epochs", 2, "--test-sources", 3, "--max-new-tokens", 9]
        result = command("finetune_text", "--lr", "1e-2", *common, "--out", out, "--method", *arguments)
        assert result.status == 0, result.err
        return out

    return written


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_a_run_writes_the_same_elsewhere(written, command, tmp_path, beams):
    """Greedily token by token as ours, and by default as the run wrote for its test sources."""
    pytest.importorskip("transformers")
    import peft
    from gpt2 import generate, get_tokenizer, load_gpt2
    from gpt2.beams import beam_search

    run = written("lora", "--rank", 4, "--num-beams", beams, "--length-penalty", 0.6, "--separator", " => ")
    result = command("export_hf", run, tmp_path / "out")
    assert result.status == 0 and "language model" in result.out and 'Prompt it with "SOURCE => ".' in result.out
    generated = pd.read_csv(run / "generated.csv", keep_default_na=False)
    prompts = [f"{source} => " for source in [*generated.source, "colour[<|endoftext|>]"]]
    there = elsewhere(WRITES_ELSEWHERE, tmp_path, tmp_path / "out", json.dumps(prompts))

    tokenizer, model = get_tokenizer(), peft.load(load_gpt2("practice"), run / "adapter")
    encoded = tokenizer.encode_ordinary_batch(prompts)
    assert there["class"] == "GPT2LMHeadModel" and there["ids"] == encoded
    texts = [text[len(p) :].strip() for text, p in zip(there["texts"], prompts, strict=True)]
    assert texts[: len(generated)] == generated.written.tolist()
    how = {"max_new_tokens": 9, "num_beams": beams, "length_penalty": 0.6}
    with peft.merged(model):
        for tokens, greedy, best in zip(encoded, there["greedy"], there["as trained"], strict=True):
            ours = generate(model, torch.tensor([tokens]), 9, stop_token=tokenizer.eot_token)
            assert greedy == ours[0].tolist()
            assert best == beam_search(model, torch.tensor([tokens]), **how)[0].tolist()


@pytest.mark.slow
def test_llama_cpp_writes_the_same(written, command, tmp_path):
    """GPT2_PEFT_LLAMA_CPP names a folder with llama.cpp's source, whose converter is run; llama-cpp-python writes."""
    pytest.importorskip("transformers")
    llama_cpp = pytest.importorskip("llama_cpp")
    if not (source := os.environ.get("GPT2_PEFT_LLAMA_CPP")):
        pytest.skip("GPT2_PEFT_LLAMA_CPP names no folder with llama.cpp's source")
    import peft
    from gpt2 import generate, get_tokenizer, load_gpt2

    run, file = written("lora", "--rank", 4), tmp_path / "out.gguf"
    assert command("export_hf", run, tmp_path / "out").status == 0
    converter = [sys.executable, Path(source) / "convert_hf_to_gguf.py", tmp_path / "out", "--outtype", "f32"]
    done = subprocess.run([*map(str, converter), "--outfile", str(file)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = llama_cpp.Llama(str(file), n_ctx=256, verbose=False)
    here, tokenizer = peft.load(load_gpt2("practice"), run / "adapter"), get_tokenizer()
    for prompt in ("colour[red]\n", "colour[violet]\n", "The old house"):
        tokens = tokenizer.encode_ordinary(prompt)
        assert there.tokenize(prompt.encode(), add_bos=True) == tokens  # the file says: nothing before a text
        ours = generate(here, torch.tensor([tokens]), 9, stop_token=tokenizer.eot_token)[0, len(tokens) :].tolist()
        theirs = itertools.islice(there.generate(tokens, temp=0.0, repeat_penalty=1.0), len(ours))
        assert list(theirs) == ours


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("poem.txt", "The river is old and the bridge is new.\n" * 220, "Prompt it with the beginning of a text."),
        (
            "tasks.json",
            json.dumps([{"instruction": f"Say {n}.", "input": "", "output": f"{n}!"} for n in range(20)]),
            '### Instruction:\\nINSTRUCTION\\n\\n### Response:\\n".',
        ),
    ],
)
def test_how_to_prompt_other_runs(written, command, tmp_path, name, content, said):
    (tmp_path / name).write_text(content, encoding="utf-8")
    result = command("export_hf", written("bitfit", data=("--data", tmp_path / name)), tmp_path / "out")
    assert result.status == 0 and said in result.out
    tokenizer = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["n_ctx"] == config["n_positions"] == 256  # llama.cpp's converter asks for the older name
    assert tokenizer["add_bos_token"] is (name == "poem.txt") and tokenizer["padding_side"] == "left"
    if importlib.util.find_spec("transformers"):
        code = "import sys, transformers as t; print(t.AutoTokenizer.from_pretrained(sys.argv[1])('A b').input_ids)"
        ids = elsewhere(code, tmp_path, tmp_path / "out")
        assert ids == [50256, 32, 275][name != "poem.txt" :]


def test_what_of_writing_cannot_be_exported(written, command, tmp_path):
    for method, said in (
        ("prompt", "its adapter folder loads with Hugging Face's peft"),
        ("adapter", "no plain GPT-2 can do it; use it with peft.load and scripts/generate.py"),
    ):
        assert said in command("export_hf", written(method), tmp_path / "out").one_line(2)
    run = tmp_path / "run 0"
    assert "no classification head" in command("export_hf", run, tmp_path / "out", "--language-model").one_line(2)
    shutil.rmtree(run / "adapter")
    assert "not finished" in command("export_hf", run, tmp_path / "out").one_line(2)
    assert not (tmp_path / "out").exists()


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
