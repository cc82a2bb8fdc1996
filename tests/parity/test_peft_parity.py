"""LoRA and its relatives, IA³ and norm tuning: same weights in, same logits out as Hugging Face's peft.

Both sides start from the same checkpoint, and every trained number is drawn at random, so that nothing agrees by being
zero. The one difference in shape: GPT-2 there has one matrix ``c_attn`` for query, key and value, here there are
three. Three updates of rank r are one update of rank 3 r: the A stacked, the B on the diagonal of a block matrix.

    [ΔQ]   [B_q         ] [A_q]
    [ΔK] = [    B_k     ] [A_k]
    [ΔV]   [         B_v] [A_v]
"""

import pytest
import torch

import peft
from gpt2 import load_gpt2

RANK, ALPHA = 3, 5
NAMES = {"attn.out_proj": "attn.c_proj", "mlp.fc_in": "mlp.c_fc", "mlp.fc_out": "mlp.c_proj"}  # ours -> theirs
STEP = {"lr": 0.01, "weight_decay": 0.1}


def randomised(checkpoint, method: str, **options):
    """Our model with the method in place and every trained tensor moved by noise."""
    model = peft.apply(load_gpt2(checkpoint), method, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in peft.trainable_parameters(model).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def their_lora(model) -> dict[str, torch.Tensor]:
    """Our LoRA (and DoRA) tensors under the library's names, fused where it fuses."""
    tensors = {}

    def put(name: str, A, B, magnitude=None):
        name = f"base_model.model.transformer.{name}"
        tensors[f"{name}.lora_A.default.weight"] = A
        tensors[f"{name}.lora_B.default.weight"] = B
        if magnitude is not None:
            tensors[f"{name}.lora_magnitude_vector.default.weight"] = magnitude

    for i, block in enumerate(model.h):
        for ours, theirs in NAMES.items():
            layer = block.get_submodule(ours)
            if hasattr(layer, "lora"):
                put(f"h.{i}.{theirs}", layer.lora.A, layer.lora.B, getattr(layer, "magnitude", None))
        parts = [block.attn.q_proj, block.attn.k_proj, block.attn.v_proj]
        if hasattr(parts[0], "lora"):
            A, B = torch.cat([p.lora.A for p in parts]), torch.block_diag(*(p.lora.B for p in parts))
            magnitude = torch.cat([p.magnitude for p in parts]) if hasattr(parts[0], "magnitude") else None
            put(f"h.{i}.attn.c_attn", A, B, magnitude)
    return tensors


def lora_config(rs: bool = False, dora: bool = False) -> dict:
    """The same scale for the fused layer of rank 3 r: α/r = 3 α / (3 r), but α/√r = √3 α / √(3 r)."""
    return {
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": ["c_attn", "c_proj", "c_fc"],
        "rank_pattern": {"c_attn": 3 * RANK},
        "alpha_pattern": {"c_attn": ALPHA * (3**0.5 if rs else 3)},
        "use_rslora": rs,
        "use_dora": dora,
        "fan_in_fan_out": True,
    }


def their_ia3(model) -> dict[str, torch.Tensor]:
    tensors = {}
    for i, block in enumerate(model.h):
        name = f"base_model.model.transformer.h.{i}"
        key, value = block.attn.k_proj.scale, block.attn.v_proj.scale
        query = getattr(block.attn.q_proj, "scale", torch.ones_like(key))  # no scale is a scale of one
        tensors[f"{name}.attn.c_attn.ia3_l.default"] = torch.cat([query, key, value])[:, None]
        tensors[f"{name}.mlp.c_proj.ia3_l.default"] = block.mlp.fc_out.scale[None]
    return tensors


def their_norms(model) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, tensor in peft.trainable_parameters(model).items():
        module, kind = name.rsplit(".", 1)
        tensors[f"base_model.model.transformer.{module}.ln_tuning_layers.default.{kind}"] = tensor
    return tensors


@pytest.fixture(scope="module")
def ours(checkpoint):
    lora = {"rank": RANK, "alpha": ALPHA}
    return {
        "lora": randomised(checkpoint, "lora", **lora),
        "rslora": randomised(checkpoint, "rslora", **lora),
        "dora": randomised(checkpoint, "dora", **lora),
        "minlora": randomised(checkpoint, "minlora", **lora),
        "ia3": randomised(checkpoint, "ia3"),
        "ia3 with queries": randomised(checkpoint, "ia3", queries=True),
        "layernorm": randomised(checkpoint, "layernorm"),
        "one AdamW step": randomised(checkpoint, "lora", **lora, target_modules="out_proj,fc_in,fc_out"),
        "one AdamW step of dora": randomised(checkpoint, "dora", **lora, target_modules="out_proj,fc_in,fc_out"),
    }


@pytest.fixture(scope="module")
def theirs(ours, hf_peft):
    def job(name: str, config_class: str, config: dict, tensors: dict, **rest) -> dict:
        return {"name": name, "config_class": config_class, "config": config, "tensors": tensors, **rest}

    step_config = lora_config() | {"target_modules": ["c_proj", "c_fc"]}
    ia3_config = {"target_modules": ["c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]}
    norm_config = {"target_modules": ["ln_1", "ln_2", "ln_f"]}
    jobs = [
        job("lora", "LoraConfig", lora_config(), their_lora(ours["lora"])),
        job("rslora", "LoraConfig", lora_config(rs=True), their_lora(ours["rslora"])),
        job("dora", "LoraConfig", lora_config(dora=True), their_lora(ours["dora"])),
        job("layernorm", "LNTuningConfig", norm_config, their_norms(ours["layernorm"])),
    ]
    for name in ("ia3", "ia3 with queries"):
        jobs.append(job(name, "IA3Config", ia3_config | {"fan_in_fan_out": True}, their_ia3(ours[name])))
    for name, dora in (("one AdamW step", False), ("one AdamW step of dora", True)):
        jobs.append(job(name, "LoraConfig", step_config | {"use_dora": dora}, their_lora(ours[name]), step=STEP))
    return hf_peft(jobs)


@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "ia3", "ia3 with queries", "layernorm"])
def test_same_weights_give_the_same_logits(name, ours, theirs, base, tokens, agree):
    with torch.no_grad():
        logits = ours[name](tokens)
        assert (logits - base(tokens)).abs().max() > 0.01  # the method changes something, so this can fail
    agree(f"{name}, logits", "peft", logits, theirs[name]["logits"])


def test_minlora_is_the_librarys_lora(ours, theirs, tokens, agree):
    with torch.no_grad():
        links = [p for p in ours["minlora"].modules() if hasattr(p, "lora")]
        loras = [p for p in ours["lora"].modules() if hasattr(p, "lora")]
        for link, layer in zip(links, loras, strict=True):
            link.lora.load_state_dict(layer.lora.state_dict())
        agree("minlora, logits", "peft", ours["minlora"](tokens), theirs["lora"]["logits"])


@pytest.mark.parametrize("name", ["one AdamW step", "one AdamW step of dora"])
def test_one_training_step_gives_the_same_parameters(name, ours, theirs, tokens, agree):
    model = ours[name]
    before = {key: tensor.detach().clone() for key, tensor in their_lora(model).items()}
    optimizer = torch.optim.AdamW(peft.trainable_parameters(model).values(), **STEP)
    logits = model(tokens)[:, :-1].flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    agree(f"{name}, loss", "peft", loss.detach(), theirs[name]["loss"])
    for key, parameter in their_lora(model).items():  # here one name is one parameter, nothing is fused
        torch.testing.assert_close(parameter.grad, theirs[name][f"gradient of {key}"], atol=1e-5, rtol=1e-4)
    after = {key: tensor.detach() for key, tensor in their_lora(model).items()}
    assert all((after[key] - before[key]).abs().max() > STEP["lr"] / 2 for key in before)  # every tensor has moved
    flat = [torch.cat([side[key].flatten() for key in sorted(before)]) for side in (after, theirs[name])]
    agree(f"{name}, updated parameters", "peft", *flat)
