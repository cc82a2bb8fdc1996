"""Typical wrong answers to chapter 19: each must be found wrong."""

LABELS = """
import torch


def labels_of(tokens, lengths, starts):
    position = torch.arange(tokens.size(1))
    asked = (position >= starts[:, None] - {first}) & (position < lengths[:, None] - {last})
    return tokens.roll({shift}, dims=1).masked_fill(~asked, -100)
"""

PRECISION = """
from collections import Counter


def clipped_precision(text, references, n):
    def grams(words):
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    mine, theirs = grams(text), [grams(words) for words in references]
    return {answer}
"""

BEST = """
def best_continuations(totals, log_probs, k):
    best = ({scores}).flatten().topk(k).indices.tolist()
    return [{pair} for i in best]
"""

WRONG = {
    "19.1": [
        LABELS.format(first=1, last=1, shift=0),
        LABELS.format(first=0, last=1, shift=-1),
        LABELS.format(first=1, last=0, shift=-1),
        LABELS.format(first=2, last=1, shift=-1),
        "from gpt2.language import next_token_labels\n\n\n"
        "def labels_of(tokens, lengths, starts):\n    return next_token_labels(tokens, lengths, starts)\n",
    ],
    "19.2": [
        PRECISION.format(answer="sum(c for g, c in mine.items() if any(g in t for t in theirs)) / mine.total()"),
        PRECISION.format(answer="sum(min(c, sum(t[g] for t in theirs)) for g, c in mine.items()) / mine.total()"),
        PRECISION.format(answer="sum(min(c, theirs[0][g]) for g, c in mine.items()) / mine.total()"),
    ],
    "19.3": [
        BEST.format(scores="log_probs", pair="divmod(i, log_probs.size(1))"),
        BEST.format(scores="totals[:, None] + log_probs", pair="divmod(i, log_probs.size(1))[::-1]"),
        "def best_continuations(totals, log_probs, k):\n"
        "    return [(b, int(log_probs[b].argmax())) for b in range(len(totals))][:k]\n",
    ],
}
