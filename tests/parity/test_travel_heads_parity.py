"""Language models whose head is no longer the embedding matrix, and cut ranks: the same logits at both ends.

A LoRA on ``lm_head`` or on ``wte`` alone parts two layers that share one weight. The rest: test_travel_parity.py.
"""

import pytest
import torch

import peft
from gpt2 import GPT2, load_gpt2
from peft.dylora import set_rank

SAVED = {  # name -> method and options
    **{f"{method} on the head": (method, {"target_modules": "lm_head"}) for method in ("lora", "rslora", "dora")},
    **{f"{method} on the head": (method, {"target_modules": "lm_head"}) for method in ("dylora", "minlora")},
    "qlora on the head": ("qlora", {"target_modules": "lm_head", "quantize": False}),
    "lora on the embedding": ("lora", {"target_modules": "wte"}),
    "lora on the head and queries": ("lora", {"target_modules": "lm_head,q_proj", "rank": 3}),
    "dylora cut at rank 2": ("dylora", {"rank": 4}),
}
CREATED = {  # name -> their target_modules
    "LoRA on the head": ["lm_head"],
    "LoRA on the head and attention": ["lm_head", "c_attn"],
    "LoRA on the embedding": ["wte"],
}


@pytest.fixture(scope="module")
def message() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(96, (1, 11), generator=torch.Generator().manual_seed(2)), torch.tensor([11])


def trained(checkpoint, name: str) -> GPT2:
    method, options = SAVED[name]
    torch.manual_seed(4)
    model = peft.apply(load_gpt2(checkpoint), method, **options)
    with torch.no_grad():
        for parameter in peft.trainable_parameters(model).values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    if "cut" in name:
        set_rank(model, 2)
    return model.eval()


@pytest.fixture(scope="module")
def theirs(checkpoint, hf_travel, message, tmp_path_factory):
    """name of a job -> their logits; and the folder of what they have saved."""
    root, jobs = tmp_path_factory.mktemp("heads"), []
    rest = {"checkpoint": str(checkpoint), "classes": None, "pad": 96}
    for name in SAVED:
        model = trained(checkpoint, name)
        peft.save(model, root / f"saved {name}")
        peft.export(model, root / f"exported {name}")
        jobs.append({"name": f"saved {name}", "job": "load", "adapter": str(root / f"saved {name}")} | rest)
        jobs.append({"name": f"exported {name}", "job": "exported", "folder": str(root / f"exported {name}")} | rest)
    for name, targets in CREATED.items():
        config = {"r": 4, "lora_alpha": 7, "target_modules": targets, "fan_in_fan_out": True}
        jobs.append({"name": name, "job": "create", "config_class": "LoraConfig", "config": config} | rest)
        jobs[-1]["adapter"] = str(root / name)
    return hf_travel(jobs, *message), root


@pytest.mark.parametrize("way, library", [("saved", "peft"), ("exported", "transformers")])
@pytest.mark.parametrize("name", SAVED)
def test_ours_there(name, way, library, theirs, checkpoint, message, agree):
    with torch.no_grad():
        agree(
            f"{way} here, loaded there: {name}",
            library,
            trained(checkpoint, name)(message[0])[0],
            theirs[0][f"{way} {name}"],
        )


@pytest.mark.parametrize("name", CREATED)
def test_theirs_here(name, theirs, base, checkpoint, message, agree, tmp_path):
    with torch.no_grad():
        model = peft.load(base, theirs[1] / name).eval()
        agree(f"saved there, loaded here: {name}", "peft", model(message[0])[0], theirs[0][name])
        peft.save(model, tmp_path)
        again = peft.load(load_gpt2(checkpoint), tmp_path).eval()
        assert torch.equal(again(message[0]), model(message[0]))
