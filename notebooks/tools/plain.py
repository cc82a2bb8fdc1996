"""Answers as plain data: what a submission's process may hand to the one that judges it.

``encode`` turns numbers, texts, lists, dictionaries, arrays, tensors and the course's own modules into what JSON can
hold; ``decode`` makes new objects of it. Unlike pickle it calls nothing that the data names: a class is looked up among
the nn.Modules of torch, gpt2 and peft, and its object is filled with numbers. Anything else raises Unplain.

A function may also change what it is given. ``parts`` lists the tensors, modules and lists in some arguments, in an
order that is the same in every process; ``Changes`` notes what a call did to them, and ``apply`` does it again.
"""

import base64
import importlib
import sys
from collections.abc import Iterator, KeysView, Mapping, ValuesView
from fractions import Fraction

import numpy as np

torch = sys.modules.get("torch")  # a course without it needs none of it; importing it takes seconds
Absent = type("Absent", (), {})
Tensor, Module, Parameter = (torch.Tensor, torch.nn.Module, torch.nn.Parameter) if torch else (Absent,) * 3
SLOTS = ("_parameters", "_buffers", "_modules")
TRUSTED = ("torch.nn.modules.", "gpt2.", "peft.")  # where a module's class may stand
STREAMS = (Iterator, KeysView, ValuesView, range, set, frozenset)  # become lists


class Unplain(Exception):
    """Something that cannot be handed over as plain data."""


def parts(values: object, found: list | None = None) -> list:
    """Every tensor, array, module, list and dictionary within, each once, from the outside in."""
    found = [] if found is None else found
    if isinstance(values, Tensor | np.ndarray | Module | list | dict):
        if any(part is values for part in found):
            return found
        found.append(values)
    if isinstance(values, Module):
        for slot in SLOTS:
            for part in vars(values)[slot].values():
                parts(part, found)
    elif isinstance(values, list | tuple | dict):
        for part in values.values() if isinstance(values, dict) else values:
            parts(part, found)
    return found


def encode(value: object, known: list) -> object:
    """As JSON can hold it; a part that is ``known`` by its place in that list. New parts are appended to the list."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if value is None:
        return None
    for place, part in enumerate(known):
        if part is value:
            return {"known": place}
    if isinstance(value, np.generic):
        return {"scalar": encode(np.asarray(value), [])}
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, bytes | bytearray):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, STREAMS):
        value = list(value)
    elif not isinstance(value, np.ndarray | Tensor) and callable(getattr(value, "tolist", None)):
        value = value.tolist()  # pandas' Series and Index
    if isinstance(value, tuple):
        return {"tuple": [encode(part, known) for part in value]}
    if isinstance(value, Tensor | np.ndarray | Module | list | Mapping):
        known.append(value)
    if isinstance(value, list):
        return {"list": [encode(part, known) for part in value]}
    if isinstance(value, Mapping):
        return {"dict": [[encode(part, known) for part in pair] for pair in value.items()]}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufU":
            raise Unplain(f"an array of {value.dtype}")
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": data, "type": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, Tensor):
        kind = "parameter" if isinstance(value, Parameter) else "tensor"
        return {kind: bits(value), **shape_of(value), "trains": value.requires_grad}
    if isinstance(value, Module):
        return encode_module(value, known)
    raise Unplain(f"an object of type {type(value).__name__}")


def encode_module(module: Module, known: list) -> dict:
    trusted = (kind for kind in type(module).__mro__ if f"{kind.__module__}.".startswith(TRUSTED))
    kind = next(trusted, Module)
    if kind is Module:
        raise Unplain(f"a module of the submission's own, {type(module).__name__}")
    if hooked(module):
        raise Unplain("a module with hooks")
    state = {}
    for slot, content in state_of(module).items():
        state[slot] = [[name, encode(part, known)] for name, part in content.items()]
    return {"module": [kind.__module__, kind.__qualname__], **state}


def state_of(module: Module) -> dict[str, dict]:
    """What a module holds: its three slots, and its plain attributes."""
    plain = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {slot: dict(vars(module)[slot]) for slot in SLOTS} | {"attributes": plain}


def hooked(module: Module) -> int:
    return sum(len(value) for name, value in vars(module).items() if name.endswith("_hooks"))


def bits(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return base64.b64encode(flat.view(torch.uint8).numpy().tobytes() if len(flat) else b"").decode()


def shape_of(tensor: Tensor) -> dict:
    return {"type": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def decode(data: object, known: list) -> object:
    """What ``encode`` was given, as new objects. Raises ValueError, KeyError or the like for other data."""
    if not isinstance(data, dict):
        if isinstance(data, list):
            raise ValueError("a bare list")
        return data
    if "known" in data:
        return known[data["known"]]
    if "scalar" in data:
        return decode(data["scalar"], [])[()]
    if "bytes" in data:
        return base64.b64decode(data["bytes"])
    if "tuple" in data:
        return tuple(decode(part, known) for part in data["tuple"])
    if "list" in data:
        known.append(made := [])
        made += [decode(part, known) for part in data["list"]]
    elif "dict" in data:
        known.append(made := {})
        made |= {decode(key, known): decode(value, known) for key, value in data["dict"]}
    elif "array" in data:
        made = np.frombuffer(base64.b64decode(data["array"]), np.dtype(data["type"])).reshape(data["shape"]).copy()
        known.append(made)
    elif "module" in data:
        made = decode_module(data, known)
    else:
        made = tensor_from(data.get("tensor", data.get("parameter")), data)
        made = Parameter(made, data["trains"]) if "parameter" in data else made.requires_grad_(data["trains"])
        known.append(made)
    return made


def decode_module(data: dict, known: list) -> Module:
    home, name = data["module"]
    if not f"{home}.".startswith(TRUSTED):
        raise ValueError(f"no class is taken from {home}")
    kind = getattr(importlib.import_module(home), name)
    if not (isinstance(kind, type) and issubclass(kind, Module)):
        raise ValueError(f"{name} is no module")
    made = kind.__new__(kind)
    Module.__init__(made)
    known.append(made)
    for slot in (*SLOTS, "attributes"):
        for name, part in data[slot]:
            put(made, slot, name, decode(part, known))
    return made


def put(module: Module, slot: str, name: str, value: object) -> None:
    if slot not in SLOTS and (slot != "attributes" or name.startswith("_")):
        raise ValueError(f"no such part: {slot} {name}")
    (vars(module) if slot == "attributes" else vars(module)[slot])[name] = value


def tensor_from(text: str, data: dict) -> Tensor:
    dtype = getattr(torch, data["type"])
    raw = bytearray(base64.b64decode(text))
    flat = torch.frombuffer(raw, dtype=torch.uint8).view(dtype) if raw else torch.empty(0, dtype=dtype)
    return flat.reshape(data["shape"])


class Changes:
    """What happens to some arguments between the start and ``since_then``."""

    def __init__(self, arguments: object):
        self.known = parts(arguments)
        self.before = [content(part) for part in self.known]

    def since_then(self) -> list:
        """The changes, encoded: for each changed part its place and its new content. Raises Unplain."""
        found = []
        for place, (part, old) in enumerate(zip(list(self.known), self.before, strict=True)):
            if isinstance(part, Module):
                found += [[place, change] for change in self.of_module(part, *old)]
            elif isinstance(part, Tensor | np.ndarray):
                if content(part) != old:
                    found.append([place, encode(part, [])])
            elif isinstance(part, list):
                if len(part) != len(old) or any(a is not b for a, b in zip(part, old, strict=True)):
                    found.append([place, {"list": [encode(item, self.known) for item in part]}])
            elif list(part) != list(old) or any(part[key] is not old[key] for key in old):
                pairs = [[encode(item, self.known) for item in pair] for pair in part.items()]
                found.append([place, {"dict": pairs}])
        return found

    def of_module(self, module: Module, old: dict, hooks: int) -> Iterator[dict]:
        if hooked(module) != hooks:
            raise Unplain("a module with hooks")
        for slot, new in state_of(module).items():
            for name in {**old[slot], **new}:
                if name not in new:
                    yield {"slot": slot, "name": name, "gone": True}
                elif name not in old[slot] or new[name] is not old[slot][name]:
                    yield {"slot": slot, "name": name, "value": encode(new[name], self.known)}


def content(part: object) -> object:
    """Enough of a part to see later whether it has changed."""
    if isinstance(part, Tensor):
        return bits(part), shape_of(part), part.requires_grad
    if isinstance(part, np.ndarray):
        return part.tobytes(), part.dtype, part.shape
    if isinstance(part, Module):
        return state_of(part), hooked(part)
    return part.copy()


def apply(changes: list, known: list) -> None:
    """Do to the ``known`` parts of some arguments what ``Changes`` has seen."""
    for place, change in changes:
        part = known[place]
        if isinstance(part, Module) and "gone" in change:
            vars(part)[change["slot"]].pop(change["name"])
        elif isinstance(part, Module):
            put(part, change["slot"], change["name"], decode(change["value"], known))
        elif isinstance(part, Tensor):
            part.data = decode(change, []).detach()
            part.requires_grad_(change["trains"])
        elif isinstance(part, np.ndarray):
            part[...] = decode(change, [])
        elif isinstance(part, list):
            part[:] = [decode(item, known) for item in change["list"]]
        else:
            part.clear()
            part.update([(decode(key, known), decode(value, known)) for key, value in change["dict"]])
