"""Other right answers to the exercises of chapter 17 than the solution's."""

RIGHT = {
    "17.1": [
        """\
import torch


def make_windows(stream, T):
    inputs, targets = [], []
    for start in range(0, len(stream) - T, T):
        inputs.append(stream[start : start + T])
        targets.append(stream[start + 1 : start + T + 1])
    return torch.stack(inputs), torch.stack(targets)
""",
        """\
import torch


def make_windows(stream, T):
    windows = stream.unfold(0, T + 1, T)
    return windows[:, :-1].clone(), windows[:, 1:].clone()
""",
    ],
    "17.2": [
        """\
import torch.nn.functional as F


def perplexity(logits, tokens):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).exp()
""",
        """\
import math

import torch


def perplexity(logits, tokens):
    total, count = 0.0, 0
    for row, text in zip(logits, tokens):
        for t in range(len(text) - 1):
            total -= torch.log_softmax(row[t], dim=0)[text[t + 1]].item()
            count += 1
    return math.exp(total / count)
""",
    ],
    "17.3": [
        """\
import numpy as np


def lr_at(step, steps, warmup, highest, lowest):
    if step < warmup:
        return np.float64(highest) * (step + 1) / warmup
    return lowest + 0.5 * (highest - lowest) * (1 + np.cos(np.pi * (step - warmup) / (steps - warmup)))
""",
        """\
import math


def lr_at(step, steps, warmup, highest, lowest):
    rising = [highest * (i + 1) / warmup for i in range(warmup)]
    n = steps - warmup
    falling = [lowest + (highest - lowest) * math.cos(math.pi / 2 * i / n) ** 2 for i in range(n)]
    return (rising + falling)[step]
""",
    ],
    "17.4": [
        """\
import torch


def sampled_loss(target_score, scores, q):
    K = scores.numel()
    corrected = scores - torch.log(K * q)
    largest = torch.maximum(target_score, corrected.max())
    z = (target_score - largest).exp() + (corrected - largest).exp().sum()
    return z.log() + largest - target_score
""",
        """\
import torch
import torch.nn.functional as F


def sampled_loss(target_score, scores, q):
    logits = torch.cat([target_score.reshape(1), scores - (len(scores) * q).log()])
    return F.cross_entropy(logits[None], torch.tensor([0]))
""",
    ],
}
