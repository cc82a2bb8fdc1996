"""How much would be trained? Found out on PyTorch's meta device: shapes without memory."""

import peft
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head
from gpt2.devices import without_memory
from gpt2.errors import InputError


def check_size(method: str, options: dict, config: GPT2Config, classes: int) -> None:
    """Raise InputError for an option, such as a rank of 100,000, that makes what is trained larger than the model."""
    large = {name: value for name, value in options.items() if isinstance(value, int) and value > config.n_embd}
    if not large:
        return
    with without_memory():
        model = add_classification_head(GPT2(config), classes)
        total = sum(p.numel() for p in model.parameters())
        peft.apply(model, method, **options)
    trained = sum(p.numel() for p in peft.trainable_parameters(model).values())
    if trained > total:
        given = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in large.items())
        raise InputError(f"{given} would train {trained:,} parameters, but the model has only {total:,}; choose less")
