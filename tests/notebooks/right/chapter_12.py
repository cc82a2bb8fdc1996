"""Other right answers to the exercises of chapter 12 than the solution's."""

RIGHT = {
    "12.1": [
        """\
import torch


def text_positions(prefix, prompt, T):
    return torch.arange(T) + prefix + prompt
""",
        """\
def text_positions(prefix, prompt, T):
    return range(prefix + prompt, prefix + prompt + T)
""",
        """\
import numpy as np


def text_positions(prefix, prompt, T):
    return np.arange(prefix + prompt + T)[prefix + prompt :]
""",
    ],
    "12.2": [
        """\
import torch


def nearest(vectors, wte, k):
    rows = [torch.cosine_similarity(vector[None], wte).argsort(descending=True)[:k] for vector in vectors]
    return torch.stack(rows)
""",
        """\
import numpy as np
import torch


def nearest(vectors, wte, k):
    a, b = vectors.numpy(), wte.numpy()
    cosine = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    return torch.tensor(np.argsort(-cosine, axis=1)[:, :k].astype(np.int32))
""",
    ],
    "12.3": [
        """\
import torch
import torch.nn.functional as F


def prefix_attention(q, k, v, p_k, p_v):
    T, P = q.shape[1], p_k.shape[1]
    sees = torch.cat([torch.ones(T, P), torch.tril(torch.ones(T, T))], dim=1).bool()
    return F.scaled_dot_product_attention(q, torch.cat([p_k, k], 1), torch.cat([p_v, v], 1), attn_mask=sees)
""",
        """\
import torch


def prefix_attention(q, k, v, p_k, p_v):
    out = torch.zeros_like(q)
    for h in range(len(q)):
        for t in range(q.shape[1]):
            keys = torch.cat([p_k[h], k[h, : t + 1]])
            values = torch.cat([p_v[h], v[h, : t + 1]])
            out[h, t] = torch.softmax(keys @ q[h, t] / q.shape[2] ** 0.5, dim=0) @ values
    return out
""",
    ],
    "12.4": [
        """\
import torch


def prefix_of(model, ids):
    caught, hooks = [], []
    for block in model.h:
        for part in (block.attn.k_proj, block.attn.v_proj):
            hooks.append(part.register_forward_hook(lambda part, args, out: caught.append(out[0].detach())))
    model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    H = model.config.n_head
    heads = [y.view(len(ids), H, -1).transpose(0, 1) for y in caught]
    return list(zip(heads[0::2], heads[1::2]))
""",
        """\
import torch


def prefix_of(model, ids):
    H, D = model.config.n_head, model.config.n_embd // model.config.n_head
    pairs = []
    with torch.no_grad():
        x = model.embed(torch.tensor(ids)[None])
        for i in range(len(model.h)):
            attn, h = model.h[i].attn, model.h[i].ln_1(x)
            pairs += [[attn.k_proj(h).view(-1, H, D).permute(1, 0, 2), attn.v_proj(h).view(-1, H, D).permute(1, 0, 2)]]
            x = model.h[i](x)
    return tuple(pairs)
""",
    ],
    "12.5": [
        """\
import torch


def harden(model):
    ids = []
    for i, vector in enumerate(model.prompt.vectors.detach().clone()):
        best = torch.cosine_similarity(vector[None], model.wte.weight).argmax()
        model.prompt.vectors.data[i] = model.wte.weight.data[best]
        ids.append(best)
    return ids
""",
        """\
import torch
from torch import nn

from peft.prompt import SoftPrompt


def harden(model):
    wte = model.wte.weight.detach()
    unit = wte / wte.norm(dim=1, keepdim=True)
    ids = (model.prompt.vectors.detach() @ unit.T).max(dim=1).indices
    model.prompt = SoftPrompt(wte[ids].clone())
    return ids.numpy()
""",
    ],
}
