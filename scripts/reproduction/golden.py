"""The golden ladder: what a faithful implementation prints on GPT-2 124M's weights, from the simplest number up.

    order of the data  ->  weights  ->  continuations  ->  head's logits  ->  untuned accuracy, loss  ->  training

golden.json holds the published values. Each rung needs those below it, so the first one that misses says where to look.
Everything is computed in float32. The order of the data needs no weights: the untuned GPT-2 answers "spam" to every
message, so its published accuracies 46.25, 45.00 and 48.75 % are the shares of spam in the first ten batches.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common.prepare import make_batches
from data import Dataset
from gpt2.generation import generate
from gpt2.model import GPT2
from gpt2.tokenizer import get_tokenizer
from gpt2.training.curve import BATCHES, measure
from gpt2.training.finetune import finetune
from gpt2.training.frozen_features import FrozenFeatureCache, choose_batching
from gpt2.training.reference import UNTUNED_BATCHES, restore_generator
from reproduction.rows import SPLITS, rows
from reproduction.running import Prepared, prepare

FILE = Path(__file__).with_name("golden.json")
SEED = 123
HALF_DIGIT = 0.005  # published with two digits behind the point


@dataclass(frozen=True)
class Rung:
    """One comparison of the ladder."""

    name: str
    expected: str
    got: str
    difference: float  # the largest; of texts, the number of texts that differ
    tolerance: float
    meaning: str  # of a miss

    @property
    def ok(self) -> bool:
        """Is the difference within the tolerance?"""
        return self.difference <= self.tolerance + 1e-9

    def __str__(self) -> str:
        verdict = "ok" if self.ok else f"MISSED: {self.meaning}"
        return (
            f"{self.name}\n    expected  {self.expected}\n    got       {self.got}\n"
            f"    largest difference {self.difference:.3g}, allowed {self.tolerance:g}: {verdict}"
        )


def read_golden() -> dict:
    """The published values."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def order_rung(golden: dict, dataset: Dataset) -> Rung:
    """Shares of spam in the first ten batches of each part. Needs no weights."""
    batches, _, _ = make_batches(dataset, 1024, rows()["book-ch6"].batch_size, reference=True)
    torch.manual_seed(SEED)
    first = {name: torch.cat([batch.labels for batch in batches[name].first(UNTUNED_BATCHES)]) for name in SPLITS}
    return numbers(
        "order of the data: % of spam in the first ten batches to train, validate, test",
        [golden["untuned"]["accuracy_first_10_batches"][name] for name in SPLITS],
        [100 * labels.float().mean().item() for labels in first.values()],
        HALF_DIGIT,
        "other messages, another split, or another shuffle; compare the data's sha256 and PyTorch's version",
    )


def climb(golden: dict, model: GPT2, dataset: Dataset, device: torch.device) -> Iterator[Rung]:
    """The rungs above the weights, one after the other, on a language model that is left fine-tuned.

    ``golden`` has the keys of golden.json; training stops after as many epochs as it has values for.
    """
    model.to(device)
    for text in golden["continuations"]:
        yield continuation(text, model, device)
    row = rows()["book-ch6"]
    prepared = prepare(row, SEED, model, dataset, device)
    generator = torch.get_rng_state()  # after the passes over the untuned model: the next ones begin here
    batches, recipe = prepared.batches, prepared.recipe
    tokens = torch.tensor([golden["head"]["tokens"]], device=device)
    with torch.no_grad():
        logits = model.lm_head(model.hidden_states(tokens))[0].tolist()
    yield numbers(
        f"logits of the new head at each token of {golden['head']['text']!r}",
        [value for logit in golden["head"]["logits"] for value in logit],
        [value for logit in logits for value in logit],
        0.002,
        "the head starts from other random numbers, or hidden states differ in more than rounding",
    )

    published = golden["untuned"]
    yield numbers(
        "untuned accuracy (%) of the first ten batches to train, validate, test",
        [published["accuracy_first_10_batches"][name] for name in SPLITS],
        [100 * prepared.untuned[name]["accuracy"] for name in SPLITS],
        HALF_DIGIT,
        "if the head's logits agree, the answer is read at another position, or the padding differs",
    )
    how = (device, recipe.pooling, *choose_batching(model, device, recipe.pooling))
    torch.set_rng_state(generator)
    losses = {name: measure(model, batches[name].first(BATCHES), *how)["loss"] for name in SPLITS}
    yield numbers(
        "untuned loss of five batches to train, validate, test",
        [published["loss_first_5_batches"][name] for name in SPLITS],
        [losses[name] for name in SPLITS],
        0.002,
        "the batches of the second pass differ: something draws from the generator between the passes",
    )
    yield from train(golden["training_chapter_6"], prepared, *how)


def train(
    golden: dict,
    prepared: Prepared,
    device: torch.device,
    pooling: str,
    batching: str,
    features: FrozenFeatureCache | None,
) -> Iterator[Rung]:
    """The rungs of the training run. Rounding differs from machine to machine and grows while training."""
    model = prepared.model
    epochs, train = len(golden["epoch_accuracy_first_5_batches"]["train"]), prepared.batches["train"]
    recipe = dataclasses.replace(prepared.recipe, epochs=epochs)
    progress = finetune(model, train, prepared.batches["validation"], recipe, device, batching, features)
    ends = [(epoch + 1) * len(train) - 1 for epoch in range(epochs)]
    steps = [point for point in progress.curve if point["batch"] % recipe.curve_every == 0]
    for part in ("train", "validation"):
        expected = golden["loss_every_50_steps"][part]
        got = [point[f"{part}_loss"] for point in steps[: len(expected)]]
        yield numbers(
            f"{part} loss after step 0", expected[:1], got[:1], 0.005, "the first step differs: the optimizer"
        )
        if len(expected) > 1:
            where = "the order of batches in training, learning rate or weight decay, or much rounding"
            yield numbers(f"{part} loss after steps 50, 100, …", expected[1:], got[1:], 0.05, where)
    for part in ("train", "validation"):
        got = [100 * point[f"{part}_accuracy"] for point in progress.curve if point["batch"] in ends]
        expected = golden["epoch_accuracy_first_5_batches"][part]
        where = "one of 40 messages is 2.5 points; two may differ by rounding, more should not"
        yield numbers(f"{part} accuracy (%) of five batches after each epoch", expected, got, 5.0, where)

    restore_generator(progress, recipe.seed)
    how = (device, pooling, batching, features)
    final = [measure(model, prepared.batches[name].first(), *how)["accuracy"] for name in SPLITS]
    yield numbers(
        "final accuracy (%) to train, validate, test",
        [golden["final"][name] for name in SPLITS],
        [100 * accuracy for accuracy in final],
        1.0,
        "three of 300 messages are one point; more than rounding explains",
    )


def continuation(text: dict, model: GPT2, device: torch.device) -> Rung:
    """A greedy continuation, letter by letter."""
    tokenizer = get_tokenizer()
    tokens = torch.tensor([tokenizer.encode(text["prompt"])], device=device)
    written = tokenizer.decode(generate(model, tokens, text["new_tokens"], temperature=0.0)[0].tolist())
    expected = text.get("text") or text["prompt"] + text["text_after_prompt"]
    got = written[: len(expected)] if "text_after_prompt" in text else written
    meaning = text.get("note") or "the forward pass differs: compare logits with transformers (tests/gpt2)"
    return Rung(f"continuation of {text['prompt']!r}", repr(expected), repr(got), float(got != expected), 0, meaning)


def numbers(name: str, expected: Sequence[float], got: Sequence[float], tolerance: float, meaning: str) -> Rung:
    """A rung of numbers."""
    difference = max(abs(a - b) for a, b in zip(expected, got, strict=True))
    shown = [" ".join(f"{value:.4g}" for value in values) for values in (expected, got)]
    return Rung(name, shown[0], shown[1], difference, tolerance, meaning)
