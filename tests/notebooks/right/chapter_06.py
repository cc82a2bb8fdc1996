"""Other right answers to the exercises of chapter 06 than the solution's."""

RIGHT = {
    "06.1": [
        """\
def read_last(h, lengths):
    index = (lengths - 1)[:, None, None].expand(-1, 1, h.shape[2])
    return h.gather(1, index).squeeze(1)
""",
        """\
import torch
import torch.nn.functional as F


def read_last(h, lengths):
    return (F.one_hot(lengths - 1, h.shape[1])[:, :, None] * h).sum(dim=1)
""",
        """\
import torch


def read_last(h, lengths):
    last = torch.arange(h.shape[1]) == lengths.view(-1, 1) - 1
    return h[last]
""",
    ],
    "06.2": [
        """\
import torch


def masked_mean(h, lengths):
    return torch.stack([h[b, : lengths[b]].mean(0) for b in range(len(h))])
""",
        """\
import torch


def masked_mean(h, lengths):
    padding = torch.arange(h.size(1))[None] >= lengths[:, None]
    return h.masked_fill(padding[:, :, None], float("nan")).nanmean(dim=1)
""",
        """\
import torch


def masked_mean(h, lengths):
    weights = (torch.arange(h.size(1)) < lengths[:, None]).float() / lengths[:, None]
    return torch.einsum("bt,btc->bc", weights, h)
""",
    ],
    "06.3": [
        """\
import torch
from torch import nn


def cut_head(model, classes):
    head = nn.Linear(model.config.n_embd, classes)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    setattr(model, "lm_head", head)
""",
        """\
import torch
from torch import nn


class Head(nn.Linear):
    pass


def cut_head(model, classes):
    model.add_module("lm_head", Head(model.lm_head.in_features, classes, bias=True))
    return None
""",
    ],
    "06.4": [
        """\
import torch


def verdict_by_token(model, tokens):
    with torch.inference_mode():
        logits = model(tokens.unsqueeze(0)).squeeze(0)
        return torch.sigmoid(logits[:, 1] - logits[:, 0])
""",
        """\
def verdict_by_token(model, tokens):
    e = model(tokens.view(1, -1)).exp()
    return (e[..., 1] / e.sum(-1)).flatten()
""",
    ],
    "06.5": [
        """\
import torch
from torch import nn


def train_head(features, labels, classes):
    head = nn.Linear(features.size(1), classes)
    data = torch.utils.data.TensorDataset(features, labels)
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    for _ in range(30):
        for x, y in loader:
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(head(x), y).backward()
            optimizer.step()
    return head.eval()
""",
        """\
import torch
from torch import nn


def train_head(features, labels, classes):
    layer = nn.Linear(features.shape[1], classes)
    for _ in range(300):
        loss = -layer(features).log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()
        grads = torch.autograd.grad(loss, list(layer.parameters()))
        with torch.no_grad():
            for p, g in zip(layer.parameters(), grads):
                p -= 0.2 * g
    return layer
""",
        """\
import torch
from torch import nn


def train_head(features, labels, classes):
    layer = nn.Linear(features.shape[1], classes)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(layer(features), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return layer
""",
    ],
    "06.6": [
        """\
def adamw_step(w, g, m, v, t, lr, betas, eps, decay):
    m.mul_(betas[0]).add_(g, alpha=1 - betas[0])
    v.mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
    size = lr / (1 - betas[0] ** t)
    w.mul_(1 - lr * decay).addcdiv_(m, v.sqrt() / (1 - betas[1] ** t) ** 0.5 + eps, value=-size)
    return w, m, v
""",
        """\
import torch


def adamw_step(w, g, m, v, t, lr, betas, eps, decay):
    one, two = betas
    m, v = torch.lerp(m, g, 1 - one), torch.lerp(v, g.square(), 1 - two)
    direction = (m / (1 - one**t)) / (torch.sqrt(v / (1 - two**t)) + eps)
    return [w - lr * (direction + decay * w), m, v]
""",
        """\
import numpy as np
import torch


def adamw_step(w, g, m, v, t, lr, betas, eps, decay):
    w, g, m, v = (x.numpy() for x in (w, g, m, v))
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g * g
    step = (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return tuple(torch.from_numpy(x) for x in (w - lr * decay * w - lr * step, m, v))
""",
    ],
}
