"""Checks of chapter 18: LoRA on another network."""

import torch
from torch import nn

from checks import close, returned, tensor_of, whole_number
from course import Wrong, exercise
from peft.lora import LinearWithLoRA, LoRALayer, replace_linear_with_lora


def perceptron(*sizes: int) -> nn.Sequential:
    """Linear layers with a ReLU between, random weights."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@exercise("18.1")
def lora_parameters(function):
    for sizes, rank in (([784, 256, 128, 10], 4), ([6, 5], 1), ([10, 20, 30, 40, 50], 3)):
        answer = whole_number(function(list(sizes), rank))
        right = sum(rank * (a + b) for a, b in zip(sizes, sizes[1:], strict=False))
        if answer == right:
            continue
        if answer == right + sum(sizes[1:]):
            raise Wrong("the biases stay frozen; do not count them")
        if answer == rank * sum(sizes):
            raise Wrong(f"{sizes}: a width in the middle is the output of one layer and the input of the next")
        if answer == sum(a * b for a, b in zip(sizes, sizes[1:], strict=False)):
            raise Wrong("these are the weights of the layers themselves; LoRA trains A (rank, in) and B (out, rank)")
        raise Wrong(f"for widths {sizes} and rank {rank} you count {answer:,}; how large are A and B of one layer?")


@exercise("18.2")
def without_update(function):
    for sizes in ((6, 5, 4), (7, 3)):
        model, x = perceptron(*sizes), torch.randn(8, sizes[0])
        with torch.no_grad():
            plain = model(x)
        replace_linear_with_lora(model, rank=2, alpha=3)
        for module in model.modules():
            if isinstance(module, LoRALayer):
                nn.init.normal_(module.B)
        scales = [module.scale for module in model.modules() if isinstance(module, LoRALayer)]
        with torch.no_grad():
            before = model(x)
        answer = tensor_of(function(model, x), plain.shape, "the answer")
        if close(answer, before):
            raise Wrong("this is the model with its updates; every LoRALayer has a scale")
        if not close(answer, plain):
            raise Wrong("this is not what the model answers without updates; did you switch off all of them?")
        if [module.scale for module in model.modules() if isinstance(module, LoRALayer)] != scales:
            raise Wrong("afterwards the scales are others than before; keep them, and put them back")
        with torch.no_grad():
            if not close(model(x), before):
                raise Wrong("afterwards the model answers something else than before")


@exercise("18.3")
def lora_on(function):
    model, x = perceptron(8, 7, 6, 5), torch.randn(4, 8)
    with torch.no_grad():
        before = model(x)
    answer = whole_number(returned(function(model, ["0", "4"], 2, 4.0)))
    kinds = {name: type(module) for name, module in model.named_children()}
    for name, expected in (("0", LinearWithLoRA), ("2", nn.Linear), ("4", LinearWithLoRA)):
        if not issubclass(kinds.get(name, type(None)), expected) or (name == "2" and kinds[name] is not nn.Linear):
            raise Wrong(f"layer {name} should be a {expected.__name__}, but is {kinds[name].__name__}")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    if any(name.split(".")[-1] not in ("A", "B") for name in trained):
        raise Wrong(f"{sorted(trained)[0]} still trains; freeze everything first")
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if count != 2 * (8 + 7) + 2 * (6 + 5):
        raise Wrong(
            f"{count} numbers train, expected {2 * (8 + 7) + 2 * (6 + 5)}: A and B of two layers, of the rank asked"
        )
    if answer != count:
        raise Wrong(f"you return {answer}, but {count} parameters require a gradient")
    if model[0].lora.scale != 2.0:
        raise Wrong("the scale should be alpha / rank; was alpha passed on?")
    with torch.no_grad():
        if not close(model(x), before):
            raise Wrong("before training the model should answer as it did")
