"""Many adapters, one base: a model for each task, while the 124 million frozen numbers are in memory once.

What a task adds is small, so one process can serve many tasks. Every task gets modules of its own: Python objects that
take almost no memory. All of them share the same base tensors:

    adapters.set_adapter("spam")    ──►  GPT2 ─ h.0.attn.q_proj ─ LoRA of spam   ─┐
    adapters.set_adapter("topics")  ──►  GPT2 ─ h.0.attn.q_proj ─ LoRA of topics ─┼─►  W of the base, stored once
    adapters.set_adapter("urgent")  ──►  GPT2 ─ h.0.attn.q_proj ─ LoRA of urgent ─┘

To switch is to use another of these objects: no number is copied, added or subtracted.

**One batch, many tasks.** The rows of a batch may need different adapters. Some of these may classify, and others
write. The body of the model runs once for all rows (peft/per_row.py). What differs comes after the body:

    tokens (B, T) ─► body, row by row ─► h (B, C) ─┬─ rows of spam ──── its head ──► class logits, and the row is done
                                                   └─ rows of writers ─ lm_head ───► next token, body, next token, …

**Adding adapters** (task arithmetic, Ilharco et al., 2023, arXiv:2212.04089). ΔW = w₁ s₁ B₁ A₁ +
w₂ s₂ B₂ A₂ is a LoRA again, of rank r₁ + r₂: the A one under the other, the scaled B side by side. A negative weight
takes a skill away. peft/combining.py has this sum, and TIES and DARE.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from gpt2.beams import beam_search, read
from gpt2.classifier import check_lengths, has_classification_head
from gpt2.errors import InputError, number, whole_number
from gpt2.model import GPT2
from peft.combining import check_combination, combine, low_rank, side_by_side, with_update
from peft.files.adapter import load
from peft.lora import LinearWithLoRA
from peft.merging import finished
from peft.per_row import GPT2PerRow, differs, plain_layers
from peft.state import state_of


class Adapters:
    """Named adapters over one base.

    adapters = Adapters(load_gpt2("gpt2"))
    adapters.add("spam", "runs/a/adapter")
    adapters.add("e2e", "runs/b/adapter")
    adapters.answer(["spam", "e2e"], tokens, lengths)  # class logits, and the tokens of a text
    """

    def __init__(self, base: GPT2):
        if state_of(base).method or has_classification_head(base):
            raise InputError("adapters are added to a fresh language model, without a method or head of its own")
        self.base = base.eval()
        self.models: dict[str, GPT2] = {}

    def add(self, name: str, folder: str | Path) -> None:
        """Load a folder that peft.save or Hugging Face's peft has written. Raises InputError as peft.load does."""
        self.models[name] = load(over(self.base), folder).eval()

    def set_adapter(self, name: str) -> GPT2:
        """The model of one adapter, ready to run.

        Hugging Face's method of this name changes one model in place. Here each adapter has a model object of its own,
        so nothing changes, and models that were handed out before stay valid.
        """
        if name not in self.models:
            raise InputError(f"no adapter is called {name!r}; there are {', '.join(self.models) or 'none yet'}")
        return self.models[name]

    def mix(self, rows: list[str]) -> GPT2:
        """A model for batches of len(rows) messages, each by the adapter of its row.

        Of classifiers: class logits are as wide as the widest head. Where a row's task has fewer classes, the rest is
        -inf. Of language models: ``model(tokens)`` (B, T, V), ``generate`` and ``beam_search`` as usual.

        Raises InputError when the rows name both kinds, and when the adapters have different numbers of virtual tokens
        (none, too).
        """
        model = self.body(rows)
        classify = [self.classifies(name) for name in rows]
        if any(classify) and not all(classify):
            of_classes, of_tokens = rows[classify.index(True)], rows[classify.index(False)]
            raise InputError(
                f"{of_classes!r} is a classifier and {of_tokens!r} a language model: their logits do not fit into one "
                "tensor; call answer, which takes both",
                "rows",
            )
        return model

    def body(self, rows: list[str]) -> GPT2:
        """As ``mix``, but also for rows of both kinds: for their hidden states. Its head is then that for tokens."""
        check_names(rows)
        if not rows:
            raise InputError("rows names no adapter; expected one for each message of the batch", "rows")
        names = list(dict.fromkeys(rows))
        if len(names) == 1:
            return self.set_adapter(names[0])
        tasks = torch.tensor([names.index(row) for row in rows], device=self.base.wte.weight.device)
        return GPT2PerRow(over(self.base), [self.set_adapter(name) for name in names], tasks)

    def classifies(self, name: str) -> bool:
        """Is this adapter a classifier? Else it is a language model, and writes."""
        return has_classification_head(self.set_adapter(name))

    @torch.no_grad()
    def answer(
        self, rows: list[str], tokens: Tensor, lengths: Tensor, max_new_tokens: int = 50, num_beams: int = 1, **options
    ) -> list[Tensor]:
        """Answer a batch in which some rows classify and others write: right-padded tokens (B, T), lengths (B,) -> for
        each row the class logits (classes,) of a classifier, or the new tokens (new,) of a language model.

        All rows are read in one pass. Then those of classifiers are done, and beam search goes on with the others; its
        options are those of ``gpt2.beams.beam_search``. Raises InputError as ``mix`` and ``beam_search`` do.
        """
        lengths = check_batch(tokens, lengths, self.base.config.vocab_size)
        check_names(rows)
        if len(rows) != len(tokens):
            raise InputError(f"rows names {len(rows)} adapters for a batch of {len(tokens)} messages", "rows")
        whole_number("max_new_tokens", max_new_tokens)
        model = self.body(rows)
        h, cache = read(model, tokens, lengths, max_new_tokens)  # (B, C)
        classified = [i for i, name in enumerate(rows) if self.classifies(name)]
        answers = {i: self.models[rows[i]].lm_head(h[i]) for i in classified}
        writers = [i for i in range(len(rows)) if i not in answers]
        if writers:
            cache.select(torch.tensor(writers, device=tokens.device))
            prompts = (tokens[writers], max_new_tokens, num_beams)
            texts = beam_search(model, *prompts, lengths=lengths[writers], start=(h[writers], cache), **options)
            answers |= {i: text[lengths[i] :] for i, text in zip(writers, texts, strict=True)}
        return [answers[i] for i in range(len(rows))]

    @torch.no_grad()
    def add_weighted_adapter(
        self,
        weights: dict[str, float],
        head: str | None = None,
        combination_type: str = "cat",
        density: float | None = None,
        svd_rank: int | None = None,
        seed: int = 0,
    ) -> GPT2:
        """A model with the LoRA updates of some adapters as one, and the classification head of one (None: of none).

        combination_type   ``cat``, the exact sum, or another of peft.combining.COMBINATIONS, cut to ``svd_rank``
                           (default: the largest rank among the adapters)
        density, seed      the share that TIES and DARE keep of each update, and what draws it in DARE

        As Hugging Face's method of this name, but the model is returned and gets no name. Raises InputError when one of
        the adapters is anything but LoRA on linear layers.
        """
        check_combination(combination_type, density, svd_rank)
        if not isinstance(weights, dict) or not weights:
            raise InputError(f"weights is {weights!r}, expected a weight for each adapter's name", "weights")
        for name, weight in weights.items():
            number(f"the weight of adapter {name!r}", weight)
        models = {name: self.set_adapter(name) for name in weights}
        result, generator = over(self.base), torch.Generator(self.base.wte.weight.device).manual_seed(seed)
        for name, layer in plain_layers(self.base):
            among = {task: m for task, m in models.items() if name != "lm_head" or not has_classification_head(m)}
            layers = {task: model.get_submodule(name) for task, model in among.items()}
            changed = {task: new for task, new in layers.items() if differs(new, layer)}
            for task, new in changed.items():
                if type(new) is not LinearWithLoRA or differs(new.linear, layer):
                    raise InputError(f"adapter {task!r} changes {name} by more than a LoRA; only LoRA can be added")
            if changed:
                loras = [finished(new.lora) for new in changed.values()]  # a DyLoRA at its chosen rank
                own = [weights[task] for task in changed]
                if combination_type == "cat":
                    A, B = side_by_side(loras, own)
                else:
                    delta = combine([lora.delta() for lora in loras], own, combination_type, density or 1.0, generator)
                    A, B = low_rank(delta, svd_rank or max(lora.rank for lora in loras))
                result.set_submodule(name, with_update(layer, A, B))
        for task, model in models.items():
            if model.virtual_positions():
                raise InputError(f"adapter {task!r} has virtual tokens; only LoRA can be added")
        if head is not None:
            result.lm_head = self.set_adapter(head).lm_head
        return result.eval()


def check_names(rows: list[str]) -> None:
    """Raise InputError unless rows is a list of names."""
    if not isinstance(rows, list | tuple) or not all(isinstance(name, str) for name in rows):
        raise InputError(f"rows is {rows!r}, expected a list of names", "rows")


def check_batch(tokens: Tensor, lengths: Tensor, vocabulary: int) -> Tensor:
    """The lengths (B,), where the tokens are. Raises InputError unless tokens (B, T) and lengths are a batch."""
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or tokens.dtype not in (torch.int64, torch.int32):
        what = f"{tokens.dtype} {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
        raise InputError(f"tokens is {what}, expected a tensor of whole numbers (int64), one row a message", "tokens")
    if not isinstance(lengths, Tensor) or lengths.dtype == torch.bool:
        raise InputError("lengths is no tensor of whole numbers, expected one for each message", "lengths")
    check_lengths(tokens, lengths)
    smallest, largest = torch.stack(tokens.aminmax()).tolist()
    if smallest < 0 or largest >= vocabulary:
        raise InputError(f"tokens go from {smallest} to {largest}, expected 0 to {vocabulary - 1}", "tokens")
    return lengths.to(tokens.device, torch.long)


def over(base: GPT2) -> GPT2:
    """A model of its own over the same memory. (peft.load writes into no memory that it has not taken itself.)"""
    return copy.deepcopy(base, {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in base.parameters()})
