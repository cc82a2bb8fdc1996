"""Typical wrong answers to the exercises of chapter 08: the checks must find each of them wrong."""

WRONG = {
    "08.1": [
        """\
from gpt2 import GPT2, GPT2Config


def trained_parameters(C, blocks, classes):
    model = GPT2(GPT2Config(10, 10, C, max(blocks, 1), 1))
    block = sum(p.numel() for p in model.h[0].parameters())
    return blocks * block + 2 * C + (C + 1) * classes
""",
        """
def trained_parameters(C, blocks, classes):
    return blocks * 12 * C**2 + 2 * C + C * classes
""",
        """
def trained_parameters(C, blocks, classes):
    return blocks * (12 * C**2 + 13 * C) + (C + 1) * classes
""",
        """
def trained_parameters(C, blocks, classes):
    return 12 * C**2 + 13 * C + 2 * C + (C + 1) * classes
""",
    ],
    "08.2": [
        """
def train_only(model, *parts):
    trained = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(parts))
        trained += parameter.numel() * parameter.requires_grad
    return trained
""",
        """
def train_only(model, *parts):
    for part in parts:
        model.get_submodule(part).requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
""",
        """
def train_only(model, *parts):
    model.requires_grad_(False)
    for part in parts:
        model.get_submodule(part).requires_grad_(True)
""",
        """
def train_only(model, *parts):
    model.requires_grad_(False)
    trained = 0
    for part in parts:
        module = model.get_submodule(part).requires_grad_(True)
        trained += sum(p.numel() for p in module.parameters())
    return trained
""",
    ],
    "08.3": [
        """
def blocks_visited(model):
    return sum(any(p.requires_grad for p in block.parameters()) for block in model.h)
""",
        """
def blocks_visited(model):
    for i, block in enumerate(model.h):
        if any(p.requires_grad for p in block.parameters()):
            return len(model.h) - i
    return 0
""",
        """
def blocks_visited(model):
    for i, block in enumerate(model.h):
        if all(p.requires_grad for p in block.parameters()):
            return len(model.h) - i
    return len(model.h) if model.wte.weight.requires_grad or model.wpe.weight.requires_grad else 0
""",
    ],
    "08.4": [
        """
def parameter_groups(model, lr, decay):
    groups = [{"params": [*model.lm_head.parameters(), *model.ln_f.parameters()], "lr": lr}]
    for i, block in enumerate(model.h):
        groups.append({"params": list(block.parameters()), "lr": lr * decay ** (i + 1)})
    groups.append({"params": [model.wte.weight, model.wpe.weight], "lr": lr * decay ** (len(model.h) + 1)})
    return groups
""",
        """
def parameter_groups(model, lr, decay):
    groups = [{"params": [*model.lm_head.parameters(), *model.ln_f.parameters()], "lr": lr}]
    for depth, block in enumerate(reversed(model.h)):
        groups.append({"params": list(block.parameters()), "lr": lr * decay ** (depth + 1)})
    return groups
""",
        """
def parameter_groups(model, lr, decay):
    groups = [{"params": [*model.lm_head.parameters(), *model.ln_f.parameters()], "lr": lr}]
    for depth, block in enumerate(reversed(model.h)):
        groups.append({"params": list(block.parameters()), "lr": lr * decay ** (depth + 1)})
    groups.append({"params": [model.wte.weight, model.wpe.weight], "lr": lr * decay ** (len(model.h) + 1)})
    return groups
""",
    ],
}
