"""Typical wrong answers to the exercises of chapter 02: each must be found wrong, with a fitting hint."""

WRONG = {
    "02.1": [
        """\
import torch


def causal_weights(scores):
    return scores.softmax(dim=-1).tril()
""",
        """\
import torch


def causal_weights(scores):
    return (scores * torch.ones_like(scores).tril()).softmax(dim=-1)
""",
        """\
import torch


def causal_weights(scores):
    future = torch.ones_like(scores, dtype=torch.bool).triu()
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1)
""",
        """\
import torch


def causal_weights(scores):
    future = torch.ones_like(scores, dtype=torch.bool).triu(diagonal=1)
    return scores.masked_fill(future, float("-inf")).softmax(dim=-2)
""",
    ],
    "02.2": [
        """\
def split_heads(x, H):
    B, T, C = x.shape
    return x.view(B, H, T, C // H)


def join_heads(y):
    B, H, T, D = y.shape
    return y.reshape(B, T, H * D)
""",
        """\
def split_heads(x, H):
    B, T, C = x.shape
    return x.view(B, T, C // H, H).permute(0, 3, 1, 2)


def join_heads(y):
    B, H, T, D = y.shape
    return y.permute(0, 2, 3, 1).reshape(B, T, H * D)
""",
        """\
def split_heads(x, H):
    B, T, C = x.shape
    return x.view(B, T, H, C // H).transpose(1, 2)


def join_heads(y):
    B, H, T, D = y.shape
    return y.reshape(B, T, H * D)
""",
    ],
    "02.3": [
        """\
from torch.nn.functional import scaled_dot_product_attention as fused


def attend(q, k, v):
    import torch

    mask = torch.ones(q.size(2), k.size(2)).tril(k.size(2) - q.size(2)).bool()
    return fused(q, k, v, attn_mask=mask)
""",
        """\
import gpt2.model


def attend(q, k, v):
    return gpt2.model.plain_attention(q, k, v)
""",
        """\
import math

import torch


def attend(q, k, v):
    T, S, D = q.size(-2), k.size(-2), q.size(-1)
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    return scores.masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(), float("-inf")).softmax(dim=-1) @ v
""",
        """\
import torch


def attend(q, k, v):
    T, S = q.size(-2), k.size(-2)
    scores = q @ k.transpose(-2, -1)
    return scores.masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(S - T), float("-inf")).softmax(dim=-1) @ v
""",
        """\
import math


def attend(q, k, v):
    return (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(dim=-1) @ v
""",
        """\
import torch


def attend(q, k, v):
    T, S, D = q.size(-2), k.size(-2), q.size(-1)
    scores = q @ k.transpose(-2, -1) / D
    return scores.masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(S - T), float("-inf")).softmax(dim=-1) @ v
""",
    ],
    "02.4": [
        """\
import math

import torch


def stream(q, keys_and_values):
    results = [torch.softmax(k @ q / math.sqrt(len(q)), dim=0) @ v for k, v in keys_and_values]
    return torch.stack(results).mean(dim=0)
""",
        """\
import math

import torch


def stream(q, keys_and_values):
    total, gathered = 0.0, 0.0
    for k, v in keys_and_values:
        weights = torch.exp(k @ q / math.sqrt(len(q)))
        total, gathered = total + weights.sum(), gathered + weights @ v
    return gathered / total
""",
        """\
import math

import torch


def stream(q, keys_and_values):
    largest, total, gathered = torch.tensor(float("-inf")), 0.0, 0.0
    for k, v in keys_and_values:
        scores = k @ q / math.sqrt(len(q))
        largest = torch.maximum(largest, scores.max())
        weights = torch.exp(scores - largest)
        total, gathered = total + weights.sum(), gathered + weights @ v
    return gathered / total
""",
        """\
import math

import torch


def stream(q, keys_and_values):
    chunks = list(keys_and_values)
    k, v = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    return torch.softmax(k @ q / math.sqrt(len(q)), dim=0) @ v
""",
        """\
import math

import torch


def stream(q, keys_and_values):
    largest = max((k @ q).max() for k, _ in keys_and_values)
    total, gathered = torch.zeros(()), torch.zeros(3)
    for k, v in keys_and_values:
        weights = torch.exp((k @ q - largest) / math.sqrt(len(q)))
        total, gathered = total + weights.sum(), gathered + weights @ v
    return gathered / total
""",
    ],
}
