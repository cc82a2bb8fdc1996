"""Other right answers to the exercises of chapter 07 than the solution's."""

RIGHT = {
    "07.1": [
        """\
def metrics(labels, predictions):
    tp = fp = fn = tn = 0
    for truth, said in zip(labels, predictions):
        if said == 1:
            tp, fp = tp + (truth == 1), fp + (truth == 0)
        else:
            fn, tn = fn + (truth == 1), tn + (truth == 0)
    precision = tp / (tp + fp) if tp + fp else 0
    recall = tp / (tp + fn) if tp + fn else 0
    f1 = 2 * tp / (2 * tp + fp + fn) if tp else 0
    return {"f1": f1, "recall": recall, "precision": precision, "accuracy": (tp + tn) / len(labels)}
""",
        """\
import torch


def metrics(labels, predictions):
    y, p = torch.as_tensor(labels).double(), torch.as_tensor(predictions).double()
    tp = (y * p).sum()
    precision, recall = tp / p.sum().clamp(min=1), tp / y.sum().clamp(min=1)
    f1 = 2 * tp / (y.sum() + p.sum()).clamp(min=1)
    return dict(accuracy=(y == p).double().mean(), precision=precision, recall=recall, f1=f1)
""",
    ],
    "07.2": [
        """\
import re

import numpy as np


def near_duplicates(train, test):
    def key(text):
        return re.sub(r"\\s+", " ", re.sub("[0-9]", "0", text.lower())).strip()

    return np.isin([key(text) for text in test], [key(text) for text in train])
""",
        """\
def near_duplicates(train, test):
    def key(text):
        return " ".join("".join("0" if c.isdigit() else c for c in text.lower()).split())

    found = []
    for text in test:
        found.append(any(key(text) == key(other) for other in train))
    return tuple(found)
""",
    ],
    "07.3": [
        """\
import pandas as pd


def split_groups(texts, share, seed):
    texts = pd.Series(texts)
    in_test = texts.isin(texts.drop_duplicates().sample(frac=share, random_state=seed))
    return texts.index[~in_test], texts.index[in_test]
""",
        """\
import hashlib


def split_groups(texts, share, seed):
    def fraction(text):
        return int(hashlib.sha256(f"{seed} {text}".encode()).hexdigest()[:8], 16) / 16**8

    in_test = [fraction(text) < share for text in texts]
    return [i for i, t in enumerate(in_test) if not t], [i for i, t in enumerate(in_test) if t]
""",
        """\
import numpy as np


def split_groups(texts, share, seed):
    names, group = np.unique(texts, return_inverse=True)
    chosen = np.random.default_rng(seed).permutation(len(names))[: int(share * len(names))]
    mask = np.isin(group, chosen)
    return np.flatnonzero(~mask), np.flatnonzero(mask)
""",
        """\
from sklearn.model_selection import GroupShuffleSplit


def split_groups(texts, share, seed):
    return next(GroupShuffleSplit(1, test_size=share, random_state=seed).split(texts, groups=texts))
""",
    ],
    "07.4": [
        """\
from scipy.stats import binomtest


def mcnemar(a_right, b_right):
    k, l = int((a_right > b_right).sum()), int((b_right > a_right).sum())
    return binomtest(min(k, l), k + l).pvalue if k + l else 1.0
""",
        """\
import math
from fractions import Fraction


def mcnemar(a_right, b_right):
    k = sum(1 for a, b in zip(a_right, b_right) if a and not b)
    l = sum(1 for a, b in zip(a_right, b_right) if b and not a)
    p = 2 * sum(Fraction(math.comb(k + l, i), 2 ** (k + l)) for i in range(min(k, l) + 1))
    return float(min(Fraction(1), p))
""",
        """\
import numpy as np
from scipy.stats import binom


def mcnemar(a_right, b_right):
    k, l = np.sum(a_right & ~b_right), np.sum(b_right & ~a_right)
    return np.minimum(1, 2 * binom.cdf(min(k, l), k + l, 0.5))
""",
    ],
    "07.5": [
        """\
import re
from collections import defaultdict


def my_baseline(train_texts, train_labels, test_texts):
    def features(text):
        words = re.findall(r"[a-z]+|[0-9]+|[^\\sa-z0-9]", text.lower())
        return words + [a + " " + b for a, b in zip(words, words[1:])]

    weights = defaultdict(float)
    for _ in range(15):  # a perceptron
        for text, label in zip(train_texts, train_labels):
            said = sum(weights[f] for f in features(text)) > 0
            for f in features(text):
                weights[f] += label - said
    return [int(sum(weights[f] for f in features(text)) > 0) for text in test_texts]
""",
        """\
import numpy as np


def my_baseline(train_texts, train_labels, test_texts):
    def grams(text):
        words = text.lower().replace(",", " ,").split()
        return {"|".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}

    index = {}
    for text in train_texts:
        for gram in grams(text):
            index.setdefault(gram, len(index))

    def matrix(texts):
        X = np.zeros((len(texts), len(index) + 1))
        for i, text in enumerate(texts):
            X[i, [index.get(gram, len(index)) for gram in grams(text)]] = 1
        return X[:, :-1]

    X, y = matrix(train_texts), np.array(train_labels)
    ratio = np.log((X[y == 1].sum(0) + 1) / (X[y == 0].sum(0) + 1))
    return (matrix(test_texts) @ ratio > 0).astype(int)
""",
    ],
}
