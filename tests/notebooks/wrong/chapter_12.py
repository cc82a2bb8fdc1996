"""Typical wrong answers to chapter 12: each must be found wrong."""

NEAREST = """
import torch


def nearest(vectors, wte, k):
    return {answer}
"""
COSINES = "(torch.nn.functional.normalize(vectors, dim=-1) @ torch.nn.functional.normalize(wte, dim=-1).T)"

ATTENTION = """
import torch


def prefix_attention(q, k, v, p_k, p_v):
    T, P = q.size(1), p_k.size(1)
    k, v = torch.cat([p_k, k], dim=1), torch.cat([p_v, v], dim=1)
    scores = q @ k.transpose(-2, -1){scale}
    sees = {sees}
    return scores.masked_fill(~sees, float("-inf")).softmax(dim=-1) @ v
"""

PREFIX = """
import torch


@torch.no_grad()
def prefix_of(model, ids):
    pairs = []
    x = {embedded}
    for block in model.h:
        h = {stream}
        keys, values = (block.attn.split_heads(project(h))[0] for project in (block.attn.k_proj, block.attn.v_proj))
        pairs.append((keys, values))
        {on}
    return pairs
"""
EMBEDDED = "model.wte(torch.tensor([ids])) + model.wpe(torch.arange(len(ids)))"

HARDEN = """
import torch


@torch.no_grad()
def harden(model):
    wte, vectors = model.wte.weight, model.prompt.vectors
    ids = {ids}
    {change}
    return ids.tolist()
"""
NORMAL = "torch.nn.functional.normalize(vectors, dim=-1) @ torch.nn.functional.normalize(wte, dim=-1).T"

WRONG = {
    "12.1": [
        "def text_positions(prefix, prompt, T):\n    return list(range(T))\n",
        "def text_positions(prefix, prompt, T):\n    return list(range(prompt, prompt + T))\n",
        "def text_positions(prefix, prompt, T):\n    return [prefix + prompt + t for t in range(1, T + 1)]\n",
    ],
    "12.2": [
        NEAREST.format(answer="(vectors @ wte.T).topk(k, dim=-1).indices"),
        NEAREST.format(answer=f"{COSINES}.topk(k, dim=-1).values"),
        NEAREST.format(answer="torch.cdist(vectors, wte).topk(k, largest=False).indices"),
    ],
    "12.3": [
        ATTENTION.format(scale=" / q.size(-1) ** 0.5", sees="torch.ones(T, P + T, dtype=torch.bool).tril()"),
        ATTENTION.format(scale="", sees="torch.ones(T, P + T, dtype=torch.bool).tril(diagonal=P)"),
        ATTENTION.format(scale=" / q.size(-1) ** 0.5", sees="torch.ones(T, P + T, dtype=torch.bool)"),
    ],
    "12.4": [
        PREFIX.format(embedded="model.wte(torch.tensor([ids]))", stream="block.ln_1(x)", on="x = block(x)"),
        PREFIX.format(embedded=EMBEDDED, stream="x", on="x = block(x)"),
        PREFIX.format(embedded=EMBEDDED, stream="block.ln_1(x)", on="pass"),
    ],
    "12.5": [
        HARDEN.format(ids="(vectors @ wte.T).argmax(dim=-1)", change="vectors.copy_(wte[ids])"),
        HARDEN.format(ids=f"({NORMAL}).argmax(dim=-1)", change="vectors = wte[ids]"),
        HARDEN.format(
            ids=f"({NORMAL}).argmax(dim=-1)",
            change="vectors.copy_(torch.nn.functional.normalize(wte[ids], dim=-1))",
        ),
    ],
}
