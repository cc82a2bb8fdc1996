"""The reference recipe's random numbers, the learning curve, and gradient accumulation."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head, classify
from gpt2.training.batching import MessageBatches, grouped
from gpt2.training.curve import measure
from gpt2.training.finetune import Progress, finetune, make_optimizer
from gpt2.training.recipe import BOOK, Recipe
from gpt2.training.reference import ReferenceBatches
from gpt2.training.runs import load_state, save_state

CPU = torch.device("cpu")
ROUNDING = "k_proj.bias"  # its gradient is 0 but for rounding, which Adam makes a whole step of
REFERENCE = dataclasses.replace(BOOK, lr=1e-2, epochs=3, curve_every=4)


def messages(n: int) -> tuple[list[list[int]], list[int]]:
    generator = torch.Generator().manual_seed(n)
    texts = [torch.randint(0, 90, (length,), generator=generator).tolist() for length in [3, 7, 5, 4] * n][:n]
    return texts, [text[-1] % 2 for text in texts]


@pytest.fixture
def classifier() -> GPT2:
    torch.manual_seed(0)
    return add_classification_head(GPT2(GPT2Config(n_positions=24, n_embd=16, n_layer=1, n_head=2)), 2)


@pytest.fixture
def parts() -> tuple[ReferenceBatches, ReferenceBatches]:
    return ReferenceBatches(*messages(43), 4, 7, shuffle=True), ReferenceBatches(*messages(10), 4, 7)


def test_batches_are_those_of_pytorchs_loader(parts):
    texts, labels = messages(43)
    loader = DataLoader(list(range(43)), batch_size=4, shuffle=True, drop_last=True)
    torch.manual_seed(9)
    expected = [batch.tolist() for _ in range(2) for batch in loader]
    torch.manual_seed(9)
    got = [batch for epoch in range(2) for batch in parts[0].shuffled(1, epoch)]
    assert [batch.labels.tolist() for batch in got] == [[labels[i] for i in batch] for batch in expected]
    assert [batch.lengths.tolist() for batch in got] == [[len(texts[i]) for i in batch] for batch in expected]
    assert all(batch.tokens.shape == (4, 7) for batch in got) and len(parts[0]) == 10


def test_every_pass_moves_the_generator_and_an_evaluation_of_ours_does_not(parts, classifier):
    torch.manual_seed(9)
    first = next(parts[0].shuffled(1, 0)).labels
    torch.manual_seed(9)
    list(parts[1].first(1))  # a pass over the validation data
    assert not torch.equal(next(parts[0].shuffled(1, 0)).labels, first)
    torch.manual_seed(9)
    list(parts[1].by_length())
    assert torch.equal(next(parts[0].shuffled(1, 0)).labels, first)


def test_resumed_after_each_epoch_it_equals_an_uninterrupted_run(parts, classifier, tmp_path):
    start = {name: value.clone() for name, value in classifier.state_dict().items()}
    whole = finetune(classifier, *parts, REFERENCE, CPU)
    expected = {name: value.clone() for name, value in classifier.state_dict().items()}
    for stop in (1, 2):
        classifier.load_state_dict(start)
        optimizer = make_optimizer(classifier, REFERENCE)

        def save_and_stop(progress, optimizer=optimizer, stop=stop):
            if progress.epoch == stop:
                save_state(tmp_path / "state", classifier, optimizer, progress)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            finetune(classifier, *parts, REFERENCE, CPU, optimizer=optimizer, after_epoch=save_and_stop)
        torch.manual_seed(77)  # another process
        optimizer = make_optimizer(classifier, REFERENCE)
        progress = load_state(tmp_path / "state", classifier, optimizer)
        finetune(classifier, *parts, REFERENCE, CPU, progress=progress, optimizer=optimizer)
        for name, value in classifier.state_dict().items():
            assert torch.equal(value, expected[name]), name
        assert progress.curve == whole.curve and progress.generator == whole.generator


def test_the_curve_has_a_point_every_so_many_batches_and_after_each_epoch(parts, classifier):
    progress = finetune(classifier, *parts, dataclasses.replace(REFERENCE, epochs=2), CPU)
    assert [point["batch"] for point in progress.curve] == [0, 4, 8, 9, 12, 16, 19]
    assert not finetune(classifier, *parts, dataclasses.replace(REFERENCE, curve_every=0), CPU).curve


def test_a_point_is_what_the_model_says_of_the_first_five_batches(classifier):
    data = MessageBatches(*messages(43), 4)
    progress = finetune(classifier, data, data, Recipe(lr=1e-2, epochs=1, curve_every=100, keep_best=False), CPU)
    tokens, lengths, labels = next(iter(MessageBatches(*messages(43), 20).first(1)))
    logits = classify(classifier, tokens, lengths)
    last = progress.curve[-1]
    assert last["validation_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-5)
    assert last["train_accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert len(progress.curve) == 2


def test_measuring_leaves_the_mode_and_gradients_alone(classifier):
    data = MessageBatches(*messages(8), 4)
    classifier.train()
    measure(classifier, data.first(), CPU)
    assert classifier.training and all(p.grad is None for p in classifier.parameters())


@pytest.mark.parametrize("n", [48, 43])  # the last group full, or of three batches, the last one not full
def test_accumulated_batches_are_one_large_batch(n, classifier):
    """The weights after an epoch equal those of batches three times as large, in the same order."""
    start = {name: value.clone() for name, value in classifier.state_dict().items()}
    small, large = MessageBatches(*messages(n), 4, pad_to=7), MessageBatches(*messages(n), 12, pad_to=7)
    ends = []
    for data, accumulate in ((small, 3), (large, 1)):
        classifier.load_state_dict(start)
        recipe = Recipe(lr=1e-2, epochs=2, keep_best=False, accumulate=accumulate)
        progress = finetune(classifier, data, data, recipe, CPU)
        ends.append({name: value.clone() for name, value in classifier.state_dict().items()})
        assert progress.history[-1]["train_loss"] > 0
    for name in (name for name in start if not name.endswith(ROUNDING)):
        torch.testing.assert_close(ends[0][name], ends[1][name], atol=2e-5, rtol=0)


def test_in_the_reference_a_short_last_group_has_smaller_gradients(classifier):
    """Ten batches, four a step: the last two are divided by four batches' messages."""
    data = ReferenceBatches(*messages(40), 4, 7, shuffle=True)
    recipe = dataclasses.replace(REFERENCE, epochs=1, accumulate=4, curve_every=0)
    twin = add_classification_head(GPT2(classifier.config), 2)
    twin.load_state_dict(classifier.state_dict())
    finetune(classifier, data, data, recipe, CPU)

    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-2, weight_decay=0.1)
    torch.manual_seed(recipe.seed)
    for group in grouped(data.loader, 4):
        for tokens, lengths, labels in group:
            (F.cross_entropy(classify(twin, tokens, lengths, "last-position"), labels) / 4).backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, value in ((n, v) for n, v in twin.state_dict().items() if not n.endswith(ROUNDING)):
        torch.testing.assert_close(classifier.state_dict()[name], value, atol=1e-5, rtol=0)


def test_progress_is_new_for_each_run():
    assert Progress().curve is not Progress().curve
