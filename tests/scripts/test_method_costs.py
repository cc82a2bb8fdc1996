"""What a method costs: memory by formula and by measurement, its family, its extra operations."""

import pytest
import torch
import torch.nn.functional as F

import peft
from comparison import memory
from comparison.taxonomy import MESSAGE_TOKENS, dissect
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head, classify
from gpt2.config import SIZES


@pytest.mark.parametrize("method", memory.METHODS)
def test_activations_are_what_autograd_keeps(method):
    B, T = 3, 16

    def kept(layers: int) -> int:
        torch.manual_seed(0)
        model = GPT2(GPT2Config(vocab_size=97, n_positions=64, n_embd=64, n_layer=layers, n_head=4))
        peft.apply(add_classification_head(model), method).train()
        own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
        tensors: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            tensors[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = classify(model, torch.randint(97, (B, T)), torch.full((B,), T))
            F.cross_entropy(logits, torch.zeros(B, dtype=torch.long))
        return sum(t.untyped_storage().nbytes() for key, t in tensors.items() if key not in own)

    config = GPT2Config(vocab_size=97, n_positions=64, n_embd=64, n_layer=1, n_head=4)
    rank = 0 if method == "full" else 8
    a_block = memory.activations(config, rank) - (config.n_embd + 2)
    assert kept(3) - kept(2) == 4 * B * T * a_block


def test_full_fine_tuning_takes_sixteen_bytes_a_parameter():
    full, lora, qlora = (memory.budget(SIZES["gpt2"], method, tokens=1000) for method in memory.METHODS)
    assert full.weights + full.gradients + full.optimiser == 16 * 124_441_346
    assert (lora.gradients, lora.optimiser) == (4 * 1_333_264, 8 * 1_333_264) == (qlora.gradients, qlora.optimiser)
    blocks = 12 * 12 * 768**2  # weights of linear layers
    assert lora.weights - qlora.weights == pytest.approx(blocks * (4 - 4.127 / 8), rel=1e-3)
    assert lora.activations == qlora.activations > full.activations  # LoRA saves none
    assert full.total == full.weights + full.gradients + full.optimiser + full.activations


def test_families_follow_from_the_code():
    tiny = GPT2Config(vocab_size=61, n_positions=48, n_embd=24, n_layer=2, n_head=3)
    found = {method: dissect(tiny, method) for method in peft.METHODS}
    families = {
        "selective": {"full", "head", "selective", "bitfit", "layernorm"},
        "reparametrised": {"lora", "rslora", "dora", "dylora", "minlora", "qlora", "ia3"},
        "additive": {"adapter", "adapter-pfeiffer", "adapter-parallel", "prompt", "p-tuning", "prefix", "p-tuning-v2"},
        "hybrid": {"mam"},
    }
    for family, members in families.items():
        assert {method for method, anatomy in found.items() if anatomy.family == family} == members
    for method, anatomy in found.items():
        assert (anatomy.head == "frozen + LoRA") == peft.METHODS[method].lora_head
        assert anatomy.mergeable != "yes" or anatomy.extra_flops_merged == 0
        assert anatomy.family != "selective" or anatomy.extra_flops == 0
    assert found["qlora"].mergeable == "no" and found["full"].trains == "everything" and found["head"].trains == "head"
    assert found["lora"].trains == "13 × LinearWithLoRA" and found["bitfit"].trains == (
        "12 × Linear bias, 5 × LayerNorm bias, head"
    )
    assert found["prefix"].stored_bytes == found["p-tuning-v2"].stored_bytes  # the network is dropped


def test_extra_operations_by_formula():
    config = GPT2Config(vocab_size=61, n_positions=64, n_embd=24, n_layer=2, n_head=3)
    C, L, head = 24, 2, 2 * 8 * (24 + 2) / MESSAGE_TOKENS  # the head reads one token of the message
    assert dissect(config, "lora").extra_flops == pytest.approx(L * 2 * 8 * (4 * 2 * C + 2 * 5 * C) + head)
    assert dissect(config, "adapter", {"bottleneck": 5}).extra_flops == L * 2 * (2 * 2 * C * 5)
    p = dissect(config, "p-tuning-v2", {"virtual_tokens": 6})
    assert p.extra_flops == L * 2 * 2 * C * 6  # every token looks at six keys and values more
