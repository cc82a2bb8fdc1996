"""Checks of chapter 05: an interval, labels of several tokens, a prompt to the letter, calibration, a threshold."""

import math

import torch

from checks import tensor_of
from course import Wrong, exercise


@exercise("05.1")
def check_wilson(wilson) -> None:
    for right, n in ((150, 300), (7, 9), (20, 20), (0, 12)):
        answer = wilson(right, n)
        try:
            low, high = map(float, answer)
        except (TypeError, ValueError):
            raise Wrong("return two numbers: low, high") from None
        p, z = right / n, 1.96
        spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        wanted = [(p + z * z / (2 * n) + sign * spread) / (1 + z * z / n) for sign in (-1, 1)]
        plain = z * math.sqrt(p * (1 - p) / n)
        if abs(low - (p - plain)) < 1e-9 and abs(high - (p + plain)) < 1e-9:
            raise Wrong("that is the simple interval of the chapter, with its flaw at 20 of 20")
        if abs(low - wanted[1]) < 1e-6 and abs(high - wanted[0]) < 1e-6:
            raise Wrong("low and high are exchanged")
        if abs(low / (1 + z * z / n) - wanted[0]) < 1e-9 and abs(high / (1 + z * z / n) - wanted[1]) < 1e-9:
            raise Wrong("something in front of the bracket is missing")
        if abs(low - wanted[0]) > 1e-6 or abs(high - wanted[1]) > 1e-6:
            raise Wrong(
                f"{right} of {n}: got {low:.4f} to {high:.4f}, expected {wanted[0]:.4f} to {wanted[1]:.4f}; "
                "compare each term with the formula"
            )


@exercise("05.2")
def check_label_log_likelihood(label_log_likelihood) -> None:
    generator = torch.Generator().manual_seed(52)
    for T, n in ((9, 1), (9, 3), (5, 4)):
        logits = 3 * torch.randn(T, 20, generator=generator)
        tokens = torch.randint(0, 20, (T,), generator=generator)
        log_p = logits.log_softmax(dim=-1)
        positions = range(T - n, T)
        wanted = sum(log_p[t - 1, tokens[t]] for t in positions)
        answer = label_log_likelihood(logits, tokens, n)
        if isinstance(answer, (int, float)):
            answer = torch.tensor(float(answer))
        tensor_of(answer, ())
        if torch.allclose(answer, sum(log_p[t, tokens[t]] for t in positions), atol=1e-4):
            raise Wrong("one position too far: which token is the row at position t about?")
        if torch.allclose(answer, sum(logits[t - 1, tokens[t]] for t in positions), atol=1e-4):
            raise Wrong("these are logits; a likelihood needs a softmax over the vocabulary")
        if n > 1 and torch.allclose(answer, wanted / n, atol=1e-4):
            raise Wrong("that is the mean per token; the formula has a sum")
        if torch.allclose(answer, wanted.exp(), atol=1e-6):
            raise Wrong("that is the likelihood itself; its logarithm is asked for")
        if torch.allclose(answer, -wanted, atol=1e-4):
            raise Wrong("the size is right and the sign is not: the logarithm of a probability is never above 0")
        if not torch.allclose(answer, wanted, atol=1e-4):
            raise Wrong(f"got {answer.item():.3f}, expected {wanted.item():.3f} (label of {n} of {T} tokens)")


@exercise("05.3")
def check_build_prompt(build_prompt) -> None:
    examples = [("See you at 8", "ham"), ("WIN a prize", "spam"), ("{ok}: 100%", "ham")]
    wanted = "Message: See you at 8\nLabel: ham\n\nMessage: WIN a prize\nLabel: spam\n\nMessage: {ok}: 100%\nLabel: ham"
    wanted += "\n\nMessage: Call me?\nLabel:"
    answer = build_prompt(examples, "Call me?")
    if not isinstance(answer, str):
        raise Wrong(f"the function returned {type(answer).__name__}, expected a string")
    if answer != answer.rstrip():
        raise Wrong("something stands behind the last colon: a space there belongs to the label's token")
    if not answer.endswith("Label:"):
        raise Wrong("the prompt must break off behind the last 'Label:'")
    if answer.replace("\n\n", "\n") == wanted.replace("\n\n", "\n") and answer != wanted:
        raise Wrong("the line breaks differ: one empty line between blocks, none inside them or before the first")
    if answer != wanted:
        raise Wrong(f"the prompt begins {answer[:60]!r} and ends {answer[-30:]!r}; compare it letter by letter")
    if build_prompt([], "ok") != "Message: ok\nLabel:":
        raise Wrong("without examples the prompt is the last block alone")
    if (
        build_prompt([("one\ntwo", "ham")], "three\nfour")
        != "Message: one two\nLabel: ham\n\nMessage: three four\nLabel:"
    ):
        raise Wrong("a line break inside a message, or inside the text, must become a space")
    if build_prompt([("a  b", "ham")], " c") != "Message: a  b\nLabel: ham\n\nMessage:  c\nLabel:":
        raise Wrong("nothing but line breaks may change in a message: other spaces stay as they are")


@exercise("05.4")
def check_calibrate(calibrate) -> None:
    generator = torch.Generator().manual_seed(54)
    for N, M, K in ((6, 1, 2), (8, 3, 4)):
        p = torch.randn(N, K, generator=generator).softmax(dim=1)
        p_nothing = (2 * torch.randn(M, K, generator=generator)).softmax(dim=1)
        ratio = p / p_nothing.mean(dim=0)
        wanted = ratio / ratio.sum(dim=1, keepdim=True)
        answer = calibrate(p.clone(), p_nothing.clone())
        tensor_of(answer, (N, K))
        if torch.allclose(answer, ratio, atol=1e-5):
            raise Wrong("the rows do not add up to 1 any more: normalise again")
        if (answer < 0).any():
            raise Wrong("some of your probabilities are negative: divide, do not subtract")
        if torch.allclose(answer, p, atol=1e-5):
            raise Wrong("nothing has changed: each label needs its own divisor, so over which dimension is the mean?")
        product = p * p_nothing.mean(dim=0)
        if torch.allclose(answer, product / product.sum(dim=1, keepdim=True), atol=1e-5):
            raise Wrong("multiplied instead of divided: the favoured label gets still more")
        if not torch.allclose(answer, wanted, atol=1e-5):
            raise Wrong(f"wrong for N = {N} messages, M = {M} content-free inputs, K = {K} labels")


@exercise("05.5")
def check_best_threshold(best_threshold) -> None:
    generator = torch.Generator().manual_seed(55)
    cases = []
    for shift in (-3.0, 0.7):
        labels = torch.randint(0, 2, (60,), generator=generator)
        cases.append((1.5 * labels + torch.randn(60, generator=generator) + shift, labels))
    margins = torch.randn(15, generator=generator)
    cases += [(margins, torch.ones(15, dtype=torch.long)), (margins, torch.zeros(15, dtype=torch.long))]
    for number, (margins, labels) in enumerate(cases):
        answer = best_threshold(margins.clone(), labels.clone())
        try:
            threshold = float(answer)
        except (TypeError, ValueError):
            raise Wrong(f"the function returned {type(answer).__name__}, expected a number") from None
        cuts = torch.cat([margins.min()[None] - 1, margins.sort().values])  # called spam when above
        reachable = max((margins > cut).long().eq(labels).float().mean().item() for cut in cuts)
        reached = (margins > threshold).long().eq(labels).float().mean().item()
        if reached < reachable - 1e-6:
            if number == 2:
                raise Wrong("when all messages are spam, a threshold below all of them is best; yours misses some")
            if number == 3:
                raise Wrong("when no message is spam, a threshold above all of them is best; yours calls some spam")
            if reached < 0.5:
                raise Wrong(f"{reached:.0%} right, worse than a coin: spam is what lies *above* the threshold")
            raise Wrong(f"your threshold {threshold:.2f} is right for {reached:.0%}, {reachable:.0%} can be reached")
