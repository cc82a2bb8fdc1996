"""The training loop: what it trains, how the learning rate moves, what it keeps, and that it stops when it must."""

import dataclasses
import math

import pytest
import torch

from gpt2 import GPT2, GPT2Config, InputError, RunError
from gpt2.classifier import add_classification_head, classify
from gpt2.training import finetune as loop
from gpt2.training.batching import MessageBatches
from gpt2.training.finetune import Progress, evaluate, finetune, make_optimizer
from gpt2.training.frozen_features import FrozenFeatureCache
from gpt2.training.recipe import BOOK, SOURCE_NOTES, Recipe
from gpt2.training.runs import load_state, save_state

CPU = torch.device("cpu")


def make_data(n: int, seed: int) -> MessageBatches:
    """Messages of 3 to 9 tokens; class 1 when the last token is odd: to be read at the last token only."""
    generator = torch.Generator().manual_seed(seed)
    messages = [
        torch.randint(0, 90, (torch.randint(3, 10, (), generator=generator),), generator=generator).tolist()
        for _ in range(n)
    ]
    return MessageBatches(messages, [message[-1] % 2 for message in messages], batch_size=8)


@pytest.fixture
def classifier():
    torch.manual_seed(0)  # GPT-2's vocabulary, because batches are padded with its last token
    return add_classification_head(GPT2(GPT2Config(n_positions=24, n_embd=24, n_layer=2, n_head=3)), 2)


def test_it_learns_and_leaves_frozen_weights_alone(classifier):
    classifier.h[0].requires_grad_(False)
    frozen = classifier.h[0].mlp.fc_in.weight.clone()
    progress = finetune(classifier, make_data(120, 1), make_data(40, 2), Recipe(lr=1e-2, epochs=6), CPU)
    first, last = progress.history[1], progress.history[-1]
    assert last["train_loss"] < 0.7 * first["train_loss"] and last["train_accuracy"] > 0.85
    assert torch.equal(classifier.h[0].mlp.fc_in.weight, frozen)
    assert [row["epoch"] for row in progress.history] == list(range(7))


def test_one_step_is_adamw_on_the_mean_cross_entropy(classifier):
    """The same step, written out with PyTorch's own optimiser on the same batch."""
    data = make_data(8, 3)
    recipe = Recipe(lr=1e-2, epochs=1, warmup=0.0, schedule="constant", clip=None, keep_best=False)
    twin = add_classification_head(type(classifier)(classifier.config), 2)
    twin.load_state_dict(classifier.state_dict())
    finetune(classifier, data, data, recipe, CPU)

    tokens, lengths, labels = next(data.shuffled(recipe.seed, 0))
    loss = torch.nn.functional.cross_entropy(classify(twin, tokens, lengths), labels)
    loss.backward()
    parameters = list(twin.parameters())
    decay = [{"params": [p for p in parameters if p.dim() > 1]}]
    plain = [{"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
    torch.optim.AdamW(decay + plain, lr=1e-2, weight_decay=0.01, foreach=False).step()
    for (name, one), other in zip(classifier.named_parameters(), twin.parameters(), strict=True):
        if not name.endswith(
            "k_proj.bias"
        ):  # shifts all scores alike: its gradient is rounding, and Adam takes its sign
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_step_size_rises_and_falls():
    recipe = Recipe(lr=1.0, warmup=0.1)
    factors = [recipe.lr_at(step, 100) / recipe.lr for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert factors[10] == 1.0 and all(a > b for a, b in zip(factors[10:], factors[11:], strict=False))
    assert factors[55] == pytest.approx(0.5) and factors[99] < 0.001
    assert {BOOK.lr_at(step, 100) for step in range(100)} == {5e-5}


def test_biases_and_norms_are_not_decayed_unless_the_recipe_is_a_published_one(classifier):
    decayed, others = make_optimizer(classifier, Recipe(lr=1.0)).param_groups
    assert {p.dim() for p in decayed["params"]} == {2} and {p.dim() for p in others["params"]} == {1}
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    (everything,) = make_optimizer(classifier, BOOK).param_groups
    assert everything["weight_decay"] == 0.1 and len(everything["params"]) == len(list(classifier.parameters()))


def test_the_best_epoch_is_kept(classifier):
    def row(epoch, accuracy, loss):
        return {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": loss}

    rows = [row(0, 1.0, 0.0), row(1, 0.8, 0.5), row(2, 0.9, 0.6), row(3, 0.9, 0.4), row(4, 0.7, 0.1)]
    assert Progress(history=rows).best_row["epoch"] == 3  # row 0 is before training: it cannot be kept

    validation = make_data(40, 2)
    progress = finetune(classifier, make_data(60, 1), validation, Recipe(lr=3e-2, epochs=5), CPU)
    metrics, _ = evaluate(classifier, validation, CPU)
    assert metrics["accuracy"] == progress.best_row["validation_accuracy"]
    assert metrics["loss"] == pytest.approx(progress.best_row["validation_loss"], rel=1e-5)


def test_evaluation_returns_the_messages_in_their_own_order(classifier):
    data = make_data(30, 4)
    metrics, probabilities = evaluate(classifier, data, CPU, positive=1)
    for tokens, row in zip(data.token_lists, probabilities, strict=True):
        alone = classify(classifier, torch.from_numpy(tokens)[None].long(), torch.tensor([len(tokens)])).softmax(-1)[0]
        assert row == pytest.approx(alone.detach().numpy(), abs=1e-6)
    right = [row.argmax() == label for row, label in zip(probabilities, data.labels, strict=True)]
    nats = [-math.log(row[label]) for row, label in zip(probabilities, data.labels, strict=True)]
    assert metrics["accuracy"] == pytest.approx(sum(right) / 30) and metrics["n"] == 30
    assert metrics["loss"] == pytest.approx(sum(nats) / 30, rel=1e-4)


def test_a_resumed_run_equals_an_uninterrupted_one(classifier, tmp_path):
    train, validation, recipe = make_data(60, 1), make_data(20, 2), Recipe(lr=1e-2, epochs=4)
    start = {name: value.clone() for name, value in classifier.state_dict().items()}
    whole = finetune(classifier, train, validation, recipe, CPU)
    expected = {name: value.clone() for name, value in classifier.state_dict().items()}

    class PulledPlug(Exception):
        pass

    optimizer = make_optimizer(classifier, recipe)

    def after_epoch(progress):
        save_state(tmp_path / "state.safetensors", classifier, optimizer, progress)
        if progress.epoch == 2:
            raise PulledPlug

    classifier.load_state_dict(start)
    with pytest.raises(PulledPlug):
        finetune(classifier, train, validation, recipe, CPU, optimizer=optimizer, after_epoch=after_epoch)

    classifier.load_state_dict(start)
    optimizer = make_optimizer(classifier, recipe)
    progress = load_state(tmp_path / "state.safetensors", classifier, optimizer)
    assert progress.epoch == 2
    resumed = finetune(classifier, train, validation, recipe, CPU, progress=progress, optimizer=optimizer)
    for name, value in classifier.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)
    for one, other in zip(resumed.history[1:], whole.history[1:], strict=True):
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-5)


def test_a_state_of_another_method_is_refused(classifier, tmp_path):
    recipe = Recipe(lr=1e-2)
    save_state(tmp_path / "state.safetensors", classifier, make_optimizer(classifier, recipe), Progress(epoch=1))
    classifier.h[0].attn.q_proj = torch.nn.Sequential(classifier.h[0].attn.q_proj)
    with pytest.raises(InputError, match="does not fit this run"):
        load_state(tmp_path / "state.safetensors", classifier, make_optimizer(classifier, recipe))


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(classifier):
    with torch.no_grad():
        classifier.ln_f.weight.fill_(math.inf)
    with pytest.raises(RunError, match="diverged.*learning rate of 1e-03"):
        train, validation = make_data(16, 1), make_data(8, 2)
        progress = Progress(history=[{"epoch": 0}])  # past the first evaluation
        finetune(classifier, train, validation, Recipe(lr=1e-2), CPU, progress=progress)


@pytest.mark.parametrize(
    "setting", [{"lr": 0.0}, {"lr": math.nan}, {"epochs": 0}, {"warmup": 1.0}, {"schedule": "linear"}, {"seed": -1}]
)
def test_settings_out_of_range(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        dataclasses.replace(Recipe(lr=1e-3), **setting)


def test_the_training_loss_is_the_mean_over_messages(classifier):
    """12 messages in batches of 8 and 4. Nothing that matters moves, so the loss is that of the evaluation."""
    data = make_data(12, 5)
    progress = finetune(classifier, data, data, Recipe(lr=1e-12, epochs=1, weight_decay=0.0), CPU)
    assert progress.history[1]["train_loss"] == pytest.approx(progress.history[0]["validation_loss"], rel=1e-5)


def test_which_epoch_was_kept_is_said():
    rows = [{"epoch": e, "validation_accuracy": a, "validation_loss": 1.0} for e, a in enumerate([0.9, 0.5, 0.8, 0.7])]
    progress, ours = Progress(history=rows), Recipe(lr=1.0, epochs=3)
    assert progress.kept(ours) == "kept epoch 2 of 3, best on validation"
    last = progress.kept(dataclasses.replace(BOOK, epochs=3))
    assert last == "kept epoch 3 of 3, the last; epoch 2 was best on validation"


def test_both_published_recipes_train_as_chapter_6_does():
    for recipe in (BOOK, SOURCE_NOTES):
        assert (recipe.lr, recipe.weight_decay, recipe.epochs, recipe.keep_best) == (5e-5, 0.1, 5, False)
        assert (recipe.schedule, recipe.clip, recipe.pooling) == ("constant", None, "last-position")


def test_the_training_messages_come_first_into_the_frozen_feature_cache(classifier, monkeypatch):
    """Validation messages, which are read once an epoch too, get what room is left."""
    order = []
    fill, measure = FrozenFeatureCache.fill, loop.evaluate
    monkeypatch.setattr(FrozenFeatureCache, "fill", lambda *a: order.append("fill") or fill(*a))
    monkeypatch.setattr(loop, "evaluate", lambda *a: order.append("evaluate") or measure(*a))
    classifier.requires_grad_(False)
    classifier.lm_head.requires_grad_(True)
    finetune(classifier, make_data(16, 1), make_data(8, 2), Recipe(lr=1e-2, epochs=1), CPU)
    assert order == ["fill", "evaluate", "evaluate"]
