"""Prompts of different lengths in one batch: each row is written as if it were alone."""

import pytest
import torch

from gpt2 import InputError, generate
from gpt2.generation import stream

LENGTHS = [[2, 9, 5], [1, 24, 23], [20, 1, 3], [7, 7, 7]]  # the second and third reach the end of the context


class Logits:
    """Keeps what the head says at each step: (B, V)."""

    def __init__(self, model):
        self.steps = []
        model.lm_head.register_forward_hook(lambda head, inputs, logits: self.steps.append(logits))

    def take(self):
        steps, self.steps = torch.stack(self.steps), []
        return steps  # (number of steps, B, V)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_each_row_is_written_as_if_it_were_alone(tiny_model, draw_tokens, lengths, use_cache):
    tokens, logits = draw_tokens(3, max(lengths) + 2, tiny_model), Logits(tiny_model)  # wider than the longest
    written = generate(tiny_model, tokens, 12, lengths=torch.tensor(lengths), use_cache=use_cache)
    together = logits.take()
    for row, n in enumerate(lengths):
        alone = generate(tiny_model, tokens[row : row + 1, :n], 12, use_cache=use_cache)[0]
        assert len(alone) == min(n + 12, 25), "a short row has room when a long one has none left"
        assert torch.equal(written[row], alone)
        expected = logits.take()[:, 0]
        torch.testing.assert_close(together[: len(expected), row], expected, atol=1e-5, rtol=0)


def test_padding_does_not_matter(tiny_model, draw_tokens):
    tokens, lengths = draw_tokens(3, 9, tiny_model), [2, 9, 5]
    expected = generate(tiny_model, tokens, 8, lengths=lengths)
    for padding in (0, 96):
        tokens[0, 2:], tokens[2, 5:] = padding, padding
        again = generate(tiny_model, tokens, 8, lengths=torch.tensor(lengths, dtype=torch.int32))
        assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))


def test_equal_lengths_need_no_mask_and_give_what_no_lengths_give(tiny_model, draw_tokens, monkeypatch):
    tokens, caches = draw_tokens(3, 6, tiny_model), keep_caches(tiny_model, monkeypatch)
    rows = generate(tiny_model, tokens, 8, lengths=[4, 4, 4], temperature=1.0, seed=3)
    assert torch.equal(torch.stack(rows), generate(tiny_model, tokens[:, :4], 8, temperature=1.0, seed=3))
    assert all(cache.padding is None for cache in caches)


def test_seed_repeats_a_batch_of_different_lengths(tiny_model, draw_tokens):
    tokens, options = draw_tokens(3, 9, tiny_model), {"lengths": [2, 9, 5], "temperature": 1.5}
    first = generate(tiny_model, tokens, 12, seed=1, **options)
    for other in ({"seed": 1}, {"seed": 1, "use_cache": False}):
        again = generate(tiny_model, tokens, 12, **options, **other)
        assert all(torch.equal(a, b) for a, b in zip(again, first, strict=True))
    again = generate(tiny_model, tokens, 12, seed=2, **options)
    assert not all(torch.equal(a, b) for a, b in zip(again, first, strict=True))


def test_callers_tokens_and_lengths_are_left_alone(tiny_model, draw_tokens):
    tokens, lengths = draw_tokens(2, 6, tiny_model), torch.tensor([3, 6])
    before = tokens.clone(), lengths.clone()
    for use_cache in (True, False):
        generate(tiny_model, tokens, 5, lengths=lengths, use_cache=use_cache)
    assert torch.equal(tokens, before[0]) and torch.equal(lengths, before[1])


def keep_caches(model, monkeypatch):
    caches, new_cache = [], model.new_cache
    monkeypatch.setattr(model, "new_cache", lambda *sizes: caches.append(new_cache(*sizes)) or caches[-1])
    return caches


@pytest.mark.parametrize("new, positions", [(1, 9), (6, 14), (100, 24)])
@pytest.mark.parametrize("lengths", [None, [2, 9, 5]])
def test_cache_is_allocated_once_and_no_larger_than_needed(
    tiny_model, draw_tokens, monkeypatch, new, positions, lengths
):
    caches = keep_caches(tiny_model, monkeypatch)
    buffers = set()
    for _ in stream(tiny_model, draw_tokens(3, 9, tiny_model), new, lengths=lengths):
        buffers |= {kept.data_ptr() for kept in (*caches[0].k.values(), *caches[0].v.values())}
    assert len(caches) == 1 and len(buffers) == 2 * len(tiny_model.h)
    assert {kept.shape for kept in (*caches[0].k.values(), *caches[0].v.values())} == {
        (3, 3, positions, 8)
    }  # the last token drawn is never read


@pytest.mark.parametrize(
    "lengths, message",
    [
        ([2], "lengths is [2], expected a whole number for each of the 3 prompts"),
        ([[2, 3, 4]], "lengths is [[2, 3, 4]], expected a whole number for each"),
        ([2.0, 3.0, 4.0], "lengths is [2.0, 3.0, 4.0], expected a whole number for each"),
        ([2, 0, 4], "prompt 2 has 0 tokens, expected at least 1"),
        ([2, 3, -4], "prompt 3 has -4 tokens, expected at least 1"),
        ([2, 3, 27], "lengths says that prompt 3 has 27 tokens, but tokens has only 26 columns"),
        ([2, 25, 4], "prompt 2 has 25 tokens, more than the context of 24; shorten it"),
    ],
)
def test_wrong_lengths_get_one_line(tiny_model, draw_tokens, lengths, message):
    with pytest.raises(InputError) as error:
        generate(tiny_model, draw_tokens(3, 26, tiny_model), lengths=lengths)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_cache_of_texts_of_different_lengths_refuses_two_tokens_at_once(tiny_model):
    tokens, cache = torch.zeros(2, 5, dtype=torch.long), tiny_model.new_cache()
    tiny_model(tokens, cache)
    cache.padding = torch.tensor([0, 2])
    with pytest.raises(InputError, match="by one token a call, not by 2"):
        tiny_model(tokens[:, :2], cache)
