"""What a pretraining run writes and says along the way (see scripts/pretrain.py)."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from data.corpus import Corpus
from gpt2.devices import describe
from gpt2.files import whole_file, write_json
from gpt2.generation import generate
from gpt2.model import GPT2
from gpt2.pretraining import Progress, Recipe
from gpt2.runs import STATE_FILE, save_state, without_nan
from gpt2.tokenizer import END_OF_TEXT, get_tokenizer
from gpt2.weights import save_gpt2


@dataclass
class PretrainingRun:
    model: GPT2
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    corpus: Corpus
    folder: Path
    prompt: str

    def describe(self, resuming: bool, progress: Progress) -> None:
        from gpt2.distributed import world_size

        c, r = self.model.config, self.recipe
        per_step = r.batch_size * r.accumulate * c.n_positions
        total = sum(p.numel() for p in self.model.parameters())
        train, held_out = self.corpus.meta["train"], self.corpus.meta["held_out"]
        device = describe(self.model.wte.weight.device)
        print(
            f"Model    {c.n_layer} blocks, {c.n_embd} wide, {c.n_head} heads, context {c.n_positions}: {total:,} "
            f"parameters, on {world_size()} x {device}, {r.precision}"
        )
        print(
            f"Text     {train['tokens']:,} tokens in {train['documents']:,} documents, {held_out['tokens']:,} held out"
        )
        softmax = f"{r.sampled_steps:,} of them with {r.sampled:,} sampled words" if r.sampled else "full softmax"
        epochs = r.steps * per_step / train["tokens"]
        print(f"Steps    {r.steps:,} of {per_step:,} tokens ({epochs:.2f} epochs), {softmax}; lr {r.lr:.2g}")
        if resuming:
            print(f"Resuming {self.folder} after step {progress.step:,}.")
        print(f"Folder   {self.folder}", flush=True)

    def after_evaluation(self, progress: Progress) -> None:
        """Say how it goes, and save everything that is needed to go on."""
        row = progress.history[-1]
        text = self.sample()
        print(
            f"step {row['step']:,}: training loss {row['train_loss']:.3f}, held-out loss {row['held_out_loss']:.3f}, "
            f"{row['bits_per_byte']:.3f} bits per byte, {row['tokens_per_second']:,.0f} tokens/s\n    {text!r}",
            flush=True,
        )
        if row["step"]:
            save_state(self.folder / STATE_FILE, self.model, self.optimizer, progress)
        self.write_history(progress)
        self.record("running", progress)

    def sample(self) -> str:
        """The same draw each time, so that only the model differs."""
        tokens = [END_OF_TEXT, *get_tokenizer().encode_ordinary(self.prompt)]
        start = torch.tensor([tokens], device=self.model.wte.weight.device)
        room = self.model.config.n_positions - len(tokens)
        new = generate(self.model, start, min(40, room), temperature=0.8, top_k=40, seed=1)
        return get_tokenizer().decode(new[0, 1:].tolist())

    def write_history(self, progress: Progress) -> None:
        history = pd.DataFrame(progress.history)
        with whole_file(self.folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)

    def record(self, status: str, progress: Progress) -> None:
        row = {key: value for key, value in progress.history[-1].items() if key != "lr"}
        write_json(
            self.folder / "metrics.json",
            without_nan(row | {"seconds_training": progress.seconds_training, "status": status}),
        )

    def finish(self, progress: Progress) -> None:
        save_gpt2(self.model, self.folder / "model", torch.float16)
        self.record("finished", progress)
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        print(f'Done. Try: python scripts/generate.py --model {self.folder / "model"} "Once upon a time"')
