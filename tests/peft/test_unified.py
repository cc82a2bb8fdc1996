"""The mix-and-match adapter, and the identity that the unified view rests on."""

import math

import pytest
import torch

import peft
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head, classify
from gpt2.errors import InputError
from gpt2.model import plain_attention
from peft.adapters import ParallelAdapter
from peft.options import MAMOptions

TOKENS = torch.tensor([[5, 17, 40, 2, 9], [33, 8, 61, 0, 0]])
LENGTHS = torch.tensor([5, 3])
OPTIONS = {"virtual_tokens": 4, "prefix_hidden": 6, "bottleneck": 5}


def test_a_prefix_is_a_gated_parallel_adapter():
    """softmax over prefix and text together = λ · (prefix alone) + (1 - λ) · (text alone), in float64."""
    torch.manual_seed(0)
    H, T, P, D = 3, 7, 4, 8
    q, k, v = torch.randn(3, 1, H, T, D, dtype=torch.float64)
    prefix_k, prefix_v = torch.randn(2, 1, H, P, D, dtype=torch.float64)
    together = plain_attention(q, torch.cat([prefix_k, k], dim=2), torch.cat([prefix_v, v], dim=2))

    to_prefix = q @ prefix_k.transpose(-2, -1) / math.sqrt(D)  # (1, H, T, P)
    to_text = (q @ k.transpose(-2, -1) / math.sqrt(D)).masked_fill(~torch.ones(T, T).bool().tril(), float("-inf"))
    on_prefix, on_text = (scores.exp().sum(dim=-1, keepdim=True) for scores in (to_prefix, to_text))
    gate = on_prefix / (on_prefix + on_text)  # λ(x)
    adapter = torch.softmax(to_prefix, dim=-1) @ prefix_v  # f(x W_down) W_up with f = softmax
    torch.testing.assert_close(together, (1 - gate) * plain_attention(q, k, v) + gate * adapter)


def test_parts_and_scale(tiny_model):
    """Untrained, the adapters add nothing: what is left is the prefix. Then each adds four times its output."""
    peft.apply(tiny_model, "mam", **OPTIONS)
    untrained = tiny_model(TOKENS)
    plain = [block.mlp for block in tiny_model.h]
    assert all(isinstance(mlp, ParallelAdapter) for mlp in plain)
    for block in tiny_model.h:
        block.mlp = block.mlp.sublayer
    torch.testing.assert_close(untrained, tiny_model(TOKENS), rtol=0, atol=0)
    x = torch.randn(2, 5, 24)
    adapter = plain[0].adapter
    torch.nn.init.normal_(adapter.up.weight)
    by_hand = 4 * torch.relu(x @ adapter.down.weight.T + adapter.down.bias) @ adapter.up.weight.T
    torch.testing.assert_close(plain[0](x), plain[0].sublayer(x) + by_hand)


def test_counts():
    with torch.device("meta"):  # GPT-2 124M without its memory
        model = add_classification_head(GPT2(GPT2Config())).requires_grad_(False)
        peft.METHODS["mam"].insert(model, MAMOptions())
        model.lm_head.requires_grad_(True)
    L, P, C, h, m = 12, 30, 768, 512, 32
    formula = P * C + h * C + h + 2 * L * C * (h + 1) + L * (2 * C * m + C + m) + 1538
    assert sum(p.numel() for p in peft.trainable_parameters(model).values()) == formula == 10_473_346


def test_padding_gradient_and_files(tiny_config, tiny_model, tmp_path):
    torch.manual_seed(3)
    model = add_classification_head(tiny_model, 3)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    peft.apply(model, "mam", **OPTIONS).eval()
    trainable = peft.trainable_parameters(model)
    for name, parameter in trainable.items():
        if ".up." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    expected = classify(model, TOKENS, LENGTHS)
    wide = classify(model, torch.cat([TOKENS, torch.full((2, 9), 1)], dim=1), LENGTHS)
    torch.testing.assert_close(wide, expected, rtol=1e-5, atol=1e-6)

    expected.square().sum().backward()
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert moved == (name in trainable), name

    peft.save(model, tmp_path)
    fresh = add_classification_head(GPT2(tiny_config), 3).eval()
    fresh.load_state_dict(base)
    torch.testing.assert_close(
        classify(peft.load(fresh, tmp_path), TOKENS, LENGTHS), expected.detach(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("wrong", [{"virtual_tokens": 0}, {"bottleneck": 0}, {"nonlinearity": "cube"}])
def test_bad_options(tiny_model, wrong):
    with pytest.raises(InputError):
        peft.apply(tiny_model, "mam", **{**OPTIONS, **wrong})
