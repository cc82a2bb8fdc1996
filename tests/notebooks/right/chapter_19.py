"""Other right answers to the exercises of chapter 19 than the solution's."""

RIGHT = {
    "19.1": [
        """\
def labels_of(tokens, lengths, starts):
    labels = tokens.new_full(tokens.shape, -100)
    for row, (length, start) in enumerate(zip(lengths.tolist(), starts.tolist())):
        labels[row, start - 1 : length - 1] = tokens[row, start:length]
    return labels
""",
        """\
import torch
import torch.nn.functional as F


def labels_of(tokens, lengths, starts):
    position = torch.arange(tokens.size(1)).expand_as(tokens)
    is_target = (position >= starts[:, None]) & (position < lengths[:, None])
    return F.pad(torch.where(is_target, tokens, -100)[:, 1:], (0, 1), value=-100)
""",
    ],
    "19.2": [
        """\
def clipped_precision(text, references, n):
    def grams(words):
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    mine = grams(text)
    found = 0
    for gram in set(mine):
        found += min(mine.count(gram), max(grams(words).count(gram) for words in references))
    return found / len(mine)
""",
        """\
from collections import Counter
from functools import reduce
from operator import or_

import numpy as np


def clipped_precision(text, references, n):
    def grams(words):
        return Counter(zip(*(words[i:] for i in range(n))))

    most = reduce(or_, map(grams, references))
    mine = grams(text)
    return np.float64((mine & most).total() / mine.total())
""",
    ],
    "19.3": [
        """\
def best_continuations(totals, log_probs, k):
    scores = totals.view(-1, 1) + log_probs
    pairs = [(b, v) for b in range(scores.size(0)) for v in range(scores.size(1))]
    return sorted(pairs, key=lambda pair: -scores[pair].item())[:k]
""",
        """\
import torch


def best_continuations(totals, log_probs, k):
    best = (totals.unsqueeze(1) + log_probs).flatten().topk(k).indices
    return torch.stack([best // log_probs.size(1), best % log_probs.size(1)], dim=1)
""",
    ],
}
