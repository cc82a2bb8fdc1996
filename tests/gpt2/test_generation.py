"""Generation: the cache changes nothing, each option does what its name says, and bad options are refused."""

import pytest
import torch
from torch import nn

from gpt2 import InputError, generate
from gpt2.classifier import add_classification_head
from gpt2.generation import ENDED, Timings, draw, stream

TOY = torch.tensor([0.1, 0.3, 0.05, 0.4, 0.15]).log()  # a next-token distribution that we know


def frequencies(temperature=1.0, top_k=None, top_p=None, logits=TOY, n=40_000):
    generator = torch.Generator().manual_seed(0)
    tokens = draw(logits.expand(n, -1), temperature, top_k, top_p, generator)
    assert tokens.shape == (n, 1)
    return torch.bincount(tokens[:, 0], minlength=len(logits)) / n


def close(measured, expected):
    """Within 5 standard deviations of 40,000 draws (0.0025 at most), and nothing drawn that has probability 0."""
    return torch.allclose(measured, expected, atol=0.0125) and not measured[expected == 0].any()


# ------------------------------------------------------------------------------------------------- greedy, the cache


@pytest.mark.parametrize("time", [1, 2, 9, 23, 24])
def test_greedy_is_the_same_with_and_without_cache(tiny_model, draw_tokens, time):
    prompts = draw_tokens(3, time, tiny_model)
    cached = generate(tiny_model, prompts, max_new_tokens=12)
    assert torch.equal(cached, generate(tiny_model, prompts, max_new_tokens=12, use_cache=False))
    assert torch.equal(cached[:, :time], prompts)
    for row in range(3):  # and each row the same as alone
        assert torch.equal(cached[row : row + 1], generate(tiny_model, prompts[row : row + 1], max_new_tokens=12))


@torch.no_grad()
def test_greedy_takes_the_likeliest_token_each_time(tiny_model, draw_tokens):
    tokens = draw_tokens(2, 4, tiny_model)
    written = generate(tiny_model, tokens, max_new_tokens=6)
    assert written.shape == (2, 10)
    for t in range(4, 10):
        assert torch.equal(written[:, t], tiny_model(written[:, :t])[:, -1].argmax(dim=-1))


@torch.no_grad()
def test_greedy_equals_transformers(pair, draw_tokens):
    theirs, ours = pair
    tokens = draw_tokens(2, 5, ours)
    theirs.generation_config.eos_token_id = None
    expected = theirs.generate(tokens, max_new_tokens=8, do_sample=False, pad_token_id=0)
    assert torch.equal(generate(ours, tokens, max_new_tokens=8), expected)


def test_with_cache_each_step_reads_one_token(tiny_model, draw_tokens, monkeypatch):
    read = []
    embed = tiny_model.embed
    monkeypatch.setattr(tiny_model, "embed", lambda tokens, *rest: read.append(tokens.size(1)) or embed(tokens, *rest))
    generate(tiny_model, draw_tokens(2, 4, tiny_model), max_new_tokens=3)
    generate(tiny_model, draw_tokens(2, 4, tiny_model), max_new_tokens=3, use_cache=False)
    assert read == [4, 1, 1] + [4, 5, 6]


def test_stream_yields_the_tokens_that_generate_returns(tiny_model, draw_tokens):
    tokens = draw_tokens(3, 4, tiny_model)
    steps = list(stream(tiny_model, tokens, 5, temperature=1.0, seed=7))
    assert [step.shape for step in steps] == [(3, 1)] * 5
    assert torch.equal(torch.cat([tokens, *steps], dim=1), generate(tiny_model, tokens, 5, temperature=1.0, seed=7))


def test_end_of_the_context_ends_the_text(tiny_model, draw_tokens):
    for use_cache in (True, False):
        tokens = draw_tokens(2, 20, tiny_model)
        assert generate(tiny_model, tokens, 100, use_cache=use_cache).shape == (2, 25)  # the 25th is never read
        assert generate(tiny_model, tokens, 4, use_cache=use_cache).shape == (2, 24)


def test_mode_of_the_model_is_restored_and_dropout_is_off(tiny_config, draw_tokens):
    from dataclasses import replace

    from gpt2 import GPT2

    model = GPT2(replace(tiny_config, dropout=0.5)).train()
    tokens = draw_tokens(2, 4, model)
    first, second = generate(model, tokens, 8), generate(model, tokens, 8)
    assert torch.equal(first, second)
    assert model.training and model.h[0].training
    next(stream(model, tokens))  # left after one token
    assert model.training
    assert not first.requires_grad


# ------------------------------------------------------------------------------------------------------ temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_draws_from_the_softmax_of_logits_over_temperature(temperature):
    assert close(frequencies(temperature), (TOY / temperature).softmax(dim=0))


def test_rows_are_drawn_each_from_their_own_distribution():
    logits = torch.full((4, 4), float("-inf")).fill_diagonal_(0)
    assert draw(logits, 1.0, None, None, None)[:, 0].tolist() == [0, 1, 2, 3]
    assert draw(logits, 0, None, None, None)[:, 0].tolist() == [0, 1, 2, 3]


def test_low_temperature_approaches_greedy(tiny_model, draw_tokens):
    tokens = draw_tokens(3, 4, tiny_model)
    expected = generate(tiny_model, tokens, 10)
    assert torch.equal(generate(tiny_model, tokens, 10, temperature=1e-4, seed=0), expected)
    assert not torch.equal(generate(tiny_model, tokens, 10, temperature=1.0, seed=0), expected)


# ----------------------------------------------------------------------------------------------------- top-k, top-p


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-6}, {"top_k": 5, "top_p": 1e-6}])
def test_keeping_one_token_equals_greedy(tiny_model, draw_tokens, options):
    tokens = draw_tokens(3, 4, tiny_model)
    written = generate(tiny_model, tokens, 10, temperature=2.0, seed=0, **options)
    assert torch.equal(written, generate(tiny_model, tokens, 10))


@pytest.mark.parametrize(
    ("top_k", "kept"), [(1, [3]), (2, [1, 3]), (3, [1, 3, 4]), (5, [0, 1, 2, 3, 4]), (99, [0, 1, 2, 3, 4])]
)
def test_top_k_keeps_the_k_likeliest_in_proportion(top_k, kept):
    expected = torch.zeros(5)
    expected[kept] = TOY.exp()[kept] / TOY.exp()[kept].sum()
    assert close(frequencies(top_k=top_k), expected)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (0.01, [3]),
        (0.39, [3]),  # the best alone has 0.40
        (0.41, [1, 3]),
        (0.69, [1, 3]),  # the two best have 0.70
        (0.71, [1, 3, 4]),
        (0.96, [0, 1, 2, 3, 4]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_probability_p(top_p, kept):
    expected = torch.zeros(5)
    expected[kept] = TOY.exp()[kept] / TOY.exp()[kept].sum()
    assert close(frequencies(top_p=top_p), expected)


def test_top_p_counts_probabilities_after_temperature_and_top_k():
    # At temperature 0.5 the probabilities are squared: 0.561 for the best. Among the best two, 0.64 and 0.36.
    assert close(frequencies(0.5, top_p=0.5), torch.tensor([0.0, 0, 0, 1, 0]))
    assert close(frequencies(0.5, top_k=2, top_p=0.6), torch.tensor([0.0, 0, 0, 1, 0]))
    assert close(frequencies(0.5, top_k=2, top_p=0.65), torch.tensor([0.0, 0.36, 0, 0.64, 0]))


@torch.no_grad()
def test_drawn_tokens_are_always_among_those_kept(tiny_model, draw_tokens):
    tokens = draw_tokens(3, 4, tiny_model)
    for seed in range(5):
        written = generate(tiny_model, tokens, 15, temperature=3.0, top_k=3, seed=seed)
        logits = tiny_model(written[:, :-1])[:, 3:]  # what each new token was drawn from
        allowed = logits.topk(3).indices
        assert (allowed == written[:, 4:, None]).any(dim=-1).all()


# ----------------------------------------------------------------------------------------------------- seed and stop


def test_seed_makes_the_draw_repeatable_and_leaves_the_global_one_alone(tiny_model, draw_tokens):
    tokens = draw_tokens(2, 4, tiny_model)
    state = torch.get_rng_state()
    first = generate(tiny_model, tokens, 15, temperature=1.5, seed=1)
    assert torch.equal(generate(tiny_model, tokens, 15, temperature=1.5, seed=1), first)
    assert torch.equal(generate(tiny_model, tokens, 15, temperature=1.5, seed=1, use_cache=False), first)
    assert not torch.equal(generate(tiny_model, tokens, 15, temperature=1.5, seed=2), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(*(generate(tiny_model, tokens, 15, temperature=1.5) for _ in range(2)))


class Script(nn.Module):
    """Stands in for the head: makes row b of the batch write the b-th line, one token after the other."""

    def __init__(self, lines, tied):
        super().__init__()
        self.lines, self.step, self.tied = lines, 0, tied

    def forward(self, h):
        logits = torch.zeros(len(self.lines), 10)
        for row, line in enumerate(self.lines):
            logits[row, line[self.step]] = 1
        self.step += 1
        return logits


@pytest.mark.parametrize("use_cache", [True, False])
def test_stop_token_ends_each_row_by_itself_and_the_text_with_the_last(tiny_model, use_cache):
    lines = [[1, 9, 3, 4, 5, 6], [2, 3, 4, 9, 6, 7], [9, 1, 2, 3, 4, 5]]
    tiny_model.lm_head = Script(lines, tied=tiny_model.wte.weight)
    written = generate(tiny_model, torch.zeros(3, 2, dtype=torch.long), 6, stop_token=9, use_cache=use_cache)
    assert written[:, 2:].tolist() == [[1, 9, 9, 9], [2, 3, 4, 9], [9, 9, 9, 9]]


@pytest.mark.parametrize("use_cache", [True, False])
def test_rows_of_different_lengths_stop_each_by_itself(tiny_model, draw_tokens, use_cache):
    tokens, lengths = draw_tokens(3, 6, tiny_model), [2, 6, 3]
    free = generate(tiny_model, tokens, 10, lengths=lengths)
    stop = int(free[1][6 + 4])  # the fifth token that the second row writes
    rows = generate(tiny_model, tokens, 10, lengths=lengths, stop_token=stop, use_cache=use_cache)
    for n, row, whole in zip(lengths, rows, free, strict=True):
        new = whole[n:].tolist()
        end = new.index(stop) + 1 if stop in new else 10
        assert row.tolist() == whole[: n + end].tolist(), "up to the stop token, and with it"
    assert len(rows[1]) <= 11


def test_stream_marks_rows_that_have_ended(tiny_model):
    lines = [[1, 9, 3, 4, 5], [2, 3, 4, 9, 6], [1, 2, 3, 4, 5]]
    tokens = torch.zeros(3, 23, dtype=torch.long)
    tiny_model.lm_head = Script(lines, tied=tiny_model.wte.weight)
    steps = stream(tiny_model, tokens, 5, lengths=[2, 3, 23], stop_token=9)
    expected = [[1, 9, ENDED, ENDED], [2, 3, 4, 9], [1, 2, ENDED, ENDED]]  # the third: at the end of the context
    assert torch.cat(list(steps), dim=1).tolist() == expected
    tiny_model.lm_head.step = 0
    rows = generate(tiny_model, tokens, 5, lengths=[2, 3, 23], stop_token=9)
    assert [row[n:].tolist() for row, n in zip(rows, [2, 3, 23], strict=True)] == [[1, 9], [2, 3, 4, 9], [1, 2]]


def test_without_stop_token_nothing_stops(tiny_model):
    lines = [[9, 9, 9]]
    tiny_model.lm_head = Script(lines, tied=tiny_model.wte.weight)
    assert generate(tiny_model, torch.zeros(1, 2, dtype=torch.long), 3)[:, 2:].tolist() == lines


def test_stop_token_in_the_prompt_does_not_stop(tiny_model, draw_tokens):
    tokens = draw_tokens(1, 4, tiny_model)
    written = generate(tiny_model, tokens, 3)
    stop = next(token for token in range(97) if token not in written[0, 4:])
    tokens = torch.full((1, 4), stop)
    assert generate(tiny_model, tokens, 1, stop_token=stop).shape == (1, 5)


# ------------------------------------------------------------------------------------------------------------- speed


@pytest.mark.parametrize("lengths, read", [(None, 27), ([2, 9, 5], 16)])
def test_timings_count_real_tokens_and_the_models_time_only(tiny_model, draw_tokens, lengths, read):
    tokens, timings = draw_tokens(3, 9, tiny_model), Timings()
    generate(tiny_model, tokens, 5, lengths=lengths, timings=timings)
    assert (timings.prefill_tokens, timings.decode_tokens) == (read, 3 * 4)  # the first new token is prefill's
    assert timings.prefill_seconds > 0 and timings.decode_seconds > 0
    generate(tiny_model, tokens, 1, lengths=lengths, timings=timings)
    assert (timings.prefill_tokens, timings.decode_tokens) == (2 * read, 3 * 4)


def test_timings_leave_out_rows_that_have_ended_and_the_callers_own_time(tiny_model, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("gpt2.generation.perf_counter", lambda: clock[0])
    tiny_model.lm_head = Script([[1, 9, 3, 4], [2, 3, 4, 9]], tied=tiny_model.wte.weight)
    timings, tokens = Timings(), torch.zeros(2, 5, dtype=torch.long)
    steps = stream(tiny_model, tokens, 4, lengths=[2, 5], stop_token=9)
    tiny_model.lm_head.register_forward_hook(lambda *_: clock.__setitem__(0, clock[0] + 1))  # a step takes a second
    for _ in timings.watch(steps, 7, tokens.device):
        clock[0] += 100  # the caller needs longer
    assert (timings.prefill_tokens, timings.prefill_seconds) == (7, 1)
    assert (timings.decode_tokens, timings.decode_seconds) == (1 + 3, 3)


def test_timings_as_a_person_reads_them():
    assert str(Timings(120, 0.05, 1249, 0.5)) == (
        "prefill 120 tokens in 0.050 s (2,400 tokens/s), decode 1,249 tokens in 0.500 s (2,498 tokens/s)"
    )
    assert str(Timings(3, 0.5)) == "prefill 3 tokens in 0.500 s (6 tokens/s)"


# ------------------------------------------------------------------------------------------------------- bad options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": -3}, "max_new_tokens is -3"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": float("nan")}, "top_p is nan"),
    ],
)
def test_bad_option_is_named(tiny_model, draw_tokens, options, message):
    with pytest.raises(InputError, match=message):
        generate(tiny_model, draw_tokens(1, 3, tiny_model), **options)


def test_empty_or_too_long_prompt_is_refused(tiny_model, draw_tokens):
    for tokens in (torch.zeros(1, 0, dtype=torch.long), torch.zeros(5, dtype=torch.long)):
        with pytest.raises(InputError, match="at least one token"):
            generate(tiny_model, tokens)
    with pytest.raises(InputError, match="25 tokens, more than the context of 24"):
        generate(tiny_model, draw_tokens(1, 25, tiny_model))


def test_classifier_cannot_write(tiny_model, draw_tokens):
    add_classification_head(tiny_model)
    with pytest.raises(InputError, match="this model is a classifier"):
        generate(tiny_model, draw_tokens(1, 3, tiny_model))
