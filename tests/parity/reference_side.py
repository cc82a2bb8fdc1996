"""The reference recipe once more, written from its published description only (Raschka, 2024, chapter 6, appendix E and
the additional experiments): transformers' GPT-2, pandas, PyTorch's DataLoader, a plain loop. None of our code is used.

Usage: ``python reference_side.py jobs.json``, in a folder outside the repository. A job:

    {"name", "checkpoint": folder, "sms": file, "vocabulary": folder, "characters": n, "messages": [n, n, n],
     "trained": "last block" | "all" | "lora",
     "token": "last position" | "last real token", "mask": true, "batch_size": 8, "padded": true, "accumulate": 1,
     "rank", "alpha", "start": "uniform" | "normal", "untuned": true, "epochs": n, "out": file}

characters, messages    take only the first so many messages of each part that have at most so many characters
out     JSON: "untuned" and "final" accuracies, "first" losses and accuracies of the untuned model, "losses" of all
        training batches, "tokens" (a checksum of each), "curve" (after every 50 batches) and "epochs" (after each);
        with "golden", a text, and "new_tokens", a number: its continuation, and the new head's logits of its tokens
"""

import hashlib
import json
import math
from pathlib import Path

import pandas as pd
import tiktoken
import tiktoken.load
import torch
import transformers
from job_runner import run_jobs
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers.pytorch_utils import Conv1D

PAD = 50256


class LoRA(torch.nn.Module):
    """A layer and its low-rank update. transformers keeps q, k and v in one layer; the recipe gives each its own."""

    def __init__(self, layer, rank, alpha, start):
        super().__init__()
        self.layer, self.alpha = layer, alpha
        n_in, n_out = layer.weight.shape if isinstance(layer, Conv1D) else layer.weight.T.shape
        parts = 3 if n_out == 3 * n_in else 1
        self.A = torch.nn.ParameterList(torch.empty(n_in, rank) for _ in range(parts))
        self.B = torch.nn.ParameterList(torch.zeros(rank, n_out // parts) for _ in range(parts))
        for A in self.A:
            if start == "uniform":
                torch.nn.init.kaiming_uniform_(A, a=math.sqrt(5))
            else:
                A.data = torch.randn(n_in, rank) / math.sqrt(rank)

    def forward(self, x):
        return self.layer(x) + torch.cat([self.alpha * (x @ A @ B) for A, B in zip(self.A, self.B, strict=True)], -1)


class Classifier(torch.nn.Module):
    def __init__(self, job):
        super().__init__()
        self.body = transformers.GPT2Model.from_pretrained(job["checkpoint"]).float().requires_grad_(False)
        torch.manual_seed(123)
        self.out_head = torch.nn.Linear(self.body.config.n_embd, 2)
        self.token, self.mask = job["token"], job["mask"]

    def forward(self, tokens):
        everything = torch.zeros(1, 1, tokens.size(1), tokens.size(1))  # what is added to the attention scores
        outputs = self.body(tokens, attention_mask=None if self.mask else everything).last_hidden_state
        logits = self.out_head(outputs)
        if self.token == "last position":
            return logits[:, -1]
        return logits[torch.arange(len(tokens)), (tokens != PAD).sum(dim=1) - 1]


def add_lora(module, job):
    for name, child in module.named_children():
        if isinstance(child, Conv1D | torch.nn.Linear):
            setattr(module, name, LoRA(child, job["rank"], job["alpha"], job["start"]))
        else:
            add_lora(child, job)


def encoding(folder):
    """GPT-2's tokens, from the two files that OpenAI published."""
    ranks = tiktoken.load.data_gym_to_mergeable_bpe_ranks(f"{folder}/vocab.bpe", f"{folder}/encoder.json")
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    return tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": PAD})


def make_loaders(job):
    table = pd.read_csv(job["sms"], sep="\t", header=None, names=["label", "text"])
    spam = table[table.label == "spam"]
    table = pd.concat([table[table.label == "ham"].sample(len(spam), random_state=123), spam])
    table = table.sample(frac=1, random_state=123).reset_index(drop=True)
    end, middle = int(0.7 * len(table)), int(0.7 * len(table)) + int(0.1 * len(table))
    parts = [
        part[part.text.str.len() <= job["characters"]] for part in (table[:end], table[end:middle], table[middle:])
    ]
    parts = [part[:count] for part, count in zip(parts, job["messages"], strict=True)]
    encoder = encoding(job["vocabulary"])
    encoded = [[encoder.encode(text) for text in part.text] for part in parts]
    longest = max(map(len, encoded[0])) if job["padded"] else None
    loaders = []
    for part, texts in zip(parts, encoded, strict=True):
        padded = [t[:longest] + [PAD] * (longest - len(t)) if longest else t for t in texts]
        data = [(torch.tensor(t), int(label == "spam")) for t, label in zip(padded, part.label, strict=True)]
        first = not loaders
        loaders.append(DataLoader(data, batch_size=job["batch_size"], shuffle=first, drop_last=first))
    return loaders


@torch.no_grad()
def look(model, loader, count=None):
    """Mean loss of the batches and accuracy over the messages of the first ``count`` batches of a pass."""
    losses, right, seen = [], 0, 0
    for number, (tokens, labels) in enumerate(loader):
        if number == count:
            break
        logits = model(tokens)
        losses.append(cross_entropy(logits, labels).item())
        right, seen = right + (logits.argmax(-1) == labels).sum().item(), seen + len(labels)
    return {"loss": sum(losses) / len(losses), "accuracy": right / seen}


@torch.no_grad()
def golden(job, model):
    """A greedy continuation, and what the new head says of each token of a text."""
    encoder = encoding(job["vocabulary"])
    tokens = torch.tensor([encoder.encode(job["golden"])])
    writer = transformers.GPT2LMHeadModel.from_pretrained(job["checkpoint"]).float()
    for _ in range(job["new_tokens"]):
        tokens = torch.cat([tokens, writer(tokens).logits[:, -1:].argmax(-1)], dim=1)
    read = torch.tensor([encoder.encode(job["golden"])])
    logits = model.out_head(model.body(read).last_hidden_state)[0].tolist()
    return {"text": encoder.decode(tokens[0].tolist()), "tokens": read[0].tolist(), "logits": logits}


def run(job):
    model = Classifier(job).eval()
    loaders = train, validation, test = make_loaders(job)
    out = {"losses": [], "tokens": [], "curve": [], "epochs": []}
    if job.get("golden"):
        out["golden"] = golden(job, model)
    if job["untuned"]:
        torch.manual_seed(123)
        out["untuned"] = [look(model, loader, 10) for loader in loaders]
    if job.get("golden"):  # the next passes, which LoRA's draws would depend on
        out["first"] = [look(model, loader, 5) for loader in loaders]
    if job["trained"] == "lora":
        model.out_head.requires_grad_(False)
        add_lora(model, job)
    elif job["trained"] == "all":
        model.requires_grad_(True)
    else:
        model.body.h[-1].requires_grad_(True)
        model.body.ln_f.requires_grad_(True)
    torch.manual_seed(123)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-5, weight_decay=0.1)
    step = 0
    for _ in range(job["epochs"]):
        for number, (tokens, labels) in enumerate(train, start=1):
            loss = cross_entropy(model(tokens), labels)
            (loss / job["accumulate"]).backward()
            if number % job["accumulate"] == 0 or number == len(train):
                optimizer.step()
                optimizer.zero_grad()
            out["losses"].append(loss.item())
            out["tokens"].append(hashlib.sha256(str([tokens.tolist(), labels.tolist()]).encode()).hexdigest())
            if step % 50 == 0:
                out["curve"].append([look(model, train, 5), look(model, validation, 5)])
            step += 1
        out["epochs"].append([look(model, train, 5), look(model, validation, 5)])
    out["final"] = [look(model, loader)["accuracy"] for loader in loaders]
    Path(job["out"]).write_text(json.dumps(out))


if __name__ == "__main__":
    run_jobs(run)
