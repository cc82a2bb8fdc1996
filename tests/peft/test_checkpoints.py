"""Adapter files: their layout, the way back, and what they refuse.

The libraries' side of it: tests/parity/test_travel_parity.py; files that mean harm: test_hostile_files.py.
"""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

import peft
from gpt2.classifier import classify
from gpt2.errors import InputError
from peft.files import hugging_face
from peft.files.adapter import CONFIG_FILE, OWN_TYPE, TENSOR_FILE, adapter_tensors, finish
from peft.files.fields import Field
from peft.switching import over

VARIETY = [
    (
        "lora",
        {"rank": 3, "alpha": 2.5, "scaling": "alpha", "target_modules": "q_proj,fc_out", "layers_to_transform": "1"},
    ),
    ("lora", {"target_modules": "wte,wpe,k_proj", "modules_to_save": "ln_f"}),
    ("lora", {"modules_to_save": "h.0.attn.out_proj"}),  # the base weight below a LoRA: theirs has no place for it
    ("lora", {"train_head": True, "modules_to_save": "wpe,h.0.ln_1"}),
    ("rslora", {"rank": 5, "alpha": 3}),
    ("dora", {"rank": 2, "target_modules": "v_proj"}),
    ("dylora", {"rank": 4, "frozen": True}),
    ("qlora", {"rank": 2, "bits": 8}),
    ("qlora", {"rank": 2, "target_modules": "wte,q_proj"}),
    ("ia3", {"queries": True, "modules_to_save": "ln_f"}),
    ("prompt", {"virtual_tokens": 3, "init": "text", "init_text": "!", "modules_to_save": "h.1.attn.q_proj,mlp.fc_in"}),
    ("p-tuning", {"template": "[P][P] TEXT [P]"}),  # nor for virtual tokens behind the text
    ("prefix", {"virtual_tokens": 4, "prefix_hidden": 7}),
    ("mam", {"virtual_tokens": 4, "prefix_hidden": 0, "modules_to_save": "wte"}),
    ("full", {}),
    ("selective", {"blocks": 2}),
]


def files(folder) -> list[bytes]:
    return [(folder / name).read_bytes() for name in (CONFIG_FILE, TENSOR_FILE)]


def config_of(folder) -> dict:
    return json.loads((folder / CONFIG_FILE).read_text())


@pytest.mark.parametrize("method, options", VARIETY)
def test_options_survive(method, options, new_model, randomise, tokens, tmp_path):
    """save -> load -> save gives the same bytes, whatever the options are, and the loaded model trains the same."""
    model = randomise(peft.apply(new_model(), method, **options))
    peft.save(model, tmp_path / "one")
    loaded = peft.load(new_model(), tmp_path / "one")
    assert torch.equal(loaded(tokens), model(tokens))
    assert loaded.peft.options == model.peft.options
    peft.save(loaded, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    if "encoder" not in options and method not in ("p-tuning", "prefix"):
        assert peft.trainable_parameters(loaded).keys() == peft.trainable_parameters(model).keys()


def test_layouts(new_model, tmp_path):
    for method in peft.METHODS:
        peft.save(peft.apply(new_model(), method), tmp_path / method)
        theirs, names = peft.METHODS[method].hugging_face, load_file(tmp_path / method / TENSOR_FILE)
        assert config_of(tmp_path / method)["peft_type"] == (theirs or OWN_TYPE), method
        assert any(name.startswith("base_model.") for name in names) == bool(theirs), method


@pytest.mark.parametrize(
    "method, options, reason",
    [
        ("lora", {"modules_to_save": "h.0.attn.out_proj"}, "has trained h.0.attn.out_proj.linear.weight"),
        ("p-tuning", {"template": "TEXT [P]"}, "only before the text"),
    ],
)
def test_what_the_library_has_no_place_for_is_kept_in_our_layout(method, options, reason, new_model, tmp_path):
    peft.save(peft.apply(new_model(), method, **options), tmp_path)
    config = config_of(tmp_path)
    assert config["peft_type"] == OWN_TYPE and reason in config["reason"]


@pytest.mark.parametrize("method", ["lora", "adapter", "p-tuning", "selective"])
def test_files_from_before_the_common_layout(method, new_model, randomise, tokens, tmp_path):
    """Tensors under our own names, and a configuration without peft_type."""
    model = randomise(peft.apply(new_model(), method))
    expected = model(tokens)
    peft.save(model, tmp_path)
    ours = ("method", "options", "num_classes", "base_config", "base_fingerprint")
    (tmp_path / CONFIG_FILE).write_text(json.dumps({k: v for k, v in config_of(tmp_path).items() if k in ours}))
    finish(model)
    save_file({name: p.detach().contiguous() for name, p in adapter_tensors(model).items()}, tmp_path / TENSOR_FILE)
    assert torch.equal(peft.load(new_model(), tmp_path)(tokens), expected)


def test_a_lora_of_124m_is_small(gpt2_124m):
    """7.1 MB at rank 8: 5.3 MB of numbers, and the zeros between the blocks of c_attn's B."""
    model = peft.apply(gpt2_124m, "lora", rank=8)
    sizes = []
    for name, parts in hugging_face.modules(model).items():
        layers = [model.get_submodule(part) for part in parts]
        if hugging_face.lora_of(layers[0]):
            sizes += [math.prod(field.shape()) for field in hugging_face.lora_fields(name, layers).values()]
    assert sum(sizes) == 1_327_104 + 442_368  # LoRA without the head's, and zeros


def test_reading_is_joining_backwards():
    A, B = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (1, 2)))
    field = Field([A, B, torch.ones(1, 1)], lambda *parts: torch.block_diag(*parts).T)
    wanted = torch.block_diag(torch.arange(1.0, 7).view(2, 3), torch.tensor([[7.0, 8]]), torch.ones(1, 1)).T
    assert field.shape() == tuple(wanted.shape) and field.read(wanted)
    assert A.tolist() == [[1, 2, 3], [4, 5, 6]] and B.tolist() == [[7, 8]]
    assert torch.equal(field.tensor(), wanted)
    for place in ((0, 3), (5, 3)):  # a zero, and the constant
        other = wanted.clone()
        other[place] = 9
        assert not field.read(other)


def test_the_heads_bias_goes_into_the_final_norm(new_model, tokens):
    model = new_model()
    lengths = torch.tensor([9, 4, 6])
    before = classify(model, tokens, lengths)
    score, norm = hugging_face.hugging_face_head(model)
    with torch.no_grad():
        model.lm_head.bias.zero_()
        assert (classify(model, tokens, lengths) - before).abs().max() > 0.01
        model.ln_f.bias.copy_(norm["bias"])
    assert torch.equal(score, model.lm_head.weight)
    torch.testing.assert_close(classify(model, tokens, lengths), before, atol=1e-5, rtol=1e-5)


def test_a_head_without_full_rank_is_refused_with_the_reason(new_model, tokens, tmp_path):
    model = peft.apply(new_model(), "ia3")
    with torch.no_grad():
        model.lm_head.weight[1] = model.lm_head.weight[0]
    with pytest.raises(InputError, match="rank 2 only"):
        peft.export(model, tmp_path / "out")
    peft.save(model, tmp_path / "adapter")  # nothing that was learned is lost: it stays in our layout
    assert "rank 2 only" in config_of(tmp_path / "adapter")["reason"]
    assert torch.equal(peft.load(new_model(), tmp_path / "adapter")(tokens), model(tokens))
    with torch.no_grad():
        model.lm_head.bias[1] = model.lm_head.bias[0]  # this one can be reached
    assert hugging_face.hugging_face_head(model)


def test_wrong_bases_and_heads(new_model, tmp_path):
    peft.save(peft.apply(new_model(), "lora"), tmp_path)
    other = new_model()
    with torch.no_grad():
        other.wpe.weight[0, 0] += 1e-3
    for base, said in [
        (other, "another base model"),
        (new_model(shape="deeper"), "another base model"),
        (peft.apply(new_model(), "ia3"), "another base model|already carries"),
    ]:
        with pytest.raises(InputError, match=said):
            peft.load(base, tmp_path)
    two = new_model()
    two.lm_head = torch.nn.Linear(24, 2)
    with pytest.raises(InputError, match="has 3 classes, but the model 2"):
        peft.load(two, tmp_path)


def test_loading_leaves_the_memory_of_others_alone(new_model, randomise, tmp_path):
    """A model that shares its tensors with the loaded one keeps its numbers, even when all of them were trained."""
    peft.save(randomise(peft.apply(new_model(), "full")), tmp_path)
    base = new_model()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    peft.load(over(base), tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())


def test_quantised_and_full_precision_bases(new_model, randomise, tokens, tmp_path):
    """Over four bits again, the answers are equal; over the full base they differ by what quantisation had lost."""
    model = randomise(peft.apply(new_model(), "qlora"), std=0.02)
    peft.save(model, tmp_path)
    assert torch.equal(peft.load(new_model(), tmp_path)(tokens), model(tokens))
    full = peft.load(new_model(), tmp_path, quantize=False)
    difference = (full(tokens) - model(tokens)).abs().max()
    spread = model(tokens).std()
    print(f"largest difference {difference:.3f}, at logits that spread by {spread:.3f}")
    assert 1e-4 < difference < spread
    before = full(tokens)
    torch.testing.assert_close(peft.merge(full)(tokens), before, atol=1e-4, rtol=1e-4)
