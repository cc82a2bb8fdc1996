"""Drawing at the edges: options so small that they mean greedy, half precision, a vocabulary beyond the tokenizer's."""

import pytest
import torch

from gpt2 import GPT2, GPT2Config, InputError, generate
from gpt2.generation import draw, keep_likely


@pytest.fixture
def logits():
    return torch.randn(3, 5000, generator=torch.Generator().manual_seed(0)) * 30


SMALL = [
    {"temperature": 1e-40},
    {"temperature": 1e-300},
    {"temperature": 1e-37},
    {"temperature": 5e-324, "top_p": 0.9},
    {"temperature": 1.0, "top_p": 1e-300},
    {"temperature": 2.0, "top_p": 5e-324, "top_k": 7},
    {"temperature": 1e-30, "top_k": 3},
]


@pytest.mark.parametrize("options", SMALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_very_small_options_equal_greedy(options, dtype, logits):
    chosen = draw(logits.to(dtype), **{"top_k": None, "top_p": None, "generator": None} | options)
    assert torch.equal(chosen, logits.to(dtype).argmax(dim=-1, keepdim=True))


@pytest.mark.parametrize("options", [{"temperature": 1e-40}, {"temperature": 0.9, "top_p": 1e-300}], ids=str)
def test_very_small_options_write_what_greedy_writes(options, tiny_model, draw_tokens):
    tokens = draw_tokens(2, 4, tiny_model)
    assert torch.equal(generate(tiny_model, tokens, 8, seed=1, **options), generate(tiny_model, tokens, 8))


def test_large_logits_at_a_low_temperature_do_not_overflow():
    logits = torch.tensor([[3e38, 1e38, -3e38]])
    assert draw(logits, 1e-3, None, None, None).item() == 0


@pytest.mark.parametrize("top_p", [0.3, 0.5, 0.9, 0.95])
def test_top_p_of_a_bfloat16_model_keeps_the_probability_asked_for(top_p):
    """Of 50,257 nearly equal tokens each has about 2e-5: in bfloat16 their sum stops growing long before p."""
    logits = (torch.randn(2, 50257, generator=torch.Generator().manual_seed(1)) * 0.5).bfloat16()
    kept = keep_likely(logits, 1.0, None, top_p)
    assert kept.dtype == torch.float32
    p = logits.double().softmax(dim=-1)
    mass = torch.where(kept > float("-inf"), p, 0).sum(dim=-1)
    assert ((mass >= top_p - 1e-5) & (mass <= top_p + 1e-3)).all(), mass


def test_temperature_of_a_half_precision_model_is_applied_in_float32():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    expected = (logits / 0.7).softmax(dim=-1)
    assert torch.allclose(keep_likely(logits.half(), 0.7, None, None).softmax(dim=-1), expected, atol=1e-6)


# ------------------------------------------------------------------------------- a vocabulary beyond the tokenizer's


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "seed": 3}, {"temperature": 1.0, "top_p": 0.9}], ids=str)
def test_tokens_that_the_tokenizer_does_not_know_are_never_written(options, draw_tokens):
    torch.manual_seed(0)
    model = GPT2(GPT2Config(vocab_size=100, n_positions=24, n_embd=24, n_layer=1, n_head=3)).eval()
    with torch.no_grad():
        model.wte.weight[90:] *= 20  # without a limit, these would be drawn most of the time
    tokens = torch.randint(90, (4, 3), generator=torch.Generator().manual_seed(0))
    free = generate(model, tokens, 20, **options)[:, 3:]
    limited = generate(model, tokens, 20, vocabulary=90, **options)[:, 3:]
    assert (free >= 90).any() and (limited < 90).all()


def test_a_prompt_beyond_the_models_vocabulary_is_refused_in_one_line(tiny_model):
    with pytest.raises(InputError, match="holds token 97, but the model knows only 97 tokens"):
        generate(tiny_model, torch.tensor([[3, 97]]))
