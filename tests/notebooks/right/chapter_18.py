"""Other right answers to the exercises of chapter 18 than the solution's."""

RIGHT = {
    "18.1": [
        """\
def lora_parameters(sizes, rank):
    total = 0
    for i in range(len(sizes) - 1):
        total += rank * sizes[i] + rank * sizes[i + 1]
    return total
""",
        """\
import numpy as np


def lora_parameters(sizes, rank):
    sizes = np.array(sizes)
    return rank * (2 * sizes.sum() - sizes[0] - sizes[-1])
""",
        """\
from torch import nn

from peft.lora import replace_linear_with_lora


def lora_parameters(sizes, rank):
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])))
    model.requires_grad_(False)
    replace_linear_with_lora(model, rank=rank, alpha=1)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
""",
    ],
    "18.2": [
        """\
import copy

from peft.lora import LoRALayer


def without_update(model, x):
    other = copy.deepcopy(model)
    for module in other.modules():
        if isinstance(module, LoRALayer):
            module.scale = 0
    return other(x)
""",
        """\
from peft.lora import LinearWithLoRA


def without_update(model, x):
    for layer in model:
        x = layer.linear(x) if isinstance(layer, LinearWithLoRA) else layer(x)
    return x
""",
        """\
import torch

from peft.lora import LoRALayer


def without_update(model, x):
    hooks = [
        module.register_forward_hook(lambda part, args, y: torch.zeros_like(y))
        for module in model.modules()
        if isinstance(module, LoRALayer)
    ]
    found = model(x)
    for hook in hooks:
        hook.remove()
    return found
""",
    ],
    "18.3": [
        """\
from peft.lora import LinearWithLoRA


def lora_on(model, names, rank, alpha):
    for p in model.parameters():
        p.requires_grad = False
    for name in names:
        model._modules[name] = LinearWithLoRA(model._modules[name], rank, alpha)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
""",
        """\
import torch

from peft.lora import LinearWithLoRA


def lora_on(model, names, rank, alpha):
    model.requires_grad_(False)
    for name in names:
        model[int(name)] = LinearWithLoRA(model[int(name)], rank, alpha)
    return torch.tensor(sum(p.numel() for p in model.parameters() if p.requires_grad))
""",
        """\
from torch import nn

from peft.lora import LinearWithLoRA


def lora_on(model, names, rank, alpha):
    model.requires_grad_(False)
    count = 0
    for name, layer in list(model.named_children()):
        if name in names and isinstance(layer, nn.Linear):
            setattr(model, name, LinearWithLoRA(layer, rank, alpha))
            count += rank * (layer.in_features + layer.out_features)
    return count
""",
    ],
}
