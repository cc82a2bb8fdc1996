"""Beam search: equal to transformers' ``generate``; prompts of different lengths as if each were alone."""

import itertools
from pathlib import Path

import pytest
import torch

import gpt2
from gpt2 import InputError, generate, get_tokenizer, load_gpt2
from gpt2.beams import Search, beam_search, forbidden
from gpt2.checkpoints.weights import save_gpt2

FULL_STOP = 13  # a stop token that comes soon
TEXTS = ("The old house was", "She said that he")


@pytest.fixture(scope="module", params=["practice", "random:practice"])
def pair(request, tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder, model = tmp_path_factory.mktemp("model"), load_gpt2(request.param)
    save_gpt2(model, folder)
    return model, transformers.GPT2LMHeadModel.from_pretrained(folder).eval()


def prompts() -> torch.Tensor:
    return torch.tensor([get_tokenizer().encode(text) for text in TEXTS])


@pytest.mark.slow
@pytest.mark.parametrize("num_beams", [2, 4, 10])
def test_token_by_token_as_transformers(pair, num_beams):
    model, library = pair
    tokens = prompts()
    cases = [*itertools.product((0.0, 1.0), (True, "never"), (0, 2)), (2.0, False, 3), (-1.0, "never", 0)]
    for length_penalty, early_stopping, ngram in cases:
        settings = {"num_beams": num_beams, "length_penalty": length_penalty, "early_stopping": early_stopping}
        settings["no_repeat_ngram_size"] = ngram
        found = beam_search(model, tokens, 16, **settings, stop_token=FULL_STOP)
        expected = library.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=FULL_STOP,
            pad_token_id=FULL_STOP,
            **settings,
        )
        assert found.tolist() == expected.tolist(), settings


def test_one_beam_is_greedy(pair):
    model, tokens = pair[0], prompts()
    assert beam_search(model, tokens, 12, num_beams=1).equal(generate(model, tokens, 12))


def test_prompts_of_different_lengths_are_as_if_alone(pair):
    model, encode = pair[0], get_tokenizer().encode
    rows = [torch.tensor(encode(text)) for text in ("The", "In the garden of the old house there was a", "She said")]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=7)
    together = beam_search(model, tokens, 10, stop_token=FULL_STOP, lengths=[len(row) for row in rows])
    for row, found in zip(rows, together, strict=True):
        alone = beam_search(model, row[None], 10, stop_token=FULL_STOP)[0]
        assert found.tolist() == alone.tolist()


@pytest.mark.parametrize(
    "method, options", [("lora", {}), ("prefix", {"virtual_tokens": 2}), ("prompt", {"virtual_tokens": 2})]
)
def test_with_a_method_in_the_model(method, options, tiny_model):
    import peft

    peft.apply(tiny_model, method, **options)
    tokens = torch.randint(0, 100, (2, 5), generator=torch.Generator().manual_seed(1))
    assert beam_search(tiny_model, tokens, 6, num_beams=1, stop_token=0).equal(
        generate(tiny_model, tokens, 6, stop_token=0)
    )
    assert beam_search(tiny_model, tokens, 6, num_beams=3, stop_token=0).shape[1] <= 11


def test_the_best_of_all_texts_is_found_when_nothing_is_dropped(tiny_model):
    """With as many beams as there are texts, beam search is exhaustive search."""
    prompt, vocabulary, new = torch.tensor([[3, 1]]), 4, 3
    found = beam_search(tiny_model, prompt, new, vocabulary**new, 0.0, stop_token=99, vocabulary=vocabulary)

    def total(text: tuple[int, ...]) -> float:
        tokens = torch.tensor([[3, 1, *text]])
        with torch.no_grad():
            log_probs = tiny_model(tokens)[0, 1:-1, :vocabulary].log_softmax(dim=-1)
        return log_probs[range(new), list(text)].sum().item()

    assert found[0, 2:].tolist() == list(max(itertools.product(range(vocabulary), repeat=new), key=total))


def test_tokens_that_would_repeat():
    assert forbidden([5, 6, 7, 5, 6], 3) == [7] and forbidden([5, 6, 7], 1) == [5, 6, 7]
    assert (
        beam_search(load_gpt2("practice"), torch.tensor([[9, 8]]), 2, no_repeat_ngram_size=1, vocabulary=5).max() == 9
    )
    assert forbidden([5], 2) == [] and forbidden([5, 6, 5, 6], 0) == []


def test_a_longer_text_wins_with_a_larger_penalty():
    """Scores by hand: -2 for the short text, -3 for the one twice as long."""
    for penalty, better in ((0.0, [9]), (1.0, [1, 9])):
        search = Search([1], 2, 2, penalty, "never")
        scores = torch.full((1, 10), -50.0)
        scores[0, 9], scores[0, 1] = -2.0, -1.5
        search.step(scores, stop_token=9, no_repeat_ngram_size=0)
        scores = torch.full((len(search.texts), 10), -50.0)
        scores[search.texts.index([1]), 9] = -1.5
        search.step(scores, stop_token=9, no_repeat_ngram_size=0)
        assert search.best() == better


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": 100_000}, "num_beams is 100000, expected a whole number from 1 to 1000"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
        ({"early_stopping": "soon"}, "early_stopping is 'soon', expected True, False or 'never'"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"length_penalty": None}, "length_penalty is None"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_wrong_settings(settings, expected, tiny_model):
    with pytest.raises(InputError, match=expected):
        beam_search(tiny_model, torch.tensor([[1, 2]]), **settings)


def test_names_of_gpt2_are_no_modules():
    """``from gpt2 import beam_search`` must not find a file of that name instead of the function."""
    assert not [name for name in gpt2.HOMES if (Path(gpt2.__file__).parent / f"{name}.py").exists()]
