"""Typical wrong answers to the exercises of chapter 06: each must be found wrong, with a fitting hint."""

WRONG = {
    "06.1": [
        """\
import torch


def read_last(h, lengths):
    return torch.stack([h[i, n - 1] for i, n in enumerate(lengths)])
""",
        """\
import torch


def read_last(h, lengths):
    out = torch.empty(h.shape[0], h.shape[2])
    for i in range(len(h)):
        out[i] = h[i, lengths[i] - 1]
    return out
""",
        """def read_last(h, lengths):
    return h[:, -1]
""",
        """import torch


def read_last(h, lengths):
    return h[torch.arange(len(h)), lengths.clamp(max=h.shape[1] - 1)]
""",
        """def read_last(h, lengths):
    return h[:, lengths - 1]
""",
    ],
    "06.2": [
        """def masked_mean(h, lengths):
    return h.mean(dim=1)
""",
        """import torch


def masked_mean(h, lengths):
    real = torch.arange(h.shape[1]) < lengths[:, None]
    return (h * real[..., None]).mean(dim=1)
""",
        """import torch


def masked_mean(h, lengths):
    real = torch.arange(h.shape[1]) <= lengths[:, None]
    return (h * real[..., None]).sum(dim=1) / lengths[:, None]
""",
    ],
    "06.3": [
        """from torch import nn


def cut_head(model, classes):
    model.lm_head.weight = nn.Parameter(model.wte.weight[:classes].detach().clone())
    return model
""",
        """from torch import nn


def cut_head(model, classes):
    return nn.Sequential(model, nn.Linear(model.config.vocab_size, classes))
""",
        """from torch import nn


def cut_head(model, classes):
    model.wte = nn.Embedding(classes, model.config.n_embd)
    model.lm_head = nn.Linear(model.config.n_embd, classes)
    return model
""",
    ],
    "06.4": [
        """def verdict_by_token(model, tokens):
    return model(tokens[None])[0].softmax(dim=0)[:, 1]
""",
        """def verdict_by_token(model, tokens):
    return model(tokens[None])[0].softmax(dim=-1)[:, 0]
""",
        """def verdict_by_token(model, tokens):
    return model(tokens[None])[0][:, 1]
""",
        """import torch
from gpt2.classifier import classify


def verdict_by_token(model, tokens):
    n = range(1, len(tokens) + 1)
    return torch.stack([classify(model, tokens[None, :k], torch.tensor([k]))[0].softmax(dim=-1)[1] for k in n])
""",
    ],
    "06.5": [
        """\
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn


def train_head(features, labels, classes):
    found = LogisticRegression().fit(features.numpy(), labels.numpy())
    head = nn.Linear(features.shape[1], classes)
    head.weight.data = torch.tensor(found.coef_).float()
    head.bias.data = torch.tensor(found.intercept_).float()
    return head
""",
        """from torch import nn


def train_head(features, labels, classes):
    return nn.Linear(features.shape[1], classes)
""",
        """import torch
import torch.nn.functional as F
from torch import nn


def train_head(features, labels, classes):
    head = nn.Linear(features.shape[1], classes)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.05)
    for _ in range(50):
        loss = F.cross_entropy(head(features), labels)
        optimizer.zero_grad()
        loss.backward()
    return head(features)
""",
        """import torch
import torch.nn.functional as F
from torch import nn


def train_head(features, labels, classes):
    head = nn.Linear(features.shape[1], classes)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.05)
    for _ in range(50):
        loss = -F.cross_entropy(head(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head
""",
    ],
    "06.6": [
        """def adamw_step(w, g, m, v, t, lr, betas, eps, decay):
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    return (1 - lr * decay) * w - lr * m / (v.sqrt() + eps), m, v
""",
        """def adamw_step(w, g, m, v, t, lr, betas, eps, decay):
    g = g + decay * w
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    return w - lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps), m, v
""",
        """def adamw_step(w, g, m, v, t, lr, betas, eps, decay):
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return (1 - lr * decay) * w - lr * m_hat / (v_hat + eps).sqrt(), m, v
""",
        """def adamw_step(w, g, m, v, t, lr, betas, eps, decay):
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return (1 - decay) * w - lr * m_hat / (v_hat.sqrt() + eps), m, v
""",
        """import torch


def adamw_step(w, g, m, v, t, lr, betas, eps, decay):
    parameter = torch.nn.Parameter(w)
    parameter.grad = g
    optimizer = torch.optim.AdamW([parameter], lr=lr, betas=betas, eps=eps, weight_decay=decay)
    optimizer.state[parameter] = {"step": torch.tensor(float(t - 1)), "exp_avg": m, "exp_avg_sq": v}
    optimizer.step()
    return parameter.detach(), m, v
""",
    ],
}
