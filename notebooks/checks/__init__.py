"""What looks at the answers: a file for each chapter, and here what several of them need."""

import torch
from torch import Tensor

from course import Wrong
from gpt2 import GPT2, GPT2Config


def returned(found: object) -> object:
    """What a function returned; Wrong if that is nothing, as from a stub."""
    if found is None or found is ...:
        raise Wrong("the function returns nothing yet")
    return found


def tensor_of(found: object, shape: tuple[int, ...], what: str = "the result") -> Tensor:
    """``found``, detached, if it is a tensor of this shape; else Wrong says what it is."""
    if not isinstance(returned(found), Tensor):
        raise Wrong(f"{what} should be a tensor, not {type(found).__name__}")
    if tuple(found.shape) != tuple(shape):
        raise Wrong(f"{what} has shape {tuple(found.shape)}, expected {tuple(shape)}")
    return found.detach()


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Of one shape, and equal within ``tolerance``, absolute and relative."""
    return found.shape == expected.shape and torch.allclose(
        found.float(), expected.float(), atol=tolerance, rtol=tolerance
    )


def random_model(size: float, seed: int, **shape: int) -> GPT2:
    """A GPT-2 in which every parameter, biases and gains too, is drawn at random with this standard deviation."""
    model, draw = GPT2(GPT2Config(**shape)), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=draw))
    return model.eval()
