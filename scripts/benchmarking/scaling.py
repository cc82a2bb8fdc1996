"""Time and memory against the number of messages: one epoch of ``head`` on tables of rising size, practice model.

Each table is a process of its own: as a program, this file is a worker (see worker.py) whose only answer is
what the table cost:  python -m benchmarking.scaling job.json
"""

import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from tqdm import tqdm

from benchmarking.rounds import Worker
from benchmarking.worker import as_worker, peak_mb, resident_mb
from common.markdown import table

SEED = 123


def measure_scaling(sizes: list[int], folder: Path) -> dict:
    """Tables of these sizes, smallest first: {"tables": [what each cost]}."""
    tables = []
    for size in tqdm(sizes, desc="scaling", unit="table", disable=None):
        file = folder / f"messages-{size}.csv"
        synthetic_table(size).to_csv(file, index=False)
        worker = Worker(f"{size} messages", "benchmarking.scaling", {"table": str(file), "model": "practice"}, folder)
        worker.close()
        tables.append({"messages": size} | worker.about)
    return {"tables": tables}


def synthetic_table(n: int) -> pd.DataFrame:
    """Practice messages with their words in random order: as long as messages are, and hardly one like another."""
    from data.practice import practice_messages

    rng, source = random.Random(SEED), practice_messages()
    words, labels = source.text.str.split().tolist(), source.label.tolist()
    chosen = [i % len(words) for i in range(n)]
    texts = [" ".join(rng.sample(words[i], len(words[i]))) for i in chosen]
    return pd.DataFrame({"text": texts, "label": [labels[i] for i in chosen]})


def one_table(job: dict, say: Callable[[dict], None]) -> None:
    """Load a table, encode it and train one epoch, as finetune_spam.py does; say what each part took."""
    import peft
    from data import load_dataset
    from gpt2 import load_gpt2
    from gpt2.classifier import add_classification_head, classify
    from gpt2.devices import fit_threads
    from gpt2.tokenizer import get_tokenizer
    from gpt2.training.batching import MessageBatches, encode
    from gpt2.training.finetune import Recipe, make_optimizer
    from gpt2.training.frozen_features import FrozenFeatureCache

    model = load_gpt2(job["model"])
    fit_threads(model.config.n_embd)
    torch.manual_seed(SEED)
    peft.apply(add_classification_head(model, 2), "head").train()
    get_tokenizer().encode("x")  # loads its vocabulary
    before = resident_mb()

    start = time.perf_counter()
    train = load_dataset(job["table"]).train
    messages, _ = encode(train.text.tolist(), get_tokenizer(), model.config.n_positions)
    batches = MessageBatches(messages, train.label.tolist(), batch_size=8)
    tokens = sum(map(len, messages))
    del messages
    loaded = time.perf_counter()

    features = FrozenFeatureCache(model)
    optimizer = make_optimizer(model, Recipe(lr=peft.METHODS["head"].learning_rate(128)))
    for tokens_, lengths, labels in batches.shuffled(SEED, 0):
        optimizer.zero_grad()
        F.cross_entropy(classify(model, tokens_, lengths, "last", "packed", features), labels).backward()
        optimizer.step()
    say(
        {
            "trained_on": len(train),
            "tokens": tokens,
            "load_seconds": loaded - start,
            "epoch_seconds": time.perf_counter() - loaded,
            "before_mb": before,
            "peak_mb": peak_mb(),
            "kept_mb": sum(rows.nbytes for rows in features.kept.values()) / 1e6,
        }
    )


def report(tables: list[dict]) -> str:
    """The section of the report."""
    rows = []
    for t in tables:
        cells = [f"{t['messages']:,}", f"{t['trained_on']:,}", f"{t['load_seconds']:.2f}", f"{t['epoch_seconds']:.2f}"]
        cells += [f"{1000 * seconds(t) / t['trained_on']:.3f}"]
        rows.append(cells + [f"{t[key]:,.1f}" for key in ("before_mb", "peak_mb", "kept_mb")])
    before, last = tables[-2:]
    more = last["messages"] - before["messages"]
    power = math.log(seconds(last) / seconds(before)) / math.log(last["messages"] / before["messages"])
    growth, kept = (1e6 * (last[key] - before[key]) / more for key in ("peak_mb", "kept_mb"))
    text = (
        "A synthetic table, the practice model, `head`: reading, encoding and one epoch, each size in a process of its "
        f"own. From {before['messages']:,} to {last['messages']:,} messages, time grows as their number to the power "
        f"of {power:.2f}, and peak memory by {growth:,.0f} bytes a message, of which {kept:,.0f} are what the frozen "
        "blocks gave; that has a limit of 500 MB."
    )
    columns = ["messages", "trained on", "loading, s", "an epoch, s", "ms a message"]
    return f"## Many messages\n\n{text}\n\n{table([*columns, 'before, MB', 'peak, MB', 'kept, MB'], rows)}"


def seconds(cost: dict) -> float:
    """Seconds to load a table and train one epoch on it."""
    return cost["load_seconds"] + cost["epoch_seconds"]


if __name__ == "__main__":
    as_worker(one_table)
