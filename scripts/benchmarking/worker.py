"""A process of the benchmark: one way to train (an arm), alone, so that its peak memory is its own.

    benchmark.py ── {"start": 0, "stop": 33} ──►  worker      a line of JSON on its standard input: run these steps
                 ◄── {"seconds": […], …} ───────              a line back; then it sleeps until the next, at no cost

Its first line says that it is ready, and what it is; {"error": "…"} says in one sentence why it ends.

The repository's root comes last on this process's path: where Hugging Face's ``peft`` is wanted, it is found first.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[2]))
from gpt2.devices import peak_resident_bytes  # noqa: E402

Batch = tuple[list[np.ndarray], list[int]]  # the tokens of each message, unpadded, and their labels


class Arm:
    """A model, an optimiser, and how a batch becomes a loss. The training step itself is the same for all arms."""

    order = "grouped"  # the batches it is served: messages "grouped" by length, or in "random" order
    clip: float | None = None  # largest norm of all gradients together
    model: nn.Module
    optimizer: torch.optim.Optimizer

    def start(self) -> None:
        """Begin with nothing kept from earlier steps."""

    def prepare(self, batches: list[Batch]) -> None:
        """What the arm does before it trains on these; its time counts."""

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the batch; padding, or whatever it does to the batch, included."""
        raise NotImplementedError

    def positions(self, batch: Batch) -> int:
        """Positions that go through a block: those of the padded batch, unless the arm does better."""
        return len(batch[0]) * max(map(len, batch[0]))

    def about(self) -> dict:
        """What the report should know of it."""
        return {}

    def step(self, batch: Batch, update: bool = True) -> float:
        loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip:
            nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.clip)
        if update:
            self.optimizer.step()
        return loss.item()


def serve_arm(make_arm: Callable[[dict], Arm]) -> None:
    """The life of a worker with an arm: load, warm up, then run steps until nobody asks any more."""

    def life(job: dict, say: Callable[[dict], None]) -> None:
        if job["threads"] != torch.get_num_threads():
            torch.set_num_threads(job["threads"])
        before = resident_mb()
        arm = make_arm(job)
        batches = read_batches(job, arm.order)
        loaded = resident_mb()
        arm.start()
        arm.step(max(batches, key=arm.positions), update=False)  # starts threads and takes memory for the largest batch
        arm.start()
        say(
            {
                "before_mb": before,
                "loaded_mb": loaded,
                "trained": sum(p.numel() for p in arm.model.parameters() if p.requires_grad),
                "epoch_positions": sum(map(arm.positions, batches)),
                "torch": torch.__version__,
                **arm.about(),
            }
        )
        for line in sys.stdin:
            wanted = json.loads(line)
            say(run_steps(arm, batches[wanted["start"] : wanted["stop"]]))

    as_worker(life)


def serve_scores(job: dict, say: Callable[[dict], None], predict: Callable[[list[str]], np.ndarray]) -> None:
    """The life of a worker that classifies: the job's texts, each time that the parent asks; the probabilities
    (n, classes) go into a file."""
    torch.set_num_threads(job["threads"])
    predict(job["texts"][:64])  # starts threads
    say({})
    for _ in sys.stdin:
        start = time.perf_counter()
        probabilities = predict(job["texts"])
        seconds = time.perf_counter() - start
        np.save(job["scores"], probabilities)
        say({"seconds": seconds, "peak_mb": peak_mb()})


def run_steps(arm: Arm, batches: list[Batch]) -> dict:
    """Train on these batches, one step each; returns seconds, seconds of processors and loss of every step."""
    seconds, cpu_seconds, losses = [], [], []
    start, cpu_start = time.perf_counter(), time.process_time()
    arm.prepare(batches)
    for batch in batches:
        losses.append(arm.step(batch))
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
        start, cpu_start = time.perf_counter(), time.process_time()
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "losses": losses,
        "positions": sum(map(arm.positions, batches)),
        "peak_mb": peak_mb(),
    }


def as_worker(life: Callable[[dict, Callable[[dict], None]], None]) -> None:
    """Call ``life(job, say)`` with the job that the command line names; an error becomes one line for the parent."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints goes elsewhere than our answers

    def say(message: dict) -> None:
        print(json.dumps(message), file=pipe, flush=True)

    try:
        life(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), say)
    except KeyboardInterrupt:
        sys.exit(130)  # the parent was interrupted too, and says so
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent reports it in one line
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        say({"error": f"{type(error).__name__}: {reason}"})
        sys.exit(1)


def read_batches(job: dict, order: str) -> list[Batch]:
    """The job's batches in this order, ``grouped`` or ``random``."""
    batches = json.loads(Path(job["batches"]).read_text(encoding="utf-8"))[order]
    return [([np.array(tokens, dtype=np.int32) for tokens in b["tokens"]], b["labels"]) for b in batches]


def resident_mb() -> float:
    """Memory in use now, in MB (10⁶ bytes)."""
    return psutil.Process().memory_info().rss / 1e6


def peak_mb() -> float:
    """The most memory in use so far."""
    return peak_resident_bytes() / 1e6
