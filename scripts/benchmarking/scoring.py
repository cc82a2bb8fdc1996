"""Scoring new messages: ``TextClassifier.predict_proba`` beside transformers' pipeline on the exported model.

Both classify the same texts, one after the other in rounds. As programs, this file and hugging_face_scoring.py are the
two workers (see worker.py):  python -m benchmarking.scoring job.json
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarking.rounds import Worker, turned
from benchmarking.worker import as_worker, serve_scores
from common.markdown import counted, plus_minus, table
from data import Dataset, load_dataset
from gpt2 import get_tokenizer
from peft import export
from peft.estimator import TextClassifier

PIPELINE, OURS = "transformers.pipeline", "TextClassifier.predict_proba"
MODULES = {PIPELINE: "benchmarking.hugging_face_scoring", OURS: "benchmarking.scoring"}
LEARN_FROM = 400  # messages of the one epoch that the classifier is trained for


def measure_scoring(count: int, checkpoint: Path, data: str, assets: str | None, rounds: int, folder: Path) -> dict:
    """A classifier of ``model`` trained with LoRA for a moment, saved, exported and loaded by both: {"arms": {name:
    seconds of each round and peak memory}, "messages", "tokens", "difference" of the probabilities}."""
    dataset = load_dataset(data, assets=assets)
    learn = dataset.train[:LEARN_FROM]
    run = TextClassifier("lora", str(checkpoint), epochs=1, assets=assets).fit(learn["text"], learn["label"])
    run.save(folder / "run")
    export(run.model_, folder / "exported", list(dataset.classes), run.max_length_)
    texts = messages(dataset, count)
    job = {
        "run": str(folder / "run"),
        "exported": str(folder / "exported"),
        "threads": torch.get_num_threads(),
        "assets": assets,
    }
    job["texts"] = texts
    seconds: dict[str, list[float]] = {name: [] for name in MODULES}
    peaks: dict[str, float] = {}
    workers: dict[str, Worker] = {}
    try:
        for name, module in MODULES.items():
            workers[name] = Worker(name, module, job | {"scores": str(folder / f"{name}.npy")}, folder)
        with tqdm(total=rounds * len(workers), desc="scoring", unit="run", disable=None) as bar:
            for turn in range(rounds):
                for name in turned(list(MODULES), turn):
                    answer = workers[name].ask(round=turn)
                    seconds[name].append(answer["seconds"])
                    peaks[name] = answer["peak_mb"]
                    bar.update()
    finally:
        for worker in workers.values():
            worker.close()
    found = [np.load(folder / f"{name}.npy") for name in MODULES]
    return {
        "arms": {name: {"seconds": seconds[name], "peak_mb": peaks[name]} for name in MODULES},
        "messages": count,
        "tokens": sum(map(len, get_tokenizer().encode_ordinary_batch(texts))),
        "difference": float(abs(found[0] - found[1]).max()),
    }


def messages(dataset: Dataset, count: int) -> list[str]:
    """The dataset's texts, then the same with a number behind each, and so on: no two are alike."""
    texts = list(dict.fromkeys([*dataset.train["text"], *dataset.validation["text"], *dataset.test["text"]]))
    return [texts[i % len(texts)] + (f" {i // len(texts)}" if i >= len(texts) else "") for i in range(count)]


def ours(job: dict, say: Callable[[dict], None]) -> None:
    """Load the run and answer."""
    classifier = TextClassifier.load(job["run"], job["assets"])
    serve_scores(job, say, classifier.predict_proba)


def report(measured: dict) -> str:
    """The section of the report."""
    arms = measured["arms"]
    mine = np.mean(arms[OURS]["seconds"])
    rows = []
    for name, arm in arms.items():
        speed = measured["messages"] / np.mean(arm["seconds"])
        rows.append(
            [
                f"`{name}`",
                plus_minus(np.mean(arm["seconds"]), np.std(arm["seconds"])),
                f"{speed:,.0f}",
                f"{arm['peak_mb']:,.0f}",
                f"{np.mean(arm['seconds']) / mine:.2f}",
            ]
        )
    columns = ["", "seconds", "messages/s", "peak memory, MB", "time / ours"]
    text = (
        f"{measured['messages']:,} messages ({measured['tokens']:,} tokens), classified by one LoRA run: ours from the "
        "run folder, transformers' from the exported model, in batches of 32 sorted by length. Each is a process of "
        "its own, and they take turns; loading is not counted. Mean ± standard deviation over "
        f"{counted(len(arms[OURS]['seconds']), 'round')}. The probabilities differ by at most "
        f"{measured['difference']:.1e}."
    )
    return f"## Scoring\n\n{text}\n\n{table(columns, rows)}"


if __name__ == "__main__":
    as_worker(ours)
