"""Learning to write: ours beside transformers with Hugging Face's peft, on the same pairs, batch by batch.

Both train LoRA on every linear layer (the tied head left alone), or everything, with the same AdamW. Ours packs a batch
and computes logits only where a target is predicted; the library pads it, and its model computes logits everywhere. The
loss is the mean over the batch's target tokens, so the first one must be equal.

As programs, this file and hugging_face_writing.py are the two workers (see worker.py):
    python -m benchmarking.writing job.json
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import peft
from benchmarking.arms import LORA
from benchmarking.methods import BATCH, SEED, library_missing
from benchmarking.rounds import LIBRARY, OURS, losses, measure
from benchmarking.worker import Arm, Batch, serve_arm
from common.markdown import DASH, counted, table
from data.text_pairs import load_pairs
from gpt2 import GPT2Config, load_gpt2
from gpt2.language import next_token_labels, target_logits, targets
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import check_vocabulary, make_batch
from gpt2.training.finetune import Recipe, make_optimizer
from gpt2.training.writing import PairBatches, encode_pairs

METHODS = ("lora", "full")
MODULES = {LIBRARY: "benchmarking.hugging_face_writing", OURS: "benchmarking.writing"}
STEPS = 48  # unless told otherwise


class Writer(Arm):
    """What finetune_text.py does on a CPU, at the job's learning rate. Labels of a batch: where each target begins."""

    clip = Recipe.clip

    def __init__(self, job: dict):
        torch.manual_seed(job["seed"])
        options = job["lora"] if job["method"] == "lora" else {}
        self.model = peft.apply(load_gpt2(job["model"]), job["method"], **options).train()
        self.optimizer = make_optimizer(self.model, Recipe(lr=job["lr"]))

    def loss(self, batch: Batch) -> Tensor:
        tokens, lengths, starts = make_batch(*batch)
        labels = next_token_labels(tokens, lengths, starts)  # (B, T)
        logits = target_logits(self.model, tokens, lengths, labels, "packed")  # (N, V)
        return F.cross_entropy(logits, targets(labels))

    def positions(self, batch: Batch) -> int:
        return sum(map(len, batch[0]))


def measure_writing(
    method: str,
    data: str,
    assets: str | None,
    checkpoint: Path,
    config: GPT2Config,
    steps: int | None,
    rounds: int,
    folder: Path,
) -> dict:
    """Raw numbers of a method: {"arms": {name: what it is, and its records}, "data": what was trained on}."""
    pairs, tokenizer = load_pairs(data, assets=assets), get_tokenizer()
    check_vocabulary(config.vocab_size, tokenizer)
    columns = pairs.train.source.tolist(), pairs.train.target.tolist()
    texts, starts, _ = encode_pairs(*columns, tokenizer, config.n_positions)
    order = PairBatches(texts, starts, BATCH).order(SEED, epoch=0)
    chunks = [order[first : first + BATCH] for first in range(0, len(order), BATCH)][: steps or STEPS]
    batches = [{"tokens": [texts[i] for i in chunk], "labels": [starts[i] for i in chunk]} for chunk in chunks]
    file = folder / "writing.json"
    file.write_text(json.dumps({Writer.order: batches}), encoding="utf-8")
    job = {
        "method": method,
        "model": str(checkpoint),
        "seed": SEED,
        "lr": peft.METHODS[method].learning_rate(config.n_embd),
        "lora": LORA,
        "batches": str(file),
        "threads": torch.get_num_threads(),
    }
    names = [name for name in MODULES if name == OURS or not library_missing()]
    served = [i for chunk in chunks for i in chunk]
    tokens = sum(len(texts[i]) for i in served)
    about = {"name": pairs.name, "batch": BATCH, "pairs": len(served), "tokens": tokens}
    return {
        "arms": measure(
            f"writing: {method}",
            {name: (MODULES[name], job) for name in names},
            dict.fromkeys(names, len(batches)),
            rounds,
            folder,
        ),
        "data": about | {"targets": tokens - sum(starts[i] for i in served)},
    }


def report(methods: dict) -> str:
    """The section of the report."""
    rows = []
    for method, measured in methods.items():
        ours = measured["arms"][OURS]
        for name, arm in measured["arms"].items():
            rows.append(
                [
                    f"`{method}`",
                    name,
                    middle(step_seconds(arm)),
                    ratio(arm, ours),
                    middle(step_seconds(arm, "cpu_seconds")),
                    ratio(arm, ours, "cpu_seconds"),
                    f"{memory(arm):,.0f}",
                    f"{memory(arm) / memory(ours):.2f}",
                    f"{losses(arm)[0]:.6f}",
                    DASH if arm is ours else f"{abs(losses(arm)[0] - losses(ours)[0]):.1e}",
                    f"{arm['about']['trained']:,}",
                ]
            )
    columns = [
        "method", "arm", "seconds a step", "time / ours", "processor seconds a step", "processor time / ours",
        "memory, MB", "memory / ours", "first loss", "difference from ours", "parameters trained",
    ]  # fmt: skip
    data, steps, rounds = measured["data"], len(step_seconds(ours)), len(ours["records"])
    tokens, learned = (data[key] / data["pairs"] for key in ("tokens", "targets"))
    text = (
        f"{data['name']}: {counted(steps, 'step')} of {data['batch']} pairs, {tokens:.1f} tokens a pair on average, of "
        f"which {learned:.1f} are target. Each arm is a process of its own and trains on the very same batches, in "
        "turns. *Seconds a step*: median, and the middle half of the steps. *Time / ours*: of the same steps, median "
        f"over {counted(rounds, 'round')} (smallest to largest). *Processor seconds*: those in which the arm computed, "
        "on all its threads together; other programs change them little. *Memory*: the most resident at a time, above "
        "that before the model was loaded. *First loss*: before any update, mean over the target tokens."
    )
    if LIBRARY in measured["arms"]:
        versions = measured["arms"][LIBRARY]["about"]
        text += f" transformers {versions['transformers']}, peft {versions['peft']}."
        if full := methods.get("full", {}).get("arms"):
            apart = max(abs(a - b) for a, b in zip(losses(full[OURS]), losses(full[LIBRARY]), strict=True))
            text += f" Over all steps of `full`, the losses differ by at most {apart:.1e}."
    return f"## Learning to write\n\n{text}\n\n{table(columns, rows)}"


def step_seconds(arm: dict, clock: str = "seconds") -> list[float]:
    """Of every step, in order, by this clock: ``seconds`` or ``cpu_seconds``."""
    return [seconds for record in arm["records"] for seconds in record[clock]]


def middle(numbers: list[float]) -> str:
    """The median, and the middle half."""
    quarter, half, three = np.quantile(numbers, (0.25, 0.5, 0.75))
    return f"{half:.3f} ({quarter:.3f} to {three:.3f})"


def ratio(arm: dict, ours: dict, clock: str = "seconds") -> str:
    """How many times ours an arm's time is: in the median round, the smallest and the largest."""
    ratios = [
        sum(theirs[clock]) / sum(mine[clock]) for theirs, mine in zip(arm["records"], ours["records"], strict=True)
    ]
    spread = "" if arm is ours else f" ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{np.median(ratios):.2f}{spread}"


def memory(arm: dict) -> float:
    """MB that the model and its training take at most."""
    return max(record["peak_mb"] for record in arm["records"]) - arm["about"]["before_mb"]


if __name__ == "__main__":
    serve_arm(Writer)
