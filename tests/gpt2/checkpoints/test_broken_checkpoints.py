"""Checkpoints that are not GPT-2's, or not whole: each is refused in one line, by file and tensor."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from gpt2 import InputError, load_gpt2


def replace_tensor(name, make):
    return lambda tensors: tensors.update({name: make(tensors[name])})


def set_value(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[-1] = value
        return tensor

    return change


BIAS, WEIGHT = "transformer.h.1.attn.c_attn.bias", "transformer.h.0.mlp.c_fc.weight"


@pytest.mark.parametrize(
    ("tensor", "change", "reason"),
    [
        (BIAS, replace_tensor(BIAS, lambda t: t[:-1]), r"shape \(71,\), expected \(72,\)"),
        (WEIGHT, replace_tensor(WEIGHT, lambda t: t.T), r"shape \(96, 24\), expected \(24, 96\)"),
        (WEIGHT, replace_tensor(WEIGHT, lambda t: t[None]), r"shape \(1, 24, 96\), expected \(24, 96\)"),
        ("h.1.attn.c_attn.bias", lambda t: t.pop(BIAS), "is missing"),
        ("transformer.wte.weight", replace_tensor("transformer.wte.weight", set_value(float("nan"))), "NaN"),
        (BIAS, replace_tensor(BIAS, set_value(float("nan"))), "NaN"),
        (WEIGHT, replace_tensor(WEIGHT, set_value(float("inf"))), "infinite"),
        (WEIGHT, replace_tensor(WEIGHT, set_value(float("-inf"))), "infinite"),
        (WEIGHT, replace_tensor(WEIGHT, lambda t: set_value(float("inf"))(t.half())), "infinite"),
        (WEIGHT, replace_tensor(WEIGHT, lambda t: set_value(float("nan"))(t.bfloat16())), "NaN"),
        (WEIGHT, replace_tensor(WEIGHT, lambda t: t.int()), "torch.int32, expected one of torch.float32"),
        (WEIGHT, replace_tensor(WEIGHT, lambda t: t.double()), "torch.float64, expected one of torch.float32"),
        ("h.7.ln_1.bias", lambda t: t.update({"h.7.ln_1.bias": torch.zeros(24)}), "not belong to a GPT-2 of 2 blocks"),
        ("rotary.freqs", lambda t: t.update({"rotary.freqs": torch.zeros(24)}), "not belong"),
        ("lm_head.weight", lambda t: t.update({"lm_head.weight": torch.zeros(97, 24)}), "differs from wte.weight"),
        ("lm_head.weight", lambda t: t.update({"lm_head.weight": torch.zeros(2, 24)}), r"shape \(2, 24\), expected"),
    ],
)
def test_wrong_tensor_is_named_with_its_file(folder, tensor, change, reason, edit):
    edit(folder, change)
    with pytest.raises(InputError, match=rf"mine/model\.safetensors.*{re.escape(tensor)}.*{reason}"):
        load_gpt2(folder)


def test_finite_numbers_whose_sum_overflows_are_accepted(folder, edit):
    largest = torch.finfo(torch.float32).max
    edit(folder, lambda t: t.update({BIAS: torch.full((72,), largest)}))
    assert load_gpt2(folder).h[1].attn.q_proj.bias.min() == largest


@pytest.mark.parametrize("length", [0, 4, 50, 5_000, -1])
def test_truncated_file_is_refused(folder, length):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(
        InputError, match=r"mine/model\.safetensors is a truncated or corrupt safetensors file.*download or save"
    ):
        load_gpt2(folder)


@pytest.mark.parametrize("content", [b"\x80\x04pickled code " * 100, b"\xff" * 64, b"<html>404</html>" * 20])
def test_file_of_another_format_is_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    for remove_config in (False, True):
        if remove_config:
            (folder / "config.json").unlink()
        with pytest.raises(InputError, match=r"mine/model\.safetensors is a truncated or corrupt safetensors file"):
            load_gpt2(folder)


def test_file_with_another_ending_is_refused(folder):
    (folder / "model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"mine/model\.bin is not a \.safetensors file"):
        load_gpt2(folder / "model.bin")


def test_pickled_weights_are_refused_and_the_reason_given(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no model\.safetensors in .*mine \(only pickled weights.*convert"):
        load_gpt2(folder)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"no model.safetensors in {tmp_path}; expected a folder")):
        load_gpt2(tmp_path)


def test_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="no model .*nowhere.*nor one of auto, practice, gpt2, gpt2-medium"):
        load_gpt2(tmp_path / "nowhere")


def test_file_that_holds_another_model_is_refused(tmp_path):
    save_file({"encoder.weight": torch.zeros(3, 3)}, tmp_path / "bert.safetensors")
    with pytest.raises(InputError, match=r"bert\.safetensors holds no GPT-2"):
        load_gpt2(tmp_path / "bert.safetensors")


@pytest.mark.parametrize("content", [b"{", b"", b"[1, 2]", b'"gpt2"', b"\xff\xfe{}"])
def test_broken_config_is_refused(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"mine/config\.json is not readable as JSON"):
        load_gpt2(folder)


@pytest.mark.parametrize(
    "change", [{"model_type": "llama"}, {"activation_function": "relu"}, {"n_head": 5}, {"n_embd": None}]
)
def test_config_of_another_kind_is_refused(folder, change):
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"mine: .*config.*{next(iter(change))}"):
        load_gpt2(folder)


def test_config_that_contradicts_the_tensors_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    for change, tensor in (({"n_layer": 3}, "h.2."), ({"n_layer": 1}, "h.1."), ({"vocab_size": 98}, "wte.weight")):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=f"mine/model.safetensors.*{tensor}"):
            load_gpt2(folder)


def write_index(folder, content):
    (folder / "model.safetensors.index.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_index_cannot_reach_outside_its_folder(folder, tmp_path):
    (folder / "model.safetensors").rename(tmp_path / "secret.safetensors")
    for name in ("../secret.safetensors", str(tmp_path / "secret.safetensors"), "..", "."):
        write_index(folder, {"weight_map": {"transformer.wte.weight": name}})
        with pytest.raises(InputError, match=r"index\.json names .*, which is not in the folder"):
            load_gpt2(folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"wte.weight": [1]}}]
)
def test_broken_index_is_refused(folder, content):
    (folder / "model.safetensors").unlink()
    write_index(folder, content)
    with pytest.raises(InputError, match=r"mine/model\.safetensors\.index\.json is not an index"):
        load_gpt2(folder)


def test_missing_shard_is_named(folder):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    write_index(folder, {"weight_map": {"wte.weight": "model-1.safetensors", "wpe.weight": "model-2.safetensors"}})
    with pytest.raises(InputError, match=r"index\.json names model-2\.safetensors, which is not in the folder"):
        load_gpt2(folder)
