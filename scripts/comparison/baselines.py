"""What the methods have to beat, on the same test messages: no learning, no neural network, no training.

The classifiers are fitted once for each seed, and their answers kept in OUT/baselines.json.
"""

import numpy as np
import torch

from data import Dataset
from data.baselines import fit_majority, fit_tfidf
from gpt2.checkpoints.weights import load_gpt2
from gpt2.classifier import add_classification_head
from gpt2.devices import choose_device
from gpt2.metrics import classification_metrics
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import MessageBatches, encode
from gpt2.training.finetune import evaluate

MAJORITY = "majority class"
TFIDF = "TF-IDF + logistic regression"
UNTUNED = "untuned model, random head"


def answers(dataset: Dataset, settings: dict, seed: int, assets: str | None) -> dict[str, dict]:
    """What the three say to the test messages of one split: name -> {"metrics": of the test part, "right": [1, 0, …]
    for each test message in order}."""
    test, index = dataset.test, dataset.positive_index
    labels = test.label.to_numpy()
    probabilities = {
        MAJORITY: fit_majority(dataset)(test.text),
        TFIDF: fit_tfidf(dataset)(test.text),
        UNTUNED: untuned(dataset, settings, seed, assets),
    }
    return {
        name: {
            "metrics": classification_metrics(labels, rows, index),
            "right": (rows.argmax(axis=1) == labels).astype(int).tolist(),
        }
        for name, rows in probabilities.items()
    }


def untuned(dataset: Dataset, settings: dict, seed: int, assets: str | None) -> np.ndarray:
    """(messages, classes): the pretrained model with the head that a run with this seed starts from."""
    model = load_gpt2(settings["model"], assets)
    torch.manual_seed(seed)
    add_classification_head(model, len(dataset.classes))
    tokens, _ = encode(dataset.test.text.tolist(), get_tokenizer(), model.config.n_positions)
    device = choose_device(settings["device"])
    batches = MessageBatches(tokens, dataset.test.label.tolist(), batch_size=32)
    return evaluate(model.to(device), batches, device)[1]
