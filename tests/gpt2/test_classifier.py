"""Head surgery: a small untied head, read at one row of each message, whatever the padding."""

import math

import pytest
import torch
from torch import nn

from gpt2 import GPT2, InputError, load_gpt2
from gpt2.classifier import POOLINGS, add_classification_head, classify, has_classification_head
from gpt2.config import SIZES

PAD = 0


@pytest.fixture
def classifier(tiny_model):
    torch.manual_seed(0)
    return add_classification_head(tiny_model, num_classes=3)


@pytest.fixture
def batch(classifier, draw_tokens):
    """(tokens, lengths): four right-padded messages, one of a single token, one of full width."""
    tokens, lengths = draw_tokens(4, 12, classifier), torch.tensor([5, 1, 12, 9])
    tokens[torch.arange(12) >= lengths[:, None]] = PAD
    return tokens, lengths


# ------------------------------------------------------------------------------------------------------- the surgery


def test_head_is_a_new_untied_linear_layer(tiny_model):
    embedding = tiny_model.wte.weight.clone()
    assert not has_classification_head(tiny_model)
    returned = add_classification_head(tiny_model, num_classes=2)
    assert returned is tiny_model
    assert has_classification_head(tiny_model)
    assert type(tiny_model.lm_head) is nn.Linear
    assert tiny_model.lm_head.weight.shape == (2, 24) and tiny_model.lm_head.bias.shape == (2,)
    assert {"lm_head.weight", "lm_head.bias"} <= dict(tiny_model.named_parameters()).keys()
    nn.init.zeros_(tiny_model.lm_head.weight)
    assert torch.equal(tiny_model.wte.weight, embedding)


def test_published_parameter_count():
    with torch.device("meta"):
        model = add_classification_head(GPT2(SIZES["gpt2"]), 2)
    assert sum(p.numel() for p in model.parameters()) == 124_441_346
    assert sum(p.numel() for p in model.lm_head.parameters()) == 1_538


def test_head_starts_as_linear_layers_do_and_repeats_with_the_seed(tiny_config):
    def head(seed):
        torch.manual_seed(seed)
        model = GPT2(tiny_config)
        torch.manual_seed(seed)
        return add_classification_head(model, 50).lm_head

    assert torch.equal(head(1).weight, head(1).weight)
    assert not torch.equal(head(1).weight, head(2).weight)
    assert 0.95 / math.sqrt(24) < head(1).weight.abs().max() <= 1 / math.sqrt(24)


def test_whole_model_gives_class_logits_for_every_token(classifier, batch):
    tokens, _ = batch
    logits = classifier(tokens)
    assert logits.shape == (4, 12, 3)
    torch.testing.assert_close(logits, classifier.lm_head(classifier.hidden_states(tokens)))


@pytest.mark.parametrize("num_classes", [1, 0, -1])
def test_fewer_than_two_classes_are_refused(tiny_model, num_classes):
    with pytest.raises(InputError, match=f"num_classes is {num_classes}, expected a whole number of at least 2"):
        add_classification_head(tiny_model, num_classes)


# -------------------------------------------------------------------------------------------------- where it is read


@torch.no_grad()
def test_last_is_the_row_of_the_last_real_token(classifier, batch):
    tokens, lengths = batch
    expected = torch.stack([classifier(tokens)[row, length - 1] for row, length in enumerate(lengths)])
    torch.testing.assert_close(classify(classifier, tokens, lengths), expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_last_position_is_the_row_that_the_walk_through_reads(classifier, batch):
    tokens, lengths = batch
    logits = classify(classifier, tokens, lengths, pooling="last-position")
    torch.testing.assert_close(logits, classifier(tokens)[:, -1], atol=1e-6, rtol=0)


@torch.no_grad()
def test_first_has_seen_the_first_token_only(classifier, batch):
    tokens, lengths = batch
    logits = classify(classifier, tokens, lengths, pooling="first")
    torch.testing.assert_close(logits, classifier(tokens)[:, 0], atol=1e-6, rtol=0)
    tokens[:, 1:] = 50
    torch.testing.assert_close(classify(classifier, tokens, lengths, pooling="first"), logits, atol=1e-6, rtol=0)


@torch.no_grad()
def test_mean_averages_the_real_tokens(classifier, batch):
    tokens, lengths = batch
    means = [classifier.hidden_states(tokens)[row, :n].mean(dim=0) for row, n in enumerate(lengths)]
    expected = classifier.lm_head(torch.stack(means))
    torch.testing.assert_close(classify(classifier, tokens, lengths, pooling="mean"), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_mean_positions_averages_padding_too(classifier, batch):
    tokens, lengths = batch[:2]
    expected = classifier.lm_head(classifier.hidden_states(tokens).mean(dim=1))
    given = classify(classifier, tokens, lengths, pooling="mean-positions")
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["last", "first", "mean"])
def test_logits_do_not_depend_on_padding(classifier, batch, pooling):
    tokens, lengths = batch
    expected = classify(classifier, tokens, lengths, pooling)
    assert (expected[0] - expected[3]).abs().max() > 0.01, "the messages can be told apart"
    for extra in (1, 5, 12):  # up to the full context of 24
        wider = torch.cat([tokens, torch.full((4, extra), PAD)], dim=1)
        torch.testing.assert_close(classify(classifier, wider, lengths, pooling), expected, atol=5e-6, rtol=0)
    for row, length in enumerate(lengths):  # and none at all
        alone = classify(classifier, tokens[row : row + 1, :length], lengths[row : row + 1], pooling)
        torch.testing.assert_close(alone, expected[row : row + 1], atol=5e-6, rtol=0)
    other = torch.where(torch.arange(12) < lengths[:, None], tokens, 77)
    torch.testing.assert_close(classify(classifier, other, lengths, pooling), expected, atol=5e-6, rtol=0)


@torch.no_grad()
def test_last_position_does_depend_on_padding(classifier, batch):
    """The flaw of the published recipe, kept for those who compare."""
    tokens, lengths = batch
    before = classify(classifier, tokens, lengths, "last-position")
    wider = torch.cat([tokens, torch.full((4, 3), PAD)], dim=1)
    assert (classify(classifier, wider, lengths, "last-position") - before).abs().max() > 0.01


def test_head_runs_on_one_vector_per_message(classifier, batch):
    shapes = []
    classifier.lm_head.register_forward_hook(lambda module, args, output: shapes.append(args[0].shape))
    for pooling in POOLINGS:
        assert classify(classifier, *batch, pooling).shape == (4, 3)
    assert shapes == [(4, 24)] * len(POOLINGS)


def test_unknown_pooling_is_named_with_the_choices(classifier, batch):
    with pytest.raises(InputError, match="unknown pooling 'max'; choose one of last, last-position, first, mean"):
        classify(classifier, *batch, pooling="max")


@torch.no_grad()
def test_equals_transformers_sequence_classification(hugging_face, tmp_path, draw_tokens):
    from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel

    shape = {"vocab_size": 97, "n_positions": 24, "n_embd": 32, "n_layer": 3, "n_head": 4}
    theirs = hugging_face(GPT2ForSequenceClassification, **shape, num_labels=3, pad_token_id=PAD)
    language_model = GPT2LMHeadModel(theirs.config)
    language_model.transformer.load_state_dict(theirs.transformer.state_dict())
    language_model.save_pretrained(tmp_path)
    ours = add_classification_head(load_gpt2(tmp_path), num_classes=3)
    ours.lm_head.weight.copy_(theirs.score.weight)
    ours.lm_head.bias.zero_()
    tokens, lengths = draw_tokens(4, 24, ours).clamp(min=1), torch.tensor([5, 1, 24, 9])
    tokens[torch.arange(24) >= lengths[:, None]] = PAD
    expected = theirs(tokens).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(classify(ours, tokens, lengths), expected, atol=1e-4, rtol=0)
