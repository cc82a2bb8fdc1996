"""What looks at the answers: a file for each chapter, and here what several of them need."""

import torch
from torch import Tensor

from course import Wrong


def tensor_of(found: object, shape: tuple[int, ...], what: str = "the result") -> Tensor:
    """``found``, detached, if it is a tensor of this shape; else Wrong says what it is."""
    if found is None or found is ...:
        raise Wrong("the function returns nothing yet")
    if not isinstance(found, Tensor):
        raise Wrong(f"{what} should be a tensor, not {type(found).__name__}")
    if tuple(found.shape) != tuple(shape):
        raise Wrong(f"{what} has shape {tuple(found.shape)}, expected {tuple(shape)}")
    return found.detach()


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Of one shape, and equal within ``tolerance``, absolute and relative."""
    return found.shape == expected.shape and torch.allclose(
        found.float(), expected.float(), atol=tolerance, rtol=tolerance
    )
