"""On an NVIDIA GPU: every method gives what it gives on the CPU, padded and packed. Skipped where there is none."""

import pytest
import torch

import peft
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head, classify

SHAPE = GPT2Config(vocab_size=500, n_positions=64, n_embd=64, n_layer=3, n_head=4)
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@torch.no_grad()
@pytest.mark.parametrize("method", peft.METHODS)
def test_a_gpu_computes_what_the_cpu_does(method):
    torch.set_float32_matmul_precision("highest")  # no TF32
    torch.manual_seed(0)
    model = add_classification_head(GPT2(SHAPE), 2)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    peft.apply(model, method)
    for name, parameter in model.named_parameters():
        if name.endswith("lora.B"):
            parameter.normal_(std=0.1)
    model.eval()
    tokens, lengths = torch.randint(500, (8, 30)), torch.randint(1, 31, (8,))
    expected = classify(model, tokens, lengths)
    model.cuda()
    for batching in ("padded", "packed"):
        logits = classify(model, tokens.cuda(), lengths.cuda(), batching=batching).cpu()
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
