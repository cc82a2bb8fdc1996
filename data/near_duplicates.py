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

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIMILAR = 0.5  # Jaccard similarity from which on two messages are near-copies


def trigrams(text: str) -> frozenset[str]:
    """Three words in a row, each; a message of fewer words is one whole."""
    words = re.sub(r"\d+", "0", text.lower()).split()
    if len(words) < 3:
        return frozenset([" ".join(words)])
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))


def kinds(texts: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The kind of each text (n,): texts with the same trigrams are of one kind; and all pairs of kinds that are near-
    copies of each other."""
    number: dict[frozenset[str], int] = {}
    kind = np.array([number.setdefault(trigrams(text), len(number)) for text in texts], dtype=int)
    sets = list(number)
    frequency = Counter(gram for grams in sets for gram in grams)
    having: dict[str, list[int]] = defaultdict(list)  # trigram -> earlier kinds that have it among their rarest
    pairs = []
    for i, grams in enumerate(sets):
        by_rarity = sorted(grams, key=lambda gram: (frequency[gram], gram))
        rarest = by_rarity[: len(grams) - int(np.ceil(SIMILAR * len(grams))) + 1]
        for j in {j for gram in rarest for j in having[gram]}:
            shared = len(grams & sets[j])
            if shared >= SIMILAR * (len(grams) + len(sets[j]) - shared):
                pairs.append((j, i))
        for gram in rarest:
            having[gram].append(i)
    return kind, pairs


def groups(texts: Sequence[str]) -> np.ndarray:
    """A group number for each text (n,): near-copies, and near-copies of near-copies, have the same."""
    kind, near = kinds(texts)
    pairs, n = np.array(near, dtype=int).reshape(-1, 2), kind.max(initial=-1) + 1
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(links, directed=False)[1][kind] if n else kind


def copies(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """For each row of ``test``, is it an ``exact`` copy and is it a ``near``-copy (exact ones included) of a text in
    ``train``? Booleans, with the index of ``test``."""
    kind, pairs = kinds([*train["text"], *test["text"]])
    trained = set(kind[: len(train)])
    known = trained | {b for a, b in pairs if a in trained} | {a for a, b in pairs if b in trained}
    exact = test["text"].isin(set(train["text"]))
    return pd.DataFrame({"exact": exact, "near": [k in known for k in kind[len(train) :]]}, index=test.index)


def leakage(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Class -> how many of its test messages there are (``n``), and how many are ``exact`` and ``near`` copies of
    training messages. Columns ``text`` and ``label`` in both tables."""
    found = copies(train, test).assign(label=test["label"], n=1)
    table = found.groupby("label")[["n", "exact", "near"]].sum()
    return {str(label): {key: int(value) for key, value in row.items()} for label, row in table.iterrows()}
