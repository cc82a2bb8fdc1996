"""What looks at the answers: a file for each chapter, and here what several of them need."""

import builtins
import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course import Wrong
from gpt2 import GPT2, GPT2Config


def returned(found: object) -> object:
    """What a function returned; Wrong if that is nothing, as from a stub."""
    if found is None or found is ...:
        raise Wrong("the function returns nothing yet")
    return found


def number(found: object) -> float:
    """``found`` as a float: Python's numbers, NumPy's, and an array or tensor that holds one."""
    if isinstance(returned(found), Tensor | np.ndarray | np.generic) and math.prod(found.shape) == 1:
        found = found.item()
    if isinstance(found, bool | np.bool_) or not isinstance(found, int | float):
        raise Wrong(f"the function should return a number, but returned {type(found).__name__}")
    return found


def whole_number(found: object) -> int:
    """``found`` as an int, from whatever type of number; Wrong for 2.5 and for what is no number."""
    value = number(found)
    if value != value or abs(value) == math.inf or value != int(value):
        raise Wrong(f"the function should return a whole number, but returned {value}")
    return int(value)


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


@contextlib.contextmanager
def forbidden(answer: Callable, hint: str, *things: object) -> Iterator[None]:
    """While the answer runs, these things raise Wrong(hint) when it uses them.

    A thing is a function or a class, found under whatever name the answer and the thing's own package have for it, or
    the name of a package, of which the answer may use nothing. The check itself calls them before or after.
    """

    def refuse(*_, **__):
        raise Wrong(hint)

    packages = {thing for thing in things if isinstance(thing, str)}
    own = getattr(answer, "__globals__", {})  # where the names stand that the answer's cell has imported
    spaces = [own]
    roots = {origin(thing) for thing in things if not isinstance(thing, str)}
    spaces += [vars(module) for name, module in list(sys.modules.items()) if module and name.split(".")[0] in roots]

    def load(name, globals=None, *rest, load=builtins.__import__, **options):
        if globals is own and name.split(".")[0] in packages:
            raise Wrong(hint)
        return load(name, globals, *rest, **options)

    with contextlib.ExitStack() as stack:
        for space in spaces:
            names = [name for name, value in list(space.items()) if any(value is thing for thing in things)]
            if space is own:
                names += [name for name, value in own.items() if origin(value) in packages]
            if names:
                stack.enter_context(mock.patch.dict(space, dict.fromkeys(names, Refused(refuse))))
        if packages:
            stack.enter_context(mock.patch.object(builtins, "__import__", load))
        yield


class Refused:
    """In place of what is forbidden: a call refuses, and a look at any part of it, too."""

    def __init__(self, refuse: Callable):
        self.__dict__["refuse"] = refuse

    def __call__(self, *_, **__):
        self.__dict__["refuse"]()

    def __getattr__(self, name):
        self.__dict__["refuse"]()


def origin(thing: object) -> str:
    """The package that a module, function, class or object comes from; an object of a plain type comes from none."""
    name = getattr(thing, "__name__" if isinstance(thing, type(sys)) else "__module__", None)
    return name.split(".")[0] if isinstance(name, str) else ""


class Computed(TorchDispatchMode):
    """Notes the shape of every tensor that is computed within, how many operations there are, and whether one of them
    makes one of the ``never`` matrices or its transpose. Views of the ``given`` tensors, such as W.T, do not count."""

    def __init__(self, *given: Tensor, never: list[Tensor] | tuple[Tensor, ...] = ()):
        super().__init__()
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.shapes, self.operations, self.built = set(), 0, False
        self.never = [each for matrix in never for each in (matrix.detach(), matrix.detach().T)]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.operations += 1
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.given:
                self.shapes.add(tuple(tensor.shape))
                if tensor.is_floating_point():
                    alike = (m for m in self.never if m.shape == tensor.shape)
                    self.built = self.built or any(torch.allclose(tensor.to(m.dtype), m, rtol=1e-3) for m in alike)
        return made
