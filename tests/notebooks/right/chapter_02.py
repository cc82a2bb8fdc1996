"""Other right answers to the exercises of chapter 02 than the solution's."""

RIGHT = {
    "02.1": [
        """\
import torch


def causal_weights(scores):
    T = scores.shape[-1]
    weights = torch.zeros_like(scores)
    for t in range(T):
        weights[..., t, : t + 1] = scores[..., t, : t + 1].softmax(dim=-1)
    return weights
""",
        """\
import numpy as np
import torch


def causal_weights(scores):
    visible = torch.from_numpy(np.tri(scores.shape[-1], dtype=bool))
    e = torch.exp(scores - scores.amax(dim=-1, keepdim=True)) * visible
    return e / e.sum(-1, keepdim=True)
""",
    ],
    "02.2": [
        """\
import torch


def split_heads(x, H):
    return torch.stack(x.chunk(H, dim=-1), dim=1)


def join_heads(y):
    return torch.cat(list(y.unbind(dim=1)), dim=-1)
""",
        """\
def split_heads(x, H):
    return x.unflatten(-1, (H, -1)).permute(0, 2, 1, 3).contiguous()


def join_heads(y):
    return y.permute(0, 2, 1, 3).flatten(2)
""",
    ],
    "02.3": [
        """\
import torch


def attend(q, k, v):
    B, H, T, D = q.shape
    S = k.shape[2]
    out = torch.empty_like(q)
    for t in range(T):
        end = S - T + t + 1
        scores = (k[:, :, :end] * q[:, :, t : t + 1]).sum(-1) / D**0.5
        out[:, :, t] = (scores.softmax(-1)[..., None] * v[:, :, :end]).sum(dim=2)
    return out
""",
        """\
import torch
import torch.nn.functional as F


def attend(q, k, v):
    T, S = q.size(2), k.size(2)
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) * q.size(-1) ** -0.5
    scores += torch.full((T, S), -torch.inf).triu(diagonal=S - T + 1)
    return torch.einsum("bhts,bhsd->bhtd", F.softmax(scores, dim=-1), v)
""",
    ],
    "02.4": [
        """\
import torch


def stream(q, keys_and_values):
    log_total, mean = None, None
    for k, v in keys_and_values:
        scores = (k * q).sum(dim=1) / q.numel() ** 0.5
        log_here, here = scores.logsumexp(0), scores.softmax(0) @ v
        if log_total is None:
            log_total, mean = log_here, here
            continue
        share = torch.sigmoid(log_here - log_total)
        mean = mean + share * (here - mean)
        log_total = torch.logaddexp(log_total, log_here)
    return mean
""",
        """\
import math


def stream(q, keys_and_values):
    keys_and_values = iter(keys_and_values)
    largest, total, gathered = -math.inf, 0.0, 0.0
    while True:
        try:
            k, v = next(keys_and_values)
        except StopIteration:
            return gathered / total
        for key, value in zip(k, v):
            z = float(key @ q) / math.sqrt(q.shape[0])
            if z > largest:
                shrink = math.exp(largest - z)
                total, gathered, largest = total * shrink, gathered * shrink, z
            weight = math.exp(z - largest)
            total, gathered = total + weight, gathered + weight * value
""",
    ],
}
