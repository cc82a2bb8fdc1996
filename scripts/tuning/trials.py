"""A trial: one short training in memory, without a run folder, and what came of it as a row of a table.

    results.csv    a row a trial: its settings first, then what was measured

A study is a list of trials. Those whose row is there are not repeated, so an interrupted study resumes; more trials add
to the table. Several processes can share the work, each with its own trial.
"""

import contextlib
import dataclasses
import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

import peft
from common.prepare import make_batches
from comparison.forgetting import language_loss, restore_language_head
from data import Dataset
from gpt2.checkpoints.weights import load_gpt2
from gpt2.errors import RunError
from gpt2.files import atomic_write
from gpt2.training.batching import MessageBatches
from gpt2.training.finetune import evaluate, finetune
from gpt2.training.recipe import Recipe
from peft.applying import prepare_classifier

BATCH_SIZE = 8  # as finetune_spam.py's default


@dataclass(frozen=True)
class Trial:
    """The settings of one short training. Two trials with equal settings have equal results."""

    method: str
    lr: float
    steps: int  # at least so many: whole epochs
    seed: int = 123  # draws the head, the method's start and the order of the messages
    option: str = ""  # of the method, where it is not the default: "rank=2"
    split: int = 0  # which dataset, for studies over several; 0: the only one
    messages: int = 0  # training messages: the first so many of them; 0: all

    @property
    def options(self) -> dict[str, int]:
        name, _, value = self.option.partition("=")
        return {name: int(value)} if name else {}


@dataclass(frozen=True)
class Bench:
    """What all trials of a study share: the model, the data, and on which part a trained model is judged."""

    model: str
    assets: str | None
    datasets: dict[int, Dataset]  # split -> its data
    part: str  # "validation" to choose settings, "test" to report
    general: torch.Tensor | None = None  # (windows, tokens) of general text, to measure forgetting on

    def run(self, trial: Trial) -> tuple[Trial, dict]:
        """Train and judge. A training that diverges has no figures."""
        began, dataset = time.perf_counter(), self.datasets[trial.split]
        model = load_gpt2(self.model, self.assets)
        prepare_classifier(model, len(dataset.classes), trial.method, trial.options, trial.seed)
        batches, _, _ = make_batches(dataset, model.config.n_positions - model.virtual_positions(), BATCH_SIZE)
        train = first(batches["train"], trial.messages)
        epochs = -(-trial.steps // len(train))
        recipe = Recipe(lr=trial.lr, epochs=epochs, seed=trial.seed, keep_best=False)
        row: dict = {
            "trained": sum(p.numel() for p in peft.trainable_parameters(model).values()),
            "n_train": len(train.labels),
            "epochs": epochs,
        }
        device, glance = torch.device("cpu"), first(batches["validation"], BATCH_SIZE)
        no_bars = contextlib.redirect_stderr(io.StringIO())  # one bar counts the trials
        with no_bars, contextlib.suppress(RunError):  # the loss is no number any more
            finetune(model, train, glance, recipe, device)
            with peft.merged(model):
                metrics, _ = evaluate(model, batches[self.part], device, positive=dataset.positive_index)
            row |= {name: metrics[name] for name in ("loss", "accuracy", "f1")}
            if self.general is not None:
                row["general_loss"] = language_loss(restore_language_head(model), self.general)
        return trial, row | {"seconds": time.perf_counter() - began}


def first(batches: MessageBatches, count: int) -> MessageBatches:
    """The first ``count`` messages of ``batches``; all for 0."""
    count = count or len(batches.labels)
    return MessageBatches(batches.token_lists[:count], batches.labels[:count], batches.batch_size)


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
    """Do the trials that ``file`` has no row of, ``jobs`` at a time, and return the rows of trainings so long."""
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
    return table[table.steps.isin({trial.steps for trial in trials})]  # not those of a longer or shorter training
