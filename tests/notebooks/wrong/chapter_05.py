"""Typical wrong answers to the exercises of chapter 05: each must be found wrong, with a fitting hint."""

WRONG = {
    "05.1": [
        """def wilson(right, n, z=1.96):
    p = right / n
    half = z * (p * (1 - p) / n) ** 0.5
    return p - half, p + half
""",
        """def wilson(right, n, z=1.96):
    p = right / n
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return p + z**2 / (2 * n) - half, p + z**2 / (2 * n) + half
""",
        """def wilson(right, n, z=1.96):
    p = right / n
    middle = p + z**2 / (2 * n)
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    scale = 1 + z**2 / n
    return (middle + half) / scale, (middle - half) / scale
""",
    ],
    "05.2": [
        """import torch


def label_log_likelihood(logits, tokens, n):
    T = len(tokens)
    log_p = logits[T - n :].log_softmax(dim=-1)
    return log_p[torch.arange(n), tokens[T - n :]].sum()
""",
        """import torch


def label_log_likelihood(logits, tokens, n):
    T = len(tokens)
    return logits[T - n - 1 : T - 1][torch.arange(n), tokens[T - n :]].sum()
""",
        """import torch


def label_log_likelihood(logits, tokens, n):
    T = len(tokens)
    log_p = logits[T - n - 1 : T - 1].log_softmax(dim=-1)
    return log_p[torch.arange(n), tokens[T - n :]].mean()
""",
        """import torch.nn.functional as F


def label_log_likelihood(logits, tokens, n):
    T = len(tokens)
    return F.cross_entropy(logits[T - n - 1 : T - 1], tokens[T - n :], reduction="sum")
""",
    ],
    "05.3": [
        """def build_prompt(examples, text):
    blocks = [f"Message: {message}\\nLabel: {label}" for message, label in examples]
    return "\\n\\n".join([*blocks, f"Message: {text}\\nLabel: "])
""",
        """def build_prompt(examples, text):
    blocks = [f"Message: {message}\\nLabel: {label}" for message, label in examples]
    return "\\n".join([*blocks, f"Message: {text}\\nLabel:"])
""",
        """def build_prompt(examples, text):
    blocks = [f"Message: {message}\\nLabel: {label}" for message, label in examples]
    return "\\n\\n".join([*blocks, f"Message: {text}\\nLabel:"])
""",
        """def build_prompt(examples, text):
    def one_line(message):
        return " ".join(message.split())

    blocks = [f"Message: {one_line(message)}\\nLabel: {label}" for message, label in examples]
    return "\\n\\n".join([*blocks, f"Message: {one_line(text)}\\nLabel:"])
""",
    ],
    "05.4": [
        """def calibrate(p, p_nothing):
    return p / p_nothing.mean(dim=0)
""",
        """def calibrate(p, p_nothing):
    q = p - p_nothing.mean(dim=0)
    return q / q.sum(dim=1, keepdim=True)
""",
        """def calibrate(p, p_nothing):
    q = p / p_nothing.mean(dim=1, keepdim=True).mean()
    return q / q.sum(dim=1, keepdim=True)
""",
    ],
    "05.5": [
        """def best_threshold(margins, labels):
    return 0.0
""",
        """def best_threshold(margins, labels):
    return margins.mean().item()
""",
        """import torch


def best_threshold(margins, labels):
    called = margins[None] < margins[:, None]
    accuracy = (called.long() == labels).float().mean(dim=1)
    return margins[accuracy.argmax()].item()
""",
    ],
}
