"""One method of the benchmark: which arms, on which batches, for how many steps."""

import importlib.metadata
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

import peft
from benchmarking.arms import LORA, SWITCHES, with_method
from benchmarking.flops import machine_peak, needed
from benchmarking.rounds import LIBRARY, LIBRARY_MODULE, OUR_MODULE, OURS, PUBLISHED, measure
from data import load_dataset
from gpt2 import GPT2, GPT2Config
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import MessageBatches, check_vocabulary, encode

BATCH = 8  # messages a step
SEED = 123


@dataclass(frozen=True)
class Served:
    """The batches of one epoch, in a file that all workers read."""

    file: Path
    messages: list[list[int]]  # tokens
    classes: int
    about: dict

    @property
    def steps(self) -> int:
        return math.ceil(len(self.messages) / BATCH)


def serve(source: str, assets: str | None, config: GPT2Config, folder: Path) -> Served:
    """Write the training messages as batches, in the two orders there are: grouped by length, and random."""
    dataset = load_dataset(source, "published", SEED, assets)
    tokenizer = get_tokenizer()
    check_vocabulary(config.vocab_size, tokenizer)
    messages, _ = encode(dataset.train.text.tolist(), tokenizer, config.n_positions)
    labels = dataset.train.label.tolist()
    longest = max(map(len, messages))

    def batches(pad_to: int | None) -> list[dict]:
        order = MessageBatches(messages, labels, BATCH, pad_to).order(SEED, epoch=0)
        chunks = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        return [{"tokens": [messages[i] for i in chunk], "labels": [labels[i] for i in chunk]} for chunk in chunks]

    file = folder / "batches.json"
    content = {"grouped": batches(None), "random": batches(longest)}
    file.write_text(json.dumps(content), encoding="utf-8")
    about = {
        "name": dataset.name,
        "messages": len(messages),
        "tokens": sum(map(len, messages)),
        "longest": longest,
        "batch": BATCH,
    }
    return Served(file, messages, len(dataset.classes), about)


def measure_method(
    method: str, served: Served, checkpoint: Path, config: GPT2Config, steps: int | None, rounds: int, folder: Path
) -> dict:
    """Raw numbers of a method: its arms, its switches, and the operations that it needs."""
    job = job_of(method, served, checkpoint, config)
    epoch = min(steps or served.steps, served.steps)
    arms = {PUBLISHED: math.ceil(epoch / 6), LIBRARY: epoch, OURS: epoch}
    if library_missing():
        del arms[LIBRARY]
    chosen = [name for name, switch in SWITCHES.items() if method in switch.methods]
    switches = dict.fromkeys([OURS, *chosen], math.ceil(epoch / 3))

    def jobs(names: dict[str, int]) -> dict[str, tuple[str, dict]]:
        modules = {name: LIBRARY_MODULE if name == LIBRARY else OUR_MODULE for name in names}
        return {name: (module, job | {"arm": name}) for name, module in modules.items()}

    with torch.device("meta"):  # shapes are enough to count operations with
        model = with_method(GPT2(config), job)
    return {
        "epoch_steps": served.steps,
        "epoch_tokens": sum(map(len, served.messages)),
        "needed_flops": needed(model, served.messages),
        "peak_flops": machine_peak(),
        "switch_texts": {name: SWITCHES[name].text for name in chosen},
        "arms": measure(method, jobs(arms), arms, rounds, folder),
        "switches": measure(f"{method}: switches", jobs(switches), switches, rounds, folder),
    }


def job_of(method: str, served: Served, checkpoint: Path, config: GPT2Config) -> dict:
    """What every worker is told; which arm it is comes on top."""
    return {
        "method": method,
        "model": str(checkpoint),
        "classes": served.classes,
        "seed": SEED,
        "lr": peft.METHODS[method].learning_rate(config.n_embd),
        "lora": LORA,
        "batches": str(served.file),
        "threads": torch.get_num_threads(),
    }


def library_missing() -> str | None:
    """Which of Hugging Face's packages is not installed. Asked without importing: here ``peft`` is ours."""
    for package in ("transformers", "peft"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return package
    return None
