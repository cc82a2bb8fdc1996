"""Checks of chapter 19: teaching a model to write."""

from collections import Counter

import torch

from checks import forbidden, number, returned, tensor_of
from course import Wrong, exercise
from gpt2.language import IGNORED, next_token_labels


@exercise("19.1")
def labels_of(function):
    for lengths, starts in (([7, 5], [3, 2]), ([4, 9, 6], [1, 8, 4])):
        lengths, starts = torch.tensor(lengths), torch.tensor(starts)
        tokens = torch.randint(1, 1000, (len(lengths), int(lengths.max())))
        tokens[torch.arange(tokens.size(1)) >= lengths[:, None]] = 0  # padding
        expected, given = next_token_labels(tokens, lengths, starts), tokens.clone()
        with forbidden(function, "write the labels yourself, without next_token_labels", next_token_labels):
            answer = tensor_of(function(given, lengths.clone(), starts.clone()), tokens.shape, "the labels")
        if not torch.equal(given, tokens):
            raise Wrong("tokens were changed; the model still has to read them")
        if answer.equal(expected):
            continue
        asked, right = answer != IGNORED, expected != IGNORED
        if (answer == tokens)[asked].all() and asked.any():
            raise Wrong("position t gets the token at t + 1, the one that should follow, and not the token at t")
        beyond = torch.arange(tokens.size(1)) >= lengths[:, None] - 1
        if (asked & beyond).any():
            raise Wrong("the last real token has no token after it, and padding is not asked either")
        if (asked & ~right).any():
            raise Wrong("a position before the end of the source is asked; it should have the label -100")
        if (right & ~asked).any():
            raise Wrong("a target token is not asked; the first one is predicted at the last token of the source")
        raise Wrong("the right positions are asked, but with other tokens than those that follow")


@exercise("19.2")
def clipped_precision(function):
    near = ["the", "cat", "is", "on", "the", "mat"], ["there", "is", "a", "cat", "on", "the", "mat"]
    for text, references in (
        (["the"] * 7, near),
        (["the", "cat", "the", "cat", "on", "the", "mat"], near),
        (["rain", "and", "wind", "and", "rain"], (["rain", "and", "rain", "and", "wind"],)),
    ):
        for n in (1, 2, 3):
            answer = number(function(list(text), [list(words) for words in references], n))
            mine, theirs = grams(text, n), [grams(words, n) for words in references]

            def share(limit, mine=mine):
                return sum(min(count, limit(gram)) for gram, count in mine.items()) / mine.total()

            right = share(lambda gram, theirs=theirs: max(other[gram] for other in theirs))
            if abs(answer - right) < 1e-6:
                continue
            if abs(answer - share(lambda gram, theirs=theirs: 100 * any(gram in other for other in theirs))) < 1e-6:
                raise Wrong("an n-gram counts at most as often as in the reference that has it most often")
            if abs(answer - share(lambda gram, theirs=theirs: sum(other[gram] for other in theirs))) < 1e-6:
                raise Wrong("the references are not added up; the one with the largest count decides")
            if abs(answer - share(lambda gram, theirs=theirs: theirs[0][gram])) < 1e-6:
                raise Wrong("look at all references, not only at the first")
            raise Wrong(f"{n}-grams of {text}: you find {answer:.3f}, expected {right:.3f}")


def grams(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


@exercise("19.3")
def best_continuations(function):
    # of one beam the best tokens, of the other the best totals: to leave out either gives another answer
    first = torch.tensor([-6.0, -1.0]), torch.tensor([[0.5, 0.4, 0.06, 0.04], [0.1, 0.3, 0.25, 0.35]]).log(), 2
    others = [
        (-3 * torch.rand(beams), torch.log_softmax(2 * torch.randn(beams, vocabulary), dim=-1), k)
        for beams, vocabulary, k in ((2, 6, 2), (3, 8, 3), (1, 10, 4))
    ]
    for totals, log_probs, k in (first, *others):
        beams, vocabulary = log_probs.shape
        found = returned(function(totals.clone(), log_probs.clone(), k))
        try:
            answer = [(int(beam), int(token)) for beam, token in found]
        except (TypeError, ValueError) as error:
            raise Wrong("return a list of pairs (beam, token)") from error

        def best(scores, k=k, vocabulary=vocabulary):
            return [divmod(int(i), vocabulary) for i in scores.flatten().argsort(descending=True)[:k]]

        expected = best(totals[:, None] + log_probs)
        if answer == expected:
            continue
        if len(answer) != k:
            raise Wrong(f"you return {len(answer)} pairs, and {k} are asked for")
        if answer == [(token, beam) for beam, token in expected]:
            raise Wrong("in each pair the beam comes first, then the token")
        if sorted(answer) == sorted(expected):
            raise Wrong("these are the right pairs, but not in order: the best comes first")
        if answer == best(log_probs):
            raise Wrong("a text's total is that of its beam plus the log-probability of the new token")
        if sorted(beam for beam, _ in answer) == list(range(beams)):
            raise Wrong("one continuation of each beam; but all of the best may continue the same beam")
        raise Wrong(f"of {beams} beams and {vocabulary} tokens you choose {answer}, expected {expected}")
