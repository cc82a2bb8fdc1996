"""Public functions return tensors of the shapes that their docstrings promise.

A case names the docstring, the shape as it stands there, and a call. Every letter has a size of its own, so that no two
dimensions can be mistaken for each other.
"""

import pytest
import torch
from torch import nn

from gpt2.classifier import add_classification_head, classify
from gpt2.generation import draw, generate, keep_likely, stream
from gpt2.layout import KVCache, Layout, causal_mask
from gpt2.model import GPT2, attention_weights, fused_attention, insert_after, plain_attention, remove_after
from gpt2.training.windows import windows_at
from peft.adapters import BottleneckAdapter, ParallelAdapter, SerialAdapter
from peft.lora import EmbeddingWithLoRA, LinearWithLoRA, LoRALayer
from peft.prefix import PrefixPerTask, PrefixTuning, SharedStart
from peft.prompt import PromptEncoder, SoftPrompt
from peft.quantization import QuantizedLinear
from peft.wrappers import matrix

B, T, C, H, D, S, P, Q, V = 2, 5, 24, 3, 8, 7, 4, 6, 97
SIZES = {"B": B, "T": T, "C": C, "H": H, "D": D, "S": S, "P": P, "Q": Q, "V": V, "N": 9, "W": T, "num_classes": 10}
SIZES |= {"in_dim": 11, "out_dim": 13, "dim": 17, "hidden": 19, "context": 12, "max_new_tokens": 15}
SIZES |= {"in": SIZES["in_dim"], "out": SIZES["out_dim"], "tokens": V}

lengths = torch.tensor([5, 4])
tokens = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(0))
packed = Layout.packed(lengths, T)
last = Layout(ends=lengths - 1)
linear = nn.Linear(SIZES["in"], SIZES["out"])


def zeros(*sizes: int | str) -> torch.Tensor:
    return torch.zeros([SIZES.get(size, size) for size in sizes])


def classifier(model: GPT2) -> GPT2:
    return add_classification_head(model, SIZES["num_classes"])


def with_prompt(model: GPT2) -> GPT2:
    model.prompt = SoftPrompt(zeros(P + Q, C), trailing=Q)
    return model


def with_prefix(model: GPT2) -> GPT2:
    for block in model.h:
        block.attn.prefix = PrefixTuning(H, D, P)
    return model


def cached() -> torch.Tensor:
    cache, layer = KVCache(capacity=20), nn.Identity()
    cache.append(layer, zeros(B, H, T, D), zeros(B, H, T, D))
    return cache.append(layer, zeros(B, H, S - T, D), zeros(B, H, S - T, D))[0]


def for_tasks(module: PrefixPerTask) -> PrefixPerTask:
    module.tasks = torch.tensor([0, 2])
    return module


q, k = zeros(B, H, T, D), zeros(B, H, S, D)
CASES = [
    (causal_mask, "(T, S)", lambda m: causal_mask(T, S, q.device)),
    (attention_weights, "(B, H, T, S)", lambda m: attention_weights(q, k)),
    (plain_attention, "(B, H, T, D)", lambda m: plain_attention(q, k, k)),
    (plain_attention, "(B, H, T, D)", lambda m: fused_attention(q, k, k)),
    (insert_after, "(B, T + Q, C)", lambda m: insert_after(zeros(B, T, C), zeros(B, Q, C), lengths)),
    (remove_after, "(B, T, C)", lambda m: remove_after(zeros(B, T + Q, C), Q, lengths)),
    (GPT2.embed, "(B, T, C)", lambda m: m.embed(tokens)),
    (GPT2.embed, "(B, P + T + Q, C)", lambda m: with_prompt(m).embed(tokens)),
    (GPT2.hidden_states, "(B, T, C)", lambda m: m.hidden_states(tokens)),
    (GPT2.hidden_states, "(B, T, C)", lambda m: with_prompt(m).hidden_states(tokens, lengths)),
    (GPT2.hidden_states, "(B, C)", lambda m: m.hidden_states(tokens, layout=last)),
    (GPT2.hidden_states, "(B, C)", lambda m: with_prefix(m).hidden_states(tokens, layout=packed)),
    (GPT2.forward, "(B, T, V)", lambda m: m(tokens)),
    (KVCache.append, "(B, H, S, D)", lambda m: cached()),
    (Layout.pack, "(1, N, C)", lambda m: packed.pack(zeros(B, T, C))),
    (Layout.unpack, "(B, W, C)", lambda m: packed.unpack(zeros(1, "N", C))),
    (Layout.read, "(B, 1, C)", lambda m: packed.read(zeros(1, "N", C))),
    (Layout.mask, "(B, 1, 1, S)", lambda m: last.mask(S, P)),
    (classify, "(B, num_classes)", lambda m: classify(classifier(m), tokens, lengths)),
    (classify, "(B, num_classes)", lambda m: classify(classifier(m), tokens, lengths, batching="packed")),
    (generate, "(B, T + up to max_new_tokens)", lambda m: generate(m, tokens, SIZES["max_new_tokens"])),
    (stream, "(B, 1)", lambda m: next(stream(m, tokens))),
    (draw, "(B, 1)", lambda m: draw(zeros(B, V), 0.0, None, None, None)),
    (keep_likely, "(B, V)", lambda m: keep_likely(zeros(B, V), 1.0, 5, 0.9)),
    (windows_at, "(B, context + 1)", lambda m: windows_at(torch.arange(99).numpy(), [0, 7], SIZES["context"])),
    (LoRALayer, "(…, out_dim)", lambda m: LoRALayer(linear.in_features, linear.out_features, 2, 4)(zeros(B, T, "in"))),
    (LoRALayer.delta, "(out_dim, in_dim)", lambda m: LoRALayer(linear.in_features, linear.out_features, 2, 4).delta()),
    (LinearWithLoRA, "(…, out_dim)", lambda m: LinearWithLoRA(linear, 2, 4)(zeros(B, T, "in"))),
    (EmbeddingWithLoRA.weight, "(tokens, C)", lambda m: EmbeddingWithLoRA(m.wte, 2, 4).weight),
    (matrix, "(out, in)", lambda m: matrix(linear)),
    (BottleneckAdapter, "(…, dim)", lambda m: BottleneckAdapter(SIZES["dim"])(zeros(B, T, "dim"))),
    (SerialAdapter, "(…, dim)", lambda m: SerialAdapter(nn.Linear(11, 17), BottleneckAdapter(17))(zeros(B, T, "in"))),
    (ParallelAdapter, "(…, dim)", lambda m: ParallelAdapter(nn.Identity(), BottleneckAdapter(17))(zeros(B, T, "dim"))),
    (QuantizedLinear, "(…, out)", lambda m: QuantizedLinear(linear)(zeros(B, T, "in"))),
    (PrefixTuning, "(H, P, D)", lambda m: PrefixTuning(H, D, P)()[0]),
    (SharedStart, "(P, hidden)", lambda m: SharedStart(P, C, SIZES["hidden"])()),
    (PrefixTuning, "(H, P, D)", lambda m: PrefixTuning(H, D, P, SharedStart(P, C, SIZES["hidden"]))()[1]),
    (SoftPrompt, "(P + Q, C)", lambda m: SoftPrompt(zeros(P + Q, C), trailing=Q).everything()),
    (PrefixPerTask, "(B, H, P, D)", lambda m: for_tasks(PrefixPerTask([PrefixTuning(H, D, P)] * 3))()[0]),
    (PromptEncoder, "(P, dim)", lambda m: PromptEncoder(SIZES["dim"], "lstm", 6, 1)(zeros(P, "dim"))),
]


def dimensions(shape: str) -> tuple[int, ...]:
    """``(…, out_dim)`` -> (2, 5, 13): "…" stands for B and T, "T + up to n" for the most there can be."""
    parts = shape.strip("()").replace("up to ", "").replace("…", "B, T").split(", ")
    return tuple(sum(int(SIZES.get(name, name)) for name in part.split(" + ")) for part in parts)


@pytest.mark.parametrize(("promising", "shape", "call"), CASES)
def test_the_shape_is_the_promised_one(promising, shape, call, tiny_model):
    assert shape in promising.__doc__
    assert call(tiny_model).shape == dimensions(shape)
