"""Checks of chapter 07: metrics, near duplicates, a split that keeps groups together, McNemar's test, a baseline."""

import numpy as np
from scipy.stats import binomtest

from checks import forbidden, number
from course import Wrong, exercise
from data.practice import practice_messages
from data.splits import stratified_split
from gpt2.metrics import classification_metrics


@exercise("07.1")
def check_metrics(metrics) -> None:
    generator = np.random.default_rng(71)
    labels = (generator.random(200) < 0.2).astype(int)
    predictions = np.where(generator.random(200) < 0.15, 1 - labels, labels)
    wanted = classification_metrics(labels, np.eye(2)[predictions], 1)
    answer = metrics(labels, predictions)
    if not isinstance(answer, dict):
        raise Wrong(f"the function returned {type(answer).__name__}, expected a dictionary")
    names = ("accuracy", "precision", "recall", "f1")
    missing = [name for name in names if name not in answer]
    if missing:
        raise Wrong(f"the dictionary lacks {', '.join(missing)}")
    near = {name: abs(float(answer[name]) - wanted[name]) < 1e-9 for name in names}
    if not near["precision"] and abs(float(answer["precision"]) - wanted["recall"]) < 1e-9:
        raise Wrong("precision and recall are exchanged: which one divides by what was called spam?")
    if abs(float(answer["f1"]) - (wanted["precision"] + wanted["recall"]) / 2) < 1e-9:
        raise Wrong("f1 is not the arithmetic mean of precision and recall; look at its formula again")
    for name in names:
        if not near[name]:
            raise Wrong(f"{name} is {float(answer[name]):.4f} on a random example, expected {wanted[name]:.4f}")
    for truth, said in ((labels, np.zeros(200, int)), (np.zeros(200, int), predictions)):
        try:
            with np.errstate(all="ignore"):
                answer = metrics(truth, said)
        except ZeroDivisionError:
            raise Wrong("division by zero when nothing is called spam, or nothing is spam; 0/0 counts as 0") from None
        if any(float(answer[name]) != 0 for name in ("precision", "recall", "f1")):  # also true of nan
            raise Wrong("when nothing is called spam, or nothing is spam, precision, recall and f1 must be 0")


@exercise("07.2")
def check_near_duplicates(near_duplicates) -> None:
    train = ["Call 08001 now!", "See you  at 8", "win £500 \n today", "ok", " Free entry "]
    cases = [
        ("Call 08001 now!", True, "an exact repeat is nearly equal too"),
        ("CALL 08001 NOW!", True, "capital and small letters must not matter"),
        ("Call 93717 now!", True, "other digits must not matter"),
        ("Call 080012 now!", False, "each digit becomes a 0: a number with more digits is another text"),
        ("See you at 9", True, "a run of white space counts as one space"),
        ("win £120 today", True, "a line break is white space as well"),
        ("Free entry", True, "white space at the ends must not matter"),
        ("ok then", False, "only the whole text counts, not a part of it"),
        ("Call 08001 now", False, "an exclamation mark more or less makes another text"),
    ]
    answer = near_duplicates(train, [text for text, *_ in cases])
    try:
        answer = [bool(value) for value in answer]
    except (TypeError, ValueError):
        raise Wrong(f"the function returned {type(answer).__name__}, expected a list of booleans") from None
    if len(answer) != len(cases):
        raise Wrong(f"{len(answer)} booleans for {len(cases)} test texts")
    for value, (text, wanted, hint) in zip(answer, cases, strict=True):
        if value != wanted:
            raise Wrong(f"{text!r} came out {value}: {hint}")
    if list(near_duplicates([], ["ok"])) != [False]:
        raise Wrong("without any training text nothing is a duplicate")


@exercise("07.3")
def check_split_groups(split_groups) -> None:
    generator = np.random.default_rng(73)
    texts = [f"message {i}" for i in generator.integers(0, 3000, size=6000)]
    parts = split_groups(list(texts), 0.2, 1)
    if not isinstance(parts, (tuple, list)) or len(parts) != 2:
        raise Wrong("return two lists of indices: train, test")
    try:
        train, test = ([int(i) for i in part] for part in parts)
    except (TypeError, ValueError):
        raise Wrong("each list should hold indices into texts, not the texts themselves") from None
    if set(train) & set(test):
        raise Wrong("some indices are in both lists")
    if not set(train) | set(test) <= set(range(len(texts))):
        raise Wrong("these are not indices of the texts")
    torn = {texts[i] for i in train} & {texts[i] for i in test}
    if torn:
        raise Wrong(f"{len(torn)} texts stand on both sides: draw among the different texts, not among the messages")
    if len(train) + len(test) < len(texts):
        raise Wrong(f"{len(texts) - len(train) - len(test)} messages are in neither list: repeats are to be kept")
    if len(train) + len(test) > len(texts):
        raise Wrong("some index occurs twice in a list")
    share = len({texts[i] for i in test}) / len(set(texts))
    if abs(share - 0.8) < 0.04:
        raise Wrong("asked for 20 % of the different texts in test, got 80 %: are train and test exchanged?")
    if abs(share - 0.2) > 0.04:
        raise Wrong(f"asked for 20 % of the different texts in test, got {share:.0%}")
    share = len({texts[int(i)] for i in split_groups(list(texts), 0.6, 1)[1]}) / len(set(texts))
    if abs(share - 0.6) > 0.04:
        raise Wrong(f"right for a share of 20 %, but asked for 60 % it gives {share:.0%}")
    again = split_groups(list(texts), 0.2, 1)
    if [sorted(part) for part in again] != [sorted(train), sorted(test)]:
        raise Wrong("the same seed gave another split: what is random here besides your seed?")
    if sorted(split_groups(list(texts), 0.2, 2)[1]) == sorted(test):
        raise Wrong("another seed gave the same split")


@exercise("07.4")
def check_mcnemar(mcnemar) -> None:
    def example(only_a: int, only_b: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
        a = np.repeat([True, False, True, False], [only_a, only_b, both, neither])
        b = np.repeat([False, True, True, False], [only_a, only_b, both, neither])
        order = np.random.default_rng(74).permutation(len(a))
        return a[order], b[order]

    for k, only_b in ((3, 11), (11, 3), (1, 0), (20, 31)):
        a, b = example(k, only_b, 200, 9)
        p, wanted = number(mcnemar(a, b)), binomtest(k, k + only_b).pvalue
        if abs(p - wanted / 2) < 1e-9:
            raise Wrong("that is one tail only: we did not know beforehand which one would be ahead")
        if abs(p - wanted) > 1e-9:
            other = float(mcnemar(*example(k, only_b, 20, 9)))
            if abs(other - p) > 1e-12:
                raise Wrong("messages that both have right change your p: only disagreements may enter")
            raise Wrong(f"{k} only A right, {only_b} only B right: got p = {p:.4f}, expected {wanted:.4f}")
    if abs(float(mcnemar(*example(6, 6, 50, 5))) - 1) > 1e-9:
        raise Wrong("six against six must give p = 1: a probability is never above 1")
    if abs(float(mcnemar(*example(0, 0, 50, 5))) - 1) > 1e-9:
        raise Wrong("two classifiers that never disagree must give p = 1")


@exercise("07.5")
def check_baseline(my_baseline) -> None:
    train, _, test = stratified_split(practice_messages(), seed=75)
    labels = [int(label == "spam") for label in train.label]
    wanted = np.array([int(label == "spam") for label in test.label])
    with forbidden(my_baseline, "plain Python is asked for, without scikit-learn and PyTorch", "sklearn", "torch"):
        answer = my_baseline(train.text.tolist(), labels, test.text.tolist())
    try:
        answer = np.array(list(answer))
    except TypeError:
        raise Wrong(f"the function returned {type(answer).__name__}, expected a list of labels") from None
    if answer.shape != wanted.shape:
        raise Wrong(f"{len(answer)} labels for {len(wanted)} texts")
    if not set(answer.tolist()) <= {0, 1}:
        raise Wrong("a label is 0 or 1: probabilities and names have to be turned into one")
    right = float((answer == wanted).mean())
    if len(set(answer.tolist())) == 1:
        raise Wrong(f"always the same label, {right:.0%} right: that is the majority baseline")
    if right < 0.4:
        raise Wrong(f"{right:.0%} right, far below a coin: are 0 and 1 exchanged?")
    if right < 0.8:
        raise Wrong(
            f"{right:.0%} right on new messages, 80 % wanted: which words or pairs of words tell the classes apart?"
        )
