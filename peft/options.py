"""The options of the methods: for each its name, its type, its default and one line of help, written once.

A method has one dataclass here, and everybody reads that: ``peft.apply`` takes these names and defaults, the command
line makes ``--rank`` of ``rank``, an adapter file is checked against the types, and the method's function is given the
filled-in object. What methods have in common they inherit; a method whose help or default differs writes its own.

A field that no one may set (``fixed``) is what makes a method out of another one: rsLoRA is LoRA with one scaling.
PyTorch is not imported here, because ``--help`` should not wait for it.
"""

import dataclasses
import typing
from dataclasses import Field, dataclass
from typing import Any

NO_CHANGE = object()


def option(default: Any, help: str, loaded: Any = NO_CHANGE) -> Any:
    """A dataclass field that is an option.

    loaded   the value for an adapter that is loaded from a file, where an option only serves training, such as a
             network that makes the virtual tokens and is dropped afterwards
    """
    return dataclasses.field(default=default, metadata={"help": help, "loaded": loaded})


def fixed(value: Any) -> Any:
    """A dataclass field that nobody may set."""
    return dataclasses.field(default=value, init=False)


def fields_of(options: type) -> dict[str, Field]:
    """name -> field, for everything that a person may set."""
    return {field.name: field for field in dataclasses.fields(options) if field.init}


def kinds(field: Field) -> tuple[type, ...]:
    """The types that an option may have: ``str | None`` -> str, NoneType."""
    return typing.get_args(field.type) or (field.type,)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of a method that has none."""


@dataclass(frozen=True, kw_only=True)
class SelectiveOptions(Options):
    """Of ``selective``."""

    blocks: int = option(1, "how many blocks to train, counted from the top")


@dataclass(frozen=True, kw_only=True)
class LowRankOptions(Options):
    """What LoRA and all its relatives have in common."""

    rank: int = option(8, "inner dimension r of the update")
    alpha: float = option(8, "numerator of the update's scale")
    target_modules: str = option("all", "layers to change: all (linear ones), or names such as q_proj,v_proj")
    layers_to_transform: str | None = option(None, "only in these blocks, such as 0-3,11")
    train_head: bool = option(False, "train the head fully instead of by a low-rank update")


@dataclass(frozen=True, kw_only=True)
class MinLoRAOptions(LowRankOptions):
    """Of ``minlora``, and all that LoRA shares with it."""

    scaling: str = option("alpha/rank", "scale of the update: alpha/rank, alpha, or alpha/sqrt(rank)")
    init: str = option("kaiming", "start of A: kaiming (±1/√in), kaiming-rank (±1/√rank) or normal (std 1/√rank)")


@dataclass(frozen=True, kw_only=True)
class LoRAOptions(MinLoRAOptions):
    """Of ``lora`` and ``dora``."""

    dropout: float = option(0.0, "dropout before A while training")


@dataclass(frozen=True, kw_only=True)
class RsLoRAOptions(LoRAOptions):
    """Of ``rslora``: its scaling is what it is."""

    scaling: str = fixed("alpha/sqrt(rank)")


@dataclass(frozen=True, kw_only=True)
class DyLoRAOptions(LowRankOptions):
    """Of ``dylora``."""

    rank: int = option(8, "the largest rank r")
    alpha: float = option(8, "numerator of the update's scale alpha/b")
    frozen: bool = option(False, "in a step with rank b, update only row and column b")


@dataclass(frozen=True, kw_only=True)
class QLoRAOptions(LoRAOptions):
    """Of ``qlora``."""

    target_modules: str = option("all", "layers to give LoRA to: all (linear ones), or names such as q_proj,v_proj")
    layers_to_transform: str | None = option(None, "LoRA only in these blocks, such as 0-3,11")
    bits: int = option(4, "4 (NormalFloat) or 8 (int8) for the base's weights")
    double_quant: bool = option(True, "quantise the blocks' constants too (4 bits only)")
    quantize: bool = option(True, "store the base in few bits; otherwise keep it in full precision")


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(Options):
    """Of the three bottleneck adapters."""

    bottleneck: int = option(32, "inner width of each adapter")
    nonlinearity: str = option("relu", "relu, gelu, silu or tanh")
    adapter_scale: float = option(1.0, "factor on the adapter's output")


@dataclass(frozen=True, kw_only=True)
class IA3Options(Options):
    """Of ``ia3``."""

    queries: bool = option(False, "scale the queries too, as Hugging Face peft does on GPT-2")


@dataclass(frozen=True, kw_only=True)
class PromptOptions(Options):
    """Of ``prompt``."""

    virtual_tokens: int = option(20, "number of trained vectors")
    init: str = option(
        "vocabulary",
        "start of the vectors: random, vocabulary (embeddings of common tokens), or text (with init_text)",
        loaded="random",
    )
    init_text: str | None = option(
        None, "start from the embeddings of this text, repeated or cut to virtual_tokens", loaded=None
    )


@dataclass(frozen=True, kw_only=True)
class PTuningOptions(Options):
    """Of ``p-tuning``."""

    virtual_tokens: int = option(20, "number of soft tokens, all before the text; a template counts its own")
    template: str | None = option(None, 'where soft tokens stand, such as "[P][P] TEXT [P]"')
    encoder: str = option("mlp", "mlp or lstm")
    encoder_hidden: int = option(256, "width of the encoder's hidden layers", loaded=1)
    encoder_layers: int = option(2, "hidden layers of the mlp, or layers of the lstm", loaded=1)


@dataclass(frozen=True, kw_only=True)
class PrefixOptions(Options):
    """Of ``prefix``."""

    virtual_tokens: int = option(20, "trained positions before the text")
    prefix_hidden: int = option(512, "width of the network that makes them; 0 trains them directly", loaded=0)


@dataclass(frozen=True, kw_only=True)
class PTuningV2Options(PrefixOptions):
    """Of ``p-tuning-v2``: a prefix without the network."""

    prefix_hidden: int = fixed(0)


@dataclass(frozen=True, kw_only=True)
class MAMOptions(AdapterOptions, PrefixOptions):
    """Of ``mam``: those of its adapter and of its prefix."""

    virtual_tokens: int = option(30, "trained positions before the text")
    adapter_scale: float = option(4.0, "factor on the adapter's output")
