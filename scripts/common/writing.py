"""A run that teaches a model to write: its measures on the test sources, and what is said of it.

metrics.json     of train, validation and test the loss, perplexity and accuracy of target tokens; of the texts written
                 for the test sources, and of the baselines, the measures of gpt2/text_metrics.py
generated.csv    each test source with the text that was written, its references, and those of the baselines
"""

import csv
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

import peft
from common.cli import command_line
from common.experiment import Experiment
from common.text import one_line, sample
from data.nearest import nearest_targets
from data.text_pairs import TextPairs
from gpt2.beams import beam_search, check_beams
from gpt2.files import atomic_write
from gpt2.model import GPT2
from gpt2.text_metrics import bleu_intervals, measure
from gpt2.tokenizer import END_OF_TEXT, get_tokenizer
from gpt2.training.distributed import is_main
from gpt2.training.writing import WRITING, PairBatches, encode_pairs, perplexity, prompt_tokens

WRITTEN_AT_A_TIME = 16  # sources
LONGEST_SHOWN = 300  # characters of a text
SHOWN = ("bleu", "chrf", "nist", "rouge_l", "cider")


@dataclass(frozen=True)
class Writing:
    """How texts are written: see gpt2/beams.py."""

    max_new_tokens: int = 80
    num_beams: int = 4
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0

    def __post_init__(self):
        check_beams(self.num_beams, self.length_penalty, self.no_repeat_ngram_size)  # before training, not after it


@dataclass(kw_only=True)
class WritingExperiment(Experiment):
    """``pairs``: what the batches were made of; ``load_base``: the model as it was before training, once more."""

    pairs: TextPairs
    load_base: Callable[[], GPT2]
    separator: str
    writing: Writing = field(default_factory=Writing)
    test_sources: list[str] = field(default_factory=list)  # for which texts are written
    evaluated: int = 1000  # pairs of each part, at most, whose perplexity is measured
    baselines: bool = True  # write and measure the texts of the untuned model and the nearest source, too

    task = WRITING
    recorded = Experiment.recorded + " task"

    def epoch_line(self, row: dict) -> str:
        """Perplexity says more of a text than accuracy."""
        perplexities = [torch.tensor(row[f"{part}_loss"]).exp().item() for part in ("train", "validation")]
        return "epoch {}: perplexity {:,.2f} on training, {:,.2f} on validation targets, {:.1f} s".format(
            row["epoch"], *perplexities, row["seconds"]
        )

    def record_figures(self) -> tuple[dict, pd.DataFrame] | None:
        """Save the adapter, measure the three parts, and write for the test sources; None in other processes."""
        if not is_main():
            return None
        peft.save(self.model, self.folder / "adapter")
        with peft.merged(self.model):
            parts: dict[str, Any] = {
                name: perplexity(self.model, batches.first_pairs(self.evaluated), self.device, batching=self.batching)
                for name, batches in self.batches.items()
            }
            texts = write_texts(self.model, self.test_sources, self.separator, self.writing)
        if not texts:  # a plain text has no sources
            return self.record("finished", **parts), pd.DataFrame()
        references = self.pairs.references("test")
        answers = [references[source] for source in self.test_sources]
        written = {"model": texts}
        if self.baselines:
            base = self.load_base().to(self.device)
            written["untuned"] = write_texts(base, self.test_sources, self.separator, self.writing)
            written["nearest"] = nearest_targets(self.pairs.train, self.test_sources)
        intervals = bleu_intervals(written, answers)
        parts["written"] = {name: measure(found, answers) | intervals[name] for name, found in written.items()}
        table = pd.DataFrame({"source": self.test_sources} | written).rename(columns={"model": "written"})
        table = table.assign(references=[json.dumps(a, ensure_ascii=False) for a in answers])
        with atomic_write(self.folder / "generated.csv") as temporary:
            table.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)
        return self.record("finished", sources=len(texts), **dataclasses.asdict(self.writing), **parts), table

    def print_report(self, metrics: dict, table: pd.DataFrame) -> None:
        """Which epoch was kept, perplexities, measures beside the baselines, two texts, and how to go on."""
        print(f"\n{self.progress.kept(self.recipe)}")
        for name in self.batches:
            part = metrics[name]
            print(f"{name:11} perplexity {part['perplexity']:8,.2f}, accuracy {part['accuracy']:.1%} of {part['n']:,}")
        if len(table):
            names = {"model": "this run", "untuned": "before training", "nearest": "nearest training source"}
            rows = {names[name]: values for name, values in metrics["written"].items()}
            print(f"\nTexts for {len(table):,} test sources, compared with people's (higher is better):")
            print(pd.DataFrame(rows).T[list(SHOWN)].to_string(float_format="{:.2f}".format))
            spread = ", ".join(f"{names[name]} ± {v['half_width']:.2f}" for name, v in metrics["written"].items())
            print(f"(95 % intervals of BLEU by paired bootstrap over the sources: {spread})")
            for row in table.head(2).itertuples():
                print(f"\nsource   {brief(row.source)}\nwritten  {brief(row.written)}")
                print(f"people   {brief(json.loads(row.references)[0])}")
        self.print_costs(metrics)
        examples = {"instructions": "Name three rivers.", "text": "The"}
        source = examples.get(self.pairs.form) or sample(self.test_sources, longest=200)
        print(f"Results in {self.folder}; try: {command_line('generate.py', '--adapter', self.folder, source)}")


def brief(text: str) -> str:
    """The beginning of a text, in one line."""
    line = one_line(text)
    return line if len(line) <= LONGEST_SHOWN else line[:LONGEST_SHOWN] + " …"


@torch.no_grad()
def write_texts(model: GPT2, sources: list[str], separator: str, how: Writing) -> list[str]:
    """A text for each source, by beam search, several sources at a time."""
    tokenizer, device = get_tokenizer(), model.wte.weight.device
    prompts = [torch.tensor(tokens) for tokens in prompt_tokens(sources, tokenizer, separator)]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts = [""] * len(prompts)
    with tqdm(total=len(prompts), desc="writing", unit="text", leave=False, disable=None) as bar:
        for first in range(0, len(order), WRITTEN_AT_A_TIME):
            chosen = order[first : first + WRITTEN_AT_A_TIME]
            lengths = [len(prompts[i]) for i in chosen]
            tokens = torch.nn.utils.rnn.pad_sequence([prompts[i] for i in chosen], batch_first=True).to(device)
            rows = beam_search(model, tokens, lengths=lengths, vocabulary=tokenizer.n_vocab, **dataclasses.asdict(how))
            for i, row, n in zip(chosen, rows, lengths, strict=True):
                new = row[n:].tolist()
                texts[i] = tokenizer.decode([token for token in new if token != END_OF_TEXT]).strip()
            bar.update(len(chosen))
    return texts


def make_pair_batches(
    pairs: TextPairs, room: int, batch_size: int, separator: str, include_source: bool, evaluated: int
) -> tuple[dict[str, PairBatches], int]:
    """Batches of the three parts, of those to evaluate on at most ``evaluated`` pairs, evenly spaced, and how many
    targets were truncated to ``room`` tokens."""
    cut, batches = 0, {}
    for name in ("train", "validation", "test"):
        part = getattr(pairs, name)
        if name != "train":
            part = part.iloc[evenly_spaced(len(part), evaluated)]
        texts, targets = part.source.tolist(), part.target.tolist()
        token_lists, starts, truncated = encode_pairs(texts, targets, get_tokenizer(), room, separator, include_source)
        cut += truncated
        batches[name] = PairBatches(token_lists, starts, batch_size)
    return batches, cut


def evenly_spaced(n: int, count: int) -> list[int]:
    """Indices of at most ``count`` of ``n`` things. The first ones would be much alike where a file is sorted, as E2E's
    test sources are by the restaurant's name."""
    count = min(count, n)
    return [i * n // count for i in range(count)]


def describe_pairs(pairs: TextPairs) -> str:
    """What a run's first lines say of the data."""
    sizes = " / ".join(f"{len(part):,}" for part in (pairs.train, pairs.validation, pairs.test))
    return f"{pairs.name}: {sizes} pairs to train / validate / test"
