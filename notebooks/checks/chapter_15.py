"""Checks of chapter 15: the comparison."""

import functools
import math

import numpy as np
import torch

from checks import forbidden, number, returned
from course import Wrong, exercise


@functools.cache
def p_value(only_a: int, only_b: int) -> float:
    n = only_a + only_b
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n)


def numbers(answer: object, count: int) -> list[float]:
    """The answer as so many numbers, or Wrong."""
    for part in answer if isinstance(answer, tuple) else (answer,):
        returned(part)
    if not isinstance(answer, tuple | list | np.ndarray | torch.Tensor) or len(answer) != count:
        raise Wrong(f"the function should return {count} numbers")
    return [float(part) for part in answer]


@exercise("15.1")
def mean_and_sd(summary) -> None:
    for values in ([0.9, 0.96, 0.93], [0.5, 0.7], [0.97] * 4, [0.91, 0.95, 0.94, 0.99, 0.9]):
        with forbidden(summary, "without numpy or pandas: write the sums yourself", "numpy", "pandas"):
            mean, sd = numbers(summary(list(values)), 2)
        if abs(mean - np.mean(values)) > 1e-9:
            raise Wrong(f"the mean of {values} is not {mean}")
        expected = float(np.std(values, ddof=1))
        if abs(sd - expected) > 1e-9:
            if abs(sd - np.std(values)) < 1e-9:
                raise Wrong("the mean was computed from these few numbers: what does one divide by?")
            if abs(sd - expected**2) < 1e-9:
                raise Wrong("that is the variance, in squared points")
            if abs(sd - expected / math.sqrt(len(values))) < 1e-9:
                raise Wrong("that is the standard error of the mean; the spread of single runs is asked for")
            raise Wrong(f"the standard deviation of {values} is not {sd:.4f}")


@exercise("15.2")
def mcnemar_from_answers(mcnemar_test) -> None:
    random = np.random.default_rng(15)
    cases = [(np.array([True] * 30 + [False] * 4), np.array([True] * 22 + [False] * 9 + [True] * 3))]
    cases += [(random.random(n) < 0.95, random.random(n) < q) for n, q in ((300, 0.9), (300, 0.95), (50, 0.5))]
    cases += [(random.random(40) < 0.8,) * 2, (np.array([True, False]), np.array([False, True]))]
    for A, B in cases:
        only_a, only_b, p = numbers(mcnemar_test(A.copy(), B.copy()), 3)
        expected = int((A & ~B).sum()), int((~A & B).sum())
        if (only_a, only_b) != expected:
            if (only_b, only_a) == expected:
                raise Wrong("only_a and only_b are swapped")
            if only_a in (A.sum(), (~A).sum(), (~B).sum()):
                raise Wrong("messages on which both agree do not count, whether right or wrong")
            raise Wrong(
                f"A and B disagree {expected[0] + expected[1]} times here; you count {only_a:.0f} and {only_b:.0f}"
            )
        if p > 1:
            raise Wrong(f"a chance of {p:.2f}? An even split makes the doubled tail larger than one")
        if abs(p - p_value(*expected)) > 1e-9:
            if abs(2 * p - p_value(*expected)) < 1e-9:
                raise Wrong("that is one tail; the split could be as uneven to the other side")
            raise Wrong(f"p is not right for a split of {expected[0]} : {expected[1]}")


@exercise("15.3")
def will_it_fit(step_bytes) -> None:
    answer = number(step_bytes(1000, 10))
    known = {
        16 * 1010: "frozen numbers have no gradient and no optimiser state",
        4 * 1000 + 12 * 10: "a trained number is a weight, has a gradient, and AdamW keeps its means: one is missing",
        4 * 1000 + 8 * 10: "AdamW keeps two running means for each trained number",
        32 * 1000 + 16 * 10: "bits are not bytes",
        1000 + 4 * 10: "these are numbers; how many bytes has a float32?",
    }
    if answer in known:
        raise Wrong(known[answer])
    for frozen, trained in ((1000, 10), (0, 7), (123_456, 0)):
        for bits in (32, 16, 4.127):
            for optimiser, kept in (("adamw", 2), ("momentum", 1), ("sgd", 0)):
                got, expected = (
                    step_bytes(frozen, trained, bits, optimiser),
                    frozen * bits / 8 + 4 * trained * (2 + kept),
                )
                if abs(got - expected) > 1:
                    all_few = frozen * bits / 8 + trained * (bits / 8 + 4 + 4 * kept)
                    if trained and bits != 32 and abs(got - all_few) < 1:
                        raise Wrong("only the frozen numbers are stored in few bits")
                    raise Wrong(
                        f"{frozen} frozen, {trained} trained, bits={bits}, {optimiser}: you get {got:,.0f} bytes, "
                        f"which is {'too many' if got > expected else 'too few'}"
                    )


@exercise("15.4")
def paired_bootstrap(interval) -> None:
    n, random = 3000, np.random.default_rng(154)
    A = np.ones(n, dtype=bool)
    A[:1200] = False  # hard for both
    B = A.copy()
    A[1200:1390], B[1390:1640] = False, False
    order = random.permutation(n)
    A, B = A[order], B[order]
    low, high = numbers(interval(A.copy(), B.copy()), 2)
    d, sd = 60 / n, math.sqrt(440 - 60**2 / n) / n
    if low > high:
        raise Wrong("low is above high")
    if abs((low + high) / 2 + d) < sd:
        raise Wrong("the sign: A less B")
    if abs((low + high) / 2 - d) > sd / 2:
        raise Wrong(f"the interval {low:.4f} … {high:.4f} does not lie around the measured difference {d:.4f}")
    half = (high - low) / 2
    if half > 3 * sd:
        raise Wrong("far too wide: are A and B looked at on the same drawn messages, as many as there are?")
    if half < 1.3 * sd:
        raise Wrong("too narrow: 95 % of the draws lie inside; and each draw is of as many messages as there are")
    if abs(half - 1.96 * sd) > 0.16 * sd:
        raise Wrong(
            f"the interval is too {'wide' if half > 1.96 * sd else 'narrow'}: how much is cut off on either side?"
        )
    low, high = numbers(interval(A[:50].copy(), A[:50].copy()), 2)
    if low or high:
        raise Wrong("A compared with itself has a difference of 0 in every draw")
    A, B = np.arange(40) < 33, np.arange(40) < 30  # A has three more, B none that A has not
    low, _ = numbers(interval(A, B), 2)
    if low < 0:
        raise Wrong("where B is never ahead no draw has a negative difference; are low and high taken from the draws?")
    low, high = numbers(interval(A, B, draws=1), 2)
    if abs(high - low) > 1e-12:
        raise Wrong("with draws=1 there is one difference, so low and high are equal; take both from the draws")


@exercise("15.5")
def how_many(power) -> None:
    for n, a, b in ((300, 0.06, 0.01), (1000, 0.02, 0.01), (300, 0.02, 0.02), (100, 0.3, 0.1)):
        got, expected = number(power(n, a, b)), reference(n, a, b)
        if abs(got - expected) > 0.05:
            if got in (0.0, 1.0):
                raise Wrong(
                    "never, or always? One test set says yes or no: how often, over many? And n is the number of "
                    "all messages, most of which tell nothing"
                )
            if abs(got - reference(n, a, b, level=0.1)) < 0.04:
                raise Wrong("is your p two-sided?")
            if abs(got - (1 - expected)) < 0.04:
                raise Wrong("that is the chance of missing it")
            raise Wrong(
                f"n={n}, a={a}, b={b}: the chance is not {got:.2f} but {'more' if expected > got else 'less'}; "
                "remember that n counts all messages, not the disagreements"
            )


@functools.cache
def reference(n: int, a: float, b: float, level: float = 0.05) -> float:
    counts = np.random.default_rng(155).multinomial(n, [a, b, 1 - a - b], size=5000)
    return float(np.mean([p_value(int(x), int(y)) < level for x, y, _ in counts]))
