"""The sampled softmax is right on average, and exactly right in the limit; its usual mistakes are not."""

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpt2.training.sampled_softmax import NegativeSampler, sampled_cross_entropy

V, C, N = 300, 16, 40  # vocabulary, width, tokens
DRAWS = 100_000  # so many that what is still wrong is wrong by principle


@pytest.fixture
def problem():
    """As in a trained model, the targets are much likelier than chance; as in texts, the counts are skewed."""
    generator = torch.Generator().manual_seed(0)
    counts = (10_000 / np.arange(1, V + 1)).astype(np.int64)
    targets = torch.from_numpy(np.random.default_rng(0).choice(V, N, p=counts / counts.sum()))
    wte = torch.randn(V, C, generator=generator) * 0.5
    h = torch.randn(N, C, generator=generator) + wte[targets]
    return h, targets, wte, counts


def losses_and_gradients(problem, draws, repeats, estimate):
    """Mean loss and mean gradient of wte over ``repeats`` draws of ``draws`` words."""
    h, targets, wte, counts = problem
    sampler = NegativeSampler(counts, draws)
    wte = wte.clone().requires_grad_()
    loss = torch.stack([estimate(h, targets, wte, *sampler.draw((1, i))) for i in range(repeats)]).mean()
    return loss.item(), torch.autograd.grad(loss, wte)[0]


def full(problem):
    h, targets, wte, _ = problem
    wte = wte.clone().requires_grad_()
    loss = F.cross_entropy(h @ wte.T, targets)
    return loss.item(), torch.autograd.grad(loss, wte)[0]


def distance(gradient, exact) -> float:
    return ((gradient - exact).norm() / exact.norm()).item()


def test_loss_and_gradient_approach_the_full_ones(problem):
    exact_loss, exact = full(problem)
    errors = []
    for draws in (100, 1_000, 10_000, DRAWS):
        loss, gradient = losses_and_gradients(problem, draws, 20, sampled_cross_entropy)
        errors.append((abs(loss - exact_loss), distance(gradient, exact)))
    assert all(b < a for (_, a), (_, b) in zip(errors, errors[1:], strict=False)), errors
    assert errors[-1][0] < 3e-3 and errors[-1][1] < 0.01, errors


def test_the_estimate_of_z_is_unbiased_even_with_few_words(problem):
    h, targets, wte, counts = problem
    sampler = NegativeSampler(counts, 50)
    scores = h @ wte.T
    own = scores.gather(1, targets[:, None]).squeeze(1)
    z = torch.zeros(N, dtype=torch.float64)
    repeats = 4000
    for i in range(repeats):  # token by token, the loss is log Z' - s_target
        words, log_weights = sampler.draw((2, i))
        terms = (scores[:, words] + log_weights).masked_fill(targets[:, None] == words, float("-inf"))
        z += own.double().exp() + terms.double().exp().sum(1)
    exact = scores.double().exp().sum(1)
    assert ((z / repeats - exact) / exact).abs().mean() < 0.02


def q_of(counts: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(NegativeSampler(counts, 1).q).float()


def without_correction(h, targets, wte, words, log_weights, counts):
    return sampled_cross_entropy(h, targets, wte, words, log_weights + q_of(counts)[words].log() + math.log(V))


def keeping_hits(h, targets, wte, words, log_weights, counts):
    scores = torch.cat([(h * wte[targets]).sum(1, keepdim=True), h @ wte[words].T + log_weights], dim=1)
    return F.cross_entropy(scores, torch.zeros_like(targets))


def correcting_the_target_too(h, targets, wte, words, log_weights, counts):
    """As if the target, too, had been among the draws as often as its frequency lets expect; hits left out."""
    own = (h * wte[targets]).sum(1, keepdim=True) - (DRAWS * q_of(counts)[targets]).log()[:, None]
    scores = (h @ wte[words].T + log_weights).masked_fill(targets[:, None] == words, float("-inf"))
    return F.cross_entropy(torch.cat([own, scores], dim=1), torch.zeros_like(targets))


@pytest.mark.parametrize("biased", [without_correction, keeping_hits, correcting_the_target_too])
def test_the_usual_mistakes_would_be_noticed(problem, biased):
    _, exact = full(problem)
    _, gradient = losses_and_gradients(problem, DRAWS, 5, functools.partial(biased, counts=problem[3]))
    assert distance(gradient, exact) > 0.04  # the right one: less than 0.01


def test_accidental_hits_do_not_count(problem):
    h, targets, wte, _ = problem
    only_hits = sampled_cross_entropy(h[:1], targets[:1], wte, targets[:1], torch.zeros(1))
    assert only_hits.item() == 0  # the target is the only candidate that is left
    others = torch.tensor([int(t) for t in range(V) if t != targets[0]])
    exact = F.cross_entropy(h[:1] @ wte.T, targets[:1])
    with_hit = torch.cat([others, targets[:1]])
    for words in (others, with_hit):
        estimate = sampled_cross_entropy(h[:1], targets[:1], wte, words, torch.zeros(len(words)))
        assert estimate.item() == pytest.approx(exact.item(), rel=1e-5)


def test_draws_repeat_by_seed_and_follow_the_counts():
    counts = np.array([1000, 100, 10, 0])
    sampler = NegativeSampler(counts, 100_000)
    first, again, other = sampler.draw((1, 2)), sampler.draw((1, 2)), sampler.draw((1, 3))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
    words, log_weights = first
    assert words.tolist() == [0, 1, 2, 3]  # one that never occurs is drawn, too
    q = (counts + 1) ** 0.75 / ((counts + 1) ** 0.75).sum()
    times = log_weights.exp().numpy() * 100_000 * q
    assert times.sum() == pytest.approx(100_000) and times / 100_000 == pytest.approx(q, abs=0.01)
