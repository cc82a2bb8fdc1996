"""Pretraining on a toy language: it learns, repeats itself, resumes after a stop, and shares work between processes."""

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt2 import GPT2, GPT2Config
from gpt2.errors import InputError, RunError
from gpt2.training.pretraining import (
    PretrainingProgress,
    PretrainingRecipe,
    held_out_loss,
    pretrain,
    pretraining_optimizer,
)
from gpt2.training.runs import load_state, save_state
from gpt2.training.windows import Windows

ROOT = Path(__file__).parents[3]
V = 60
RECIPE = PretrainingRecipe(steps=12, lr=5e-3, batch_size=4, accumulate=4, sampled=30, full_share=0.25, every=4)


def toy_text(n: int, seed: int) -> np.ndarray:
    """A language in which each word allows only three others: entropy log 3, though all words are about as frequent."""
    followers = np.random.default_rng(0).integers(V, size=(V, 3))
    random, tokens = np.random.default_rng(seed), [0]
    for choice in random.integers(3, size=n - 1):
        tokens.append(followers[tokens[-1], choice])
    return np.array(tokens, dtype=np.uint16)


def new_model() -> GPT2:
    torch.manual_seed(0)
    return GPT2(GPT2Config(vocab_size=V, n_positions=16, n_embd=32, n_layer=2, n_head=2))


def run(recipe, model=None, optimizer=None, progress=None, **options) -> tuple[GPT2, PretrainingProgress]:
    model = model or new_model()
    optimizer, progress = optimizer or pretraining_optimizer(model, recipe), progress or PretrainingProgress()
    windows, held_out = Windows(toy_text(20_000, seed=1), 16, recipe.seed), toy_text(2_000, seed=2)
    pretrain(model, windows, held_out, 4.0, recipe, optimizer, progress, **options)
    return model, progress


def test_every_evaluation_along_the_way_is_of_the_same_windows_and_the_last_of_all():
    recipe, model = PretrainingRecipe(steps=2, batch_size=2, accumulate=1, every=1, evaluation_windows=3), new_model()
    windows, held_out = Windows(toy_text(500, seed=1), 16, recipe.seed), toy_text(2_000, seed=2)
    progress = PretrainingProgress()
    final = pretrain(model, windows, held_out, 4.0, recipe, pretraining_optimizer(model, recipe), progress)
    assert progress.history[-1]["held_out_loss"] == held_out_loss(model, held_out, recipe, limit=3)
    assert final == held_out_loss(model, held_out, recipe) != progress.history[-1]["held_out_loss"]


def unigram_entropy(tokens: np.ndarray) -> float:
    p = np.bincount(tokens) / len(tokens)
    return -(p[p > 0] * np.log(p[p > 0])).sum()


@pytest.mark.parametrize("sampled", [0, 20])
def test_it_learns_what_follows_what(sampled):
    recipe = PretrainingRecipe(steps=250, lr=1e-2, batch_size=8, accumulate=2, sampled=sampled, every=125)
    _, progress = run(recipe)
    start, middle, end = progress.history
    floor = unigram_entropy(toy_text(2_000, seed=2))
    assert start["held_out_loss"] == pytest.approx(math.log(V), abs=0.2)
    assert middle["held_out_loss"] < floor - 0.5  # below what frequencies alone can give
    assert math.log(3) - 0.05 < end["held_out_loss"] < math.log(3) + 0.35
    assert end["bits_per_byte"] == pytest.approx(end["held_out_loss"] / math.log(2) / 4.0)
    assert end["tokens"] == 250 * 8 * 2 * 16 and progress.step == 250


def same_weights(a: GPT2, b: GPT2) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def curve(progress: PretrainingProgress) -> list[tuple]:
    columns = ("step", "train_loss", "held_out_loss", "lr")
    return [tuple(str(row[column]) for column in columns) for row in progress.history]  # as text, in which nan == nan


def test_same_seed_same_model_and_another_seed_another():
    first, again = run(RECIPE)[0], run(RECIPE)[0]
    assert same_weights(first, again)
    assert not same_weights(first, run(dataclasses.replace(RECIPE, seed=124))[0])


@pytest.mark.parametrize("stop_at", [4, 8])
def test_a_resumed_run_equals_an_uninterrupted_one(stop_at, tmp_path):
    class Interruption(Exception):
        pass

    model = new_model()
    optimizer = pretraining_optimizer(model, RECIPE)

    def save_and_stop(progress):
        if progress.step == stop_at:
            save_state(tmp_path / "state.safetensors", model, optimizer, progress)
        if progress.step > stop_at:
            raise Interruption  # steps after the checkpoint are lost

    with pytest.raises(Interruption):
        run(RECIPE, model, optimizer, after_evaluation=save_and_stop)

    model = new_model()
    optimizer = pretraining_optimizer(model, RECIPE)
    progress = load_state(tmp_path / "state.safetensors", model, optimizer, PretrainingProgress)
    assert progress.step == stop_at
    resumed, progress = run(RECIPE, model, optimizer, progress)
    whole, undisturbed = run(RECIPE)
    assert same_weights(resumed, whole)
    assert curve(progress) == curve(undisturbed)


def test_batches_make_no_difference_to_a_step():
    """Sixteen windows at once, or four times four: the same mean gradient."""
    split, at_once = (
        run(dataclasses.replace(RECIPE, batch_size=size, accumulate=16 // size, sampled=0))[0] for size in (4, 16)
    )
    for a, b in zip(split.parameters(), at_once.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-5)


IN_A_PROCESS = """
import sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from test_pretraining import RECIPE, curve, run
from gpt2.training.distributed import is_main, process_group
from gpt2.checkpoints.weights import save_gpt2
with process_group(torch.device("cpu")) as device:
    model, progress = run(RECIPE)
    if is_main():
        save_gpt2(model, {folder!r})
        print(repr(curve(progress)))
"""


@pytest.mark.slow
def test_two_processes_take_the_same_steps_as_one(tmp_path):
    from gpt2 import load_gpt2

    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # to meet in
    code = IN_A_PROCESS.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    environment |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=1800)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    alone, progress = run(RECIPE)
    for a, b in zip(alone.parameters(), load_gpt2(tmp_path).parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-5)
    theirs = eval(outputs[0], {"nan": math.nan})  # our own print
    for ours, their in zip(curve(progress), theirs, strict=True):
        assert [float(x) for x in their] == pytest.approx([float(x) for x in ours], abs=1e-4, nan_ok=True)


def test_an_epoch_reads_every_window_once_and_the_next_one_others():
    windows = Windows(np.arange(1000, dtype=np.uint16), context=10, seed=5)
    assert windows.per_epoch == 99
    first, second = windows.batch(0, 99), windows.batch(1, 99)
    assert first.shape == (99, 11) and first.dtype == torch.int64
    assert (first.diff(dim=1) == 1).all()  # each a stretch of the text
    assert len(set(first[:, 0].tolist())) == 99 and (first[:, 0] % 10 == first[0, 0] % 10).all()
    assert set(first[:, 0].tolist()) != set(second[:, 0].tolist())
    straddling = torch.cat([windows.batch(i, 33) for i in range(6)])
    assert torch.equal(straddling, torch.cat([first, second]))
    with pytest.raises(InputError, match="too few for a context of 10"):
        Windows(np.arange(19, dtype=np.uint16), context=10, seed=5)


def test_evaluation_is_the_mean_over_all_windows():
    model, tokens = new_model().eval(), toy_text(100, seed=3)
    windows = torch.from_numpy(np.stack([tokens[i : i + 17] for i in range(0, 96, 16)]).astype(np.int64))
    logits = model(windows[:, :-1])
    exact = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()
    assert held_out_loss(model, tokens, RECIPE) == pytest.approx(exact, rel=1e-5)
    assert held_out_loss(model, tokens, RECIPE, limit=2) == pytest.approx(
        torch.nn.functional.cross_entropy(logits[[0, 5]].flatten(0, 1), windows[[0, 5], 1:].flatten()).item(),
        rel=1e-5,
    )
    assert held_out_loss(model, tokens[:9], RECIPE) > 0  # a text shorter than the context


def test_step_size_rises_and_falls():
    recipe = PretrainingRecipe(steps=100, lr=1.0, warmup=0.1, final_lr=0.2)
    rates = [recipe.lr_at(step) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[100] == pytest.approx(0.2)
    assert rates[55] == pytest.approx(0.6)


def test_only_matrices_decay():
    model = new_model()
    decayed, others = pretraining_optimizer(model, RECIPE).param_groups
    assert decayed["weight_decay"] == 0.1 and others["weight_decay"] == 0
    assert {p.dim() for p in decayed["params"]} == {2} and {p.dim() for p in others["params"]} == {1}
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_divergence_is_reported_with_a_remedy():
    model = new_model()
    with torch.no_grad():
        model.ln_f.weight.fill_(math.inf)
    with pytest.raises(RunError, match="diverged.*learning rate"):
        run(dataclasses.replace(RECIPE, steps=4), model)


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"lr": math.nan}, {"warmup": 1.0}, {"sampled": -1}, {"full_share": 2}])
def test_recipes_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        PretrainingRecipe(steps=10, **wrong)
