"""Checkpoints: every layout that is GPT-2 loads exactly; everything else is refused by file and tensor."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import gpt2.checkpoints.weights
from gpt2 import GPT2, GPT2Config, InputError, load_gpt2, save_gpt2
from gpt2.checkpoints.fingerprints import fingerprint, read_fingerprints, sha256
from gpt2.checkpoints.weights import layout
from gpt2.classifier import add_classification_head
from gpt2.config import SIZES

REPOSITORY = Path(__file__).parents[3]


def assert_same(model, other):
    for (name, a), (name_b, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert name == name_b and torch.equal(a, b), name


# --------------------------------------------------------------------------------------------- what loads, exactly


def test_save_and_load_give_the_same_numbers(folder, tiny_model):
    loaded = load_gpt2(folder)
    assert_same(loaded, tiny_model)
    assert loaded.config == tiny_model.config
    assert not loaded.training
    assert loaded.lm_head.weight is loaded.wte.weight
    assert all(p.requires_grad and p.dtype == torch.float32 for p in loaded.parameters())


@torch.no_grad()
def test_saved_model_loads_in_transformers_with_equal_logits(folder, tiny_model, draw_tokens):
    from transformers import GPT2LMHeadModel

    theirs, info = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = draw_tokens(2, 24, tiny_model)
    torch.testing.assert_close(theirs.eval()(tokens).logits, tiny_model(tokens), atol=1e-4, rtol=0)


def test_both_spellings_of_the_keys(folder, tiny_model, edit):
    assert all(name.startswith("transformer.") for name in load_file(folder / "model.safetensors"))
    edit(folder, lambda t: [t.update({n.removeprefix("transformer."): t.pop(n)}) for n in list(t)])
    assert "wte.weight" in load_file(folder / "model.safetensors")
    assert_same(load_gpt2(folder), tiny_model)


@pytest.mark.parametrize("start", ["", "transformer."])
def test_attention_mask_buffers_are_ignored(folder, tiny_model, start, edit):
    def add_buffers(tensors):
        for i in range(2):
            tensors[f"{start}h.{i}.attn.bias"] = torch.ones(1, 1, 24, 24, dtype=torch.uint8)
            tensors[f"{start}h.{i}.attn.masked_bias"] = torch.tensor(float("-inf"))

    edit(folder, add_buffers)
    assert_same(load_gpt2(folder), tiny_model)


def test_stored_head_equal_to_the_embedding_is_accepted(folder, tiny_model, edit):
    edit(folder, lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"].clone()}))
    assert_same(load_gpt2(folder), tiny_model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("with_head", [False, True])
def test_half_precision_files_become_float32(tmp_path, tiny_model, dtype, with_head, edit):
    save_gpt2(tiny_model, tmp_path, dtype=dtype)
    if with_head:
        edit(tmp_path, lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"].clone()}))
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {dtype}
    loaded = load_gpt2(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert_same(loaded, tiny_model.to(dtype).float())


def test_single_file_with_its_config_beside_it(folder, tiny_model):
    assert_same(load_gpt2(folder / "model.safetensors"), tiny_model)
    other = (folder / "model.safetensors").rename(folder / "renamed.safetensors")
    assert_same(load_gpt2(str(other)), tiny_model)


def test_single_file_without_config_of_a_published_width(tmp_path):
    model = GPT2(GPT2Config(vocab_size=50, n_positions=16, n_embd=128, n_layer=6, n_head=4))  # practice's width, depth
    save_gpt2(model, tmp_path)
    (tmp_path / "config.json").unlink()
    for source in (tmp_path, tmp_path / "model.safetensors"):
        loaded = load_gpt2(source)
        assert loaded.config == model.config
        assert_same(loaded, model)


def test_single_file_without_config_of_another_width_asks_for_it(folder):
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"mine/model.safetensors: how many attention heads\?.*config.json"):
        load_gpt2(folder)


def test_sharded_checkpoint_of_transformers(hugging_face, tmp_path, draw_tokens):
    theirs = hugging_face(vocab_size=61, n_positions=16, n_embd=32, n_layer=3, n_head=2)
    theirs.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    ours = load_gpt2(tmp_path)
    tokens = draw_tokens(2, 16, ours)
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)


def test_bundled_practice_checkpoint_loads():
    model = load_gpt2("practice")
    assert model.config == SIZES["practice"]
    assert sum(p.numel() for p in model.parameters()) == 7_655_552


# ------------------------------------------------------------------------------------------- GPT-2 124M, by its name


@pytest.fixture
def as_gpt2(monkeypatch, tmp_path, tiny_model):
    """An assets folder in which ``tiny_model`` passes for GPT-2 124M."""
    save_gpt2(tiny_model, tmp_path / "assets" / "gpt2")
    tensors = load_file(tmp_path / "assets" / "gpt2" / "model.safetensors")
    known = {name.removeprefix("transformer."): sha256(tensor) for name, tensor in tensors.items()}
    known["lm_head.weight"] = known["wte.weight"]
    monkeypatch.setattr(gpt2.checkpoints.weights, "read_fingerprints", lambda: known)
    monkeypatch.setitem(SIZES, "gpt2", tiny_model.config)
    return tmp_path / "assets"


def test_published_weights_asked_for_by_name_are_verified(as_gpt2, tiny_model, edit):
    assert_same(load_gpt2("gpt2", assets=as_gpt2), tiny_model)
    edit(as_gpt2 / "gpt2", lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"].clone()}))
    assert_same(load_gpt2("gpt2", assets=as_gpt2), tiny_model)


@pytest.mark.parametrize("name", ["wte.weight", "h.0.attn.c_attn.weight", "h.1.mlp.c_proj.bias", "ln_f.bias"])
def test_one_changed_number_is_found_and_its_tensor_named(as_gpt2, name, edit):
    edit(as_gpt2 / "gpt2", lambda tensors: tensors[f"transformer.{name}"].view(-1)[-1:].add_(1e-6))
    with pytest.raises(InputError, match=rf"gpt2/model\.safetensors: tensor transformer\.{name} .*sha256 differs"):
        load_gpt2("gpt2", assets=as_gpt2)
    load_gpt2(as_gpt2 / "gpt2")  # by its path it is somebody's own model


def test_weights_of_the_published_shape_need_its_config_too(as_gpt2):
    file = as_gpt2 / "gpt2" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"n_head": 6}))  # no tensor shows the number of heads
    with pytest.raises(InputError, match=r"gpt2: config\.json is not GPT-2 124M's"):
        load_gpt2("gpt2", assets=as_gpt2)
    load_gpt2(as_gpt2 / "gpt2")


def test_table_of_fingerprints_names_every_tensor_of_gpt2():
    table = read_fingerprints()
    head = table.pop("lm_head.weight")
    assert len(table) == 148
    assert table.keys() == layout(SIZES["gpt2"]).keys()
    assert all(re.fullmatch("[0-9a-f]{64}", sha) for sha in table.values())
    assert len(set(table.values())) == 148
    assert head == table["wte.weight"] == "e182e433b37dbdb47448e0413c840edf6965113c1fc8048c63b69795d8cf875a"
    assert table["h.0.attn.c_attn.weight"] == "df332e9d9ae908db358a00423f14af1c0036bc9a2332aca395adf68e3eb08b48"


def test_sha256_is_of_little_endian_float32_in_row_order():
    import hashlib
    import struct

    tensor = torch.tensor([[1.0, 2.0], [3.0, -4.5]])
    assert sha256(tensor) == hashlib.sha256(struct.pack("<4f", 1, 2, 3, -4.5)).hexdigest()
    assert sha256(tensor.T) == hashlib.sha256(struct.pack("<4f", 1, 3, 2, -4.5)).hexdigest()
    assert sha256(tensor.half()) == sha256(tensor)


# ------------------------------------------------------------------------------------------- fingerprint of a model


def test_fingerprint_is_stable_and_sees_every_weight(folder):
    first, second = load_gpt2(folder), load_gpt2(folder)
    original = fingerprint(first)
    assert fingerprint(second) == original
    for name, parameter in second.named_parameters():
        with torch.no_grad():
            before = parameter.view(-1)[-1].clone()
            parameter.view(-1)[-1] += 1e-3
            assert fingerprint(second) != original, name
            parameter.view(-1)[-1] = before
    assert fingerprint(second) == original


def test_fingerprint_leaves_out_a_classification_head(folder):
    language_model = load_gpt2(folder)
    first, second = add_classification_head(load_gpt2(folder), 2), add_classification_head(load_gpt2(folder), 3)
    assert fingerprint(first) == fingerprint(second) == fingerprint(language_model)


# ----------------------------------------------------------------------------------------------------------- memory

LOAD_WITHIN = """
import os, resource, sys
import torch
from gpt2 import load_gpt2

folder, warm_up, size, share = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
torch.set_num_threads(1)  # another thread would bring a stack of its own, now or later
load_gpt2(warm_up)(torch.zeros(1, 4, dtype=int))  # threads and lazy imports are there before we count
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData:")) * 1024
mapped = os.path.getsize(folder + "/model.safetensors")  # counted by the system, though these pages are the file's
hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
resource.setrlimit(resource.RLIMIT_DATA, (used + mapped + int(share * size), hard))
try:
    load_gpt2(folder)
    print("loaded")
except (RuntimeError, MemoryError) as error:
    print("refused" if "memory" in str(error) else error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory in Linux's way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_loading_takes_less_than_1_3_times_the_float32_checkpoint(tmp_path, folder, dtype, edit):
    """The system refuses this process more memory, so there is no peak to miss; 0.9 times must be too little."""
    model = GPT2(GPT2Config(vocab_size=14_000, n_positions=256, n_embd=384, n_layer=6, n_head=6))
    size = 4 * sum(p.numel() for p in model.parameters())
    assert 0.30 < 4 * model.wte.weight.numel() / size < 0.34  # the embedding's share in GPT-2 124M is 0.31
    save_gpt2(model, tmp_path, dtype)
    edit(tmp_path, lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"].clone()}))
    command = [sys.executable, "-c", LOAD_WITHIN, str(tmp_path), str(folder), str(size)]
    for share, expected in (("0.9", "refused"), ("1.3", "loaded")):  # a process each: a refusal may leave memory behind
        done = subprocess.run([*command, share], cwd=REPOSITORY, capture_output=True, text=True)
        assert done.stdout.strip() == expected, (share, done.stdout, done.stderr)


def test_a_model_that_a_method_has_changed_is_not_saved_as_plain_gpt2(tiny_model, tmp_path):
    tiny_model.h[0].mlp.fc_in = torch.nn.Sequential(tiny_model.h[0].mlp.fc_in)
    with pytest.raises(InputError, match="h.0.mlp.fc_in.weight is wrapped"):
        save_gpt2(tiny_model, tmp_path)


def test_loading_does_not_load_pytorchs_compiler():
    code = (
        "import sys; from gpt2 import load_gpt2; from gpt2.devices import without_memory; from gpt2.model import GPT2;"
        "model = load_gpt2('practice'); shape = model.config\n"
        "with without_memory(): empty = GPT2(shape)\n"
        "assert {p.device.type for p in empty.parameters()} == {'meta'}; print('torch._dynamo' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr


def test_random_weights_of_a_shape_are_always_the_same_and_disturb_no_one(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model, again = load_gpt2("random:practice"), load_gpt2("random:practice")
    assert torch.rand(3).equal(expected)
    assert model.config == SIZES["practice"] and not model.training
    assert fingerprint(model) == fingerprint(again) != fingerprint(load_gpt2("practice"))
    shape = GPT2Config(vocab_size=60, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    save_gpt2(GPT2(shape), tmp_path / "mine")
    assert load_gpt2(f"random:{tmp_path / 'mine'}").config == shape
    with pytest.raises(InputError, match="random:practice, random:gpt2.* or random: and a file or folder"):
        load_gpt2("random:nothing")
