"""Other right answers to the exercises of chapter 05 than the solution's."""

RIGHT = {
    "05.1": [
        """\
import numpy as np


def wilson(right, n):
    z, p = 1.96, np.float64(right) / n
    half = z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    return np.array([p + z * z / 2 / n - half, p + z * z / 2 / n + half]) / (1 + z * z / n)
""",
        """\
import torch


def wilson(right, n):
    z = torch.tensor(1.96, dtype=torch.float64)
    p = right / torch.tensor(float(n), dtype=torch.float64)
    a, b, c = 1 + z**2 / n, -(2 * p + z**2 / n), p**2
    root = torch.sqrt(b**2 - 4 * a * c)
    return [(-b - root) / (2 * a), (-b + root) / (2 * a)]
""",
    ],
    "05.2": [
        """\
def label_log_likelihood(logits, tokens, n):
    total = 0.0
    for t in range(len(tokens) - n, len(tokens)):
        total += logits[t - 1].log_softmax(0)[tokens[t]].item()
    return total
""",
        """\
import torch.nn.functional as F


def label_log_likelihood(logits, tokens, n):
    return -F.cross_entropy(logits[-n - 1 : -1], tokens[-n:], reduction="sum")
""",
    ],
    "05.3": [
        """\
def build_prompt(examples, text):
    prompt = ""
    for message, label in examples:
        prompt += "Message: " + " ".join(message.split("\\n")) + "\\nLabel: " + label + "\\n\\n"
    return prompt + "Message: " + " ".join(text.split("\\n")) + "\\nLabel:"
""",
        """\
import re


def build_prompt(examples, text):
    lines = []
    for message, label in [*examples, (text, None)]:
        lines.append("Message: %s" % re.sub("\\n", " ", message))
        lines.append("Label:" if label is None else f"Label: {label}")
        lines.append("")
    return "\\n".join(lines[:-1])
""",
    ],
    "05.4": [
        """\
import torch


def calibrate(p, p_nothing):
    prior = sum(p_nothing) / len(p_nothing)
    return torch.stack([row / prior / (row / prior).sum() for row in p])
""",
        """\
def calibrate(p, p_nothing):
    return (p.log() - p_nothing.mean(0).log()).softmax(dim=-1)
""",
    ],
    "05.5": [
        """\
def best_threshold(margins, labels):
    pairs = sorted(zip(margins.tolist(), labels.tolist()))
    best, threshold = sum(label for _, label in pairs), pairs[0][0] - 1.0
    for cut, _ in pairs:
        right = sum((margin > cut) == bool(label) for margin, label in pairs)
        if right > best:
            best, threshold = right, cut
    return threshold
""",
        """\
import numpy as np
import torch


def best_threshold(margins, labels):
    m, y = margins.numpy(), labels.numpy()
    cuts = np.concatenate([[-np.inf], m])
    return torch.tensor(max(cuts, key=lambda cut: np.mean((m > cut) == y)))
""",
    ],
}
