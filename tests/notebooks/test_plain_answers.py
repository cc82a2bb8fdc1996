"""Answers cross to the grader's process as plain data; and the helpers with which checks read answers."""

import importlib
import json
import re
from collections import Counter, OrderedDict, defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import checks
import course
from tools import guard, plain, replay


def across(value: object) -> object:
    return plain.decode(json.loads(json.dumps(plain.encode(value, []))), [])


class Odd(nn.Linear):
    pass


VALUES = [
    (None, None),
    (True, True),
    (float("nan"), float("nan")),
    ("£ \ud83d", "£ \ud83d"),
    (b"\x00\xff", b"\x00\xff"),
    ((1, [2.5, {"a": (3,)}]), (1, [2.5, {"a": (3,)}])),
    (Counter("aab"), {"a": 2, "b": 1}),
    (defaultdict(list, {1: [2]}), {1: [2]}),
    (OrderedDict(a=1), {"a": 1}),
    ((i for i in range(2)), [0, 1]),
    ({1: 2}.values(), [2]),
    (Fraction(1, 4), 0.25),
    (pd.Series([True, False]), [True, False]),
    (pd.Index([2, 3]), [2, 3]),
    (np.float32(1.5), np.float32(1.5)),
    (np.int64(7), np.int64(7)),
]


@pytest.mark.parametrize("value, expected", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_across(value, expected):
    found = across(value)
    assert repr(found) == repr(expected) and type(found) is type(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors_come_across_bit_for_bit(dtype, shape):
    tensor = (10 * torch.rand(shape)).to(dtype).T if shape else torch.tensor(1).to(dtype)
    found = across(tensor)
    assert found.dtype == dtype and found.shape == tensor.shape and torch.equal(found, tensor)


def test_arrays_and_modules_come_across():
    array = np.arange(6.0).reshape(2, 3).T
    assert np.array_equal(across(array), array)
    layer, x = nn.Linear(3, 2).requires_grad_(False), torch.randn(4, 3)
    found = across([layer, layer])
    assert type(found[0]) is nn.Linear and found[0] is found[1] and torch.equal(found[0](x), layer(x))
    assert not found[0].weight.requires_grad and isinstance(found[0].weight, nn.Parameter)
    assert type(across(Odd(3, 2))) is nn.Linear  # what it is based on: its own methods do not come along


class Foreign:
    def __reduce__(self):
        return (print, ("never",))


@pytest.mark.parametrize("value", [Foreign(), print, Foreign, np.array([Foreign()]), type("M", (nn.Module,), {})()])
def test_what_is_not_plain_is_refused(value):
    with pytest.raises(plain.Unplain):
        plain.encode(value, [])


@pytest.mark.parametrize(
    "data",
    [
        {"module": ["os", "system"], "_parameters": [], "_buffers": [], "_modules": [], "attributes": []},
        {"module": ["torch.nn.modules.module", "register_module_forward_hook"]},
        {"module": ["torch.nn.modules.linear", "Linear"], "__class__": []},
        {"known": 99},
        {"tensor": "AAAA", "type": "load", "shape": [1], "trains": False},
        {"array": "AAAA", "type": "O", "shape": [1]},
        [1],
        {},
    ],
)
def test_forged_data_raises_and_calls_nothing(data):
    with pytest.raises(Exception):  # noqa: B017 - of whatever kind: the judge takes it for wrong
        plain.decode(data, [])


def change_everything(model, tensor, items, table, array):
    model.lm_head = nn.Linear(4, 2)
    model.body.weight.data += 1
    model.body.requires_grad_(False)
    model.name = "other"
    tensor.mul_(2)
    items[0] = tensor
    table["new"] = [tensor]
    array += 1
    return items, model.lm_head


def arguments() -> tuple:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.body, model.lm_head = nn.Linear(4, 4), nn.Linear(4, 3)
    return model, torch.ones(3), [1, 2], {"old": 1}, np.zeros(2)


def test_what_a_call_changes_is_changed_again():
    recorder, given = replay.Recorder(change_everything), arguments()
    result = recorder(*given)
    again, repeat = arguments(), replay.Replay(json.loads(json.dumps(recorder.record())))
    found = repeat(*again)
    assert again[0].name == "other" and torch.equal(again[0].body.weight, given[0].body.weight)
    assert again[0].lm_head is found[1] and torch.equal(found[1].weight, result[1].weight)
    assert [p.requires_grad for p in again[0].parameters()] == [False, False, True, True]
    assert found[0] is again[2] and again[2][0] is again[1] is again[3]["new"][0]
    assert torch.equal(again[1], given[1]) and np.array_equal(again[4], given[4])
    with pytest.raises(replay.Mismatch):
        repeat(*again)


def test_a_function_draws_from_its_own_streams():
    recorder = replay.Recorder(lambda: torch.rand(2).tolist())
    torch.manual_seed(3)
    first, expected = recorder(), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), expected) and recorder() != first


NUMBERS = [(7, 7), (np.int64(7), 7), (np.float32(2), 2), (torch.tensor(5), 5), (torch.tensor([5.0]), 5), (4.0, 4)]


@pytest.mark.parametrize("found, expected", [*NUMBERS, (np.array([3]), 3), (np.array(3), 3)])
def test_whole_numbers_of_every_type(found, expected):
    assert checks.whole_number(found) == expected and type(checks.whole_number(found)) is int


@pytest.mark.parametrize("found", [2.5, float("nan"), float("inf"), True, "7", [7], None, ..., torch.ones(2), 1j])
def test_what_is_no_whole_number(found):
    with pytest.raises(course.Wrong):
        checks.whole_number(found)


def by_attribute(x):
    return F.layer_norm(x, (3,))


def by_module(x):
    return nn.LayerNorm(3)(x)


def by_name(x, norm=None):
    from torch.nn.functional import layer_norm

    return layer_norm(x, (3,))


def by_hand(x):
    return (x - x.mean()) / x.std(correction=0)


@pytest.mark.parametrize("answer", [by_attribute, by_module, by_name])
def test_what_is_forbidden_is_refused_and_put_back(answer):
    with pytest.raises(course.Wrong, match="yourself"), checks.forbidden(answer, "yourself", F.layer_norm):
        answer(torch.ones(3))
    assert answer(torch.ones(3)).shape == (3,)
    with checks.forbidden(by_hand, "yourself", F.layer_norm, "sklearn"):
        by_hand(torch.arange(3.0))


def imports_it():
    import sklearn.metrics

    return sklearn.metrics


def test_a_whole_package_can_be_forbidden():
    with pytest.raises(course.Wrong), checks.forbidden(imports_it, "without it", "sklearn"):
        imports_it()
    assert imports_it()


@pytest.mark.parametrize(
    "home, name, expected",
    [
        (torch, "allclose", "torch.allclose"),
        (torch.Tensor, "allclose", "torch.Tensor.allclose"),  # inherited, so nothing of the class itself is replaced
        (nn.Module, "__eq__", "Module.__eq__"),
        (checks, "close", "checks.close"),
        (checks, "any", "checks.any"),
        (course.CHECKS, "09.1", "course.CHECKS"),
        (nn.Module, "of_another_package", None),
        (np, "of_another_package", None),
    ],
)
def test_the_guard_sees_what_is_replaced(monkeypatch, home, name, expected):
    monkeypatch.setitem(course.CHECKS, "09.1", print)
    watch = guard.Guard()
    assert watch.replaced() is None
    set_it = monkeypatch.setitem if isinstance(home, dict) else monkeypatch.setattr
    set_it(home, name, lambda *_: True, **({} if isinstance(home, dict) else {"raising": False}))
    found = watch.replaced()
    assert found is None if expected is None else found and expected in found


def test_the_teachers_page_names_the_exercises_that_are_not_repeated():
    for chapter in Path(checks.__file__).parent.glob("chapter_*.py"):
        importlib.import_module(f"checks.{chapter.stem}")
    page = (Path(course.__file__).parent / "README.md").read_text(encoding="utf-8")
    named = re.search(r"cannot be handed over \(([^:]*): `inside=True`", page)[1]
    assert named == ", ".join(sorted(course.INSIDE))
