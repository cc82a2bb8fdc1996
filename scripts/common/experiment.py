"""One fine-tuning run, from prepared parts to a run folder (see gpt2/training/runs.py for what that holds)."""

import contextlib
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

import peft
from common.cli import command_line, describe, quoted
from common.outcome import Outcome
from common.text import one_line, sample
from data import Dataset
from gpt2.devices import peak_memory_mb
from gpt2.errors import InputError, RunError
from gpt2.files import write_json
from gpt2.model import GPT2
from gpt2.training.batching import MessageBatches
from gpt2.training.decision import AS_TRAINED, Decision, choose_temperature, choose_threshold
from gpt2.training.distributed import is_main
from gpt2.training.finetune import Progress, evaluate, finetune, make_optimizer
from gpt2.training.frozen_features import FrozenFeatureCache
from gpt2.training.prediction import predict
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
    """A model with a method in it, the data, and how to train. ``config`` is what config.json says."""

    model: GPT2
    dataset: Dataset
    batches: dict[str, MessageBatches]  # train, validation, test
    recipe: Recipe
    device: torch.device
    folder: Path
    config: dict
    started: float  # time.perf_counter() when the command began
    batching: str = "packed"
    features: FrozenFeatureCache | None = None
    threshold: str | None = None  # of two classes: a rule of gpt2/training/decision.py
    calibrate: bool = False  # choose a temperature
    untuned: dict[str, dict] = field(default_factory=dict)  # measured before training, where the recipe does so
    saved: int = 0  # the epoch from which the run could resume

    def run(self, resuming: bool) -> None:
        """Train, evaluate on the three parts, and leave the run folder in a valid state whatever happens."""
        self.model.to(self.device)
        self.optimizer, self.progress = make_optimizer(self.model, self.recipe), Progress()
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
            )
            reported = self.report()
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
        wanted = (
            "method model model_asked_for data protocol recipe seed epochs options positive device total_parameters"
        ).split()
        metrics = {key: self.config[key] for key in wanted} | {
            "trainable_parameters": sum(p.numel() for p in peft.trainable_parameters(self.model).values()),
            "seconds": time.perf_counter() - self.started,
            "seconds_training": self.progress.seconds_training,
            "peak_memory_mb": peak_memory_mb(self.device),
            "best_epoch": self.progress.best_row["epoch"] if self.progress.epoch else None,
            "status": status,
            **({"untuned": self.untuned} if self.untuned else {}),
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
        row = progress.history[-1]
        print(
            f"epoch {row['epoch']}: training loss {row['train_loss']:.3f}, validation loss "
            f"{row['validation_loss']:.3f}, accuracy {row['validation_accuracy']:.1%}, {row['seconds']:.1f} s",
            flush=True,
        )

    def report(self) -> tuple[Outcome, dict, str | None] | None:
        """Save the adapter and evaluate on the three parts; what is there to print, None in other processes."""
        if not is_main():
            return None
        peft.save(self.model, self.folder / "adapter")
        index = self.dataset.positive_index
        how, parts = (self.recipe.pooling, index, self.batching, self.features), {}
        with peft.merged(self.model):
            decision = self.decide(index)
            for name, batches in self.batches.items():
                parts[name], probabilities = evaluate(self.model, batches, self.device, *how, decision)
        outcome = Outcome(self.dataset, decision, probabilities, parts)
        note = outcome.write(self.folder)
        return outcome, self.record("finished", **outcome.figures()), note

    def decide(self, positive: int | None) -> Decision:
        """The temperature and the threshold that were asked for, from the validation messages."""
        if not (self.calibrate or self.threshold):
            return AS_TRAINED
        batching = self.recipe.pooling, self.batching, self.features
        logits, labels = predict(self.model, self.batches["validation"], self.device, *batching)
        found = choose_temperature(logits, labels) if self.calibrate else None
        temperature = AS_TRAINED.temperature if found is None else found
        if not self.threshold or positive is None:
            return Decision(temperature)
        scores = (logits / temperature).softmax(dim=-1)[:, positive].numpy()
        threshold = choose_threshold(self.threshold, labels.numpy() == positive, scores)
        return Decision(temperature, threshold, self.threshold)

    def print_report(self, outcome: Outcome, metrics: dict, note: str | None) -> None:
        """Which epoch was kept, the closing tables, the costs, and how to try the model."""
        print(f"\n{self.progress.kept(self.recipe)}")
        outcome.print(metrics)
        if self.calibrate and outcome.decision.temperature == AS_TRAINED.temperature:
            print(
                f"No temperature follows from the {len(self.dataset.validation):,} validation messages: they are too "
                "few, or all answers are right, or no better than chance. Probabilities are as trained (T = 1)."
            )
        peak = metrics["peak_memory_mb"]
        memory = "unknown" if peak is None else f"{peak:,.0f} MB"
        seconds = f"{metrics['seconds']:.0f} s in all, {metrics['seconds_training']:.0f} s of training"
        print(f"\n{seconds}, peak memory {memory}")
        if note:
            print(note)
        text = sample(self.dataset.test.text)
        words = ["--", text] if text.startswith("-") else [text]
        print(f"Results in {self.folder}; try: {command_line('classify.py', self.folder, *words)}")


def describe_run(model: GPT2, dataset: Dataset, config: dict, cut: int, device: str) -> None:
    """What was loaded, what will be trained, and whatever a person should know about either."""
    total = config["total_parameters"]
    trained = sum(p.numel() for p in peft.trainable_parameters(model).values())
    sizes = " / ".join(f"{len(part):,}" for part in (dataset.train, dataset.validation, dataset.test))
    classes = ", ".join(map(one_line, dataset.classes))
    settings = " ".join(f"{key}={value}" for key, value in config["options"].items() if value is not None)
    print(f"Model    {config['model']}: {len(model.h)} blocks, {model.config.n_embd} wide, on {device}")
    print(f"Data     {dataset.name}: {sizes} messages to train / validate / test, classes {classes}")
    for note in dataset.notes:
        print(f"         {note}")
    if cut:
        print(f"         Truncated to {config['max_length']} tokens: {cut:,} of the messages.")
    print(f"Method   {config['method']} {settings}".rstrip())
    lr = f"lr {config['lr']:.2g}, {config['lr_source']}"
    print(f"Trains   {trained:,} of {total:,} parameters ({trained / total:.2%}), {lr}", flush=True)


def describe_untuned(untuned: dict[str, dict]) -> None:
    """The accuracies before training; beside them stands, in the reference recipe, how few messages they are of."""
    shown = " / ".join(f"{values['accuracy']:.2%}" for values in untuned.values())
    counts = list(dict.fromkeys(f"{values['n']:.0f}" for values in untuned.values()))
    print(
        f"Untuned  accuracy {shown} on the first {' / '.join(counts)} messages to train / validate / test", flush=True
    )


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
