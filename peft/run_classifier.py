"""RunClassifier: a fine-tuned classifier from its run folder, to be used and no more.

    RunClassifier.load("runs/mine").predict_proba(["You have won a prize!"])      # (1, classes)

``peft.estimator.TextClassifier`` is this and what scikit-learn's users expect. This file imports neither scikit-learn
nor pandas, which take a second, so that scripts/classify.py answers soon.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np

from gpt2.checkpoints.weights import load_gpt2
from gpt2.devices import choose_device
from gpt2.model import GPT2
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import MessageBatches, encode
from gpt2.training.decision import Decision
from gpt2.training.prediction import predict
from gpt2.training.recipe import Recipe
from gpt2.training.run_files import read_json, read_run
from peft.files.adapter import load
from peft.merging import merged
from peft.texts_and_labels import texts_of

CHUNK = 4096  # messages that are tokenised and classified at a time: a million need no more memory
EVALUATION_BATCH = 32


class RunClassifier:
    """What a trained classifier knows: ``model_``, ``classes_`` (labels), and how it reads and decides.

    device   ``auto``, ``cpu``, ``cuda`` or ``mps``
    """

    model_: GPT2
    classes_: np.ndarray
    recipe_: Recipe
    max_length_: int  # tokens of a message that are read
    pad_to_: int | None  # tokens that each message is padded to, where the recipe asks for it
    positive_: int | None  # the class that the threshold is of
    decision_: Decision
    truncated_: int  # messages that were, in the last call

    def __init__(self, device: str = "auto"):
        self.device = device

    @classmethod
    def load(cls, folder: str | Path, assets: str | None = None, device: str = "auto", **changes: Any) -> Self:
        """The classifier of a run folder, whether ``TextClassifier.save`` or scripts/finetune_spam.py wrote it.

        changes   options of the method to load it with, such as ``quantize=False``
        """
        return cls(device=device).read(Path(folder), read_run(Path(folder)), assets, changes)

    def read(self, folder: Path, config: dict, assets: str | None, changes: dict) -> Self:
        """Take over what was learned; ``config`` is that of the run."""
        self.classes_ = np.array(config["classes"])
        self.recipe_ = Recipe(lr=config["lr"], pooling=config["pooling"])
        self.max_length_, self.pad_to_ = config["max_length"], config["pad_to"]
        self.positive_ = config["classes"].index(config["positive"]) if config["positive"] else None
        self.truncated_ = 0
        self.decision_ = Decision(**read_json(folder / "decision.json"))
        self.model_ = load(load_gpt2(config["model"], assets), folder / "adapter", **changes).eval()
        return self

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """(n, classes): the probability of each class, in the order of ``classes_``."""
        texts, device = texts_of(texts), choose_device(self.device)
        parts, self.truncated_ = [np.empty((0, len(self.classes_)))], 0
        with merged(self.model_.to(device)):
            for start in range(0, len(texts), CHUNK):
                tokens, truncated = encode(texts[start : start + CHUNK], get_tokenizer(), self.max_length_)
                self.truncated_ += truncated
                batches = MessageBatches(tokens, [0] * len(tokens), EVALUATION_BATCH, self.pad_to_)
                logits, _ = predict(self.model_, batches, device, self.recipe_.pooling)
                parts.append((logits / self.decision_.temperature).softmax(dim=-1).numpy())
        return np.concatenate(parts)

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """(n,) the most likely label of each text; of two classes, as ``decision_`` says."""
        probabilities = self.predict_proba(texts)
        return self.classes_[self.decision_.answers(probabilities, self.positive_)]
