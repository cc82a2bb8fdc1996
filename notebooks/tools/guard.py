"""Has a submission replaced something that a check relies on? Looked at before and after each check.

It compares names of modules, functions and classes with what they were before the submission's first line ran. That
finds ``torch.allclose = …`` and its like. It cannot find what is put back before the check ends.
"""

import builtins
import sys
import types

OWN = ("course", "checks", "gpt2", "peft", "data", "tools")  # here no name may be new, either
WATCHED = (*OWN, "torch", "numpy", "math", "builtins", "json", "os", "hmac", "random", "functools")
FIXED = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)


class Guard:
    """What the watched modules hold, when it is made."""

    def __init__(self):
        names = [name for name in sys.modules if name.split(".")[0] in WATCHED]
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
                own = name.split(".")[0] in OWN or hasattr(builtins, part)  # a new name that hides a builtin
                if new.get(part) != old.get(part) and (part in old or (own and "[" not in part)):
                    return f"{name}.{part}"
        return None


def content(module: types.ModuleType) -> dict:
    """Its functions, classes and modules, and those of its classes, each as something that changes with it."""
    found = {}
    for name, value in list(vars(module).items()):
        if isinstance(value, FIXED) or (callable(value) and not name.startswith("__")):
            found[name] = mark(value)
        if isinstance(value, dict) and module.__name__.split(".")[0] in OWN:  # such as the register of checks
            found |= {f"{name}[{key!r}]": mark(part) for key, part in value.items()}
        if isinstance(value, type) and value.__module__.split(".")[0] in WATCHED:
            for part, inner in list(vars(value).items()):
                if callable(inner) or isinstance(inner, property | classmethod | staticmethod):
                    found[f"{name}.{part}"] = mark(inner)
    return found


def mark(value: object) -> tuple:
    return id(value), id(getattr(value, "__code__", None)), id(getattr(value, "__defaults__", None))
