"""Updates combined: TIES and DARE by their definitions. (The library: tests/parity/test_arithmetic_parity.py.)"""

import pytest
import torch

import peft
from gpt2.errors import InputError
from peft.combining import COMBINATIONS, combine, drop_and_rescale, low_rank, trim, with_update
from peft.merging import to_plain
from peft.switching import over


@pytest.fixture
def adapters(new_model, randomise):
    """Two LoRAs of ranks 3 and 2 over one base, on the same two layers."""
    result = peft.Adapters(new_model("language modelling"))
    for seed, (name, rank) in enumerate({"a": 3, "b": 2}.items()):
        torch.manual_seed(seed)
        model = peft.apply(over(result.base), "lora", rank=rank, target_modules="q_proj,fc_in")
        result.models[name] = randomise(model, std=0.1 * (seed + 1)).eval()
    return result


def test_the_example_of_the_docstring():
    first, second = torch.tensor([[0.5, 0.1, -0.3]]), torch.tensor([[-0.4, 0.6, 0.0]])
    torch.testing.assert_close(trim(first, 0.7), torch.tensor([[0.5, 0.0, -0.3]]))
    result = combine([first, second], [1, 1], "ties_svd", 0.7)
    torch.testing.assert_close(result, torch.tensor([[0.5, 0.6, -0.3]]))


def test_trim_keeps_the_largest():
    delta = torch.tensor([[0.1, -0.9, 0.3], [0.0, 0.5, -0.2]])
    expected = torch.tensor([[0.0, -0.9, 0.3], [0.0, 0.5, 0.0]])
    assert torch.equal(trim(delta, 0.5), expected)


def test_ties_averages_those_that_agree():
    """Signs are elected by size: 3 against -1 - 1. The mean is over the tasks that agree and are not zero there."""
    tasks = [torch.tensor([[3.0, 2.0]]), torch.tensor([[-1.0, 4.0]]), torch.tensor([[-1.0, 0.0]])]
    assert combine(tasks, [1, 1, 1], "ties_svd", 1.0).tolist() == [[3.0, 3.0]]


def test_dare_keeps_the_expectation():
    delta = torch.randn(20, 30)
    draws = [drop_and_rescale(delta, 0.2, torch.Generator().manual_seed(seed)) for seed in range(2000)]
    kept = torch.stack(draws).ne(0).float().mean()
    assert kept.item() == pytest.approx(0.2, abs=0.003)
    error = (torch.stack(draws).mean(dim=0) - delta) / (delta.abs() * 2 / 2000**0.5)  # std of a draw: |δ| √((1-d)/d)
    assert error.abs().max() < 5.5 and error.std().item() == pytest.approx(1, abs=0.1)


def test_low_rank_is_the_nearest():
    delta = torch.randn(7, 5)
    A, B = low_rank(delta, 2)
    values = torch.linalg.svdvals(delta)
    assert A.shape == (2, 5) and B.shape == (7, 2)
    torch.testing.assert_close((delta - B @ A).norm(), values[2:].norm())
    linear = with_update(torch.nn.Linear(5, 7), A, B)
    torch.testing.assert_close(to_plain(linear).weight, linear.weight + B @ A)


@pytest.mark.parametrize("combination_type", COMBINATIONS)
def test_every_combination_of_adapters(combination_type, adapters, tokens):
    density = 0.5 if "ties" in combination_type or "dare" in combination_type else None
    weights = {"a": 0.7, "b": 0.4}
    model = adapters.add_weighted_adapter(weights, combination_type=combination_type, density=density, svd_rank=None)
    generator = torch.Generator().manual_seed(0)
    for name in ("h.0.attn.q_proj", "h.0.mlp.fc_in"):  # in the order of the model
        deltas = [adapters.set_adapter(task).get_submodule(name).lora.delta() for task in weights]
        expected = combine(deltas, [0.7, 0.4], combination_type, density or 1.0, generator)
        layer = model.get_submodule(name)
        assert layer.lora.rank == (5 if combination_type == "cat" else 3)
        if combination_type != "cat":
            expected = torch.mm(*reversed(low_rank(expected, 3)))
        torch.testing.assert_close(layer.lora.delta(), expected, atol=1e-6, rtol=1e-4)
    assert model(tokens).isfinite().all() and type(model.h[0].attn.k_proj) is torch.nn.Linear


def test_dare_is_drawn_by_its_seed(adapters):
    def drawn(seed: int) -> torch.Tensor:
        model = adapters.add_weighted_adapter({"a": 1, "b": 1}, None, "dare_ties_svd", 0.3, seed=seed)
        return model.h[1].attn.q_proj.lora.delta()

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


def test_svd_rank(adapters):
    model = adapters.add_weighted_adapter({"a": 1, "b": 1}, combination_type="svd", svd_rank=4)
    assert model.h[0].mlp.fc_in.lora.rank == 4


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"combination_type": "ties"}, "unknown combination_type 'ties'; choose one of cat, svd, ties_svd"),
        ({"combination_type": "ties_svd"}, "ties_svd takes a density"),
        ({"density": 0.5}, "cat takes no density"),
        ({"combination_type": "dare_linear_svd", "density": 0.0}, "density is 0.0, expected a number above 0"),
        ({"combination_type": "svd", "svd_rank": 0}, "svd_rank is 0; it is at least 1"),
        ({"svd_rank": 2}, "and cat takes none"),
    ],
)
def test_what_does_not_fit_is_refused(settings, said, adapters):
    with pytest.raises(InputError, match=said):
        adapters.add_weighted_adapter({"a": 1, "b": 1}, **settings)
