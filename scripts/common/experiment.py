"""One fine-tuning run, from prepared parts to a run folder (see gpt2/training/runs.py for what that holds)."""

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import peft
from common.cli import describe, quoted
from gpt2.devices import peak_memory_mb
from gpt2.errors import InputError, RunError
from gpt2.files import write_json
from gpt2.model import GPT2
from gpt2.training.batching import MessageBatches
from gpt2.training.distributed import is_main
from gpt2.training.finetune import CLASSIFICATION, Progress, finetune, make_optimizer
from gpt2.training.frozen_features import FrozenFeatureCache
from gpt2.training.recipe import Recipe
from gpt2.training.run_files import read_json
from gpt2.training.runs import (
    STATE_FILE,
    load_state,
    save_state,
    without_nan,
    write_history,
)


@dataclass
class Experiment:
    """A model with a method in it, batches, and how to train; ``config`` is what config.json says. The base of
    ClassifierExperiment (common/classifying.py) and WritingExperiment (common/writing.py)."""

    model: GPT2
    batches: dict[str, Any]  # train, validation, test: MessageBatches or PairBatches
    recipe: Recipe
    device: torch.device
    folder: Path
    config: dict
    started: float  # time.perf_counter() when the command began
    batching: str = "packed"
    features: FrozenFeatureCache | None = None
    saved: int = 0  # the epoch from which the run could resume

    task = CLASSIFICATION
    recorded = "method model model_asked_for data seed epochs options device total_parameters"  # of config, in metrics

    def run(self, resuming: bool) -> None:
        """Train, evaluate on the three parts, and leave the run folder in a valid state whatever happens."""
        self.model.to(self.device)
        self.optimizer, self.progress = make_optimizer(self.model, self.recipe), Progress(best_by=self.task.best_by)
        if resuming:
            self.progress = load_state(self.folder / STATE_FILE, self.model, self.optimizer)
            self.saved = self.progress.epoch
            self.started -= read_json(self.folder / "metrics.json").get("seconds") or 0.0
            print(f"Resuming {self.folder} after epoch {self.progress.epoch} of {self.recipe.epochs}.")
        try:
            self.record("running")
            finetune(
                self.model,
                self.batches["train"],
                self.batches["validation"],
                self.recipe,
                self.device,
                batching=self.batching,
                features=self.features,
                around_evaluation=peft.merged,
                progress=self.progress,
                optimizer=self.optimizer,
                after_epoch=self.after_epoch,
                task=self.task,
            )
            reported = self.record_figures()
            if is_main():
                (self.folder / STATE_FILE).unlink(missing_ok=True)
        except KeyboardInterrupt:
            self.record_end("interrupted")
            if is_main():
                print(f"Interrupted. {self.how_to_resume()}", file=sys.stderr)
            raise
        except Exception as error:
            self.record_end("failed")
            if isinstance(error, InputError | RunError) or not is_main():
                raise
            raise RunError(f"{describe(error)}. {self.how_to_resume()}") from error
        if reported:  # a reader such as head, who has had enough of this, does not undo a finished run
            self.print_report(*reported)

    def record_end(self, status: str) -> None:
        """Write the status if that is possible: on a full disk it may not be, and it is the first error that counts."""
        with contextlib.suppress(Exception):
            self.record(status)

    def how_to_resume(self) -> str:
        what = f"resumes after epoch {self.saved}" if self.saved else "starts again"
        return f"The same command with {quoted('--out', self.folder)} {what}."

    def record(self, status: str, **results) -> dict:
        """Write metrics.json: what was run, what it cost so far, and the ``results`` of the three parts."""
        if not is_main():
            return {}
        metrics = {key: self.config[key] for key in self.recorded.split()} | {
            "trainable_parameters": sum(p.numel() for p in peft.trainable_parameters(self.model).values()),
            "seconds": time.perf_counter() - self.started,
            "seconds_training": self.progress.seconds_training,
            "peak_memory_mb": peak_memory_mb(self.device),
            "best_epoch": self.progress.best_row["epoch"] if self.progress.epoch else None,
            "status": status,
            **results,
        }
        write_json(self.folder / "metrics.json", without_nan(metrics))
        return metrics

    def after_epoch(self, progress: Progress) -> None:
        """Save where we are, and say how it goes."""
        if not is_main():
            return
        save_state(self.folder / STATE_FILE, self.model, self.optimizer, progress)
        self.saved = progress.epoch
        write_history(self.folder, progress)
        self.record("running")
        print(self.epoch_line(progress.history[-1]), flush=True)

    def record_figures(self) -> Any:
        """Save the adapter and evaluate: what ``print_report`` prints; None in other processes than the main one."""
        raise NotImplementedError

    def print_report(self, *reported: Any) -> None:
        """Which epoch was kept, the closing tables, the costs, and how to use the run."""
        raise NotImplementedError

    def epoch_line(self, row: dict) -> str:
        """What is said after an epoch."""
        return (
            f"epoch {row['epoch']}: training loss {row['train_loss']:.3f}, validation loss "
            f"{row['validation_loss']:.3f}, accuracy {row['validation_accuracy']:.1%}, {row['seconds']:.1f} s"
        )

    def print_costs(self, metrics: dict) -> None:
        """Time and memory."""
        peak = metrics["peak_memory_mb"]
        memory = "unknown" if peak is None else f"{peak:,.0f} MB"
        seconds = f"{metrics['seconds']:.0f} s in all, {metrics['seconds_training']:.0f} s of training"
        print(f"\n{seconds}, peak memory {memory}")


def describe_run(model: GPT2, data: str, notes: Sequence[str], config: dict, cut: str, device: str) -> None:
    """What was loaded, what will be trained, and whatever a person should know about either. ``cut``: how many texts
    were truncated, in words, or nothing."""
    total = config["total_parameters"]
    trained = sum(p.numel() for p in peft.trainable_parameters(model).values())
    settings = " ".join(f"{key}={value}" for key, value in config["options"].items() if value is not None)
    print(f"Model    {config['model']}: {len(model.h)} blocks, {model.config.n_embd} wide, on {device}")
    print(f"Data     {data}")
    for note in notes:
        print(f"         {note}")
    if cut:
        print(f"         Truncated to {config['max_length']} tokens: {cut}.")
    print(f"Method   {config['method']} {settings}".rstrip())
    lr = f"lr {config['lr']:.2g}, {config['lr_source']}"
    print(f"Trains   {trained:,} of {total:,} parameters ({trained / total:.2%}), {lr}", flush=True)


def say_what_to_expect(model: GPT2, batches: MessageBatches, epochs: int) -> None:
    """A rough forecast for a CPU: 6 operations per weight and token, at half the speed of a large matrix product."""
    matrix = torch.rand(768, 768)
    matrix @ matrix  # the first product also starts the threads
    start = time.perf_counter()
    for _ in range(10):
        matrix @ matrix
    speed = 10 * 2 * 768**3 / (time.perf_counter() - start)
    weights = sum(p.numel() for p in model.h.parameters())
    tokens = sum(batch.tokens.numel() for batch in batches.shuffled(0, 0)) * epochs
    minutes = 6 * weights * tokens / (speed / 2) / 60
    print(f"Expect   about {max(1, round(minutes))} minutes on this CPU; --model practice takes seconds.", flush=True)
