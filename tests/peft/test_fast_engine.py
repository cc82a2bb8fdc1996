"""Fifty steps of every method by the fast engine and by the simple one: the same losses, the same weights."""

import pytest
import torch
import torch.nn.functional as F

import peft
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head, classify
from gpt2.packing import FastClassify
from peft.lora import LinearWithLoRA
from peft.lora_fused import LowRankLinear

CONFIG = GPT2Config(vocab_size=97, n_positions=48, n_embd=64, n_layer=3, n_head=4)
CASES = [(name, {}) for name in peft.METHODS] + [
    ("p-tuning", {"template": "[P][P] TEXT [P][P]"}),
    ("selective", {"blocks": 2}),
    ("lora", {"layers": "2"}),  # a trunk of two blocks below it
    ("lora", {"train_head": True}),
    ("lora", {"also_train": "ln_f"}),
]


def train(method: str, options: dict, engine: str, dtype: torch.dtype, pooling: str, steps: int = 50):
    torch.manual_seed(3)
    model = add_classification_head(GPT2(CONFIG).to(dtype), 2)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)  # biases and norms too must matter
    peft.apply(model, method, **options)
    model.train()
    forward = classify
    if engine == "fast":
        peft.fuse(model)
        forward = FastClassify(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    data = torch.Generator().manual_seed(4)
    tokens = torch.randint(97, (40, 12), generator=data)
    lengths, labels = torch.randint(1, 13, (40,), generator=data), torch.randint(2, (40,), generator=data)
    losses = []
    for step in range(steps):
        chosen = slice(8 * (step % 5), 8 * (step % 5) + 8)
        loss = F.cross_entropy(forward(model, tokens[chosen], lengths[chosen], pooling), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), list(peft.trainable_parameters(model).values())


@pytest.mark.parametrize("method, options", CASES, ids=[" ".join([name, *options]) for name, options in CASES])
def test_fifty_steps_are_the_same(method, options):
    exact = method != "qlora"  # the four-bit base computes in float32
    dtype, tolerance = (torch.float64, 1e-5) if exact else (torch.float32, 1e-3)
    simple, weights = train(method, options, "simple", dtype, "last")
    fast, fast_weights = train(method, options, "fast", dtype, "last")
    assert ((fast - simple).abs() / simple).max() < tolerance
    assert simple[-5:].mean() < simple[:5].mean()  # and they are losses of something that learns
    for one, other in zip(weights, fast_weights, strict=True):
        torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("method", ["lora", "selective", "full"])
def test_fifty_steps_are_the_same_in_float32_and_at_the_last_position(method):
    simple, _ = train(method, {}, "simple", torch.float32, "last-position")
    fast, _ = train(method, {}, "fast", torch.float32, "last-position")
    assert ((fast - simple).abs() / simple).max() < 1e-3


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7)])
def test_the_gradients_written_by_hand(shape, bias):
    """Against numerical differentiation, in float64."""
    generator = torch.Generator().manual_seed(0)
    sizes = [shape, (6, 7), (6,), (3, 7), (6, 3)]
    x, W, b, A, B = (torch.randn(size, dtype=torch.float64, generator=generator) for size in sizes)
    for trained in (x, A, B):
        trained.requires_grad_(True)
    b = b if bias else None
    assert torch.autograd.gradcheck(lambda x, A, B: LowRankLinear.apply(x, W, b, A, B, 1.5), (x, A, B))


def calls_of(monkeypatch) -> list:
    calls, apply = [], LowRankLinear.apply
    monkeypatch.setattr(LowRankLinear, "apply", lambda *arguments: calls.append(1) or apply(*arguments))
    return calls


def test_fused_where_it_fits(tiny_model, monkeypatch):
    calls = calls_of(monkeypatch)
    model = peft.apply(add_classification_head(tiny_model, 2), "lora", rank=2)
    tokens = torch.randint(97, (2, 5))
    plain = model(tokens)
    assert not calls  # only when asked for
    peft.fuse(model)
    torch.testing.assert_close(model(tokens), plain, atol=1e-5, rtol=1e-5)
    assert len(calls) == sum(isinstance(module, LinearWithLoRA) for module in model.modules())
    peft.fuse(model, on=False)
    model(tokens)
    assert len(calls) == 13


@pytest.mark.parametrize(
    "method, options",
    [("lora", {"dropout": 0.1}), ("lora", {"also_train": "q_proj,k_proj,v_proj,out_proj,fc_in,fc_out,lm_head"})]
    + [(name, {}) for name in ("dora", "dylora", "minlora", "qlora")],
    ids=str,
)
def test_left_alone_where_it_does_not_fit(tiny_model, monkeypatch, method, options):
    calls = calls_of(monkeypatch)
    model = peft.apply(add_classification_head(GPT2(CONFIG), 2), method, **options).train()
    peft.fuse(model)
    model(torch.randint(97, (2, 5))).sum().backward()
    if method == "qlora":  # its head is a plain layer
        assert len(calls) <= 1
    else:
        assert not calls
