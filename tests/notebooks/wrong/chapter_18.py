"""Typical wrong answers to chapter 18: each must be found wrong."""

COUNT = "def lora_parameters(sizes, rank):\n    return {answer}\n"

SWITCH = """
import torch

from peft.lora import LoRALayer


@torch.no_grad()
def without_update(model, x):
    {body}
"""

CHOSEN = """
from peft.lora import LinearWithLoRA


def lora_on(model, names, rank, alpha):
    {freeze}
    for name in {names}:
        setattr(model, name, LinearWithLoRA(model.get_submodule(name), rank={rank}, alpha={alpha}))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
"""
RIGHT = {"freeze": "model.requires_grad_(False)", "names": "names", "rank": "rank", "alpha": "alpha"}

WRONG = {
    "18.1": [
        COUNT.format(answer="rank * sum(sizes)"),
        COUNT.format(answer="sum(a * b for a, b in zip(sizes, sizes[1:]))"),
        COUNT.format(answer="sum(rank * (a + b) + b for a, b in zip(sizes, sizes[1:]))"),
    ],
    "18.2": [
        SWITCH.format(body="return model(x)"),
        SWITCH.format(
            body="[setattr(m, 'scale', 0.0) for m in model.modules() if isinstance(m, LoRALayer)]\n    return model(x)"
        ),
        SWITCH.format(body="[m.B.zero_() for m in model.modules() if isinstance(m, LoRALayer)]\n    return model(x)"),
    ],
    "18.3": [
        CHOSEN.format(**RIGHT | {"freeze": "pass"}),
        CHOSEN.format(**RIGHT | {"names": "('0', '2', '4')"}),
        CHOSEN.format(**RIGHT | {"alpha": "rank"}),
    ],
}
