"""The two small commands: classify messages with a run, and let the model write."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gpt2 import GPT2, GPT2Config
from gpt2.checkpoints.weights import save_gpt2

ROOT = Path(__file__).parents[2]
QUESTION = "Is the following text 'spam'? Answer with 'yes' or 'no':"


@pytest.fixture
def run(trained):
    return trained("head")


def test_text_file_and_standard_input_agree(run, command, tmp_path, monkeypatch):
    texts = ["soup and bread", "the goal of the match", "a song ✨"]
    spoken = command("classify", run, *texts)
    assert spoken.status == 0 and [line.split("\t")[2] for line in spoken.out.splitlines()] == texts
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n\n", encoding="utf-8")
    assert command("classify", run, "--file", tmp_path / "in.txt").out == spoken.out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(texts).encode())))
    assert command("classify", run).out == spoken.out


def test_a_message_does_not_depend_on_its_company(run, command):
    alone = command("classify", run, "soup").out
    together = command("classify", run, "soup", "a much longer message about a match " * 5).out
    assert together.splitlines()[0] + "\n" == alone


@pytest.mark.parametrize(
    "prepare, said",
    [
        (lambda run: None, "is not the folder of a run"),
        (lambda run: (run / "config.json").write_text("{broken"), "is damaged"),
        (lambda run: (run / "adapter/adapter_model.safetensors").write_bytes(b"x" * 100), "truncated or corrupt"),
        (lambda run: (run / "adapter/adapter_config.json").unlink(), "adapter_config.json is missing"),
    ],
)
def test_damaged_runs_get_one_line(prepare, said, run, command, tmp_path):
    folder = run if prepare(run) is not None or said != "is not the folder of a run" else tmp_path
    result = command("classify", folder, "hello")
    assert result.status == 2 and said in result.err and result.err.count("\n") == 1


def test_an_undecodable_file_names_the_line(run, command, tmp_path):
    (tmp_path / "latin.txt").write_bytes("one\ntwo\ncafé\n".encode("latin-1"))
    result = command("classify", run, "--file", tmp_path / "latin.txt")
    assert result.status == 2 and "line 3" in result.err


def test_the_adapter_of_another_base_is_refused(run, command, tmp_path):
    config = json.loads((run / "adapter/adapter_config.json").read_text())
    config["base_fingerprint"] = "0" * 64
    (run / "adapter/adapter_config.json").write_text(json.dumps(config))
    result = command("classify", run, "hello")
    assert result.status == 2 and "another base model" in result.err


def test_generation_continues_and_repeats(command):
    arguments = ["generate", "The old house", "--model", "practice", "--max-new-tokens", 12]
    greedy = command(*arguments)
    assert greedy.status == 0 and greedy.out.startswith("The old house")
    assert re.search(r"prefill 3 tokens in .* tokens/s\), decode 11 tokens in .* tokens/s\)", greedy.err)
    assert command(*arguments, "--no-cache").out == greedy.out
    drawn = [command(*arguments, "--temperature", 1, "--top-k", 50, "--seed", seed).out for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


PROMPTS = ["The old house", "Once upon a time, there was a little girl who", "I"]


def separated(out):
    return [text.strip("\n") for text in out.split("-" * 40 + "\n")]


@pytest.mark.parametrize("batch_size", [32, 2, 1])
def test_several_prompts_come_out_as_each_alone(command, tmp_path, batch_size):
    options = ["--model", "practice", "--max-new-tokens", 8, "--batch-size", batch_size]
    alone = [command("generate", prompt, *options).out.strip("\n") for prompt in PROMPTS]
    together = command("generate", *PROMPTS, *options)
    assert together.status == 0 and separated(together.out) == alone
    assert re.search(r"prefill 15 tokens in .*, decode 21 tokens in ", together.err)  # 3 + 11 + 1, and 3 x 7
    (tmp_path / "prompts.txt").write_text("\n\n".join(PROMPTS) + "\n", encoding="utf-8")
    assert command("generate", "--prompts", tmp_path / "prompts.txt", *options).out == together.out
    assert command("generate", *PROMPTS, *options, "--no-cache").out == together.out


def test_several_drawn_texts_are_repeated_by_their_seed_and_differ_from_each_other(command):
    arguments = ["generate", "I", "I", "I", "--model", "practice", "--max-new-tokens", 8, "--batch-size", 2]
    arguments += ["--temperature", 1, "--seed"]
    first = command(*arguments, 1)
    assert command(*arguments, 1).out == first.out != command(*arguments, 2).out
    assert len(set(separated(first.out))) == 3


def test_zero_shot_asks_the_question_of_every_text(command):
    result = command("generate", "--zero-shot", "You won", "Soup", "--model", "practice", "--max-new-tokens", 3)
    first, second = separated(result.out)
    assert first.startswith(f"{QUESTION} 'You won'") and second.startswith(f"{QUESTION} 'Soup'")


def test_zero_shot_asks_the_question(command):
    result = command("generate", "--zero-shot", "You won", "--model", "practice", "--max-new-tokens", 3)
    assert result.out.startswith(f"{QUESTION} 'You won'")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["", "--model", "practice"], "at least one token"),
        (["word " * 400, "--model", "practice"], "more than the context"),
        (["hi", "--model", "practice", "--temperature", "1", "--top-p", "1.5"], "--top-p is 1.5"),
        (["hi", "--top-k", "5"], "--top-k has no effect unless --temperature is above 0"),
        (["hi", "--seed", "5"], "--seed has no effect unless --temperature is above 0"),
        (["--prompts", ""], "--prompts is empty"),
        (["hi", "--model", "practice", "--temperature", "-1"], "temperature"),
        (["hi", "--top-k", "0"], "--top-k"),
        (["hi", "", "--model", "practice"], "prompt 2 has 0 tokens"),
        (["hi", "word " * 400, "--batch-size", "1", "--model", "practice"], "prompt 2 has 401 tokens, more than"),
        ([], "give a prompt"),
        (["hi", "--prompts", "prompts.txt"], "give a prompt or several, or else --prompts"),
        (["--prompts", "nowhere.txt"], "cannot read nowhere.txt"),
    ],
)
def test_bad_generation_input(arguments, said, command):
    result = command("generate", *arguments)
    assert result.status == 2 and said in result.err and result.err.splitlines()[-1].startswith("error: ")
    assert not result.out, "nothing is written before all is checked"


@pytest.mark.parametrize("options", [[], ["--temperature", "1e-40"], ["--temperature", 1, "--top-p", "1e-300"]])
def test_a_vocabulary_beyond_the_tokenizers_is_written_without_it(options, command, tmp_path):
    """A matrix of 50,304 columns is faster than one of 50,257; the tokens beyond are nobody's."""
    torch.manual_seed(0)
    model = GPT2(GPT2Config(vocab_size=50304, n_positions=32, n_embd=8, n_layer=1, n_head=2))
    with torch.no_grad():
        model.wte.weight[50257:] *= 100
    save_gpt2(model, tmp_path / "padded")
    result = command("generate", "I", "You", "--model", tmp_path / "padded", "--max-new-tokens", 8, *options)
    assert result.status == 0, result.err
    assert command("generate", "I", "--model", tmp_path / "padded", "--max-new-tokens", 8, *options).status == 0


@pytest.mark.slow
def test_the_first_answer_waits_for_no_library_that_it_does_not_need(trained):
    code = (
        "import runpy, sys; sys.argv = ['scripts/classify.py', sys.argv[1], 'hello']; sys.path.insert(0, 'scripts')\n"
        "try: runpy.run_path('scripts/classify.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(*(name for name in ('sklearn', 'pandas', 'scipy', 'sympy', 'torch._dynamo') if name in sys.modules))"
    )
    command = [sys.executable, "-c", code, str(trained("lora", "--rank", 4))]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer, needless = result.stdout.split("\n")[:2]
    assert answer.endswith("hello") and needless == ""
