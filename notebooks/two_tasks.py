"""The two tasks that every method of the course is tried on, and the baselines beside them.

    from two_tasks import baselines, tune, two_tasks
    spam, words = two_tasks()
    model = spam.classifier(MODEL, device)             # pretrained, with a new head: the same at every call
    peft.apply(model, "lora")
    tune(model, spam, "lora")                          # {"accuracy": …, "f1": …, "loss": …} on the test messages

``spam`` is the SMS collection, grouped split: no test message has a copy or near-copy in training. Words alone nearly
solve it. ``words`` asks which of four classes an object belongs to, and no object of the test sentences stands in the
training sentences: counting words cannot help, a pretrained model can (data/unseen_words.py).

    python notebooks/two_tasks.py                      # how FACTORS was chosen: half an hour on a CPU
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import peft
from data import Dataset, load_dataset
from data.baselines import tfidf
from gpt2 import GPT2, get_tokenizer, load_gpt2
from gpt2.classifier import add_classification_head
from gpt2.devices import choose_device, fit_threads
from gpt2.training.batching import MessageBatches, encode
from gpt2.training.finetune import Progress, Recipe, evaluate, finetune

MESSAGES = 480  # to train on: a chapter takes a minute, and the methods still show what they can
EPOCHS = 3
# The defaults are the best for a whole run (five epochs of all messages). So few steps need larger ones: times this,
# the factor with the highest validation accuracy, mean of both tasks; of two within a point the smaller. Absent: 3.
FACTORS_TRIED = (0.3, 1.0, 3.0, 10.0)
FACTORS = {"full": 1, "bitfit": 0.3, "rslora": 1, "dylora": 1, "mam": 1, "prefix": 1}
FACTORS |= {"head": 10, "adapter-pfeiffer": 10, "p-tuning": 10, "p-tuning-v2": 10}


# Okabe and Ito (2008): colours that colour-blind readers can tell apart
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":", "-", "--", "-.")


@dataclasses.dataclass(frozen=True)
class Task:
    """A dataset with few training messages, and its three parts in batches of eight."""

    dataset: Dataset
    train: MessageBatches
    validation: MessageBatches
    test: MessageBatches

    def classifier(self, model: str, device: torch.device, pretrained: bool = True) -> GPT2:
        """The model with a new, random head of the task's classes; not pretrained: random weights of that shape."""
        torch.manual_seed(123)
        found = load_gpt2(model)
        return add_classification_head(found if pretrained else GPT2(found.config), len(self.dataset.classes)).to(
            device
        )


def two_tasks(messages: int = MESSAGES) -> tuple[Task, Task]:
    """SMS spam, and the four classes of unseen words, each with its first ``messages`` training messages."""
    return tuple(task(load_dataset(name, protocol="grouped"), messages) for name in ("auto", "unseen-words"))


def task(dataset: Dataset, messages: int) -> Task:
    dataset = dataclasses.replace(dataset, train=dataset.train[:messages])

    def batches(part) -> MessageBatches:
        token_lists, _ = encode(part["text"].tolist(), get_tokenizer(), max_length=120)
        return MessageBatches(token_lists, part["label"].tolist(), batch_size=8)

    return Task(dataset, *map(batches, (dataset.train, dataset.validation, dataset.test)))


def train(model: GPT2, task: Task, method: str, factor: float | None = None, **changes) -> Progress:
    """Train what requires a gradient, at the method's learning rate for so few steps. ``changes`` are Recipe's."""
    lr = peft.METHODS[method].learning_rate(model.config.n_embd) * (factor or FACTORS.get(method, 3.0))
    recipe = dataclasses.replace(Recipe(lr=lr, epochs=EPOCHS), **changes)
    return finetune(model, task.train, task.validation, recipe, next(model.parameters()).device)


def tune(model: GPT2, task: Task, method: str, **changes) -> dict:
    """Train, as above; return the metrics on the test messages."""
    train(model, task, method, **changes)
    device = next(model.parameters()).device
    return evaluate(model, task.test, device, positive=task.dataset.positive_index)[0]


def baselines(task: Task, model: str, device: torch.device) -> dict[str, dict]:
    """What a method has to beat: counted words, and a head on a model of the same shape that was never pretrained."""
    untrained = peft.apply(task.classifier(model, device, pretrained=False), "head")
    return {"TF-IDF": tfidf(task.dataset)["test"], "head on random weights": tune(untrained, task, "head")}


def print_table(tasks: tuple[Task, Task], model: str, device: torch.device) -> None:
    """The heading of a table of methods on both tasks, and the rows of the baselines; ``print_row`` adds the others."""
    print(f"{'':26}{'trained':>12}{'spam':>9}{'F1':>8}{'unseen words':>15}")
    on_spam, on_words = (baselines(task, model, device) for task in tasks)
    for name, metrics in on_spam.items():
        print_row(name, metrics, on_words[name])


def print_row(name: str, on_spam: dict, on_words: dict, trained: int | None = None) -> None:
    """A row: accuracy and F1 on spam, accuracy on unseen words, and the number of trained parameters."""
    count = "" if trained is None else f"{trained:,}"
    print(f"{name:26}{count:>12}{on_spam['accuracy']:9.1%}{on_spam['f1']:8.1%}{on_words['accuracy']:15.1%}", flush=True)


def plot_losses(axes, runs: dict[str, Progress], batches: int = 20) -> None:  # noqa: ANN001 - of matplotlib
    """Training loss by step, as a mean over so many batches: a curve for each run, in colours and line styles that
    all readers can tell apart."""
    for (name, run), colour, style in zip(runs.items(), COLOURS, STYLES, strict=False):
        losses = np.convolve([row["loss"] for row in run.steps], np.ones(batches) / batches, "valid")
        axes.plot(np.arange(batches, batches + len(losses)), losses, style, color=colour, label=name)
    axes.set(xlabel="step", ylabel=f"training loss, mean of {batches} batches")
    axes.legend(fontsize=8)


def choose_factors(model: str = "practice") -> None:
    """Print each method's validation accuracy with each factor: that of the best epoch, mean of both tasks."""
    tasks, device = two_tasks(), choose_device("cpu")
    fit_threads(tasks[0].classifier(model, device).config.n_embd)
    for method in peft.METHODS:
        found = {}
        for factor in FACTORS_TRIED:
            runs = [train(peft.apply(t.classifier(model, device), method), t, method, factor) for t in tasks]
            found[factor] = sum(run.best_row["validation_accuracy"] for run in runs) / len(runs)
        best = max(found, key=found.__getitem__)
        print(f"{method:18}" + "".join(f"{share:8.1%}" for share in found.values()) + f"   {best:g}", flush=True)


if __name__ == "__main__":
    choose_factors()
