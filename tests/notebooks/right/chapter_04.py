"""Other right answers to the exercises of chapter 04 than the solution's."""

RIGHT = {
    "04.1": [
        """\
def split_c_attn(weight, bias):
    C = weight.shape[0]
    return [(weight[:, i * C : (i + 1) * C].t().clone(), bias[i * C : (i + 1) * C].clone()) for i in range(3)]
""",
        """\
def split_c_attn(weight, bias):
    C = len(weight)
    q, k, v = weight.T.reshape(3, C, C)
    a, b, c = bias.split(C)
    return (q, a), (k, b), (v, c)
""",
    ],
    "04.2": [
        """\
import torch


def nucleus(logits, p):
    result = torch.zeros_like(logits)
    for b, row in enumerate(torch.softmax(logits, dim=-1)):
        total = 0.0
        for i in sorted(range(len(row)), key=lambda i: -row[i].item()):
            result[b, i] = row[i]
            total += row[i].item()
            if total >= p:
                break
    return result / result.sum(1, keepdim=True)
""",
        """\
import numpy as np
import torch


def nucleus(logits, p):
    z = logits.numpy().astype(float)
    q = np.exp(z - z.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    order = np.argsort(-q, axis=1, kind="stable")
    ranked = np.take_along_axis(q, order, axis=1)
    keep = np.cumsum(ranked, axis=1) - ranked < p
    keep[:, 0] = True
    out = np.zeros_like(q)
    np.put_along_axis(out, order, np.where(keep, ranked, 0), axis=1)
    return torch.from_numpy(out / out.sum(1, keepdims=True)).float()
""",
    ],
    "04.3": [
        """\
import torch.nn.functional as F


def log_likelihood(model, tokens, start):
    logits = model(tokens)[:, start - 1 : -1]
    loss = F.cross_entropy(logits.transpose(1, 2), tokens[:, start:], reduction="none")
    return -loss.sum(dim=1)
""",
        """\
import torch


@torch.no_grad()
def log_likelihood(model, tokens, start):
    sums = []
    for text in tokens.tolist():
        total = 0.0
        for t in range(start, len(text)):
            total += torch.log_softmax(model(torch.tensor([text[:t]]))[0, -1], dim=0)[text[t]].item()
        sums.append(total)
    return torch.tensor(sums)
""",
    ],
    "04.4": [
        """\
import torch


@torch.no_grad()
def beam_search(model, prompt, steps, width):
    beams = [(0.0, prompt.tolist())]
    for _ in range(steps):
        grown = []
        for score, text in beams:
            log_p = model(torch.tensor([text]))[0, -1].log_softmax(0)
            grown += [(score + log_p[i].item(), text + [i]) for i in range(len(log_p))]
        beams = sorted(grown, reverse=True)[:width]
    return torch.tensor([text for _, text in beams]), torch.tensor([score for score, _ in beams])
""",
        """\
import heapq

import torch


def beam_search(model, prompt, steps, width):
    texts, scores = [prompt], [torch.tensor(0.0)]
    with torch.inference_mode():
        for _ in range(steps):
            rows = torch.log_softmax(model(torch.stack(texts))[:, -1, :], dim=1)
            every = [(float(scores[n] + p), n, i) for n, row in enumerate(rows) for i, p in enumerate(row)]
            best = heapq.nlargest(width, every)
            texts = [torch.cat([texts[n], torch.tensor([i])]) for _, n, i in best]
            scores = [torch.tensor(score) for score, _, _ in best]
    return [torch.stack(texts), torch.stack(scores)]
""",
    ],
}
