"""The worker of transformers' text-classification pipeline; see scoring.py.

    python -m benchmarking.hugging_face_scoring job.json

Texts sorted by length and given in batches of 32: the pipeline's documented way to be fast.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import transformers

from benchmarking.worker import as_worker, serve_scores

BATCH = 32


def pipeline(job: dict, say: Callable[[dict], None]) -> None:
    """Load the exported model and answer."""
    transformers.logging.set_verbosity_error()
    classifier = transformers.pipeline("text-classification", model=job["exported"], top_k=None)
    names = list((classifier.model.config.id2label or {}).values())

    def predict(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        answers: Any = classifier([texts[i] for i in order], batch_size=BATCH, truncation=True)
        found = np.empty((len(texts), len(names)))
        for i, classes in zip(order, answers, strict=True):
            scores = {answer["label"]: answer["score"] for answer in classes}  # best first
            found[i] = [scores[name] for name in names]
        return found

    serve_scores(job, say, predict)


if __name__ == "__main__":
    as_worker(pipeline)
