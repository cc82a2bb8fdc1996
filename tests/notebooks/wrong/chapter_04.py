"""Typical wrong answers to the exercises of chapter 04: each must be found wrong, with a fitting hint."""

WRONG = {
    "04.1": [
        """\
def split_c_attn(weight, bias):
    return list(zip(weight.chunk(3, dim=1), bias.chunk(3), strict=True))
""",
        """\
def split_c_attn(weight, bias):
    C = len(weight)
    return list(zip(weight.reshape(3, C, C), bias.reshape(3, C), strict=True))
""",
        """\
def split_c_attn(weight, bias):
    C = len(weight)
    return [(weight.T[i::3], bias[i::3]) for i in range(3)] if C else []
""",
    ],
    "04.2": [
        """\
import torch


def nucleus(logits, p):
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    kept = ordered.masked_fill(ordered.cumsum(dim=-1) > p, 0.0)
    kept[:, 0] = ordered[:, 0]
    back = torch.zeros_like(kept).scatter(1, order, kept)
    return back / back.sum(dim=-1, keepdim=True)
""",
        """\
import torch


def nucleus(logits, p):
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    kept = ordered.masked_fill(ordered.cumsum(dim=-1) - ordered >= p, 0.0)
    return torch.zeros_like(kept).scatter(1, order, kept)
""",
        """\
def nucleus(logits, p):
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    kept = ordered.masked_fill(ordered.cumsum(dim=-1) - ordered >= p, 0.0)
    return kept / kept.sum(dim=-1, keepdim=True)
""",
    ],
    "04.3": [
        """\
import torch


@torch.no_grad()
def log_likelihood(model, tokens, start):
    log_p = model(tokens).log_softmax(dim=-1)
    return log_p.gather(2, tokens[..., None])[:, start:, 0].sum(dim=-1)
""",
        """\
import torch


@torch.no_grad()
def log_likelihood(model, tokens, start):
    log_p = model(tokens)[:, :-1].log_softmax(dim=-1)
    return log_p.gather(2, tokens[:, 1:, None])[:, start:, 0].sum(dim=-1)
""",
        """\
import torch


@torch.no_grad()
def log_likelihood(model, tokens, start):
    log_p = model(tokens)[:, :-1].log_softmax(dim=-1)
    return log_p.gather(2, tokens[:, 1:, None])[:, start - 1 :, 0].mean(dim=-1)
""",
        """\
import torch


@torch.no_grad()
def log_likelihood(model, tokens, start):
    scores = model(tokens)[:, :-1]
    return scores.gather(2, tokens[:, 1:, None])[:, start - 1 :, 0].sum(dim=-1)
""",
    ],
    "04.4": [
        """\
import torch


@torch.no_grad()
def beam_search(model, prompt, steps, width):
    texts, scores = prompt[None].expand(width, -1), torch.zeros(width)
    for _ in range(steps):
        best = model(texts)[:, -1].log_softmax(dim=-1).max(dim=-1)
        texts, scores = torch.cat([texts, best.indices[:, None]], dim=1), scores + best.values
    return texts, scores
""",
        """\
import torch


@torch.no_grad()
def beam_search(model, prompt, steps, width):
    texts, scores = prompt[None], torch.zeros(1)
    for _ in range(steps):
        log_p = model(texts)[:, -1].log_softmax(dim=-1)
        scores, indices = log_p.flatten().topk(min(width, log_p.numel()))
        texts = torch.cat([texts[indices // log_p.size(1)], (indices % log_p.size(1))[:, None]], dim=1)
    return texts, scores
""",
        """\
import torch


@torch.no_grad()
def beam_search(model, prompt, steps, width):
    texts, scores = prompt[None], torch.zeros(1)
    for _ in range(steps):
        extended = (scores[:, None] + model(texts)[:, -1]).flatten()
        V = len(extended) // len(texts)
        scores, indices = extended.topk(min(width, len(extended)))
        texts = torch.cat([texts[indices // V], (indices % V)[:, None]], dim=1)
    return texts, scores
""",
    ],
}
