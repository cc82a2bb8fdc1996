"""Integrated gradients: complete, and exact where the answer is linear in the embeddings."""

import pytest
import torch

import peft
from gpt2 import GPT2, GPT2Config
from gpt2.attribution import integrated_gradients
from gpt2.classifier import add_classification_head, classify
from gpt2.tokenizer import END_OF_TEXT

SHAPE = GPT2Config(vocab_size=50257, n_positions=32, n_embd=16, n_layer=2, n_head=2)


@pytest.fixture(params=["head", "lora", "prompt", "p-tuning", "prefix"])
def model(request):
    torch.manual_seed(1)
    model = add_classification_head(GPT2(SHAPE).eval(), 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far from linear
    options = {"virtual_tokens": 4} if request.param in ("prompt", "p-tuning", "prefix") else {}
    return peft.apply(model, request.param, **options).eval()


def test_the_attributions_sum_to_the_difference_of_the_logits(model):
    tokens = torch.tensor([5, 900, 17, 4, 900])
    attributions, of_message, of_baseline = integrated_gradients(model, tokens, 2, 0, steps=256)
    assert attributions.shape == (5,)
    assert attributions.sum().item() == pytest.approx(of_message - of_baseline, rel=0.02, abs=2e-3)
    for text, expected in ((tokens, of_message), (torch.full_like(tokens, END_OF_TEXT), of_baseline)):
        logits = classify(model, text[None], torch.tensor([5]))[0]
        assert (logits[2] - logits[0]).item() == pytest.approx(expected, abs=1e-4)
    assert not model.wte._forward_hooks


def test_the_opposite_question_has_the_opposite_answer(model):
    tokens = torch.tensor([5, 900, 17])
    one, *_ = integrated_gradients(model, tokens, 2, 0)
    other, *_ = integrated_gradients(model, tokens, 0, 2)
    torch.testing.assert_close(one, -other)


def test_a_message_that_says_nothing_has_no_attributions(model):
    attributions, of_message, of_baseline = integrated_gradients(model, torch.tensor([END_OF_TEXT] * 3), 1, 0)
    assert of_message == of_baseline and attributions.abs().max() == 0
