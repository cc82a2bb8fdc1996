"""Has a submission replaced something that a check relies on? Looked at before and after each check.

It compares names of modules, functions and classes with what they were before the submission's first line ran. That
finds ``torch.allclose = …`` and its like. It cannot find what is put back before the check ends.
"""

import builtins
import sys
import types

OWN = ("course", "checks", "gpt2", "peft", "data", "tools")  # here no name may be new, either
WATCHED = (*OWN, "numpy", "math", "builtins", "json", "os", "hmac", "random", "functools")  # with all within
TORCH = ("", ".functional", ".linalg", "._tensor", ".nn", ".nn.functional", ".nn.init", ".nn.parameter")
TORCH += (".nn.modules.module", ".nn.modules.linear", ".nn.modules.conv", ".utils._python_dispatch")
BY_ITSELF = ("torch.manual_seed",)  # PyTorch wraps it when an optimiser is first made
FIXED = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)


class Guard:
    """What the watched modules hold, when it is made."""

    def __init__(self):
        torch = [f"torch{name}" for name in TORCH]
        names = [name for name in sys.modules if name.split(".")[0] in WATCHED or name in torch]
        self.modules = {name: sys.modules[name] for name in names}
        self.before = {name: content(module) for name, module in self.modules.items()}

    def replaced(self) -> str | None:
        """The first thing that is not as it was, such as "torch.allclose"; None if there is none."""
        for name, old in self.before.items():
            if sys.modules.get(name) is not self.modules[name]:
                return name
            new = content(self.modules[name])
            if new == old:
                continue
            for part in {**old, **new}:
                added = part not in old and (name.split(".")[0] in OWN or hides(self.modules[name], part))
                excused = f"{name}.{part}" in (*BY_ITSELF, *sys.modules)  # a module that was imported since
                if new.get(part) != old.get(part) and (part in old or added) and not excused:
                    return f"{name}.{part}"
        return None


def hides(module: types.ModuleType, part: str) -> bool:
    """Does a name that is new stand before an older one: a builtin's, or one that a class has inherited?"""
    name, _, inner = part.partition(".")
    if not inner:
        return hasattr(builtins, name)
    return any(inner in vars(base) for base in vars(module)[name].__mro__[1:])


def content(module: types.ModuleType) -> dict:
    """Its functions, classes and modules, and those of its classes, each as something that changes with it."""
    found = {}
    for name, value in list(vars(module).items()):
        if isinstance(value, FIXED) or (callable(value) and not name.startswith("__")):
            found[name] = mark(value)
        if isinstance(value, dict) and name == "CHECKS":
            found |= {f"{name}[{key!r}]": mark(part) for key, part in value.items()}
        if isinstance(value, type) and value.__module__ == module.__name__:
            for part, inner in list(vars(value).items()):
                if callable(inner) or isinstance(inner, property | classmethod | staticmethod):
                    found[f"{name}.{part}"] = mark(inner)
    return found


def mark(value: object) -> tuple:
    inner = (id(value.__code__), id(value.__defaults__)) if isinstance(value, types.FunctionType) else ()
    return id(value), *inner
