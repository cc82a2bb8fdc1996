"""The fast path: the same logits as the plain one, with the work left out that it says it leaves out."""

import pytest
import torch
from torch import nn

from gpt2.classifier import add_classification_head, classify
from gpt2.packing import FastClassify, frozen_blocks, pack

LENGTHS = torch.tensor([3, 9, 1, 6])


@pytest.fixture
def classifier(tiny_model):
    torch.manual_seed(1)
    return add_classification_head(tiny_model, 3)


@pytest.fixture
def tokens():
    return torch.randint(97, (4, 11), generator=torch.Generator().manual_seed(5))


def rows_seen(layer: nn.Module) -> list[int]:
    """How many rows go into ``layer``, one number a call."""
    seen = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel() // inputs[0].size(-1)))
    return seen


def test_packing_keeps_the_real_rows_in_order():
    x = torch.arange(12).view(2, 3, 2)
    assert torch.equal(pack(x, [1, 3]), torch.tensor([[0, 1], [6, 7], [8, 9], [10, 11]]))


@pytest.mark.parametrize("pooling", ["last", "last-position", "first", "mean"])
@pytest.mark.parametrize("train", ["everything", "last block", "head"])
def test_logits_and_gradients_are_those_of_the_plain_path(classifier, tokens, pooling, train):
    classifier.double().requires_grad_(train == "everything")
    classifier.h[-1].requires_grad_(train != "head")
    classifier.lm_head.requires_grad_(True)
    forward = FastClassify(classifier)
    results = []
    for how in (classify, forward, forward):  # the second time from what the trunk left
        classifier.zero_grad(set_to_none=True)
        logits = how(classifier, tokens, LENGTHS, pooling)
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in classifier.parameters() if p.requires_grad)])
    for fast in results[1:]:
        for ours, plain in zip(fast, results[0], strict=True):
            torch.testing.assert_close(ours, plain, atol=1e-10, rtol=1e-8)


def test_no_row_is_computed_for_padding_and_one_a_message_at_the_end(classifier, tokens):
    middle, keys = rows_seen(classifier.h[0].mlp.fc_in), rows_seen(classifier.h[1].attn.k_proj)
    last, head = rows_seen(classifier.h[1].mlp.fc_in), rows_seen(classifier.lm_head)
    FastClassify(classifier)(classifier, tokens, LENGTHS)
    assert (middle, keys, last, head) == ([19], [19], [4], [4])
    FastClassify(classifier)(classifier, tokens, LENGTHS, "last-position")
    assert (middle[1:], last[1:]) == ([44], [4])


def test_a_frozen_trunk_runs_once_a_message(classifier, tokens):
    classifier.h[0].requires_grad_(False)
    classifier.wte.requires_grad_(False)
    classifier.wpe.requires_grad_(False)
    below, above = rows_seen(classifier.h[0].mlp.fc_in), rows_seen(classifier.h[1].attn.k_proj)
    forward = FastClassify(classifier)
    assert forward.trunk == 1
    first = forward(classifier, tokens, LENGTHS)
    wider = torch.cat([tokens.flip(0), torch.zeros(4, 3, dtype=torch.long)], dim=1)  # other order, more padding
    again = forward(classifier, wider, LENGTHS.flip(0)).flip(0)
    torch.testing.assert_close(first, again, atol=1e-6, rtol=0)  # rows of a product may round by where they stand
    assert (below, above) == ([19], [19, 19])

    twice = torch.cat([tokens[:1], tokens[:1]])  # a message that stands twice in a batch is computed once
    fresh = FastClassify(classifier)
    x, rows = fresh.enter(classifier, twice, LENGTHS[[0, 0]], "last")
    assert torch.equal(*x.split(rows)) and rows == [3, 3] and below[-1] == 3
    torch.testing.assert_close(*fresh(classifier, twice, LENGTHS[[0, 0]]), atol=1e-6, rtol=0)


def test_a_change_above_the_trunk_counts_at_once(classifier, tokens):
    for module in (classifier.wte, classifier.wpe, classifier.h[0]):
        module.requires_grad_(False)
    forward = FastClassify(classifier)
    before = forward(classifier, tokens, LENGTHS)
    with torch.no_grad():
        classifier.h[1].mlp.fc_in.weight.mul_(1.5)
    after = forward(classifier, tokens, LENGTHS)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after, classify(classifier, tokens, LENGTHS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frozen, bytes_per_message", [("block", 24 * 4), ("all", 24 * 4)])
def test_what_is_kept_stays_within_its_room(classifier, tokens, frozen, bytes_per_message):
    classifier.requires_grad_(False)
    if frozen == "block":
        classifier.h[1].requires_grad_(True)
    room = 10 * bytes_per_message  # ten rows: messages of 3, 1 and 6 tokens, but not the one of 9
    forward = FastClassify(classifier, memory_mb=room / 1e6)
    for _ in range(2):
        torch.testing.assert_close(
            forward(classifier, tokens, LENGTHS), classify(classifier, tokens, LENGTHS), atol=1e-5, rtol=1e-5
        )
    kept = sum(rows.untyped_storage().nbytes() for rows in forward.kept.values())
    assert kept == (10 if frozen == "block" else 4) * bytes_per_message and forward.room == room - kept


def test_where_the_trunk_ends(classifier):
    assert frozen_blocks(classifier) == 0  # everything trains
    classifier.requires_grad_(False)
    assert frozen_blocks(classifier) == 2
    classifier.h[1].attn.q_proj.bias.requires_grad_(True)
    assert frozen_blocks(classifier) == 1
    classifier.wpe.weight.requires_grad_(True)
    assert frozen_blocks(classifier) == 0


def test_dropout_below_switches_the_trunk_off(classifier):
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
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            logits = FastClassify(classifier, checkpointing=checkpointing)(classifier, tokens, LENGTHS)
        saved.append(count[0])
        logits.square().sum().backward()
        gradients.append([p.grad for p in classifier.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert saved[1] < 0.3 * saved[0]


def test_a_trunk_that_ran_ahead_is_not_run_again(classifier, tokens):
    for module in (classifier.wte, classifier.wpe, classifier.h[0]):
        module.requires_grad_(False)
    below, forward = rows_seen(classifier.h[0].mlp.fc_in), FastClassify(classifier)
    forward.remember(classifier, [(tokens[:3], LENGTHS[:3]), (tokens[3:], LENGTHS[3:])])
    assert below == [13, 6]
    torch.testing.assert_close(
        forward(classifier, tokens, LENGTHS), classify(classifier, tokens, LENGTHS), atol=1e-5, rtol=1e-5
    )
    assert below == [13, 6, 44]  # the last call is the plain path's

    full = FastClassify(classifier, memory_mb=3 * 24 * 4 / 1e6)  # room for one message of three tokens
    full.remember(classifier, [(tokens[:1], LENGTHS[:1]), (tokens[1:2], LENGTHS[1:2]), (tokens[2:], LENGTHS[2:])])
    assert below[3:] == [3, 9] and len(full.kept) == 1  # and stops where nothing more fits
