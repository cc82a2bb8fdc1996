"""Fifty steps of every method: packed batches, with the frozen-feature cache, against padded batches in which every
position of every block is computed. The same losses, the same weights."""

import pytest
import torch
import torch.nn.functional as F

import peft
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head, classify
from gpt2.training.frozen_features import FrozenFeatureCache
from peft.prefix import PrefixPerTask
from peft.prompt import PromptPerTask, select_tasks

CONFIG = GPT2Config(vocab_size=97, n_positions=48, n_embd=64, n_layer=3, n_head=4)
CASES = [(name, {}) for name in peft.METHODS] + [
    ("p-tuning", {"template": "[P][P] TEXT [P][P]"}),
    ("selective", {"blocks": 2}),
    ("lora", {"layers_to_transform": "2"}),  # two frozen blocks below it
    ("lora", {"train_head": True}),
    ("lora", {"modules_to_save": "ln_f"}),
]


def every_position(model: GPT2, tokens, lengths, pooling):
    read = lengths - 1 if pooling == "last" else torch.full_like(lengths, tokens.size(1) - 1)
    return model.lm_head(model.hidden_states(tokens, lengths)[torch.arange(len(tokens)), read])


def train(method: str, options: dict, packed: bool, dtype: torch.dtype, pooling: str, steps: int = 50):
    torch.manual_seed(3)
    model = add_classification_head(GPT2(CONFIG).to(dtype), 2)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)  # biases and norms too must matter
    peft.apply(model, method, **options)
    model.train()
    forward, how = every_position, ()
    if packed:
        features = FrozenFeatureCache(model)
        forward, how = classify, ("packed", features if features.blocks else None)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)  # quicker
    data = torch.Generator().manual_seed(4)
    tokens = torch.randint(97, (40, 12), generator=data)
    lengths, labels = torch.randint(1, 13, (40,), generator=data), torch.randint(2, (40,), generator=data)
    losses = []
    for step in range(steps):
        chosen = slice(8 * (step % 5), 8 * (step % 5) + 8)
        loss = F.cross_entropy(forward(model, tokens[chosen], lengths[chosen], pooling, *how), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), list(peft.trainable_parameters(model).values())


@pytest.mark.parametrize("method, options", CASES, ids=[" ".join([name, *options]) for name, options in CASES])
def test_fifty_steps_are_the_same(method, options):
    exact = method != "qlora"  # the four-bit base computes in float32
    dtype, tolerance = (torch.float64, 1e-5) if exact else (torch.float32, 1e-3)
    plain, weights = train(method, options, False, dtype, "last")
    packed, packed_weights = train(method, options, True, dtype, "last")
    assert ((packed - plain).abs() / plain).max() < tolerance
    assert plain[-5:].mean() < plain[:5].mean()  # and they are losses of something that learns
    for one, other in zip(weights, packed_weights, strict=True):
        torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("method", ["lora", "selective", "full"])
def test_fifty_steps_are_the_same_in_float32_and_at_the_last_position(method):
    plain, _ = train(method, {}, False, torch.float32, "last-position")
    packed, _ = train(method, {}, True, torch.float32, "last-position")
    assert ((packed - plain).abs() / plain).max() < 1e-3


@torch.no_grad()
@pytest.mark.parametrize("batching", ["padded", "packed"])
@pytest.mark.parametrize("method", ["prompt", "p-tuning-v2"])
def test_messages_with_prompts_of_their_own_share_a_batch(method, batching):
    models = []
    for seed in range(2):  # two tasks over one base
        torch.manual_seed(3)
        model = add_classification_head(GPT2(CONFIG).double(), 2)
        torch.manual_seed(seed)
        models.append(peft.apply(model, method, virtual_tokens=3))
    tokens, lengths = torch.randint(97, (5, 9)), torch.tensor([3, 9, 1, 6, 2])
    tasks = torch.tensor([0, 1, 1, 0, 1])
    alone = torch.stack([classify(model, tokens, lengths) for model in models])  # (tasks, B, classes)
    shared = models[0]
    if method == "prompt":
        shared.prompt = PromptPerTask([model.prompt for model in models])
    for i, block in enumerate(shared.h if method == "p-tuning-v2" else ()):
        block.attn.prefix = PrefixPerTask([model.h[i].attn.prefix for model in models])
    select_tasks(shared, tasks)
    together = classify(shared, tokens, lengths, batching=batching)
    torch.testing.assert_close(together, alone[tasks, torch.arange(5)])
    assert (alone[0] - alone[1]).abs().max() > 1e-4
