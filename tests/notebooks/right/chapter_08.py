"""Other right answers to the exercises of chapter 08 than the solution's."""

RIGHT = {
    "08.1": [
        """\
import numpy as np


def trained_parameters(C, blocks, classes):
    per_block = np.sum([4 * (C * C + C), 4 * C * C + 4 * C, 4 * C * C + C, 4 * C])
    return np.int64(blocks) * per_block + 2 * C + C * classes + classes
""",
        """\
def trained_parameters(C, blocks, classes):
    total = 0
    for _ in range(blocks):
        total += 2 * (C + C)
        for n_in, n_out in [(C, C)] * 4 + [(C, 4 * C), (4 * C, C)]:
            total += n_in * n_out + n_out
    return total + 2 * C + classes * (C + 1)
""",
    ],
    "08.2": [
        """\
def train_only(model, *parts):
    trained = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(part + ".") for part in parts)
        trained += parameter.numel() * parameter.requires_grad
    return trained
""",
        """\
import torch


def train_only(model, *parts):
    for p in model.parameters():
        p.requires_grad_(False)
    modules = dict(model.named_modules())
    chosen = {p for part in parts for p in modules[part].parameters()}
    for p in chosen:
        p.requires_grad_(True)
    return torch.tensor([p.numel() for p in chosen]).sum()
""",
    ],
    "08.3": [
        """\
def blocks_visited(model):
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    if any(name.startswith(("wte", "wpe")) for name in names):
        return len(model.h)
    trained = [int(name.split(".")[1]) for name in names if name.startswith("h.")]
    return len(model.h) - min(trained) if trained else 0
""",
        """\
import numpy as np


def blocks_visited(model):
    flags = np.array([any(p.requires_grad for p in block.parameters()) for block in model.h])
    flags[0] |= model.wte.weight.requires_grad or model.wpe.weight.requires_grad
    return (np.cumsum(flags) > 0).sum()
""",
    ],
    "08.4": [
        """\
def parameter_groups(model, lr, decay):
    groups = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        part = name.split(".")
        depth = 0
        if part[0] == "h":
            depth = len(model.h) - int(part[1])
        elif part[0] in ("wte", "wpe"):
            depth = len(model.h) + 1
        groups.setdefault(depth, {"params": [], "lr": lr * decay**depth})["params"].append(p)
    return list(groups.values())
""",
        """\
def parameter_groups(model, lr, decay):
    parts = [(model.lm_head, 0), (model.ln_f, 0)]
    parts += [(block, len(model.h) - i) for i, block in enumerate(model.h)]
    parts += [(model.wte, len(model.h) + 1), (model.wpe, len(model.h) + 1)]
    return tuple(
        {"params": [p], "lr": lr * decay**depth, "weight_decay": 0.0}
        for part, depth in parts
        for p in part.parameters()
        if p.requires_grad
    )
""",
    ],
}
