"""Prompts and prefixes against Hugging Face's peft: the same trained numbers in, the same logits out."""

import pytest
import torch
import torch.nn.functional as F

import peft
from gpt2 import load_gpt2

P = 5  # virtual tokens
STEP = {"lr": 0.01, "weight_decay": 0.1}
PROMPT = "prompt_encoder.default."  # where the library keeps all of them


def randomise(model):
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in peft.trainable_parameters(model).values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def prompt_tensors(model):
    """Our prompt, with or without its encoder, under the library's names."""
    tensors = {f"{PROMPT}embedding.weight": model.prompt.vectors}
    for name, parameter in model.prompt.named_parameters():
        if name.startswith("encoder."):
            part, rest = name.removeprefix("encoder.").split(".", 1)
            tensors[f"{PROMPT}{part}_head.{rest}"] = parameter
    return tensors


def flat(keys, values):
    """Keys and values (H, P, D) of one block -> (P, 2 C), as the library lays them out."""
    return torch.cat([part.transpose(0, 1).flatten(1) for part in (keys, values)], dim=1)


def prefix_tensors(model):
    """Our prefixes under the library's names: it keeps those of all blocks in one matrix."""
    prefixes = [block.attn.prefix for block in model.h]
    shared = prefixes[0].shared
    if shared is None:
        return {f"{PROMPT}embedding.weight": torch.cat([flat(*prefix()) for prefix in prefixes], dim=1)}
    return {
        f"{PROMPT}embedding.weight": shared.start,
        f"{PROMPT}transform.0.weight": shared.linear.weight,
        f"{PROMPT}transform.0.bias": shared.linear.bias,
        f"{PROMPT}transform.2.weight": torch.cat([prefix.out.weight for prefix in prefixes]),
        f"{PROMPT}transform.2.bias": torch.cat([prefix.out.bias for prefix in prefixes]),
    }


ENCODER = {"encoder_hidden_size": 9}
CASES = [  # our method and options, the library's class and configuration, how the tensors correspond
    ("prompt", {}, "PromptTuningConfig", {}, prompt_tensors),
    (
        "p-tuning",
        {"encoder": "mlp", "encoder_hidden": 9},
        "PromptEncoderConfig",
        {**ENCODER, "encoder_reparameterization_type": "MLP"},
        prompt_tensors,
    ),
    (
        "p-tuning",
        {"encoder": "lstm", "encoder_hidden": 9, "encoder_layers": 1},
        "PromptEncoderConfig",
        {**ENCODER, "encoder_reparameterization_type": "LSTM", "encoder_num_layers": 1},
        prompt_tensors,
    ),
    (
        "p-tuning",
        {"encoder": "lstm", "encoder_hidden": 9, "encoder_layers": 3},
        "PromptEncoderConfig",
        {**ENCODER, "encoder_reparameterization_type": "LSTM", "encoder_num_layers": 3},
        prompt_tensors,
    ),
    (
        "prefix",
        {"prefix_hidden": 9},
        "PrefixTuningConfig",
        {"prefix_projection": True, "encoder_hidden_size": 9},
        prefix_tensors,
    ),
    ("p-tuning-v2", {}, "PrefixTuningConfig", {"prefix_projection": False}, prefix_tensors),
]


NAMES = [f"{i}-{method}" for i, (method, *_) in enumerate(CASES)]


@pytest.fixture(scope="module")
def ours(checkpoint):
    models = {}
    for name, (method, options, *_) in zip(NAMES, CASES, strict=True):
        models[name] = peft.apply(load_gpt2(checkpoint), method, virtual_tokens=P, **options).eval()
        randomise(models[name])
    models["step"] = peft.apply(load_gpt2(checkpoint), "p-tuning-v2", virtual_tokens=P)
    randomise(models["step"])
    return models


@pytest.fixture(scope="module")
def theirs(ours, hf_peft):
    jobs = []
    for name, (_, _, config_class, config, tensors) in zip(NAMES, CASES, strict=True):
        config = {"num_virtual_tokens": P, **config}
        jobs.append({"name": name, "config_class": config_class, "config": config, "tensors": tensors(ours[name])})
    step = {"name": "step", "config_class": "PrefixTuningConfig", "config": {"num_virtual_tokens": P}, "step": STEP}
    return hf_peft([*jobs, {**step, "tensors": prefix_tensors(ours["step"])}])  # one process for all


@pytest.mark.parametrize("name", NAMES)
def test_same_logits(name, ours, theirs, tokens, agree):
    method, options, *_ = CASES[NAMES.index(name)]
    with torch.no_grad():
        logits = ours[name](tokens)
    agree(f"{method} {options or ''}".strip(), "peft", logits, theirs[name]["logits"])


def test_prefix_of_their_shape_is_a_prefix_of_ours(base):
    """Their matrix (P, L · 2 · C) -> our (H, P, D) per block: block, then keys before values, then heads."""
    peft.apply(base, "p-tuning-v2", virtual_tokens=P)
    randomise(base)
    L, H, D = base.config.n_layer, base.config.n_head, base.config.head_dim
    theirs = prefix_tensors(base)[f"{PROMPT}embedding.weight"].view(P, L, 2, H, D).permute(1, 2, 3, 0, 4)
    for block, (keys, values) in zip(base.h, theirs, strict=True):
        assert torch.equal(block.attn.prefix.keys, keys) and torch.equal(block.attn.prefix.values, values)


def test_one_training_step(ours, theirs, tokens, agree):
    """One AdamW step on the language-model loss moves our keys and values to where it moves theirs.

    (Not for a soft prompt: there the library also counts how well its last vector predicts the first token.)
    """
    model, theirs = ours["step"], theirs["step"]
    optimizer = torch.optim.AdamW(peft.trainable_parameters(model).values(), **STEP)
    loss = F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    name = f"{PROMPT}embedding.weight"
    agree("p-tuning-v2, loss", "peft", loss.detach(), theirs["loss"])
    agree("p-tuning-v2, one AdamW step", "peft", prefix_tensors(model)[name], theirs[name])
