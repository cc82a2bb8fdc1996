"""A trial: one short training in memory, without a run folder. Its results are a row of a table.

    results.csv    a row a trial: its settings first, then what was measured

A study is a list of trials. A trial that has a row is not repeated, so an interrupted study resumes. More trials add
rows. Several processes can share the work: each runs one trial at a time.
"""

import contextlib
import dataclasses
import io
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

import peft
from common.prepare import make_batches
from common.writing import make_pair_batches
from comparison.forgetting import language_loss, restore_language_head
from data import Dataset
from data.text_pairs import TextPairs
from gpt2.checkpoints.weights import load_gpt2
from gpt2.errors import InputError, RunError
from gpt2.files import atomic_write
from gpt2.model import GPT2
from gpt2.training.batching import MessageBatches
from gpt2.training.finetune import CLASSIFICATION, evaluate, finetune
from gpt2.training.recipe import Recipe
from gpt2.training.writing import SEPARATOR, WRITING, PairBatches, perplexity
from peft.applying import prepare_classifier

BATCH_SIZE = 8  # as the commands' default
JUDGED_PAIRS = 200


@dataclass(frozen=True)
class Trial:
    """The settings of one short training. Two trials with equal settings have equal results."""

    method: str
    lr: float
    steps: int  # at least so many: whole epochs
    seed: int = 123  # draws the head, the method's start and the order of the messages
    option: str = ""  # of the method, where it is not the default: "rank=2"
    split: int = 0  # which dataset, in studies with several; 0: the only one
    messages: int = 0  # training messages: the first so many of them; 0: all

    @property
    def options(self) -> dict[str, int]:
        name, _, value = self.option.partition("=")
        return {name: int(value)} if name else {}


@dataclass(frozen=True, kw_only=True)
class Bench(ABC):
    """What all trials of a study share: the model, the task and its data, and how a trained model is judged."""

    model: str
    assets: str | None
    general: torch.Tensor | None = None  # (windows, tokens) of general text, to measure forgetting on

    task = CLASSIFICATION

    def run(self, trial: Trial) -> tuple[Trial, dict]:
        """Train and judge. A training that diverges has no figures."""
        began = time.perf_counter()
        model = load_gpt2(self.model, self.assets)
        train, glance, judged = self.prepare(model, trial)
        epochs = -(-trial.steps // len(train))
        recipe = Recipe(lr=trial.lr, epochs=epochs, seed=trial.seed, keep_best=False)
        row: dict = {
            "trained": sum(p.numel() for p in peft.trainable_parameters(model).values()),
            "n_train": len(train.labels),
            "epochs": epochs,
        }
        no_bars = contextlib.redirect_stderr(io.StringIO())  # one bar counts the trials
        with no_bars, contextlib.suppress(RunError):  # the loss is not a finite number any more
            finetune(model, train, glance, recipe, torch.device("cpu"), task=self.task)
            with peft.merged(model):
                metrics = self.judge(model, judged)
            row |= {name: metrics[name] for name in ("loss", "accuracy", "f1") if name in metrics}
            if self.general is not None:
                row["general_loss"] = language_loss(restore_language_head(model), self.general)
        return trial, row | {"seconds": time.perf_counter() - began}

    @abstractmethod
    def prepare(self, model: GPT2, trial: Trial) -> tuple[MessageBatches, MessageBatches, MessageBatches]:
        """Put the method into the model. Returns batches: to train on, a few to validate on while training, and those
        to judge the trained model by."""

    @abstractmethod
    def judge(self, model: GPT2, judged: Any) -> dict:
        """Its ``loss``, ``accuracy`` and, of a classifier, ``f1``."""


@dataclass(frozen=True, kw_only=True)
class ClassifierBench(Bench):
    """Trials that train classifiers."""

    datasets: dict[int, Dataset]  # split -> its data
    part: str  # "validation" to choose settings, "test" to report

    def prepare(self, model: GPT2, trial: Trial) -> tuple[MessageBatches, MessageBatches, MessageBatches]:
        dataset = self.datasets[trial.split]
        prepare_classifier(model, len(dataset.classes), trial.method, trial.options, trial.seed)
        batches, _, _ = make_batches(dataset, model.config.n_positions - model.virtual_positions(), BATCH_SIZE)
        return first(batches["train"], trial.messages), first(batches["validation"], BATCH_SIZE), batches[self.part]

    def judge(self, model: GPT2, judged: MessageBatches) -> dict:
        positive = next(iter(self.datasets.values())).positive_index
        return evaluate(model, judged, torch.device("cpu"), positive=positive)[0]


@dataclass(frozen=True, kw_only=True)
class WritingBench(Bench):
    """Trials that teach to write, on the first pairs, as many as the steps need (all, where there are fewer). They are
    judged by the loss of the targets of at most ``JUDGED_PAIRS`` validation pairs."""

    pairs: TextPairs

    task = WRITING

    def prepare(self, model: GPT2, trial: Trial) -> tuple[PairBatches, PairBatches, PairBatches]:
        torch.manual_seed(trial.seed)
        peft.apply(model, trial.method, **trial.options)
        room = model.config.n_positions - model.virtual_positions()
        needed = dataclasses.replace(self.pairs, train=self.pairs.train[: trial.steps * BATCH_SIZE])
        batches, _ = make_pair_batches(needed, room, BATCH_SIZE, SEPARATOR, False, JUDGED_PAIRS)
        return batches["train"], batches["validation"].first_pairs(BATCH_SIZE), batches["validation"]

    def judge(self, model: GPT2, judged: Any) -> dict:
        return perplexity(model, judged, torch.device("cpu"), batching="packed")


def first(batches: MessageBatches, count: int) -> MessageBatches:
    """The first ``count`` messages of ``batches``; all for 0."""
    count = count or len(batches.labels)
    return MessageBatches(batches.token_lists[:count], batches.labels[:count], batches.batch_size)


def check_same(out: Path, said: dict, now: dict) -> None:
    """Raise InputError when ``out`` was made with other ``settings`` (task, model, …), which its record says: a trial
    does not say them, and its row would be taken for one of now."""
    before = said.get("settings", {})
    for name, value in now.items():
        if before.get(name, value) != value:
            raise InputError(
                f"{out} holds a study with --{name} {before[name]}, not {value}; name another folder", "out"
            )


SETTINGS = tuple(Trial.__dataclass_fields__)
MEASURED = ("trained", "n_train", "epochs", "loss", "accuracy", "f1", "general_loss", "seconds")


def read(file: Path) -> pd.DataFrame:
    """The table of a study, empty where nothing is done yet."""
    if not file.is_file():
        return pd.DataFrame(columns=[*SETTINGS, *MEASURED])
    return pd.read_csv(file, keep_default_na=False, na_values={name: [""] for name in MEASURED})


def settings_of(table: pd.DataFrame) -> set[Trial]:
    """The trials that a table has."""
    rows = table[list(SETTINGS)].to_dict("records")
    return {Trial(**{str(name): value for name, value in row.items()}) for row in rows}


def carry_out(bench: Bench, trials: Sequence[Trial], file: Path, jobs: int) -> pd.DataFrame:
    """Do the trials that have no row in ``file``, ``jobs`` at a time. Returns all rows with as many steps as these."""
    table = read(file)
    done = settings_of(table)
    waiting = [trial for trial in dict.fromkeys(trials) if trial not in done]
    bar = tqdm(total=len(trials), initial=len(trials) - len(waiting), desc="trials", unit="trial", disable=None)
    with bar, parallel_config(backend="loky", inner_max_num_threads=max(1, (os.cpu_count() or 1) // jobs)):
        pool = Parallel(jobs, return_as="generator_unordered")
        for trial, row in pool(delayed(bench.run)(trial) for trial in waiting):
            new = pd.DataFrame([dataclasses.asdict(trial) | {name: row.get(name, np.nan) for name in MEASURED}])
            table = new if table.empty else pd.concat([table, new], ignore_index=True)
            table = table.sort_values(list(SETTINGS), ignore_index=True)
            with atomic_write(file) as temporary:
                table.to_csv(temporary, index=False, float_format="%.6g")
            bar.update()
    return table[table.steps.isin({trial.steps for trial in trials})]  # not those of longer or shorter trainings
