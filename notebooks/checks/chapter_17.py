"""Checks of chapter 17: windows, perplexity, the learning-rate schedule, a sampled softmax for one token."""

import math

import torch

from checks import close, returned, tensor_of
from course import Wrong, exercise


def number(found: object) -> float:
    """A number or a tensor of one, as a float; Wrong if it is something else."""
    if isinstance(returned(found), torch.Tensor) and found.numel() != 1:
        raise Wrong(f"one number is expected, not a tensor of shape {tuple(found.shape)}")
    try:
        return float(found)
    except (TypeError, ValueError):
        raise Wrong(f"a number is expected, not {type(found).__name__}") from None


@exercise("17.1")
def check_windows(make_windows):
    for n, T in ((9, 4), (8, 4), (13, 4), (5, 4), (30, 7), (11, 1)):
        stream = torch.randint(100, (n,), generator=torch.Generator().manual_seed(n))
        found, N, where = make_windows(stream.clone(), T), (n - 1) // T, f"{n} tokens, T = {T}"
        if not isinstance(returned(found), list | tuple) or len(found) != 2:
            raise Wrong("two things are expected: inputs and targets")
        for part in found:
            rows = len(part) if isinstance(returned(part), torch.Tensor) and part.dim() else N
            if rows > N:
                raise Wrong(f"{where}: {rows} windows; has the last input of the last one a target?")
            if rows < N:
                raise Wrong(f"{where}: {rows} windows, but {N} fit, each with the token after it")
        inputs, targets = tensor_of(found[0], (N, T), "inputs"), tensor_of(found[1], (N, T), "targets")
        if torch.equal(targets, inputs):
            raise Wrong(f"{where}: the targets are the inputs; a target is the token one position later")
        if not torch.equal(inputs, stream[: N * T].view(N, T)):
            raise Wrong(f"{where}: window number i should begin at position i T, and hold T tokens in their order")
        if not torch.equal(targets, stream[1 : N * T + 1].view(N, T)):
            raise Wrong(f"{where}: the inputs are right, the targets are not; the last one lies outside the window")


@exercise("17.2")
def check_perplexity(perplexity):
    draw = torch.Generator().manual_seed(17)
    for B, T, V in ((1, 2, 5), (2, 5, 7), (3, 9, 4)):
        logits, tokens = 2 * torch.randn(B, T, V, generator=draw), torch.randint(V, (B, T), generator=draw)
        found = number(perplexity(logits, tokens))
        losses = -logits.log_softmax(dim=-1)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]  # (B, T - 1)
        expected = losses.mean().exp().item()
        if math.isclose(found, expected, rel_tol=1e-3):
            continue
        where = f"for tokens of shape {(B, T)}"
        shifted = -logits.log_softmax(dim=-1).gather(2, tokens[..., None])
        hints = {
            losses.mean().item(): "that is the loss; the perplexity is e to it",
            math.exp(-losses.mean().item()): "the sign is turned round: a perplexity is at least 1",
            losses.sum().exp().item(): "that is e to the sum of the losses; the mean is asked for",
            losses.mean(dim=1).exp().mean().item(): "a mean of perplexities is not the perplexity: take the mean first",
            losses.exp().mean().item(): "a mean of perplexities is not the perplexity: take the mean first",
            shifted.mean().exp().item(): "row t says what comes after token t, not how likely token t itself was",
            2 ** losses.mean().item(): "the losses are natural logarithms: which number is raised to them?",
        }
        for value, hint in hints.items():
            if math.isclose(found, value, rel_tol=1e-3):
                raise Wrong(f"{where}: {hint}")
        raise Wrong(f"{where}: {found:.3f}, expected another number; which row belongs to which token?")


@exercise("17.3")
def check_schedule(lr_at):
    for steps, warmup, highest, lowest in ((10, 3, 1.0, 0.1), (100, 10, 3e-3, 0.0), (8, 0, 2.0, 0.5), (5, 1, 1.0, 1.0)):
        where = f"steps={steps}, warmup={warmup}"
        for step in range(steps):
            found = number(lr_at(step, steps, warmup, highest, lowest))
            done = (step - warmup) / (steps - warmup)
            expected = lowest + (highest - lowest) * 0.5 * (1 + math.cos(math.pi * done))
            if step < warmup:
                expected = highest * (step + 1) / warmup
            if math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-12):
                continue
            where = f"{where}, step {step}: {found:.4g}, expected {expected:.4g}"
            if step < warmup:
                raise Wrong(f"{where}; in the warm-up, step 0 has highest / warmup and step warmup - 1 the highest")
            if step == warmup:
                raise Wrong(f"{where}; the cosine begins at the highest, at step number warmup")
            raise Wrong(f"{where}; how much of the way from the warm-up's end to `steps` is done? And to `lowest`?")


@exercise("17.4")
def check_sampled_loss(sampled_loss):
    draw = torch.Generator().manual_seed(18)
    for K, size in ((1, 1.0), (5, 2.0), (40, 1.0), (6, 300.0)):
        target, scores = size * torch.randn((), generator=draw), size * torch.randn(K, generator=draw)
        q = torch.rand(K, generator=draw) * 0.1 + 0.01
        found = tensor_of(sampled_loss(target.clone(), scores.clone(), q.clone()), ())

        def loss(correction, target=target, scores=scores):
            return torch.cat([target[None], scores - correction]).logsumexp(dim=0) - target

        expected, where = loss((K * q).log()), f"{K} drawn tokens"
        if not found.isfinite():
            raise Wrong(f"{where}, large logits: infinite or NaN; which function computes ln Σ eˢ without overflow?")
        if close(found, expected):
            continue
        without = (scores - (K * q).log()).logsumexp(dim=0) - target
        hints = [
            (loss(torch.zeros(K)), "the drawn tokens need a weight: each stands for 1 / (K q) tokens"),
            (loss(q.log()), "each weight is 1 / q, which counts the sample K times too much"),
            (loss(-(K * q).log()), "the weight is turned round: what is drawn often must count less"),
            (without, "the target itself is missing in Z'"),
            (expected + target, "that is ln Z'; the score of the target is still to be taken off"),
            (-expected, "the sign is turned round: a loss is not negative when the target is part of the sum"),
        ]
        for value, hint in hints:
            if close(found, value):
                raise Wrong(f"{where}: {hint}")
        raise Wrong(f"{where}: not ln Z' minus the target's score; write Z' down for one drawn token")
