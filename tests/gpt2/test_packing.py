"""Packed batches and the frozen-feature cache: the same logits and gradients as a padded batch in which every position
is computed, with the work left out that they say they leave out."""

import pytest
import torch
from torch import nn

from gpt2 import InputError
from gpt2.classifier import add_classification_head, classify
from gpt2.layout import Layout
from gpt2.model import GPT2, attention_weights, plain_attention
from gpt2.training.frozen_features import FrozenFeatureCache, choose_batching, frozen_blocks

LENGTHS = torch.tensor([3, 9, 1, 6])


@pytest.fixture
def classifier(tiny_model):
    torch.manual_seed(1)
    return add_classification_head(tiny_model, 3)


@pytest.fixture
def tokens():
    return torch.randint(97, (4, 11), generator=torch.Generator().manual_seed(5))


def every_position(model: GPT2, tokens, lengths, pooling="last"):
    """Class logits without a layout: every position of every block, then one is picked."""
    h = model.lm_head(model.hidden_states(tokens, lengths))  # (B, T, classes)
    if pooling == "mean":
        return torch.stack([message[:n].mean(dim=0) for message, n in zip(h, lengths.tolist(), strict=True)])
    read = {"last": lengths - 1, "last-position": torch.full_like(lengths, tokens.size(1) - 1), "first": 0 * lengths}
    return h[torch.arange(len(tokens)), read[pooling]]


def positions_seen(layer: nn.Module) -> list[int]:
    """How many positions go into ``layer``, one number a call."""
    seen = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel() // inputs[0].size(-1)))
    return seen


def freeze_below(classifier, block=1):
    for module in (classifier.wte, classifier.wpe, *classifier.h[:block]):
        module.requires_grad_(False)


def test_packing_keeps_the_real_positions_in_order():
    layout, x = Layout.packed(torch.tensor([1, 3]), width=3), torch.arange(12).view(2, 3, 2)
    packed = layout.everywhere().pack(x)
    assert packed.tolist() == [[[0, 1], [6, 7], [8, 9], [10, 11]]]
    assert torch.equal(layout.read(packed), x[[0, 1], [0, 2]][:, None])
    rows = layout.unpack(packed)
    assert torch.equal(rows[1], x[1]) and torch.equal(rows[0], x[0, [0, 0, 0]])


@pytest.mark.parametrize("pooling", ["last", "last-position", "first", "mean"])
@pytest.mark.parametrize("train", ["everything", "last block", "head"])
def test_logits_and_gradients_equal_those_of_every_position(classifier, tokens, pooling, train):
    classifier.double().requires_grad_(train == "everything")
    classifier.h[-1].requires_grad_(train != "head")
    classifier.lm_head.requires_grad_(True)
    features = FrozenFeatureCache(classifier) if pooling.startswith("last") and train != "everything" else None
    ways = [(every_position, ()), (classify, ("padded",)), (classify, ("packed",))]
    ways += 2 * [(classify, ("packed", features))]  # the second time from what was kept
    results = []
    for function, how in ways:
        classifier.zero_grad(set_to_none=True)
        logits = function(classifier, tokens, LENGTHS, pooling, *how)
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in classifier.parameters() if p.requires_grad)])
    for ours in results[1:]:
        for one, other in zip(ours, results[0], strict=True):
            torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


def test_nothing_is_computed_for_padding_and_one_position_a_message_at_the_end(classifier, tokens):
    middle, keys = positions_seen(classifier.h[0].mlp.fc_in), positions_seen(classifier.h[1].attn.k_proj)
    last, head = positions_seen(classifier.h[1].mlp.fc_in), positions_seen(classifier.lm_head)
    classify(classifier, tokens, LENGTHS, batching="packed")
    assert (middle, keys, last, head) == ([19], [19], [4], [4])
    classify(classifier, tokens, LENGTHS)
    assert (middle[1:], keys[1:], last[1:], head[1:]) == ([44], [44], [4], [4])


@pytest.mark.parametrize("lengths", [[0, 9, 1, 6], [3, 12, 1, 6], [-1, 2, 2, 2]])
@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_a_length_out_of_range_gets_one_line(classifier, tokens, lengths, batching):
    with pytest.raises(InputError, match=r"lengths go from .* expected 1 to 11"):
        classify(classifier, tokens, torch.tensor(lengths), batching=batching)


@pytest.mark.parametrize("lengths", [[2, 3], [], [[2, 3, 1, 6]], [2.0, 3.0, 1.0, 6.0]])
@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_lengths_that_are_not_one_whole_number_a_message_get_one_line(classifier, tokens, lengths, batching):
    with pytest.raises(InputError, match="expected a whole number for each message"):
        classify(classifier, tokens, torch.tensor(lengths), batching=batching)


@torch.no_grad()
@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_the_written_formula_runs_in_the_real_model_and_hands_out_its_weights(classifier, tokens, batching):
    seen = []

    def attend(q, k, v, mask, dropout):
        seen.append(attention_weights(q, k, mask))
        return plain_attention(q, k, v, mask, dropout)

    expected = classifier.hidden_states(tokens)
    torch.testing.assert_close(classifier.hidden_states(tokens, layout=Layout(attend=attend)), expected)
    assert len(seen) == 2 and seen[0].shape == (4, 3, 11, 11)
    torch.testing.assert_close(seen[0].sum(dim=-1), torch.ones(4, 3, 11))


def test_frozen_blocks_run_once_a_message(classifier, tokens):
    freeze_below(classifier)
    below, above = positions_seen(classifier.h[0].mlp.fc_in), positions_seen(classifier.h[1].attn.k_proj)
    features = FrozenFeatureCache(classifier)
    assert features.blocks == 1
    first = classify(classifier, tokens, LENGTHS, "last", "packed", features)
    wider = torch.cat([tokens.flip(0), torch.zeros(4, 3, dtype=torch.long)], dim=1)  # other order, more padding
    again = classify(classifier, wider, LENGTHS.flip(0), "last", "packed", features).flip(0)
    torch.testing.assert_close(first, again, atol=1e-6, rtol=0)  # a product may round by where its rows stand
    assert (below, above) == ([19], [19, 19])

    twice = torch.cat([tokens[:1], tokens[:1]])  # a message that stands twice in a batch is computed once
    one, other = classify(classifier, twice, LENGTHS[[0, 0]], "last", "packed", FrozenFeatureCache(classifier))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert below[-1] == 3


def test_a_change_above_the_frozen_blocks_counts_at_once(classifier, tokens):
    freeze_below(classifier)
    features = FrozenFeatureCache(classifier)
    before = classify(classifier, tokens, LENGTHS, "last", "packed", features)
    with torch.no_grad():
        classifier.h[1].mlp.fc_in.weight.mul_(1.5)
    after = classify(classifier, tokens, LENGTHS, "last", "packed", features)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after, classify(classifier, tokens, LENGTHS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frozen", ["block", "all"])
def test_what_is_kept_stays_within_its_room(classifier, tokens, frozen):
    classifier.requires_grad_(False)
    classifier.h[1].requires_grad_(frozen == "block")
    vector = 24 * 4  # bytes
    features = FrozenFeatureCache(classifier, memory_mb=10 * vector / 1e6)  # messages of 3, 1, 6 tokens, but not of 9
    for _ in range(2):
        logits = classify(classifier, tokens, LENGTHS, "last", "packed", features)
        torch.testing.assert_close(logits, classify(classifier, tokens, LENGTHS), atol=1e-5, rtol=1e-5)
    kept = sum(x.untyped_storage().nbytes() for x in features.kept.values())
    assert kept == (10 if frozen == "block" else 4) * vector and features.room == 10 * vector - kept


def test_which_blocks_are_frozen(classifier):
    assert frozen_blocks(classifier) == 0  # everything trains
    classifier.requires_grad_(False)
    assert frozen_blocks(classifier) == 2
    classifier.h[1].attn.q_proj.bias.requires_grad_(True)
    assert frozen_blocks(classifier) == 1
    classifier.wpe.weight.requires_grad_(True)
    assert frozen_blocks(classifier) == 0


def test_with_dropout_nothing_is_kept(classifier):
    classifier.requires_grad_(False)
    classifier.config = type(classifier.config)(**{**vars(classifier.config), "dropout": 0.1})
    assert frozen_blocks(classifier) == 0


def test_checkpointing_changes_memory_but_no_gradient(classifier, tokens):
    gradients, saved = [], []
    for checkpointing in (False, True):
        count = [0]

        def note(tensor, count=count):
            count[0] += tensor.numel()
            return tensor

        classifier.zero_grad(set_to_none=True)
        classifier.checkpointing = checkpointing
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            logits = classify(classifier, tokens, LENGTHS, batching="packed")
        saved.append(count[0])
        logits.square().sum().backward()
        gradients.append([p.grad for p in classifier.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert saved[1] < 0.3 * saved[0]


class OneBatch:
    """All messages in one batch, whatever its size."""

    def __init__(self, tokens, lengths):
        self.tokens, self.lengths, self.labels = tokens, lengths, torch.zeros(len(tokens), dtype=torch.long)

    def by_length(self, size):
        yield list(range(len(self.tokens))), (self.tokens, self.lengths, self.labels)


def test_a_cache_that_was_filled_ahead_computes_nothing_again(classifier, tokens):
    freeze_below(classifier)
    batches, cpu = OneBatch(tokens, LENGTHS), torch.device("cpu")
    below, features = positions_seen(classifier.h[0].mlp.fc_in), FrozenFeatureCache(classifier)
    assert features.fill(classifier, batches, cpu) > 0
    assert below == [19]
    logits = classify(classifier, tokens, LENGTHS, "last", "packed", features)
    assert below == [19]
    torch.testing.assert_close(logits, classify(classifier, tokens, LENGTHS), atol=1e-5, rtol=1e-5)

    full = FrozenFeatureCache(classifier, memory_mb=3 * 24 * 4 / 1e6)  # room for the message of three tokens
    full.fill(classifier, batches, cpu)
    assert full.full and [len(x) for x in full.kept.values()] == [3]


@pytest.mark.parametrize(
    "frozen, device, pooling, batching, expected",
    [
        (0, "cpu", "last", None, ("packed", False)),
        (1, "cpu", "last", None, ("packed", True)),
        (1, "cpu", "mean", None, ("packed", False)),  # every position is read: nothing can be left out
        (1, "cpu", "last", "padded", ("padded", False)),
        (0, "cuda", "last", None, ("padded", False)),
        (1, "cuda", "last-position", None, ("packed", True)),
    ],
)
def test_what_costs_least_is_chosen(classifier, frozen, device, pooling, batching, expected):
    if frozen:
        freeze_below(classifier)
    batching, features = choose_batching(classifier, torch.device(device), pooling, batching)
    assert (batching, features is not None) == expected
