"""The table of the methods: what each is called, where it stands, and what it says of itself.

A new method is one file in peft/, its options in options.py, and one entry here. The tests compare every declaration
with what the method does (tests/peft/test_every_method.py), and the command line, the adapter files and the
comparison read it from here. Nothing here imports PyTorch: a method's file is loaded when it is first used.
"""

import inspect
from collections.abc import Callable
from dataclasses import Field, dataclass
from importlib import import_module
from typing import Any

from peft import options as opt
from peft.learning_rates import WRITING, Rate, choose_rate
from peft.options import fields_of, kinds


@dataclass(frozen=True)
class Method:
    """A way to fine-tune, and its declaration.

    home               its file and function, as in "peft.lora:lora". The function takes a frozen model and an object
                       of ``options_type``, and changes the model in place
    options_type       the dataclass of its options
    summary            one sentence
    lr                 AdamW's learning rate for the practice model (docs/results/learning_rates); see learning_rate
    family             of the surveys (Lialin et al., 2023; Han et al., 2024): selective, reparametrised, additive or
                       hybrid
    why_not_mergeable  a sentence, where peft.merge refuses; None where it merges
    starts_unchanged   does an untrained model give the same output as before?
    exportable         does it only change weights, so that a plain GPT-2 can compute the result?
    hugging_face       its ``peft_type`` in Hugging Face's peft, whose file layout is then used (it is written in
                       peft/files/hugging_face.py); None: a layout of our own
    lora_head          is the classification head frozen, and given LoRA itself (unless train_head is asked for)?
    head_only          does it train the classification head and nothing else, so that it cannot teach to write?
    frozen_saved       names of frozen parameters of its own that a file must hold, such as random matrices that all
                       layers share; patterns as in ``*.vera_A``. (A frozen head is always saved.)
    """

    home: str
    options_type: type[opt.Options]
    summary: str
    lr: float
    family: str
    why_not_mergeable: str | None = None
    starts_unchanged: bool = True
    exportable: bool = True
    hugging_face: str | None = None
    lora_head: bool = False
    head_only: bool = False
    frozen_saved: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Field]:
        """The options a person may set, in order: name -> field, with ``default``, ``type`` and ``metadata``."""
        return fields_of(self.options_type)

    def help(self, option: str) -> str:
        """One line on an option, as this method understands it."""
        return self.options[option].metadata["help"]

    @property
    def insert(self) -> Callable[..., None]:
        """The function that puts the method into a model; loads its file, and PyTorch with it."""
        file, function = self.home.split(":")
        return getattr(import_module(file), function)

    @property
    def only_gpt2(self) -> bool:
        """Does it reach into GPT2's own modules? Its function says so: ``model: GPT2``, or ``model: nn.Module``."""
        return inspect.signature(self.insert).parameters["model"].annotation.__name__ == "GPT2"

    def rate(self, width: int, writing: bool = False) -> Rate:
        """The default learning rate for a model of this width that learns to classify, or to write, and where it comes
        from (peft/learning_rates.py)."""
        name = next((name for name, method in METHODS.items() if method is self), "")
        return choose_rate(name, WRITING.get(name, self.lr) if writing else self.lr, width)

    def learning_rate(self, width: int, writing: bool = False) -> float:
        """The default learning rate for a model of this width."""
        return self.rate(width, writing).lr


SELECTIVE: dict[str, Any] = {
    "family": "selective",
    "why_not_mergeable": "it trains weights of the base itself, so there is nothing to merge",
}
LOW_RANK: dict[str, Any] = {"family": "reparametrised", "lr": 1e-3, "hugging_face": "LORA", "lora_head": True}
BOTTLENECK: dict[str, Any] = {
    "family": "additive",
    "why_not_mergeable": "an adapter's non-linearity is more than a change of weights",
    "exportable": False,
}
VIRTUAL_TOKENS: dict[str, Any] = {
    "family": "additive",
    "why_not_mergeable": "virtual tokens are more positions, not a change of weights",
    "starts_unchanged": False,
    "exportable": False,
}
QUANTISED_BASE = (
    "a quantised base has no room for the update, which is finer than its levels; "
    "load the adapter with quantize=False and merge it into the full-precision base"
)

METHODS = {  # in teaching order
    "full": Method(
        "peft.selective:full",
        opt.Options,
        "Train every parameter: the baseline, and the method that needs the most memory.",
        lr=3e-4,
        **SELECTIVE,
    ),
    "head": Method(
        "peft.selective:head",
        opt.Options,
        'Train the new classification head only: a logistic regression on frozen features ("linear probing").',
        lr=3e-3,
        head_only=True,
        **SELECTIVE,
    ),
    "selective": Method(
        "peft.selective:selective",
        opt.SelectiveOptions,
        "Train the last blocks, the final norm and the head.",
        lr=1e-3,
        **SELECTIVE,
    ),
    "bitfit": Method(
        "peft.selective:bitfit", opt.Options, "Train every bias and the head (BitFit).", lr=1e-2, **SELECTIVE
    ),
    "layernorm": Method(
        "peft.selective:layernorm",
        opt.Options,
        "Train the gains and biases of every norm, and the head.",
        lr=1e-2,
        hugging_face="LN_TUNING",
        **SELECTIVE,
    ),
    "lora": Method(
        "peft.lora:lora",
        opt.LoRAOptions,
        "Low-rank updates beside frozen linear layers, the classification head included.",
        **LOW_RANK,
    ),
    "rslora": Method(
        "peft.lora:lora",
        opt.RsLoRAOptions,
        "LoRA whose update is scaled by alpha/sqrt(rank) (rsLoRA).",
        **LOW_RANK | {"lr": 3e-3},
    ),
    "dora": Method(
        "peft.dora:dora",
        opt.LoRAOptions,
        "LoRA for the direction of every weight vector, and a trained length for each.",
        **LOW_RANK,
    ),
    "dylora": Method(
        "peft.dylora:dylora",
        opt.DyLoRAOptions,
        "LoRA trained so that it can be cut to any smaller rank afterwards.",
        **LOW_RANK | {"lr": 3e-3},
    ),
    "minlora": Method(
        "peft.minlora:minlora",
        opt.MinLoRAOptions,
        "LoRA through PyTorch's parametrizations: the same numbers by another mechanism.",
        **LOW_RANK,
    ),
    "qlora": Method(
        "peft.qlora:qlora",
        opt.QLoRAOptions,
        "LoRA beside linear layers that are stored in four (or eight) bits.",
        why_not_mergeable=QUANTISED_BASE,
        starts_unchanged=False,  # the quantised base differs a little
        **LOW_RANK,
    ),
    "adapter": Method(
        "peft.adapters:adapter",
        opt.AdapterOptions,
        "Serial adapters (Houlsby): in every block after attention and after the MLP.",
        lr=1e-3,
        **BOTTLENECK,
    ),
    "adapter-pfeiffer": Method(
        "peft.adapters:adapter_pfeiffer",
        opt.AdapterOptions,
        "Serial adapters (Pfeiffer): in every block after the MLP only, half the cost of Houlsby's.",
        lr=1e-3,
        **BOTTLENECK,
    ),
    "adapter-parallel": Method(
        "peft.adapters:adapter_parallel",
        opt.AdapterOptions,
        "Parallel adapters (He et al.): in every block beside the MLP.",
        lr=3e-3,
        **BOTTLENECK,
    ),
    "mam": Method(
        "peft.unified:mam",
        opt.MAMOptions,
        "Mix-and-match: a prefix in attention and a scaled parallel adapter at the MLP (He et al.).",
        lr=3e-4,
        **VIRTUAL_TOKENS | {"family": "hybrid"},
    ),
    "ia3": Method(
        "peft.ia3:ia3",
        opt.IA3Options,
        "Learned factors on keys, values and the MLP's hidden layer.",
        lr=1e-2,
        family="reparametrised",
        hugging_face="IA3",
    ),
    "prompt": Method(
        "peft.prompt:prompt",
        opt.PromptOptions,
        "A soft prompt: trained vectors before the text (Lester et al.).",
        lr=3e-3,
        hugging_face="PROMPT_TUNING",
        **VIRTUAL_TOKENS,
    ),
    "p-tuning": Method(
        "peft.prompt:p_tuning",
        opt.PTuningOptions,
        "A soft prompt out of an encoder, around the text as a template says (Liu et al.).",
        lr=3e-3,
        hugging_face="P_TUNING",
        **VIRTUAL_TOKENS,
    ),
    "prefix": Method(
        "peft.prefix:prefix",
        opt.PrefixOptions,
        "Keys and values before the text in every block, made by a network while training (Li & Liang).",
        lr=3e-4,
        hugging_face="PREFIX_TUNING",
        **VIRTUAL_TOKENS,
    ),
    "p-tuning-v2": Method(
        "peft.prefix:prefix",
        opt.PTuningV2Options,
        "Keys and values before the text in every block, trained directly (Liu et al.).",
        lr=1e-2,
        hugging_face="PREFIX_TUNING",
        **VIRTUAL_TOKENS,
    ),
}


def options_of_all() -> dict[str, tuple[type, str]]:
    """For a command line: option -> its type, and what it means and starts at for each of the methods that take it."""
    found: dict[str, tuple[type, dict[str, list[str]]]] = {}
    for name, method in METHODS.items():
        for option, field in method.options.items():
            default = "" if field.default is None or field.default is False else f" (default {field.default})"
            kind, meanings = found.setdefault(option, (kinds(field)[0], {}))
            meanings.setdefault(f"{method.help(option)}{default}", []).append(name)
    return {
        option: (kind, "; ".join(f"{', '.join(methods)}: {meaning}" for meaning, methods in meanings.items()))
        for option, (kind, meanings) in found.items()
    }
