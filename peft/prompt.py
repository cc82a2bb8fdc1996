"""Prompt tuning: trained vectors before the text, and nothing else (Lester et al., 2021, arXiv:2104.08691).

One can ask a language model for a task in words ("Is this message spam?"). A soft prompt is such a question whose
words need not exist: P vectors of the embedding's width, placed before the text and found by gradient descent.

    h₀ = [ p₁ … p_P ; wte(x₁) … wte(x_T) ] + wpe(0 … P + T - 1)        trained: p₁ … p_P, (P, C)

      position    0   1   2   3   4   5   6        P = 3 soft tokens, then the text
                 ░░  ░░  ░░ Win   a  prize [pad]
                                     ▲ read here: the last real token

P-tuning (Liu et al., 2021, arXiv:2103.10385) changes two things. The vectors are not trained one by one: they come out
of an encoder, so that they depend on each other. And they may stand on both sides of the text, as a template says:

    start (P, C) ─► MLP, or LSTM in both directions ─► p₁ … p_P        only training needs the encoder

      position    0   1   2   3   4   5   6        template [P][P] TEXT [P]
                 ░░  ░░ Win   a  prize ░░ [pad]
                                       ▲ read here: behind the message

How positions and padding are counted: soft tokens take positions like any others, so the text starts at the number of
leading ones and the context is shorter by all of them. The leading ones enter through the model's extension point
``prompt``. Trailing ones follow each message's own last token, *before* its padding, so ``classify`` gives the same
with and without padding. The model still returns one output per real token; that of the last one is read behind the
trailing vectors. ``lengths`` says where a message ends; without them, as in ``model(tokens)``, it fills the whole
width. Generated text follows the template.

Trained parameters, C = n_embd, h = encoder_hidden: prompt P C. P-tuning P C, plus for the MLP of n layers h C + h +
(n - 1)(h² + h) + C h + C, for the LSTM 8 h (C + h + 2) + (n - 1) 8 h (3 h + 2) + 4 h² + 2 h + 2 h C + C. GPT-2 124M,
P = 20, h = 256, n = 2, two classes, with the head: 16,898 / 476,930 / 4,351,746.

The trade-off: few parameters (only head has fewer), and one batch can mix tasks (``PromptPerTask``). But every message
is P tokens longer, and small models learn slowly by a prompt alone (Lester et al., figure 1).
"""

import itertools
import math
import re

import torch
from torch import Tensor, nn

from gpt2.errors import InputError, whole_number
from gpt2.model import GPT2
from gpt2.tokenizer import get_tokenizer
from peft.merging import finished
from peft.options import PromptOptions, PTuningOptions
from peft.wrappers import trained_dtype

INITS = ("random", "vocabulary", "text")
COMMON = 5000  # Lester et al. draw from the 5,000 most common tokens; in GPT-2's vocabulary the common ones come first


class SoftPrompt(nn.Module):
    """Trained vectors (P + Q, C): P stand before the text, the last Q = ``trailing`` behind it.

    With an ``encoder`` its output stands there, and ``vectors`` are its input.
    """

    def __init__(self, vectors: Tensor, trailing: int = 0, encoder: nn.Module | None = None):
        super().__init__()
        self.vectors = nn.Parameter(vectors.to(trained_dtype(vectors)))
        self.trailing, self.encoder = trailing, encoder
        # empty: only its precision counts, which is that of the embeddings, and follows model.to(…)
        self.register_buffer("like", vectors.new_empty(0), persistent=False)

    def everything(self) -> Tensor:
        vectors = self.vectors if self.encoder is None else self.encoder(self.vectors)
        return vectors.to(self.like.dtype)  # (P + Q, C)

    def forward(self) -> Tensor:
        return self.everything()[: len(self.vectors) - self.trailing]  # (P, C)

    def after(self) -> Tensor:
        return self.everything()[len(self.vectors) - self.trailing :]  # (Q, C)


@finished.register
@torch.no_grad()
def _(prompt: SoftPrompt) -> SoftPrompt:
    """The same prompt without its encoder: all that a trained prompt needs."""
    if prompt.encoder is None:
        return prompt
    plain = SoftPrompt(prompt.everything().clone(), prompt.trailing)
    plain.vectors.data = prompt.encoder(prompt.vectors)  # not rounded to the embeddings' precision
    return plain


class PromptEncoder(nn.Module):
    """x (P, dim) -> (P, dim), in P-tuning. Both kinds as in Hugging Face peft.

    encoder   ``mlp``: ``layers`` hidden layers, each with a ReLU. ``lstm``, as in the paper: ``layers`` layers that
              read the soft tokens in both directions, then an MLP with one hidden layer
    hidden    width of a hidden layer; of the LSTM, in each direction
    """

    def __init__(self, dim: int, encoder: str, hidden: int, layers: int):
        super().__init__()
        hidden, layers = whole_number("encoder_hidden", hidden), whole_number("encoder_layers", layers)
        self.lstm = None
        if encoder == "mlp":
            widths = [dim] + [hidden] * layers
        elif encoder == "lstm":
            self.lstm = nn.LSTM(dim, hidden, num_layers=layers, bidirectional=True)
            widths = [2 * hidden, 2 * hidden]
        else:
            raise InputError(f"unknown encoder {encoder!r}; choose mlp or lstm", argument="encoder")
        steps = []
        for n_in, n_out in itertools.pairwise(widths):
            steps += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.mlp = nn.Sequential(*steps, nn.Linear(widths[-1], dim))

    def forward(self, x: Tensor) -> Tensor:
        if self.lstm is not None:
            x, _ = self.lstm(x)  # (P, 2 hidden): each soft token has seen the others, on both sides of the text
        return self.mlp(x)


class PerTask(nn.Module):
    """Several prompts or prefixes, and for each message of a batch the one to use."""

    def __init__(self, prompts: list):
        super().__init__()
        self.prompts = nn.ModuleList(prompts)
        self.tasks: Tensor | None = None  # (B,), set by select_tasks


class PromptPerTask(PerTask):
    """Several prompts of one shape, and for each message of a batch the one to use.

        model.prompt = PromptPerTask([spam_model.prompt, news_model.prompt])
        select_tasks(model, [0, 1, 1])        # the next batch: a spam question, then two about news

    The frozen model is shared, so one batch serves several tasks (Lester et al., figure 2).
    """

    def __init__(self, prompts: list[SoftPrompt]):
        super().__init__(prompts)
        self.trailing = prompts[0].trailing
        if len({(p().shape, p.trailing) for p in prompts}) > 1:
            raise InputError("the prompts of one batch must have the same number of virtual tokens on the same sides")

    def forward(self) -> Tensor:
        return chosen([prompt() for prompt in self.prompts], self.tasks)  # (B, P, C)

    def after(self) -> Tensor:
        return chosen([prompt.after() for prompt in self.prompts], self.tasks)  # (B, Q, C)


def chosen(of_each_task: list[Tensor] | tuple[Tensor, ...], tasks: Tensor | None) -> Tensor:
    """One tensor per task, and a task number per message (B,) -> (B, …)."""
    if tasks is None:
        raise InputError("which task is each message of the batch? call select_tasks(model, tasks) first")
    return torch.stack(of_each_task)[tasks]


def select_tasks(model: GPT2, tasks: list[int] | Tensor) -> None:
    """Say which task, 0 to number of tasks - 1, each message of the next batches belongs to."""
    numbers = torch.as_tensor(tasks, device=model.wte.weight.device)
    for module in model.modules():
        if isinstance(module, PerTask):
            if numbers.min() < 0 or numbers.max() >= len(module.prompts):
                raise InputError(f"tasks {numbers.tolist()}: this model has tasks 0 to {len(module.prompts) - 1}")
            module.tasks = numbers


def check_virtual_tokens(model: GPT2, virtual_tokens: int) -> None:
    """Raises InputError unless there is at least one, and room for a text of at least one token beside them."""
    whole_number("virtual_tokens", virtual_tokens, most=model.config.n_positions - 1)


@torch.no_grad()
def starting_vectors(model: GPT2, count: int, init: str, init_text: str | None) -> Tensor:
    """(count, C): where the search for a prompt begins; see ``prompt`` for ``init``."""
    vocabulary, C = model.config.vocab_size, model.config.n_embd
    if init not in INITS:
        raise InputError(f"unknown init {init!r}; choose one of {', '.join(INITS)}", argument="init")
    if init == "text" or init_text is not None:
        ids = get_tokenizer().encode_ordinary(init_text or "")
        if not ids or max(ids) >= vocabulary:
            raise InputError(
                f"init_text is {init_text!r}, expected a text in words that this model's vocabulary has",
                argument="init_text",
            )
        tokens = torch.tensor(ids).repeat(math.ceil(count / len(ids)))[:count]
    elif init == "vocabulary":
        tokens = torch.randint(min(COMMON, vocabulary), (count,))
    else:
        return torch.empty(count, C).uniform_(-0.5, 0.5).to(model.wte.weight)  # range of the paper, section 3.2
    return model.wte(tokens.to(model.wte.weight.device)).clone()


def parse_template(template: str) -> tuple[int, int]:
    """``"[P][P] TEXT [P]"`` -> (2, 1): soft tokens before and behind the text."""
    parts = re.fullmatch(r"((?:\s*\[P\])*)\s*TEXT((?:\s*\[P\])*)\s*", template)
    before, behind = (part.count("[P]") for part in parts.groups()) if parts else (0, 0)
    if before + behind == 0:
        raise InputError(
            f"template {template!r}: expected one TEXT with [P] around it, such as '[P][P] TEXT [P]'",
            argument="template",
        )
    return before, behind


def prompt(model: GPT2, options: PromptOptions) -> None:
    """Put a soft prompt before the text (Lester et al.)."""
    check_virtual_tokens(model, options.virtual_tokens)
    model.prompt = SoftPrompt(starting_vectors(model, options.virtual_tokens, options.init, options.init_text))


def p_tuning(model: GPT2, options: PTuningOptions) -> None:
    """Put a soft prompt with an encoder around the text, as a template says (Liu et al.)."""
    template = options.template
    before, behind = (options.virtual_tokens, 0) if template is None else parse_template(template)
    check_virtual_tokens(model, before + behind)
    weight, width = model.wte.weight, model.config.n_embd
    start = torch.randn(before + behind, width)
    encoder = PromptEncoder(width, options.encoder, options.encoder_hidden, options.encoder_layers)
    encoder.to(weight.device, trained_dtype(weight))
    model.prompt = SoftPrompt(start.to(weight), behind, encoder)
