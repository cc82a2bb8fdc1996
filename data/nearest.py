"""A baseline that writes without a model: the target of the training source that is most like the source asked for.

    name[Zizzi], eatType[pub], area[riverside]     asked for
    name[Cocum], eatType[pub], area[riverside]     nearest in training  ->  "Cocum is a pub by the riverside."

Likeness is the cosine of word counts weighed by tf-idf. A fine-tuned model has to do better than that.
"""

import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

WORD = r"[^\s,\[\]]+"


def nearest_targets(train: pd.DataFrame, sources: list[str]) -> list[str]:
    """For each of ``sources`` the target of the nearest row of ``train``, columns source and target; the first row of
    several that are equally near."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, lowercase=False)
    if not train["source"].str.contains(WORD).any():  # nothing to compare
        return [train["target"].iloc[0]] * len(sources)
    known = vectorizer.fit_transform(train["source"])  # rows of length 1
    likeness = vectorizer.transform(sources) @ known.T  # (sources, rows), sparse
    targets = train["target"].tolist()
    return [targets[int(likeness[i].toarray().argmax())] for i in range(len(sources))]
