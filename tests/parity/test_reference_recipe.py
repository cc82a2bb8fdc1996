"""The reference recipe against an independent implementation of it (reference_side.py): every batch, every loss, and
the accuracies, before, while and after training.

On the practice checkpoint with a few short messages; and with all messages, where the order of the batches has the
most room to go wrong, on a model of one narrow block.
"""

import copy
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from data import load_dataset
from gpt2 import GPT2, GPT2Config, load_gpt2
from gpt2.checkpoints.hub import find_checkpoint
from gpt2.checkpoints.weights import save_gpt2
from gpt2.tokenizer import VOCABULARY
from gpt2.training import finetune as loop
from gpt2.training.curve import measure
from gpt2.training.reference import restore_generator
from reproduction.golden import climb, order_rung, read_golden
from reproduction.rows import SPLITS, rows
from reproduction.running import prepare

SIDE = Path(__file__).parent / "reference_side.py"
SMS = Path(os.environ.get("GPT2_PEFT_ASSETS", "nowhere")) / "sms-spam" / "SMSSpamCollection"
pytestmark = pytest.mark.skipif(not SMS.is_file(), reason="needs the SMS Spam Collection in GPT2_PEFT_ASSETS")

BASE = {"trained": "last block", "token": "last position", "mask": True, "batch_size": 8, "padded": True}
BASE |= {"accumulate": 1, "rank": 0, "alpha": 0, "start": "", "untuned": False, "epochs": 4}
FEW = {"characters": 100, "messages": [112, 16, 32]}  # full batches: the recipe averages over batches, we over messages
ALL = {"characters": 10_000, "messages": [1045, 149, 300]}
TEXT = "Every effort moves you"
ROWS = {  # the row of published.csv -> what the other side is told
    "book-ch6": {"untuned": True, "golden": TEXT, "new_tokens": 9},
    "extra-05": {"trained": "all"},
    "notes-lora": {"trained": "lora", "rank": 8, "alpha": 8, "start": "normal", "untuned": True},
    "extra-15": {"token": "last real token", "batch_size": 1, "padded": False, "accumulate": 8, "epochs": 1},
    "extra-16": {"token": "last real token"},
    "extra-17": {"mask": False},
}
WHOLE = ("book-appendix-E-2025", {"trained": "lora", "rank": 16, "alpha": 16, "start": "uniform", "untuned": True})


@pytest.fixture(scope="module")
def narrow(tmp_path_factory) -> Path:
    """One narrow block with GPT-2's vocabulary."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("narrow")
    save_gpt2(GPT2(GPT2Config(n_positions=128, n_embd=8, n_layer=1, n_head=2)), folder)
    return folder


@pytest.fixture(scope="module")
def theirs(run_elsewhere, narrow, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    common = BASE | {"sms": str(SMS), "vocabulary": str(VOCABULARY)}
    practice = str(find_checkpoint("practice").path)
    jobs = [{**common, **FEW, **told, "name": name, "checkpoint": practice} for name, told in ROWS.items()]
    jobs.append({**common, **ALL, **WHOLE[1], "name": "whole", "checkpoint": str(narrow), "epochs": 2})
    for job in jobs:
        job["out"] = f"{job['name']}.json"
    return run_elsewhere(SIDE, folder, jobs, lambda job: json.loads((folder / job["out"]).read_text()))


def few_messages(chosen: dict):
    """The published split's first messages that are short enough, as the other side takes them."""
    dataset, parts = load_dataset("sms", "published", assets=SMS.parents[1]), {}
    for name, count in zip(SPLITS, chosen["messages"], strict=True):
        part = getattr(dataset, name)
        parts[name] = part[part.text.str.len() <= chosen["characters"]].head(count)
    return dataclasses.replace(dataset, **parts)


@pytest.fixture
def ours(monkeypatch):
    """ours(row, model, messages, epochs) -> what reference_side.py writes, from our recipe, batches and loop."""

    def run(name: str, model: GPT2, chosen: dict, epochs: int) -> dict:
        row = rows()[name]
        dataset = few_messages(chosen)
        device = torch.device("cpu")
        prepared = prepare(row, 123, model, dataset, device)
        recipe = dataclasses.replace(prepared.recipe, epochs=epochs)
        out = {"losses": [], "tokens": []}
        add, shuffled = loop.RunningLoss.add, prepared.batches["train"].shuffled

        def add_and_note(self, loss, logits, labels, size):
            out["losses"].append(loss.item() / size)
            add(self, loss, logits, labels, size)

        def shuffle_and_note(seed, epoch):
            for batch in shuffled(seed, epoch):
                text = str([batch.tokens.tolist(), batch.labels.tolist()])
                out["tokens"].append(hashlib.sha256(text.encode()).hexdigest())
                yield batch

        monkeypatch.setattr(loop.RunningLoss, "add", add_and_note)
        monkeypatch.setattr(prepared.batches["train"], "shuffled", shuffle_and_note)
        batching = prepared.batching or "packed"
        progress = loop.finetune(
            model, prepared.batches["train"], prepared.batches["validation"], recipe, device, batching
        )

        restore_generator(progress, recipe.seed)
        how = (device, recipe.pooling, batching)
        final = [measure(model, prepared.batches[part].first(), *how)["accuracy"] for part in SPLITS]
        ends = {(epoch + 1) * len(prepared.batches["train"]) - 1 for epoch in range(epochs)}
        return out | {
            "final": final,
            "untuned": list(prepared.untuned.values()),
            "curve": [point for point in progress.curve if point["batch"] not in ends],
            "epochs": [point for point in progress.curve if point["batch"] in ends],
        }

    return run


def pairs(points: list[dict]) -> list[list[float]]:
    return [[p["train_loss"], p["train_accuracy"], p["validation_loss"], p["validation_accuracy"]] for p in points]


def check(what: str, ours: dict, theirs: dict, agree) -> None:
    assert len(ours["tokens"]) >= 50 and ours["tokens"] == theirs["tokens"]
    agree(
        f"{what}: losses of every batch", "transformers", torch.tensor(ours["losses"]), torch.tensor(theirs["losses"])
    )
    for points in ("curve", "epochs"):
        expected = [[t["loss"], t["accuracy"], v["loss"], v["accuracy"]] for t, v in theirs[points]]
        agree(f"{what}: {points}", "transformers", torch.tensor(pairs(ours[points])), torch.tensor(expected))
    assert ours["final"] == pytest.approx(theirs["final"])
    if theirs.get("untuned"):
        for mine, other in zip(ours["untuned"], theirs["untuned"], strict=True):
            assert mine["accuracy"] == pytest.approx(other["accuracy"])


@pytest.mark.parametrize("name", ROWS)
def test_a_row_equals_the_independent_reference(name, ours, theirs, agree):
    found = theirs[name]
    check(name, ours(name, load_gpt2("practice"), FEW, (BASE | ROWS[name])["epochs"]), found, agree)


def test_with_all_messages_every_batch_of_two_epochs_is_the_same(ours, theirs, narrow, agree):
    found = theirs["whole"]
    check("all messages", ours(WHOLE[0], load_gpt2(narrow), ALL, 2), found, agree)
    assert len(found["tokens"]) == 260


@pytest.fixture
def golden_values(theirs) -> dict:
    """Values as in golden.json, of the practice model, made by the other side."""
    found = copy.deepcopy(theirs["book-ch6"])
    by_part = lambda values: dict(zip(SPLITS, values, strict=True))  # noqa: E731
    halves = lambda points, key, unit: {  # noqa: E731
        part: [unit * point[i][key] for point in found[points]] for i, part in enumerate(("train", "validation"))
    }
    return {
        "continuations": [{"prompt": TEXT, "new_tokens": 9, "text": found["golden"]["text"]}],
        "head": {"text": TEXT, **{key: found["golden"][key] for key in ("tokens", "logits")}},
        "untuned": {
            "accuracy_first_10_batches": by_part([100 * part["accuracy"] for part in found["untuned"]]),
            "loss_first_5_batches": by_part([part["loss"] for part in found["first"]]),
        },
        "training_chapter_6": {
            "loss_every_50_steps": halves("curve", "loss", 1),
            "epoch_accuracy_first_5_batches": halves("epochs", "accuracy", 100),
            "final": by_part([100 * accuracy for accuracy in found["final"]]),
        },
    }


def test_the_golden_ladder_holds_on_the_practice_model(golden_values):
    rungs = list(climb(golden_values, load_gpt2("practice"), few_messages(FEW), torch.device("cpu")))
    assert len(rungs) == 11 and all(rung.ok for rung in rungs), "\n".join(map(str, rungs))
    assert max(rung.difference for rung in rungs) < 1e-3


@pytest.mark.parametrize(
    "spoil, missed",
    [
        (lambda g: g["continuations"][0].update(text="Every effort moves us"), "continuation"),
        (lambda g: g["head"]["logits"][2].__setitem__(1, 9.0), "logits of the new head"),
        (lambda g: g["untuned"]["loss_first_5_batches"].update(test=9.0), "untuned loss"),
        (
            lambda g: g["training_chapter_6"]["loss_every_50_steps"]["train"].__setitem__(1, 9.0),
            "train loss after steps",
        ),
        (lambda g: g["training_chapter_6"]["final"].update(test=50.0), "final accuracy"),
    ],
)
def test_a_rung_that_misses_says_what_that_means(spoil, missed, golden_values):
    spoil(golden_values)
    rungs = climb(golden_values, load_gpt2("practice"), few_messages(FEW), torch.device("cpu"))
    wrong = [rung for rung in rungs if not rung.ok]
    assert [rung.name[: len(missed)] for rung in wrong] == [missed]
    assert f"MISSED: {wrong[0].meaning}" in str(wrong[0])


def test_the_published_starting_point_is_the_share_of_spam():
    dataset = load_dataset("sms", "published", assets=SMS.parents[1])
    rung = order_rung(read_golden(), dataset)
    assert rung.ok and rung.got == "46.25 45 48.75"
    mixed = dataclasses.replace(dataset, train=dataset.train[::-1])
    assert not order_rung(read_golden(), mixed).ok
