"""adapter_config.json as Hugging Face's peft reads and writes it; which tensor is which stands in hugging_face.py.

    ours -> theirs    configuration(model)     what their loader needs to build the modules that hold our tensors
    theirs -> ours    insert(model, …)         the modules for an adapter that was trained there

A LoRA from there sits on the fused ``c_attn``, with one A (r, C) for queries, keys and values. Here three layers share
that A, as one parameter, and each has its rows of B. Function, trained parameters and further training are theirs:

    c_attn:  s · [ B_q ; B_k ; B_v ] A      ->      q_proj: s · B_q A      k_proj: s · B_k A      v_proj: s · B_v A
                                                            └──────────── the same A ────────────┘
"""

import math
import re
import statistics
from typing import Any

from torch import nn

from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from gpt2.model import GPT2
from peft.dora import LinearWithDoRA
from peft.files.fields import Field
from peft.files.hugging_face import OURS, base_of, lora_of, modules
from peft.ia3 import ia3
from peft.lora import EmbeddingWithLoRA, LinearWithLoRA
from peft.options import IA3Options, Options, PromptOptions, PTuningV2Options
from peft.prefix import prefix
from peft.prompt import prompt
from peft.registry import METHODS
from peft.selective import layernorm
from peft.state import PeftState
from peft.targets import freeze
from peft.wrappers import keep_trained_in_float32

Shape = tuple[int, ...]
PATTERN = re.compile(r"\^?((\\\.|[\w.])+)\$?")  # a name, perhaps written as a regular expression
ALTERED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # ways to start that change the base weights too
EXTENSIONS = (  # of LoRA, in the library, each with another formula than s · B A
    *("alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "lora_bias", "monteclora_config"),
    *("target_parameters", "trainable_token_indices", "use_bdlora", "use_qalora", "velora_config"),
)


def configuration(model: GPT2, found: dict[str, Field]) -> dict:
    """What the library has to know about a model whose ``fields`` are ``found``."""
    kind, shape = METHODS[model.peft.method].hugging_face, model.config
    whole = {name.rsplit(".", 1)[0] for name in found if name.endswith(".weight") and is_base(name)}
    config: dict[str, Any] = {
        "peft_type": kind,
        "task_type": "SEQ_CLS" if has_classification_head(model) else "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "modules_to_save": sorted(name if name == "score" else f"transformer.{name}" for name in whole) or None,
    }
    if kind == "LORA":
        return config | lora_configuration(model, found)
    if kind == "IA3":
        targets = {"target_modules": ["attn.c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]}
        return config | targets | {"fan_in_fan_out": True}
    if kind == "LN_TUNING":
        return config | {"target_modules": ["ln_1", "ln_2", "ln_f"]}
    config |= {
        "num_virtual_tokens": model.virtual_positions(),
        "token_dim": shape.n_embd,
        "num_transformer_submodules": 1,
        "num_attention_heads": shape.n_head,
        "num_layers": shape.n_layer,
    }
    return config | ({"prefix_projection": model.peft.method == "prefix"} if kind == "PREFIX_TUNING" else {})


def is_base(name: str) -> bool:
    """Is this tensor a weight of the base or the head, rather than a method's own?"""
    return not name.startswith(OURS) and not any(mark in name for mark in ("lora_", "ia3_l", "ln_tuning", "prompt_"))


def lora_configuration(model: GPT2, found: dict[str, Field]) -> dict:
    """The most common rank and alpha, and patterns for the modules that differ. Their scale is alpha/rank or, with
    use_rslora, alpha/√rank: whatever ours is made of, alpha is chosen so that it comes out."""
    ranks, alphas, dropout = {}, {}, 0.0
    for name, parts in modules(model).items():
        loras = [lora for part in parts if (lora := lora_of(model.get_submodule(part))) is not None]
        if loras:
            rank = sum(len(A) for A in {id(lora.A): lora.A for lora in loras}.values())
            alpha = round(loras[0].scale * (math.sqrt(rank) if model.peft.method == "rslora" else rank), 9)
            ranks[name], alphas[name] = rank, int(alpha) if alpha == int(alpha) else alpha
            dropout = loras[0].dropout.p
    if not ranks:
        raise InputError("only the classification head has a LoRA; Hugging Face peft would look for others")
    r, alpha = statistics.mode(zip(ranks.values(), alphas.values(), strict=True))
    biases = [name for name in found if name.endswith(".bias") and is_base(name) and not name.startswith("ln_f.")]
    return {
        "r": r,
        "lora_alpha": alpha,
        "rank_pattern": short({name: rank for name, rank in ranks.items() if rank != r}, ranks),
        "alpha_pattern": short({name: value for name, value in alphas.items() if value != alpha}, alphas),
        "target_modules": list(short(dict.fromkeys(ranks), modules(model))),
        "lora_dropout": dropout,
        "bias": "none" if not biases else "lora_only" if all(".base_layer." in name for name in biases) else "all",
        "use_rslora": model.peft.method == "rslora",
        "use_dora": model.peft.method == "dora",
        "fan_in_fan_out": True,
    }


def short(values: dict, names: dict) -> dict:
    """{"h.0.attn.c_attn": 24, "h.1.attn.c_attn": 24, …} -> {"attn.c_attn": 24}, where it holds for all such names."""

    def kind(name: str) -> str:
        return name.split(".", 2)[2] if name.startswith("h.") else name

    result = {}
    for name, value in values.items():
        alike = {other for other in names if kind(other) == kind(name)}
        common = alike <= values.keys() and len({values[other] for other in alike}) == 1
        result[kind(name) if common else name] = value
    return result


def insert(model: GPT2, config: dict, shapes: dict[str, Shape]) -> None:
    """Put the modules for an adapter of theirs into a model, in place; afterwards its ``fields`` are those of the file.

    shapes   of the file's tensors, by their names without ``base_model.model.transformer.``: nothing is built that
             the file could not fill. Raises InputError when the adapter is of a kind that has no place here.
    """
    kind = config.get("peft_type")
    method = method_of(config)
    freeze(model)
    if kind == "LORA":
        insert_lora(model, config, shapes)
    elif kind == "IA3":
        ia3(model, IA3Options(queries=True))
    elif kind == "LN_TUNING":
        layernorm(model, Options())
    else:
        P, width = two(shapes, "prompt_embeddings")
        wanted = model.config.n_embd * (2 * model.config.n_layer if kind == "PREFIX_TUNING" else 1)
        if width != wanted:
            raise InputError(f"prompt_embeddings has {width} columns, expected {wanted} for this base model")
        if kind == "PREFIX_TUNING":
            prefix(model, PTuningV2Options(virtual_tokens=P))
        else:
            prompt(model, PromptOptions(virtual_tokens=P))
    unfreeze_saved(model, config, shapes)
    model.train(model.training)
    keep_trained_in_float32(model)
    model.peft = PeftState(method)  # without options: the file says it all


def method_of(config: dict) -> str:
    """Our name for the method of an adapter of theirs. Raises InputError when it has none here."""
    kind = config.get("peft_type")
    variants = {
        "LORA": "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else "lora",
        "PREFIX_TUNING": "prefix" if config.get("prefix_projection") else "p-tuning-v2",
    }
    names = {method.hugging_face: name for name, method in METHODS.items() if method.hugging_face} | variants
    if not isinstance(kind, str) or kind not in names:
        raise InputError(f"peft_type {kind!r} is unknown here; it can be {', '.join(names)}")
    return names[kind]


def insert_lora(model: GPT2, config: dict, shapes: dict[str, Shape]) -> None:
    """LoRA or DoRA of the file's rank on every module that it has tensors for."""
    start = str(config.get("init_lora_weights", True)).lower()
    refused = [name for name in EXTENSIONS if config.get(name)]
    refused += [start] if start.startswith(ALTERED_BASE) else []
    if refused:
        raise InputError(f"this LoRA uses {refused[0]}, which changes more than s · B A; merge it where it was trained")
    dropout = check_number(config.get("lora_dropout", 0.0), "lora_dropout")
    found = False
    for name, parts in modules(model).items():
        layers = [model.get_submodule(part) for part in parts]
        embedding = isinstance(layers[0], nn.Embedding)
        A, B = (f"{name}.lora_embedding_{k}" if embedding else f"{name}.lora_{k}.weight" for k in "AB")
        if A not in shapes and B not in shapes:
            continue
        weights = [layer.weight.T if embedding else layer.weight for layer in layers]
        rows, columns, (rank, width), (height, inner) = sum(map(len, weights)), weights[0].size(1), *pair(shapes, A, B)
        if rank < 1 or (height, inner, width) != (rows, rank, columns):
            raise InputError(
                f"{A} {shapes[A]} and {B} {shapes[B]} do not fit a weight of {rows} rows, {columns} columns"
            )
        if rank != (r := pattern(config.get("rank_pattern"), name, config.get("r", 8))):
            raise InputError(f"{name} has rank {rank} in the file, but {r!r} in adapter_config.json")
        alpha = check_number(pattern(config.get("alpha_pattern"), name, config.get("lora_alpha", 8)), "lora_alpha")
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        wrapper = EmbeddingWithLoRA if embedding else LinearWithDoRA if config.get("use_dora") else LinearWithLoRA
        new = [wrapper(layer, rank, scale, scaling="alpha", dropout=dropout) for layer in layers]
        for part, layer in zip(parts, new, strict=True):
            layer.lora.A = new[0].lora.A  # one for all
            model.set_submodule(part, layer)
        found = True
    if not found:
        raise InputError("it holds no LoRA for a layer of this model")


def untrained_fields(model: GPT2, shapes: dict[str, Shape], found: dict[str, Field]) -> dict[str, Field]:
    """What their file repeats of the base itself: beside a LoRA on the embedding or the language-model head they save
    the weight below it. It must be this model's."""
    result = {}
    for name, parts in modules(model).items():
        stored = f"{name}.base_layer.weight"
        if stored in shapes and stored not in found:
            result[stored] = Field([base_of(model.get_submodule(part))["weight"].detach() for part in parts])
    return result


def unfreeze_saved(model: GPT2, config: dict, shapes: dict[str, Shape]) -> None:
    """Train what the file holds of the base itself: biases, modules_to_save; and put a head like its ``score``."""
    for name, parts in modules(model).items():
        for part in parts:
            for kind, parameter in base_of(model.get_submodule(part)).items():
                if f"{name}.{kind}" in shapes or kind == "bias" and f"{name}.base_layer.bias" in shapes:
                    parameter.requires_grad_(True)
    if "score.weight" in shapes:
        classes, width = two(shapes, "score.weight")
        if width != model.config.n_embd or classes < 2:
            raise InputError(f"score.weight has shape {(classes, width)}, expected 2 or more by {model.config.n_embd}")
        new = nn.Linear(width, classes, bias=False)
        model.lm_head = new.to(base_of(model.wte)["weight"])
    elif config.get("task_type") == "SEQ_CLS":
        raise InputError("tensor score.weight, the classification head, is missing")
    elif has_classification_head(model):
        raise InputError("the adapter is one of a language model; load it onto a model without a classification head")


def pair(shapes: dict[str, Shape], *names: str) -> list[Shape]:
    """The shapes of tensors that must be there and be matrices."""
    return [two(shapes, name) for name in names]


def two(shapes: dict[str, Shape], name: str) -> Shape:
    """The shape of a tensor that must be there and be a matrix."""
    if len(shapes.get(name, ())) != 2:
        raise InputError(
            f"tensor {name} is {f'of shape {shapes[name]}, not a matrix' if name in shapes else 'missing'}"
        )
    return shapes[name]


def pattern(patterns: object, name: str, default: object) -> object:
    """The value of the pattern that fits a module's name. The library's patterns are regular expressions that must
    fit the name or its end; here only plain names count, as a hostile expression could compute for years."""
    for key, value in (patterns if isinstance(patterns, dict) else {}).items():
        plain = PATTERN.fullmatch(key)
        if not plain:
            raise InputError(f"pattern {key[:40]!r} is not the name of a module or the end of one")
        if f".transformer.{name}".endswith(f".{plain[1].replace(chr(92), '')}"):
            return value
    return default


def check_number(value: object, what: str) -> float:
    """A value from the file as a float. Raises InputError unless it is a number from 0 to 10⁹."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise InputError(f"{what} is {str(value)[:40]!r}, expected a number from 0 to 1,000,000,000")
    return float(value)
