"""What a pretraining run says along the way, and what it leaves in its folder (see scripts/pretrain.py)."""

import contextlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

from common.cli import command_line, describe, quoted
from data.corpus import Corpus
from gpt2.checkpoints.weights import save_gpt2
from gpt2.devices import describe as describe_device
from gpt2.errors import InputError, RunError
from gpt2.files import atomic_write, write_json
from gpt2.generation import generate
from gpt2.model import GPT2
from gpt2.tokenizer import END_OF_TEXT, get_tokenizer
from gpt2.training.distributed import world_size
from gpt2.training.plots import BLUE, GREY, ORANGE
from gpt2.training.pretraining import PretrainingProgress, PretrainingRecipe
from gpt2.training.runs import STATE_FILE, save_state, without_nan

SAMPLE_TOKENS = 40


@dataclass
class PretrainingRun:
    """Speaks and writes for all processes: used in the main one only."""

    model: GPT2
    optimizer: torch.optim.Optimizer
    recipe: PretrainingRecipe
    corpus: Corpus
    folder: Path
    prompt: str
    saved: int = 0  # the step from which the run could resume

    def describe(self) -> None:
        """What is trained, on what, and for how long."""
        shape, recipe = self.model.config, self.recipe
        train, held_out = self.corpus.meta["train"], self.corpus.meta["held_out"]
        per_step = recipe.batch_size * recipe.accumulate * shape.n_positions
        total = sum(p.numel() for p in self.model.parameters())
        softmax = "the full softmax"
        if recipe.sampled:
            softmax = f"the first {recipe.sampled_steps:,} with {recipe.sampled:,} sampled words, then the full softmax"
        processes = f"{world_size()} processes on " if world_size() > 1 else ""
        device = describe_device(self.model.wte.weight.device)
        print(
            f"Model    {shape.n_layer} blocks, {shape.n_embd} wide, context {shape.n_positions}: {total:,} parameters"
        )
        print(
            f"Text     {train['tokens']:,} tokens to train on, {held_out['tokens']:,} held out, in {self.corpus.folder}"
        )
        epochs = recipe.steps * per_step / train["tokens"]
        print(f"Steps    {recipe.steps:,} of {per_step:,} tokens ({epochs:.2f} epochs), {softmax}")
        print(f"Runs     {processes}{device} in {recipe.precision}; results in {self.folder}", flush=True)

    def after_evaluation(self, progress: PretrainingProgress) -> None:
        """Say how it goes, and save everything that is needed to resume."""
        row = progress.history[-1]
        row["sample"] = self.sample()
        news = f"held-out loss {row['held_out_loss']:.3f}, {row['bits_per_byte']:.3f} bits per byte"
        if row["step"]:
            left = (self.recipe.steps - row["step"]) / row["step"] * row["tokens"] / row["tokens_per_second"] / 60
            news = f"training loss {row['train_loss']:.3f}, {news}, {row['tokens_per_second']:,.0f} tokens/s"
            news += f", about {left:,.0f} minutes left" if left else ""
            save_state(self.folder / STATE_FILE, self.model, self.optimizer, progress)
            self.saved = row["step"]
        print(f"step {row['step']:,}: {news}\n    {row['sample']!r}", flush=True)
        self.write_history(progress)
        self.record("running", progress)

    def sample(self) -> str:
        """What the model makes of the prompt. The same draw each time, so that only the model differs."""
        tokens = [END_OF_TEXT, *get_tokenizer().encode_ordinary(self.prompt)]
        start = torch.tensor([tokens], device=self.model.wte.weight.device)
        new = generate(self.model, start, SAMPLE_TOKENS, temperature=0.8, top_k=40, stop_token=END_OF_TEXT, seed=1)
        return get_tokenizer().decode([token for token in new[0].tolist() if token != END_OF_TEXT])

    def write_history(self, progress: PretrainingProgress) -> None:
        """history.csv, samples.txt and curves.png."""
        history = pd.DataFrame(progress.history)
        with atomic_write(self.folder / "history.csv") as temporary:
            history.drop(columns="sample").to_csv(temporary, index=False)
        with atomic_write(self.folder / "samples.txt") as temporary:
            lines = [f"== step {row['step']:,}\n{row['sample']}\n" for row in progress.history]
            temporary.write_text("\n".join(lines), encoding="utf-8")
        with atomic_write(self.folder / "curves.png") as temporary:
            plot_loss(history, self.recipe, self.corpus.bytes_per_token(), temporary)

    def record(self, status: str, progress: PretrainingProgress, **final: float) -> None:
        """metrics.json: where the run stands, and what it cost so far; ``final`` is what only a finished run knows."""
        wanted = ("step", "tokens", "train_loss", "held_out_loss", "bits_per_byte", "tokens_per_second")
        last = progress.history[-1] if progress.history else {}
        metrics = {key: last.get(key) for key in wanted} | final
        metrics |= {"seconds_training": progress.seconds_training, "processes": world_size(), "status": status}
        write_json(self.folder / "metrics.json", without_nan(metrics))

    def stopped(self, error: BaseException, progress: PretrainingProgress) -> None:
        """Record that the run was interrupted or has failed, and say where the same command would resume. Raises
        RunError, with that, instead of an error that is not ours, such as a full disk."""
        interrupted = isinstance(error, KeyboardInterrupt)
        with contextlib.suppress(Exception):  # a full disk may not take this either, and the first error counts
            self.record("interrupted" if interrupted else "failed", progress)
        what = f"resumes after step {self.saved:,}" if self.saved else "starts again"
        resume = f"The same command with {quoted('--out', self.folder)} {what}."
        if interrupted:
            print(f"Interrupted. {resume}", file=sys.stderr)
        elif isinstance(error, Exception) and not isinstance(error, InputError | RunError):
            raise RunError(f"{describe(error)}. {resume}") from error

    def finish(self, progress: PretrainingProgress, final: float) -> None:
        """Save the model, in half precision as such files mostly are, and drop the checkpoint. ``final`` is its loss
        on all of the held-out text."""
        save_gpt2(self.model, self.folder / "model", torch.float16)
        bits = final / math.log(2) / self.corpus.bytes_per_token()
        self.record("finished", progress, held_out_loss=final, bits_per_byte=bits)
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        print(f"On all of the held-out text: loss {final:.3f}, {bits:.3f} bits per byte")
        print(f"Done. Try: {command_line('generate.py', '--model', self.folder / 'model', 'Once upon a time')}")


def plot_loss(history: pd.DataFrame, recipe: PretrainingRecipe, bytes_per_token: float, file: Path) -> None:
    """Loss over the tokens read, in nats per token (left) and bits per byte (right)."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    unit, name = (1e6, "millions of ") if history.tokens.max() >= 1e6 else (1, "")
    read = history.tokens / unit
    kind = " (sampled softmax)" if recipe.sampled_steps else ""
    axes.plot(read, history.train_loss, "--", color=ORANGE, label=f"training{kind}, mean since the point before")
    axes.plot(read, history.held_out_loss, "o-", markersize=3.5, color=BLUE, label="held out, full softmax")
    if 0 < recipe.sampled_steps < recipe.steps:
        switch = recipe.sampled_steps / recipe.steps
        switch *= recipe.steps * history.tokens.max() / max(history.step.max(), 1) / unit
        if switch <= read.max():
            axes.axvline(
                switch, color=GREY, linewidth=1, linestyle=":", label="from here trained with the full softmax"
            )
    axes.set_xlabel(f"{name}tokens read")
    axes.set_title("Loss (nats per token)", loc="left")
    axes.spines["top"].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    per_nat = 1 / math.log(2) / bytes_per_token
    bits = axes.secondary_yaxis("right", functions=(lambda nats: nats * per_nat, lambda bits: bits / per_nat))
    bits.set_ylabel("bits per byte")
    figure.savefig(file, dpi=130)
