"""Typical wrong answers to the exercises of chapter 17: each must be found wrong, with a fitting hint."""

WRONG = {
    "17.1": [
        """\
def make_windows(stream, T):
    N = len(stream) // T
    return stream[: N * T].view(N, T), stream[: N * T].roll(-1).view(N, T)
""",
        """\
def make_windows(stream, T):
    N = (len(stream) - 1) // T
    inputs = stream[: N * T].view(N, T)
    return inputs, inputs
""",
        """\
def make_windows(stream, T):
    windows = stream.unfold(0, T + 1, T + 1)
    return windows[:, :-1], windows[:, 1:]
""",
    ],
    "17.2": [
        """\
def perplexity(logits, tokens):
    log_p = logits.log_softmax(dim=-1)
    return (-log_p.gather(2, tokens[..., None]).mean()).exp()
""",
        """\
def perplexity(logits, tokens):
    log_p = logits[:, :-1].log_softmax(dim=-1).gather(2, tokens[:, 1:, None])
    return (-log_p).exp().mean()
""",
        """\
def perplexity(logits, tokens):
    log_p = logits[:, :-1].log_softmax(dim=-1)
    return -log_p.gather(2, tokens[:, 1:, None]).mean()
""",
    ],
    "17.3": [
        """\
import math


def lr_at(step, steps, warmup, highest, lowest):
    if step < warmup:
        return highest * step / warmup
    done = (step - warmup) / (steps - warmup)
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * done)) / 2
""",
        """\
import math


def lr_at(step, steps, warmup, highest, lowest):
    if step < warmup:
        return highest * (step + 1) / warmup
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * step / steps)) / 2
""",
        """\
import math


def lr_at(step, steps, warmup, highest, lowest):
    if step < warmup:
        return highest * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    return highest * (1 + math.cos(math.pi * done)) / 2
""",
    ],
    "17.4": [
        """\
import torch


def sampled_loss(target_score, scores, q):
    return torch.cat([target_score[None], scores]).logsumexp(dim=0) - target_score
""",
        """\
def sampled_loss(target_score, scores, q):
    Z = target_score.exp() + (scores.exp() / (len(scores) * q)).sum()
    return Z.log() - target_score
""",
        """\
def sampled_loss(target_score, scores, q):
    return (scores - (len(scores) * q).log()).logsumexp(dim=0) - target_score
""",
    ],
}
