"""The same adapter in two layouts: where Hugging Face's peft keeps each number that a method has learned here.

Their GPT-2 (transformers) computes what ours does, with the layers cut differently, and ``layout`` in
gpt2/checkpoints/weights.py is the dictionary of that. For adapters it means, above all, that three of our layers are
one of theirs, ``c_attn``. Three low-rank updates of rank r are one of rank 3 r, exactly: the A stacked, the B on the
diagonal of a block matrix.

    ours                              theirs: c_attn.lora_B (3 C, 3 r)      c_attn.lora_A (3 r, C)
    q_proj   s · B_q A_q                     ┌ B_q  0    0  ┐                   ┌ A_q ┐
    k_proj   s · B_k A_k                     │  0  B_k   0  │                   │ A_k │
    v_proj   s · B_v A_v                     └  0   0   B_v ┘                   └ A_v ┘

The zeros are stored too: of GPT-2 124M at rank 8, 7.1 MB instead of 5.3. Their scale is alpha/rank of the fused layer,
so ``alpha_pattern`` and ``rank_pattern`` name it there. The way back needs no zeros: an update that was trained on
c_attn has one A for queries, keys and values; here too, the three layers share it (peft/files/hugging_face_config.py).

**The head.** Our head is W h + b; their ``score`` has no b. But the final norm h = γ n + β has one, with more
dimensions than there are classes: add d to β, with W d = b, and score(h + d) = W h + b. Of all such d the shortest is
d = W⁺ b. So ``score`` and ``ln_f`` are saved as fully trained modules (``modules_to_save``). A head with a LoRA of its
own is saved merged. Neither can be taken apart again, so the file also holds our own numbers of these two, under names
(``gpt2_peft.…``) that their loader ignores.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gpt2.checkpoints.weights import layout, stored_in_by_out
from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from gpt2.model import GPT2
from peft.dora import LinearWithDoRA
from peft.files.fields import Field
from peft.ia3 import ScaledInput, ScaledOutput
from peft.lora import EmbeddingWithLoRA, LinearWithLoRA
from peft.merging import to_plain
from peft.registry import METHODS

PROMPTS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
OURS = "gpt2_peft."  # in front of tensors that only this repository reads


def modules(model: GPT2) -> dict[str, list[str]]:
    """Their module -> ours that lie in it: ``h.0.attn.c_attn`` -> q_proj, k_proj and v_proj of block 0."""
    names = [name.removesuffix(".weight") for name in layout(model.config) if name.endswith(".weight")]
    ours = layout(model.config)
    table = {name: [part.removesuffix(".weight") for part in ours[f"{name}.weight"]] for name in names}
    return table if has_classification_head(model) else table | {"lm_head": ["lm_head"]}


def lora_of(layer: nn.Module) -> nn.Module | None:
    """The LoRALayer of a wrapped layer, or of a parametrised one."""
    if parametrize.is_parametrized(layer, "weight"):
        return layer.parametrizations.weight[0].lora
    return layer.lora if isinstance(layer, LinearWithLoRA | EmbeddingWithLoRA) else None


def scale_of(layer: nn.Module) -> Tensor | None:
    """The factors that IA3 has put on a layer."""
    return layer.scale if isinstance(layer, ScaledOutput | ScaledInput) else None


def base_of(layer: nn.Module) -> dict[str, Tensor]:
    """weight and bias of a layer, whatever a method has put around it."""
    if parametrize.is_parametrized(layer, "weight"):
        found = {"weight": layer.parametrizations.weight.original, "bias": layer.bias}
    else:
        found = {kind: getattr(layer, kind, None) for kind in ("weight", "bias")}
    return {kind: tensor for kind, tensor in found.items() if tensor is not None}


def fields(model: GPT2) -> dict[str, Field]:
    """Every tensor of the file, under its name without ``base_model.model.transformer.``.

    Raises InputError with the reason when the library has no place for something that this model has learned.
    """
    found = prompt_fields(model) if METHODS[model.peft.method].hugging_face in PROMPTS else {}
    for name, parts in modules(model).items():
        layers = [model.get_submodule(part) for part in parts]
        if any(map(lora_of, layers)):
            found |= lora_fields(name, layers)
        elif any(scale_of(layer) is not None for layer in layers):
            found |= ia3_fields(name, layers)
        elif model.peft.method == "layernorm" and "ln_" in name:
            base = base_of(layers[0])
            found |= {f"{name}.ln_tuning_layers.{kind}": Field([base[kind]]) for kind in base}
            continue  # trained, but by the method
        found |= trained_base(name, layers)
    if has_classification_head(model):
        found |= head_fields(model, found)
    if not has_classification_head(model) and base_of(model.wte)["weight"].requires_grad:
        raise InputError("a trained embedding is the language-model head too, but Hugging Face peft saves only one")
    covered = {id(part) for field in found.values() for part in field.parts}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in covered:
            raise InputError(f"{model.peft.method} has trained {name}, for which Hugging Face peft has no place")
    return found


def lora_fields(name: str, layers: list[nn.Module]) -> dict[str, Field]:
    """The update of one module of theirs; of our layers in it, some may have none."""
    loras = [lora_of(layer) for layer in layers]
    present = [lora for lora in loras if lora is not None]
    if len({lora.scale for lora in present}) > 1:
        raise InputError(f"{name}: its parts have different scales, which Hugging Face peft cannot express")
    if isinstance(layers[0], EmbeddingWithLoRA):
        return {f"{name}.lora_embedding_{key}": Field([getattr(present[0], key)]) for key in "AB"}
    A = list({id(lora.A): lora.A for lora in present}.values())  # one, if they share it
    rows = [len(base_of(layer)["weight"]) for layer in layers]
    B = [lora.B if lora else torch.zeros(n, 0) for lora, n in zip(loras, rows, strict=True)]
    shared = len(A) == 1 and len(present) == len(layers)
    found = {
        f"{name}.lora_A.weight": Field(A),
        f"{name}.lora_B.weight": Field(B) if shared else Field(B, torch.block_diag),
    }
    if any(isinstance(layer, LinearWithDoRA) for layer in layers):  # a layer without keeps the lengths of its rows
        lengths = [
            layer.magnitude if isinstance(layer, LinearWithDoRA) else base_of(layer)["weight"].detach().norm(dim=1)
            for layer in layers
        ]
        found[f"{name}.lora_magnitude_vector"] = Field(lengths)
    return found


def ia3_fields(name: str, layers: list[nn.Module]) -> dict[str, Field]:
    """Output scales as a column, input scales as a row; a layer without has a scale of one."""
    scales = [scale_of(layer) for layer in layers]
    parts = [torch.ones(len(layer.weight)) if s is None else s for s, layer in zip(scales, layers, strict=True)]
    dim = 0 if name.endswith("mlp.c_proj") else 1
    return {f"{name}.ia3_l": Field(parts, lambda *parts: torch.cat(parts).unsqueeze(dim))}


def trained_base(name: str, layers: list[nn.Module]) -> dict[str, Field]:
    """Weights of the base itself that train: the whole module, or its bias alone."""
    bases = [base_of(layer) for layer in layers]
    trained = [kind for kind in bases[0] if any(base[kind].requires_grad for base in bases)]
    if not trained:
        return {}
    if any(scale_of(layer) is not None for layer in layers) or any(map(lora_of, layers)) and "weight" in trained:
        return {}  # below a LoRA they have a place for a bias, and below factors for nothing: fields() refuses it
    prefix = f"{name}.base_layer" if any(map(lora_of, layers)) else name
    found = {}
    for kind in ["bias"] if trained == ["bias"] else bases[0]:
        parts = [base[kind] if base[kind].requires_grad else base[kind].detach() for base in bases]
        turned = kind == "weight" and stored_in_by_out(f"{name}.weight")
        found[f"{prefix}.{kind}"] = Field(parts, lambda *p: torch.cat(p).T) if turned else Field(parts)
    return found


def prompt_fields(model: GPT2) -> dict[str, Field]:
    """All prefixes in one matrix (P, L · 2 · C): block by block keys, then values, head by head. Or the prompt."""
    if model.prompt is not None:
        if model.prompt.trailing:
            raise InputError("Hugging Face peft places virtual tokens only before the text, not after it")
        return {"prompt_embeddings": Field([model.prompt.vectors])}
    parts = [part for block in model.h for part in (block.attn.prefix.keys, block.attn.prefix.values)]  # (H, P, D)
    return {
        "prompt_embeddings": Field(parts, lambda *parts: torch.cat([p.transpose(0, 1).flatten(1) for p in parts], 1))
    }


def head_fields(model: GPT2, found: dict[str, Field]) -> dict[str, Field]:
    """``score``, and the final norm that takes over its bias; ``found`` are the model's other fields."""
    if type(model.lm_head) is nn.Linear and model.lm_head.bias is None:  # it came from there
        return {"score.weight": Field([model.lm_head.weight])}
    score, norm = hugging_face_head(model)
    names = [name for name in found if name.startswith("ln_f.")] or ["ln_f.weight", "ln_f.bias"]
    result = {"score.weight": Field([score], derived=True)}
    result |= {name: Field([norm[name.rsplit(".", 1)[-1]]], derived=True) for name in names}
    exact = {f"lm_head.{name}": parameter for name, parameter in model.lm_head.named_parameters()}
    if model.ln_f.weight.requires_grad or model.ln_f.bias.requires_grad:
        exact |= {f"ln_f.{name}": parameter for name, parameter in model.ln_f.named_parameters()}
    return result | {f"{OURS}{name}": Field([parameter]) for name, parameter in exact.items()}


@torch.no_grad()
def hugging_face_head(model: GPT2) -> tuple[Tensor, dict[str, Tensor]]:
    """Our head W h + b and final norm -> W of a head without bias, and weight and bias of the norm before it.

    Raises InputError when no shift of the norm gives this b: W maps all vectors to fewer dimensions than it has rows.
    """
    head = to_plain(model.lm_head)
    W, norm = head.weight.detach(), {name: p.detach() for name, p in model.ln_f.named_parameters()}
    if head.bias is None or not head.bias.any():
        return W, norm
    exact_W, b = W.double().cpu(), head.bias.detach().double().cpu()
    d = torch.linalg.pinv(exact_W) @ b  # in float64: rounding should not be what decides
    if (exact_W @ d - b).abs().max() > 1e-6 * b.abs().max():
        raise InputError(
            f"the head's bias cannot go into the final norm: its weight {tuple(W.shape)} has rank "
            f"{int(torch.linalg.matrix_rank(exact_W))} only, and Hugging Face's score has no bias; set the bias to 0"
        )
    return W, norm | {"bias": (norm["bias"].double().cpu() + d).to(norm["bias"])}
