"""One row of the published comparison as a training run of ours: the reference recipe to the letter.

    OUT/runs/book-ch6-published-123/      row, protocol and seed
        config.json  metrics.json  history.csv  curve.csv  curves.png     as in gpt2/training/runs.py
        state.safetensors                 only until the run has finished: from here it resumes

The weights may be a stand-in: random ones of the same shape, or the bundled practice model. Then time, memory and
parameter counts are real (random), or everything but the size is exercised (practice), and accuracies mean nothing.
"""

import contextlib
import dataclasses
import functools
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import peft
from common.prepare import make_batches, untuned
from data import Dataset, load_dataset
from gpt2.checkpoints.hub import find_checkpoint
from gpt2.checkpoints.weights import load_gpt2
from gpt2.config import SIZES
from gpt2.devices import choose_device, describe, fit_threads, peak_memory_mb, reset_peak_memory
from gpt2.files import write_json
from gpt2.layout import Layout
from gpt2.model import GPT2
from gpt2.training.batching import MessageBatches
from gpt2.training.curve import measure
from gpt2.training.finetune import Progress, evaluate, finetune, make_optimizer
from gpt2.training.frozen_features import choose_batching
from gpt2.training.recipe import BOOK, Recipe
from gpt2.training.reference import restore_generator
from gpt2.training.run_files import read_json
from gpt2.training.runs import (
    STATE_FILE,
    load_state,
    locked,
    open_run,
    save_state,
    versions,
    without_nan,
    write_history,
)
from peft.applying import prepare_classifier
from reproduction import rows
from reproduction.rows import Row

SMOKE_SHARE = {"sms": 10, "imdb": 500}  # a smoke test takes as many messages as one in so many,
SMOKE_LENGTH = {"sms": 80, "imdb": 100_000}  # and only those of at most so many characters;
SMOKE_CONTEXT = 4  # of rows that are padded to the whole context, one in so many of these


@dataclass(frozen=True)
class Settings:
    """What the rows of one results folder have in common."""

    out: Path
    protocol: str = "published"
    device: str = "auto"
    assets: str | None = None
    weights: str = "pretrained"  # or "random" or "practice": what stands in for the row's weights
    smoke: bool = False  # one epoch on a few of the messages


@dataclass
class Prepared:
    """A row ready to train: the model with its method, the batches, the recipe, and what the untuned model says."""

    model: GPT2
    batches: dict[str, MessageBatches]
    recipe: Recipe
    batching: str | None  # of gpt2.classifier.classify; None: what costs least
    untuned: dict[str, dict[str, float]]
    total: int  # parameters of the model with its new head, before the method


def folder_of(out: Path, row: Row, protocol: str, seed: int) -> Path:
    """Where a row leaves its files."""
    return out / "runs" / f"{row.id}-{protocol}-{seed}"


def run_row(row: Row, seed: int, settings: Settings) -> dict:
    """Train a row, or resume it; write metrics.json in its folder, and return what that holds.

    Raises InputError and RunError as its parts do: no weights, another run in the folder, a loss that is not finite.
    """
    folder, device = folder_of(settings.out, row, settings.protocol, seed), choose_device(settings.device)
    started = time.perf_counter()
    reset_peak_memory(device)
    dataset = load_messages(settings, row)
    model = base_model(row, seed, settings.weights, settings.assets)
    fit_threads(model.config.n_embd)
    prepared = prepare(row, seed, model, dataset, device)
    if settings.smoke:
        prepared.recipe = dataclasses.replace(prepared.recipe, epochs=1, curve_every=0)
    facts = {
        "row": row.id,
        "seed": seed,
        "protocol": settings.protocol,
        "model": row.model,
        "weights": settings.weights,
        "row_weights_random": not row.pretrained,
        "smoke": settings.smoke,
        "epochs": prepared.recipe.epochs if row.trains else 0,
        "trainable_parameters": sum(p.numel() for p in peft.trainable_parameters(model).values()),
        "total_parameters": prepared.total,
        "device": describe(device),
    }
    config = rows.settings(row) | {name: facts[name] for name in ("seed", "protocol", "weights", "smoke", "device")}
    config |= {"data_sha256": dataset.sha256(), "base_sha256": model.peft.base_fingerprints["float32"]}
    with locked(folder):
        resuming = open_run(folder, config | {"versions": versions()})
        run = Run(row, prepared, dataset, device, folder, facts, started)
        return run.carry_out(resuming) if row.trains else run.record("finished", prepared.untuned)


def load_messages(settings: Settings, row: Row) -> Dataset:
    """The row's data, in one split for all seeds; for a smoke test a part of it, short messages only."""
    dataset = load_dataset(row.data, settings.protocol, assets=settings.assets)
    if not settings.smoke:
        return dataset
    parts = {}
    for name in rows.SPLITS:
        part = getattr(dataset, name)
        count = len(part) // SMOKE_SHARE[row.data] // (SMOKE_CONTEXT if row.padding == "context" else 1)
        parts[name] = part[part.text.str.len() <= SMOKE_LENGTH[row.data]].head(count or row.batch_size)
    return dataclasses.replace(dataset, **parts)


def base_model(row: Row, seed: int, weights: str, assets: str | None) -> GPT2:
    """The row's model, or what stands in for it."""
    if weights == "practice":
        model = load_gpt2("practice")
    elif weights == "random" or not row.pretrained:
        torch.manual_seed(0)
        model = GPT2(SIZES[row.model])
    else:
        model = load_gpt2(find_checkpoint(row.model, assets).source, assets)
    if not row.pretrained:
        forget(model, seed)
    return model.eval()


def forget(model: GPT2, seed: int) -> None:
    """Random weights as the reference has them: each layer's own start in PyTorch, not GPT-2's."""
    torch.manual_seed(seed)
    for layer in (model.wte, model.wpe, *(layer for block in model.h for layer in block.modules()), model.ln_f):
        if isinstance(layer, nn.Embedding | nn.Linear | nn.LayerNorm):
            layer.reset_parameters()


def prepare(row: Row, seed: int, model: GPT2, dataset: Dataset, device: torch.device) -> Prepared:
    """Put head and method into the model, and make the batches, with the random draws in the reference's order."""
    if not row.causal:
        for block in model.h:
            block.register_forward_pre_hook(without_mask)
    room = min(model.config.n_positions, row.max_length)
    batches, _, _ = make_batches(dataset, room, row.batch_size, True, row.padding)
    measure_untuned = functools.partial(untuned, model, batches, device, seed, row.pooling)
    before_method = measure_untuned if row.untuned_passes else dict
    total, before = prepare_classifier(model, len(dataset.classes), row.method, row.options, seed, before_method)
    recipe = dataclasses.replace(
        BOOK,
        lr=row.lr,
        epochs=max(1, row.epochs),
        weight_decay=row.weight_decay,
        pooling=row.pooling,
        seed=seed,
        accumulate=row.accumulate,
    )
    return Prepared(model, batches, recipe, None if row.causal else "padded", before, total)


def without_mask(block: nn.Module, inputs: tuple[Tensor, Layout]) -> tuple[Tensor, Layout]:
    """Called before a block runs: every position may see all positions, padding too."""
    x, layout = inputs
    return x, dataclasses.replace(layout, attend=unmasked_attention)


def unmasked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """softmax(Q Kᵀ / √D) V over all positions: (B, H, T, D), k and v (B, H, S, D)."""
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


@dataclass
class Run:
    """A prepared row and its folder."""

    row: Row
    prepared: Prepared
    dataset: Dataset
    device: torch.device
    folder: Path
    facts: dict  # what metrics.json says besides the results
    started: float  # time.perf_counter() when the row began
    progress: Progress = dataclasses.field(default_factory=Progress)

    def carry_out(self, resuming: bool) -> dict:
        """Train, and measure the three parts. Whatever happens, metrics.json says how it ended."""
        model, recipe, batches = self.prepared.model.to(self.device), self.prepared.recipe, self.prepared.batches
        self.optimizer = make_optimizer(model, recipe)
        if resuming:
            self.progress = load_state(self.folder / STATE_FILE, model, self.optimizer)
            self.started -= read_json(self.folder / "metrics.json").get("seconds") or 0.0
        batching, features = choose_batching(model, self.device, recipe.pooling, self.prepared.batching)
        try:
            self.record("running")
            finetune(
                model,
                batches["train"],
                batches["validation"],
                recipe,
                self.device,
                batching,
                features,
                progress=self.progress,
                optimizer=self.optimizer,
                after_epoch=self.after_epoch,
            )
            restore_generator(self.progress, recipe.seed)  # the published pass over the training data is the next one
            how = (self.device, recipe.pooling, batching, features)
            results = {"train": measure(model, batches["train"].first(), *how)}
            positive = self.dataset.positive_index
            for name in ("validation", "test"):
                results[name], _ = evaluate(
                    model, batches[name], self.device, recipe.pooling, positive, batching, features
                )
        except BaseException as error:
            with contextlib.suppress(Exception):
                self.record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        metrics = self.record("finished", results)
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        return metrics

    def after_epoch(self, progress: Progress) -> None:
        save_state(self.folder / STATE_FILE, self.prepared.model, self.optimizer, progress)
        write_history(self.folder, progress)
        self.record("running")

    def record(self, status: str, results: dict[str, dict] | None = None) -> dict:
        """Write metrics.json; ``results`` of the three parts."""
        metrics = self.facts | {
            "status": status,
            "seconds": time.perf_counter() - self.started,
            "seconds_training": self.progress.seconds_training,
            "peak_memory_mb": peak_memory_mb(self.device),
            **({"untuned": self.prepared.untuned} if self.prepared.untuned else {}),
            **(results or {}),
        }
        write_json(self.folder / "metrics.json", without_nan(metrics))
        return metrics
