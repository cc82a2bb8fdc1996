"""Typical wrong answers to the exercises of chapter 03: each must be found wrong, with a fitting hint."""

WRONG = {
    "03.1": [
        """\
import torch.nn.functional as F


def layer_norm(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
""",
        """\
from torch.nn.functional import layer_norm as ready


def layer_norm(x, weight, bias, eps=1e-5):
    return ready(x, (x.shape[-1],), weight, bias, eps)
""",
        """\
import torch
from torch import nn


def layer_norm(x, weight, bias, eps=1e-5):
    norm = nn.LayerNorm(x.shape[-1], eps=eps)
    norm.load_state_dict({"weight": weight, "bias": bias})
    return norm(x)
""",
        """\
import torch


def layer_norm(x, weight, bias, eps=1e-5):
    return (x - x.mean(dim=-1, keepdim=True)) / torch.sqrt(x.var(dim=-1, keepdim=True) + eps) * weight + bias
""",
        """\
import torch


def layer_norm(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=-1, keepdim=True)) * weight + bias
""",
        """\
import torch


def layer_norm(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=0, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=0, keepdim=True) + eps) * weight + bias
""",
        """\
import torch


def layer_norm(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + eps)
""",
    ],
    "03.2": [
        """\
from gpt2 import GPT2


def count(config):
    return sum(parameter.numel() for parameter in GPT2(config).parameters())
""",
        """\
def count(config):
    C = config.n_embd
    block = 12 * C * C
    return (config.vocab_size + config.n_positions) * C + config.n_layer * block
""",
        """\
def count(config):
    C = config.n_embd
    block = 12 * C * C + 13 * C
    return (2 * config.vocab_size + config.n_positions) * C + config.n_layer * block + 2 * C
""",
        """\
def count(config):
    C = config.n_embd
    block = 12 * C * C + 13 * C
    return (config.vocab_size + config.n_positions) * C + config.n_layer * block
""",
    ],
    "03.3": [
        """\
def forward(block, x):
    return block.forward(x)
""",
        """\
def forward(block, x):
    x = block.ln_1(x + block.attn(x))
    return block.ln_2(x + block.mlp(x))
""",
        """\
def forward(block, x):
    return x + block.attn(block.ln_1(x)) + block.mlp(block.ln_2(x))
""",
        """\
def forward(block, x):
    x = block.attn(block.ln_1(x))
    return block.mlp(block.ln_2(x))
""",
    ],
    "03.4": [
        """\
import torch


@torch.no_grad()
def lens(model, tokens):
    x = model.embed(tokens)
    depths = [x]
    for block in model.h:
        x = block(x)
        depths.append(x)
    return torch.stack([model.lm_head(x) for x in depths])
""",
        """\
import torch


@torch.no_grad()
def lens(model, tokens):
    x = model.embed(tokens)
    depths = []
    for block in model.h:
        x = block(x)
        depths.append(model.lm_head(model.ln_f(x)))
    return torch.stack(depths)
""",
        """\
import torch


@torch.no_grad()
def lens(model, tokens):
    x = model.wte(tokens)
    depths = [x]
    for block in model.h:
        x = block(x)
        depths.append(x)
    return torch.stack([model.lm_head(model.ln_f(x)) for x in depths])
""",
        """\
import torch


@torch.no_grad()
def lens(model, tokens):
    x = model.embed(tokens)
    depths = [model.ln_f(x)]
    for block in model.h:
        x = model.ln_f(block(x))
        depths.append(x)
    return torch.stack([model.lm_head(x) for x in depths])
""",
    ],
}
