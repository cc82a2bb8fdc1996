"""Forgetting: how well does a fine-tuned model still predict ordinary English?

A fine-tuned classifier has a new head, but the network under it was a language model. Put the old head back (it is the
embedding matrix, ``wte``, which reads tokens in and scores them on the way out) and measure the loss on general text:
if fine-tuning has changed the network for the worse, it has risen.
"""

import hashlib
import lzma
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import peft
from gpt2.checkpoints.hub import assets_folder
from gpt2.checkpoints.weights import load_gpt2
from gpt2.errors import InputError
from gpt2.model import GPT2
from gpt2.tokenizer import get_tokenizer

WINDOWS, WIDTH = 64, 128  # about 8,000 tokens
CHARACTERS_PER_TOKEN = 8  # more than there are, so that a window is full
SEPARATOR = "<|endoftext|>"  # between the documents of a corpus file
BATCH = 4


def find_texts(file: str | None, assets: str | None) -> list[Path]:
    """The given text file, or the corpus of the assets folder; [] when there is neither."""
    if file:
        if not Path(file).is_file():
            raise InputError(f"--general-text {file}: no such file; give a text file (UTF-8; .xz is unpacked)")
        return [Path(file)]
    folder = assets_folder(assets)
    return sorted(folder.glob("corpus/*.txt.xz")) if folder else []


def windows(files: Sequence[Path]) -> Tensor:
    """(WINDOWS, WIDTH) tokens, from evenly spaced positions of each file: always the same."""
    tokenizer, rows = get_tokenizer(), []
    for file in files:
        text = read(file)
        share = WINDOWS // len(files)
        for i in range(share):
            start = text.find("\n", len(text) * i // share) + 1  # of a line; of the file where no line follows
            chunk = text[start : start + CHARACTERS_PER_TOKEN * WIDTH].replace(SEPARATOR, "").strip()
            tokens = tokenizer.encode_ordinary(chunk)[:WIDTH]
            if len(tokens) == WIDTH:
                rows.append(tokens)
    if not rows:
        raise InputError(f"--general-text {files[0]}: too short; a text of a few thousand words is needed")
    return torch.tensor(rows)


def read(file: Path) -> str:
    """The text of a file, packed by xz or not. Raises InputError when it is not UTF-8."""
    opener = lzma.open if file.suffix == ".xz" else open
    try:
        with opener(file, "rt", encoding="utf-8") as content:
            return content.read()
    except (OSError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise InputError(f"cannot read {file} as text: {error}; it must be UTF-8, or that packed by xz") from error


def key_of(tokens: Tensor) -> str:
    """Names a choice of text, so that stored results of another are not taken for its."""
    return hashlib.sha256(tokens.numpy().tobytes()).hexdigest()[:16]


def restore_language_head(model: GPT2) -> GPT2:
    """Drop the classification head and tie the language-model head to the embedding again, as it now is."""
    embedding: nn.Module = getattr(model.wte, "embedding", model.wte)  # the one inside, where LoRA wraps it
    V, C = embedding.weight.shape
    model.lm_head = nn.Linear(C, V, bias=False, device="meta")
    model.lm_head.weight = embedding.weight
    return model


@torch.no_grad()
def language_loss(model: GPT2, tokens: Tensor) -> float:
    """Nats per token: how surprised the model is by each token after those before it in its window."""
    model.eval()
    losses = [
        F.cross_entropy(model(part)[:, :-1].flatten(0, 1), part[:, 1:].flatten(), reduction="none")
        for part in tokens.split(BATCH)
    ]
    return torch.cat(losses).mean().item()


def loss_before(source: str, assets: str | None, tokens: Tensor) -> float:
    """Of the pretrained model."""
    return language_loss(load_gpt2(source, assets), tokens)


def loss_after(source: str, assets: str | None, tokens: Tensor, adapter: Path) -> float:
    """Of the model with what a run has learned in place, but for its head."""
    model = peft.load(load_gpt2(source, assets), adapter)
    return language_loss(restore_language_head(model), tokens)
