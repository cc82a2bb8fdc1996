"""Two classifiers that need no neural network: what a fine-tuned model has to beat to be worth its cost.

    from data.baselines import majority, tfidf
    tfidf(dataset)["test"]["accuracy"]

A method's accuracy means little alone. On short messages, counting words and word pairs and weighing them is
hard to beat.
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from data import Dataset
from gpt2.metrics import classification_metrics

SPLITS = ("train", "validation", "test")
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)  # C: larger means less regularisation


def majority(dataset: Dataset) -> dict[str, dict]:
    """Give every message the training set's most frequent class; return the metrics of each part."""
    return metrics_of(dataset, fit_majority(dataset))


def tfidf(dataset: Dataset) -> dict[str, dict]:
    """Weigh words and word pairs by tf-idf, fit logistic regression; return the metrics of each part."""
    return metrics_of(dataset, fit_tfidf(dataset))


def fit_majority(dataset: Dataset) -> Callable[[Sequence[str]], np.ndarray]:
    """Return texts -> (messages, classes) probabilities: the training set's proportions, the same for all messages."""
    counts = np.bincount(dataset.train["label"], minlength=len(dataset.classes))
    proportions = counts / counts.sum()  # (classes,)
    return lambda texts: np.tile(proportions, (len(texts), 1))


def fit_tfidf(dataset: Dataset, strengths: Sequence[float] = STRENGTHS) -> Callable[[Sequence[str]], np.ndarray]:
    """Return the fitted classifier: texts -> (messages, classes) probabilities.

    tf-idf = how often a word stands in this message × how rare it is among the training messages. The
    strength of the regularisation is the one with the lowest validation loss; the test part is not looked at.
    """
    vectorizer, models = tfidf_models(dataset, strengths)
    losses = validation_losses(dataset, vectorizer, models)
    best = models[min(losses, key=losses.__getitem__)]
    return lambda texts: best.predict_proba(vectorizer.transform(texts))


def tfidf_models(
    dataset: Dataset, strengths: Sequence[float] = STRENGTHS
) -> tuple[TfidfVectorizer, dict[float, LogisticRegression]]:
    """A classifier for each strength C, fitted to the training part, and what turns texts into its features."""
    # Marks count as words: "!" and "£" tell spam, and a text of nothing but emoji still has features.
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]")
    features = vectorizer.fit_transform(dataset.train["text"])  # (messages, words and pairs)
    labels = dataset.train["label"]
    return vectorizer, {c: LogisticRegression(C=c, max_iter=1000).fit(features, labels) for c in strengths}


def validation_losses(
    dataset: Dataset, vectorizer: TfidfVectorizer, models: dict[float, LogisticRegression]
) -> dict[float, float]:
    """Strength -> loss on the validation part, nats per message."""
    held_out, labels = vectorizer.transform(dataset.validation["text"]), dataset.validation["label"]
    classes = range(len(dataset.classes))
    return {c: log_loss(labels, model.predict_proba(held_out), labels=classes) for c, model in models.items()}


def metrics_of(dataset: Dataset, predict: Callable[[Sequence[str]], np.ndarray]) -> dict[str, dict]:
    """Return ``{split: metrics}`` for ``predict``: texts -> (messages, classes) probabilities."""
    parts = {split: getattr(dataset, split) for split in SPLITS}
    return {
        split: classification_metrics(part["label"].to_numpy(), predict(part["text"]), dataset.positive_index)
        for split, part in parts.items()
    }
