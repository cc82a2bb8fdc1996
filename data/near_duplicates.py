"""Messages that are nearly the same: found, put into groups, and counted on both sides of a split.

Spam is written once and sent with another number, name or prize. Such copies are not equal letter by letter, so
removing duplicates keeps them, and a model that learned the copy in the training data by heart gets the one in the test
data right. Two messages count as near-copies when their word trigrams overlap by half or more (Broder, 1997, "On the
resemblance and containment of documents"):

    "You have won £1000"    ->  {you have won, have won £0}          lower case, words between spaces,
    "You have won £2000 !"  ->  {you have won, have won £0, won £0 !}   each run of digits as one digit

    Jaccard similarity = shared trigrams / all trigrams of both = 2 / 3

Only messages that share one of their rarest trigrams are compared. None with half of its trigrams in common can be
missed so (Chaudhuri, Ganti & Kaushik, 2006, "A primitive operator for similarity joins in data cleaning").
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

SIMILAR = 0.5  # Jaccard similarity from which on two messages are near-copies


def trigrams(text: str) -> frozenset[str]:
    """Three words in a row, each; a message of fewer words is one whole."""
    words = re.sub(r"\d+", "0", text.lower()).split()
    if len(words) < 3:
        return frozenset([" ".join(words)])
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))


def kinds(texts: Sequence[str]) -> tuple[list[int], list[frozenset[str]]]:
    """The kind of each text, and the trigrams of each kind: texts with the same trigrams are of one kind."""
    number: dict[frozenset[str], int] = {}
    kind = [number.setdefault(trigrams(text), len(number)) for text in texts]
    return kind, list(number)


def similar(one: frozenset[str], other: frozenset[str]) -> bool:
    """Is the Jaccard similarity at least SIMILAR?"""
    shared = len(one & other)
    return shared >= SIMILAR * (len(one) + len(other) - shared)


def rarest(sets: list[frozenset[str]]) -> list[list[str]]:
    """Of each set the rarest trigrams, so many that two similar sets have one of them in common."""
    frequency = Counter(gram for grams in sets for gram in grams)
    by_rarity = [sorted(grams, key=lambda gram: (frequency[gram], gram)) for grams in sets]
    return [grams[: len(grams) - math.ceil(SIMILAR * len(grams)) + 1] for grams in by_rarity]


def groups(texts: Sequence[str]) -> list[int]:
    """A group number for each text: near-copies, and near-copies of near-copies, have the same."""
    kind, sets = kinds(texts)
    found = DisjointSet(range(len(sets)))
    having: dict[str, list[int]] = defaultdict(list)  # trigram -> earlier kinds that have it among their rarest
    for i, rare in enumerate(rarest(sets)):
        for j in {j for gram in rare for j in having[gram]}:
            if not found.connected(i, j) and similar(sets[i], sets[j]):
                found.merge(i, j)
        for gram in rare:
            having[gram].append(i)
    return [found[k] for k in kind]


def copies(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """For each row of ``test``, is it an ``exact`` copy and is it a ``near``-copy (exact ones included) of a text in
    ``train``? Booleans, with the index of ``test``."""
    kind, sets = kinds([*train["text"], *test["text"]])
    rare, trained, having = rarest(sets), set(kind[: len(train)]), defaultdict(list)
    for k in trained:
        for gram in rare[k]:
            having[gram].append(k)
    near = {
        k: k in trained or any(similar(sets[k], sets[j]) for gram in rare[k] for j in having[gram])
        for k in set(kind[len(train) :])
    }
    exact = test["text"].isin(set(train["text"]))
    return pd.DataFrame({"exact": exact, "near": [near[k] for k in kind[len(train) :]]}, index=test.index)


def leakage(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Class -> how many of its test messages there are (``n``), and how many are ``exact`` and ``near`` copies of
    training messages. Columns ``text`` and ``label`` in both tables."""
    found = copies(train, test).assign(label=test["label"], n=1)
    table = found.groupby("label")[["n", "exact", "near"]].sum()
    return {str(label): {key: int(value) for key, value in row.items()} for label, row in table.iterrows()}
