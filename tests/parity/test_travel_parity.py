"""Adapters that travel: each arrow between this repository and Hugging Face's, with the same logits at both ends.

ours -> theirs      peft.save here, PeftModel.from_pretrained there          every method that the library has
theirs -> ours      save_pretrained there, peft.load here                    fused c_attn, patterns, biases, …
export              peft.export here, AutoModelFor….from_pretrained there    every method that is a change of weights
sums                our Adapters.add_weighted_adapter, their add_weighted_adapter
"""

import json

import pytest
import torch

import peft
from gpt2 import GPT2, load_gpt2
from gpt2.classifier import add_classification_head, classify, has_classification_head
from gpt2.errors import InputError
from peft.files.adapter import CONFIG_FILE, TENSOR_FILE

CLASSES, PAD = 3, 96
HIDDEN = {"encoder_hidden": 9, "prefix_hidden": 9, "virtual_tokens": 5}
SAVED = {  # name -> method and options: ours -> theirs
    **{name: (name, {}) for name, method in peft.METHODS.items() if method.hugging_face},
    "lora scaled by alpha": ("lora", {"rank": 3, "alpha": 2.0, "scaling": "alpha", "init": "normal"}),
    "lora on some layers": (
        "lora",
        {"rank": 3, "target_modules": "q_proj,v_proj,fc_in", "layers_to_transform": "1", "dropout": 0.1},
    ),
    "lora on the embedding": ("lora", {"rank": 3, "target_modules": "wte,wpe,out_proj"}),
    "lora with a trained head": ("lora", {"rank": 3, "train_head": True, "modules_to_save": "ln_f,wpe"}),
    "dora on queries": ("dora", {"rank": 3, "target_modules": "q_proj"}),
    "rslora of rank 5": ("rslora", {"rank": 5, "alpha": 7}),
    "ia3 with queries": ("ia3", {"queries": True}),
    "prompt and a layer": ("prompt", {"modules_to_save": "h.1.mlp.fc_in,k_proj"}),
    "p-tuning by an lstm": ("p-tuning", {"encoder": "lstm", "encoder_layers": 1}),
}
# Their encoders exist only while training, and without them the library cannot save such an adapter again.
AGAIN = [name for name, (method, _) in SAVED.items() if method not in ("p-tuning", "prefix")]
LANGUAGE_MODELS = ("lora", "dora", "ia3", "layernorm", "prompt", "p-tuning-v2")
LORA = {"r": 4, "lora_alpha": 7, "target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}
CREATED = {  # name -> class and configuration: theirs -> ours
    "fused LoRA": ("LoraConfig", LORA),
    "fused LoRA, patterns": (
        "LoraConfig",
        LORA
        | {
            "rank_pattern": {"c_fc": 6, "h.1.attn.c_attn": 2},
            "alpha_pattern": {"c_attn": 3, "^transformer.h.0.mlp.c_proj": 5},
        },
    ),
    "LoRA, bias all": ("LoraConfig", LORA | {"bias": "all", "modules_to_save": ["ln_f"]}),
    "LoRA, bias lora_only": (
        "LoraConfig",
        LORA | {"bias": "lora_only", "target_modules": ["c_attn", "mlp.c_proj", "wte"]},
    ),
    "LoRA, modules_to_save": (
        "LoraConfig",
        LORA | {"target_modules": ["c_attn"], "modules_to_save": ["ln_f", "wpe", "c_fc"]},
    ),
    "rsLoRA": ("LoraConfig", LORA | {"use_rslora": True}),
    "DoRA": ("LoraConfig", LORA | {"use_dora": True}),
    "IA3": (
        "IA3Config",
        {"target_modules": ["c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"], "fan_in_fan_out": True},
    ),
    "IA3 on the attention": (
        "IA3Config",
        {"target_modules": ["c_attn"], "feedforward_modules": [], "fan_in_fan_out": True},
    ),
    "norms": ("LNTuningConfig", {"target_modules": ["ln_1", "ln_2", "ln_f"]}),
    "first norms": ("LNTuningConfig", {"target_modules": ["ln_1"]}),
    "prompt": ("PromptTuningConfig", {"num_virtual_tokens": 4}),
    "P-tuning": ("PromptEncoderConfig", {"num_virtual_tokens": 4, "encoder_hidden_size": 9}),
    "prefix": ("PrefixTuningConfig", {"num_virtual_tokens": 4, "prefix_projection": True, "encoder_hidden_size": 9}),
    "P-tuning v2": ("PrefixTuningConfig", {"num_virtual_tokens": 4, "modules_to_save": ["ln_f"]}),
}
EXPORTED = [name for name, method in peft.METHODS.items() if method.exportable]
STAYS = [name for name, method in peft.METHODS.items() if not method.exportable]


def trained(checkpoint, method: str, classes: int | None = CLASSES, seed: int = 4, **options) -> GPT2:
    """A model with a method in it, every trained number moved, and a head whose bias matters."""
    torch.manual_seed(seed)
    model = load_gpt2(checkpoint)
    if classes:
        add_classification_head(model, classes)
        torch.nn.init.normal_(model.lm_head.bias)
    given = {name: value for name, value in HIDDEN.items() if name in peft.METHODS[method].options}
    peft.apply(model, method, **given | options)
    with torch.no_grad():
        for parameter in peft.trainable_parameters(model).values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def messages() -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(PAD, (4, 11), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([11, 7, 1, 10])
    return torch.where(torch.arange(11) < lengths[:, None], tokens, PAD), lengths


@pytest.fixture(scope="module")
def answer(messages):
    """Our logits: of every message, or of the first one's tokens."""

    @torch.no_grad()
    def answer(model: GPT2) -> torch.Tensor:
        return classify(model, *messages) if has_classification_head(model) else model(messages[0][:1])[0]

    return answer


@pytest.fixture(scope="module")
def ours(checkpoint, tmp_path_factory, answer, answers):
    """Everything that leaves from here: name -> (logits, folder)."""
    root, result, errors = tmp_path_factory.mktemp("ours"), {}, {}

    def pack(name: str, send, *method, **options) -> None:
        try:
            model = trained(checkpoint, *method, **options)
            send(model, root / name)
            result[name] = (answer(model), root / name)
        except Exception as error:  # noqa: BLE001 - fails the tests of this one
            errors[name] = repr(error)

    for name, (method, options) in SAVED.items():
        # the library meets the full-precision base, so ours is compared over that too
        options = options | ({"quantize": False} if method == "qlora" else {})
        pack(f"saved {name}", peft.save, method, **options)
    for method in LANGUAGE_MODELS:
        pack(f"saved {method}, language model", peft.save, method, classes=None)
    for method in EXPORTED:
        pack(f"exported {method}", peft.export, method)
    pack("exported lora, language model", peft.export, "lora", classes=None)
    for seed in (4, 5):
        pack(f"to add {seed}", peft.save, "lora", classes=None, seed=seed, rank=seed)
    return answers(result, errors)


@pytest.fixture(scope="module")
def theirs(ours, checkpoint, hf_travel, messages, tmp_path_factory):
    """What the libraries make of it, and what leaves from there: name -> logits, {name: folder}."""
    root, jobs, folders = tmp_path_factory.mktemp("theirs"), [], {}
    for name, (_, folder) in ours.given.items():
        classes = None if "language model" in name or "to add" in name else CLASSES
        job = {"name": name, "checkpoint": str(checkpoint), "classes": classes, "pad": PAD}
        kind = {"job": "exported", "folder": str(folder)}
        if "exported" not in name:
            kind = {"job": "load", "adapter": str(folder)}
            if name in {f"saved {again}" for again in AGAIN}:
                kind["again"] = folders[f"{name}, again"] = str(root / f"{name}, again")
        jobs.append(job | kind)
    for classes, ending in ((CLASSES, ""), (None, ", language model")):
        for name, (config_class, config) in CREATED.items():
            name, folder = f"{name}{ending}", str(root / f"{name}{ending}")
            rest = {"checkpoint": str(checkpoint), "classes": classes, "pad": PAD, "config": config, "adapter": folder}
            jobs.append({"name": name, "job": "create", "config_class": config_class, **rest})
            folders[name] = folder
    both = [str(ours[f"to add {seed}"][1]) for seed in (4, 5)]
    rest = {"checkpoint": str(checkpoint), "classes": None, "pad": PAD, "adapters": both, "weights": [0.7, 0.4]}
    jobs.append({"name": "sum", "job": "combine", **rest})
    return hf_travel(jobs, *messages), folders


@pytest.mark.parametrize("name", SAVED)
def test_ours_there(name, ours, theirs, agree):
    agree(f"saved here, loaded there: {name}", "peft", ours[f"saved {name}"][0], theirs[0][f"saved {name}"])


@pytest.mark.parametrize("method", LANGUAGE_MODELS)
def test_our_language_models_there(method, ours, theirs, agree):
    name = f"saved {method}, language model"
    agree(f"saved here, loaded there: {method}, language model", "peft", ours[name][0], theirs[0][name])


def test_our_files_are_in_their_layout(ours):
    for name in [name for name in ours.given if name.startswith("saved")]:
        config = json.loads((ours[name][1] / CONFIG_FILE).read_text())
        assert config["peft_type"] == peft.METHODS[config["method"]].hugging_face and "reason" not in config, name


@pytest.mark.parametrize("ending", ["", ", language model"])
@pytest.mark.parametrize("name", CREATED)
def test_theirs_here(name, ending, theirs, base, answer, agree, tmp_path, checkpoint):
    logits, folders = theirs
    name += ending
    plain = answer(base) if ending else None
    model = peft.load(base, folders[name]).eval()
    agree(f"saved there, loaded here: {name}", "peft", answer(model), logits[name])
    if plain is not None:
        assert (answer(model) - plain).abs().max() > 1e-3  # it changes something
    assert peft.trainable_parameters(model)
    peft.save(model, tmp_path / "one")  # and from here it continues
    again = peft.load(load_gpt2(checkpoint), tmp_path / "one").eval()
    assert torch.equal(answer(again), answer(model))
    peft.save(again, tmp_path / "two")
    for file in (CONFIG_FILE, TENSOR_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("name", AGAIN)
def test_there_and_back_again(name, ours, theirs, base, answer, agree):
    """Saved here, loaded and saved again there, loaded here: now without anything that only we write."""
    folder = theirs[1][f"saved {name}, again"]
    agree(f"there and back: {name}", "peft", answer(peft.load(base, folder).eval()), ours[f"saved {name}"][0])


def test_a_fused_lora_stays_as_large_as_it_was(theirs, base):
    peft.load(base, theirs[1]["fused LoRA"])
    attention = base.h[0].attn
    assert attention.q_proj.lora.A is attention.k_proj.lora.A is attention.v_proj.lora.A
    C, r = base.config.n_embd, LORA["r"]
    per_block = r * ((C + 3 * C) + (C + C) + (C + 4 * C) + (4 * C + C))  # c_attn, c_proj, c_fc, c_proj
    trained = sum(p.numel() for p in peft.trainable_parameters(base).values())
    assert trained == len(base.h) * per_block + CLASSES * C  # as there: LoRA, and a head without bias


@pytest.mark.parametrize("method", EXPORTED)
def test_exports(method, ours, theirs, agree):
    name = f"exported {method}"
    agree(f"exported: {method}", "transformers", ours[name][0], theirs[0][name])


def test_exported_language_model(ours, theirs, agree):
    name = "exported lora, language model"
    agree("exported: lora, language model", "transformers", ours[name][0], theirs[0][name])


@pytest.mark.parametrize("method", STAYS)
def test_what_cannot_be_exported_says_what_to_do(method, checkpoint, tmp_path):
    with pytest.raises(InputError, match="no plain GPT-2 can do it; (its adapter folder|use it with)"):
        peft.export(trained(checkpoint, method), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sums(ours, theirs, base, answer, agree):
    adapters = peft.Adapters(base)
    for seed in (4, 5):
        adapters.add(str(seed), ours[f"to add {seed}"][1])
    model = adapters.add_weighted_adapter({"4": 0.7, "5": 0.4})
    agree("weighted sum of two LoRA", "peft", answer(model), theirs[0]["sum"])
