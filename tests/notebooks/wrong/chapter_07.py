"""Typical wrong answers to the exercises of chapter 07: each must be found wrong, with a fitting hint."""

WRONG = {
    "07.1": [
        """def metrics(labels, predictions):
    found = ((predictions == 1) & (labels == 1)).sum()
    precision = found / max((labels == 1).sum(), 1)
    recall = found / max((predictions == 1).sum(), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    return {"accuracy": (predictions == labels).mean(), "precision": precision, "recall": recall, "f1": f1}
""",
        """def metrics(labels, predictions):
    found = ((predictions == 1) & (labels == 1)).sum()
    precision = found / max((predictions == 1).sum(), 1)
    recall = found / max((labels == 1).sum(), 1)
    return {
        "accuracy": (predictions == labels).mean(),
        "precision": precision,
        "recall": recall,
        "f1": (precision + recall) / 2,
    }
""",
        """def metrics(labels, predictions):
    found = sum(1 for y, p in zip(labels, predictions) if y == 1 and p == 1)
    precision = found / sum(1 for p in predictions if p == 1)
    recall = found / sum(1 for y in labels if y == 1)
    accuracy = sum(1 for y, p in zip(labels, predictions) if y == p) / len(labels)
    return {
        "accuracy": accuracy,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall),
    }
""",
    ],
    "07.2": [
        """def near_duplicates(train, test):
    known = set(train)
    return [text in known for text in test]
""",
        """import re


def near_duplicates(train, test):
    def normal(text):
        return " ".join(re.sub(r"\\d+", "0", text.lower()).split())

    known = {normal(text) for text in train}
    return [normal(text) in known for text in test]
""",
        """import re


def near_duplicates(train, test):
    def normal(text):
        return re.sub(r"\\d", "0", text.lower())

    known = {normal(text) for text in train}
    return [normal(text) in known for text in test]
""",
    ],
    "07.3": [
        """import random


def split_groups(texts, share, seed):
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    cut = round(share * len(texts))
    return order[cut:], order[:cut]
""",
        """import random


def split_groups(texts, share, seed):
    first = {}
    for i, text in enumerate(texts):
        first.setdefault(text, i)
    order = sorted(first.values())
    random.Random(seed).shuffle(order)
    cut = round(share * len(order))
    return order[cut:], order[:cut]
""",
        """def split_groups(texts, share, seed):
    different = sorted(set(texts))
    in_test = set(different[: round(share * len(different))])
    train = [i for i, text in enumerate(texts) if text not in in_test]
    test = [i for i, text in enumerate(texts) if text in in_test]
    return train, test
""",
        """import random


def split_groups(texts, share, seed):
    different = sorted(set(texts))
    random.Random(seed).shuffle(different)
    in_test = set(different[: len(different) // 5])
    train = [i for i, text in enumerate(texts) if text not in in_test]
    test = [i for i, text in enumerate(texts) if text in in_test]
    return train, test
""",
    ],
    "07.4": [
        """import math


def mcnemar(a_right, b_right):
    k = int((a_right & ~b_right).sum())
    only_b = int((b_right & ~a_right).sum())
    n = k + only_b
    return sum(math.comb(n, i) for i in range(min(k, only_b) + 1)) / 2**n
""",
        """import math


def mcnemar(a_right, b_right):
    k, only_b = int(a_right.sum()), int(b_right.sum())
    n = k + only_b
    tail = sum(math.comb(n, i) for i in range(min(k, only_b) + 1)) / 2**n
    return min(1.0, 2 * tail)
""",
        """import math


def mcnemar(a_right, b_right):
    k = int((a_right & ~b_right).sum())
    only_b = int((b_right & ~a_right).sum())
    n = k + only_b
    return 2 * sum(math.comb(n, i) for i in range(min(k, only_b) + 1)) / 2**n
""",
    ],
    "07.5": [
        """\
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


def my_baseline(train_texts, train_labels, test_texts):
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10))
    return model.fit(train_texts, train_labels).predict(test_texts)
""",
        """\
def my_baseline(train_texts, train_labels, test_texts):
    import sklearn.naive_bayes
    from sklearn.feature_extraction.text import CountVectorizer

    count = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\\w+|[^\\w\\s]")
    model = sklearn.naive_bayes.BernoulliNB().fit(count.fit_transform(train_texts), train_labels)
    return model.predict(count.transform(test_texts))
""",
        """def my_baseline(train_texts, train_labels, test_texts):
    return [0] * len(test_texts)
""",
        """def my_baseline(train_texts, train_labels, test_texts):
    memory = dict(zip(train_texts, train_labels))
    return [memory.get(text, 0) for text in test_texts]
""",
        """def my_baseline(train_texts, train_labels, test_texts):
    words = {word for text, label in zip(train_texts, train_labels) if label == 1 for word in text.split()}
    return [sum(word in words for word in text.split()) / len(text.split()) for text in test_texts]
""",
    ],
}
