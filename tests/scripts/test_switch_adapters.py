"""Runs that classify and runs that write, over one base: each answers as its own command lets it answer."""

import json
import shutil

import pandas as pd
import pytest

MESSAGE = "soup and cheese"


@pytest.fixture(scope="module")
def writers_made():
    return {}


@pytest.fixture
def writer(command, writers_made, tmp_path_factory, tmp_path):
    """writer("pairs", "lora") -> the folder of a run of finetune_text.py, a copy of one's own to change."""

    def writer(kind: str, method: str, *arguments: object):
        key = (kind, method, *arguments)
        if key not in writers_made:
            folder = tmp_path_factory.mktemp("writer")
            words = ("soup", "bread", "cheese", "apple", "rice", "tea")
            if kind == "pairs":
                data = folder / "pairs.csv"
                rows = [(f"{a} and {b}", f"I like {a}, and {b} too.") for a in words for b in words if a != b]
                pd.DataFrame(rows, columns=["source", "target"]).to_csv(data, index=False)
            else:
                data = folder / "instructions.json"
                data.write_text(
                    json.dumps([{"instruction": f"Cook {word}", "output": f"Done: {word}"} for word in words])
                )
            short = ("--epochs", 1, "--test-sources", 1, "--max-new-tokens", 6, "--num-beams", 2, "--lr", "1e-2")
            given = ("--model", "practice", "--data", data, "--out", folder / "run", *short, *arguments)
            result = command("finetune_text", "--method", method, *given)
            assert result.status == 0, result.err
            writers_made[key] = folder / "run"
        return shutil.copytree(writers_made[key], tmp_path / f"writer {len(list(tmp_path.glob('writer *')))}")

    return writer


@pytest.mark.slow
def test_a_classifier_and_two_writers(command, trained, writer):
    spam, pairs, instructions = trained("lora"), writer("pairs", "lora"), writer("instructions", "dora")
    label, share = command("classify", spam, MESSAGE).out.split("\t")[:2]
    beams = ("--num-beams", 2, "--max-new-tokens", 6)
    texts = [command("generate", "--adapter", run, MESSAGE, *beams).out.strip() for run in (pairs, instructions)]
    assert all(texts) and texts[0] != texts[1]
    expected = [f"{spam}\t{label}\t{share}", f"{pairs}\t{texts[0]}", f"{instructions}\t{texts[1]}"]
    for together in ([], ["--together"]):
        found = command("switch_adapters", spam, pairs, instructions, "--text", MESSAGE, *together)
        assert found.status == 0, found.err
        lines = found.out.splitlines()
        assert lines[0] == MESSAGE and len(lines) == 4
        for line, start in zip(lines[1:], expected, strict=True):
            assert line.strip().split("\t(switched")[0] == start


@pytest.mark.slow
def test_what_one_batch_cannot_do_gets_one_line(command, trained, writer, tmp_path):
    pairs, full = writer("pairs", "lora"), writer("pairs", "full")
    alone = command("switch_adapters", full, pairs, "--text", MESSAGE)
    assert alone.status == 0 and alone.out.count("\n") == 3, alone.err
    together = command("switch_adapters", full, pairs, "--text", MESSAGE, "--together")
    assert "embedding wte cannot share a batch" in together.one_line(2)
    other = writer("pairs", "lora")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"num_beams": 3}))
    assert command("switch_adapters", other, pairs, "--text", MESSAGE).status == 0
    refused = command("switch_adapters", other, pairs, "--text", MESSAGE, "--together").one_line(2)
    assert "one search, but num_beams differ in" in refused
    long = command("switch_adapters", pairs, "--text", "word " * 2000).one_line(2)
    assert "leaves no room for a target" in long
    assert "is not the folder of a run" in command("switch_adapters", tmp_path, "--text", MESSAGE).one_line(2)
