"""TextClassifier: a fine-tuned GPT-2 with the interface that users of scikit-learn know.

    from peft.estimator import TextClassifier

    classifier = TextClassifier(method="lora", rank=8, epochs=3).fit(texts, labels)
    classifier.predict(["You have won a prize!"])          # one of the labels
    classifier.predict_proba(["You have won a prize!"])    # (1, classes), in the order of classifier.classes_
    classifier.save("runs/mine")                           # a run folder, as scripts/finetune_spam.py writes one
    TextClassifier.load("runs/mine")

It follows scikit-learn's conventions ("Developing scikit-learn estimators"): settings are given to the constructor and
read by ``get_params``, what is learned ends with an underscore. So it works in ``cross_val_score``, ``GridSearchCV``
and as the last step of a ``Pipeline``. The texts are a list, an array or a pandas Series of strings.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted

from gpt2.checkpoints.weights import load_gpt2
from gpt2.devices import choose_device, fit_threads
from gpt2.errors import InputError, number, whole_number
from gpt2.files import refused_if_not_writable, write_json
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import MessageBatches, check_vocabulary, encode
from gpt2.training.decision import Decision
from gpt2.training.finetune import finetune
from gpt2.training.recipe import Recipe
from gpt2.training.run_files import read_run
from gpt2.training.runs import versions, write_history
from peft.applying import prepare_classifier
from peft.files.adapter import save
from peft.merging import merged
from peft.registry import METHODS
from peft.run_classifier import RunClassifier
from peft.texts_and_labels import labels_of, texts_of


class TextClassifier(ClassifierMixin, RunClassifier, BaseEstimator):
    """Classifies texts with a GPT-2 that a method of this package has fine-tuned.

    method                a name of ``peft.METHODS``
    model                 ``auto``, a name such as ``gpt2`` or ``practice``, or a folder, as for ``load_gpt2``
    epochs, batch_size    of training
    lr                    learning rate; None: the method's default for this width
    validation_fraction   of the texts, set aside to choose the best epoch; 0: none, and the last epoch is kept
    class_weight          None, or "balanced": rare classes count as much as frequent ones
    random_state          draws the head, the order of the texts and the validation texts: same number, same result
    device                ``auto``, ``cpu``, ``cuda`` or ``mps``
    assets                a local folder to look for named models in
    options               of the method, such as ``rank=8``

    After ``fit``: ``classes_`` (sorted labels), ``model_`` (the GPT-2), ``history_`` (a table with a row an epoch).
    Raises InputError, which is a ValueError, for settings and texts that cannot be used.
    """

    def __init__(
        self,
        method: str = "lora",
        model: str = "auto",
        *,
        epochs: int = 5,
        batch_size: int = 8,
        lr: float | None = None,
        validation_fraction: float = 0.1,
        class_weight: str | None = None,
        random_state: int = 123,
        device: str = "auto",
        assets: str | None = None,
        **options: Any,
    ):
        self.method = method
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.random_state = random_state
        self.device = device
        self.assets = assets
        self.options = options

    # ---------------------------------------------------------------------------------------- settings, as scikit-learn

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All settings, the method's options among them."""
        return super().get_params(deep) | self.options

    def set_params(self, **settings: Any) -> Self:
        """Change settings; those that are no argument of the constructor must be options of the method."""
        own = set(super().get_params(deep=False))
        super().set_params(**{name: value for name, value in settings.items() if name in own})
        self.options = self.options | {name: value for name, value in settings.items() if name not in own}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        return tags

    # --------------------------------------------------------------------------------------------------------- training

    def fit(self, texts: Iterable[str], labels: Iterable) -> Self:
        """Fine-tune on texts (n,) and their labels (n,): strings or numbers, at least two different ones."""
        texts, labels = texts_of(texts), labels_of(labels)
        if not texts:
            raise InputError("there are no texts to learn from")
        if labels.shape != (len(texts),):
            raise InputError(
                f"{len(texts):,} texts, but labels of shape {labels.shape}; expected a label for each text"
            )
        self.classes_, ids = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"only one class, {self.classes_.tolist()[0]!r}; a classifier needs texts of at least two")
        seed = whole_number("random_state", self.random_state, 0, 2**32 - 1)
        batch_size = whole_number("batch_size", self.batch_size)
        train, validation = self.split(ids, seed)

        device = choose_device(self.device)
        model = load_gpt2(self.model, self.assets)
        check_vocabulary(model.config.vocab_size, get_tokenizer())
        fit_threads(model.config.n_embd)
        prepare_classifier(model, len(self.classes_), self.method, self.options, seed)
        self.recipe_ = self.recipe(model.config.n_embd, seed, keep_best=len(validation) > 0)
        self.max_length_ = model.config.n_positions - model.virtual_positions()
        tokens, _ = encode(texts, get_tokenizer(), self.max_length_)

        def batches(chosen: np.ndarray) -> MessageBatches:
            return MessageBatches([tokens[i] for i in chosen], ids[chosen].tolist(), batch_size)

        validating = batches(validation if len(validation) else train[:1])
        progress = finetune(model, batches(train), validating, self.recipe_, device, around_evaluation=merged)
        self.model_, self.progress_, self.history_ = model.eval(), progress, pd.DataFrame(progress.history)
        self.decision_, self.positive_, self.pad_to_ = Decision(), None, None
        return self

    def split(self, ids: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices to train and to validate on, every class in both in the same share."""
        everything = np.arange(len(ids))
        fraction = number("validation_fraction", self.validation_fraction, least=0, below=1)
        if not fraction:
            return everything, everything[:0]
        classes, counts = np.unique(ids, return_counts=True)
        held_out = max(round(fraction * len(ids)), len(classes))
        if counts.min() < 2 or held_out > len(ids) - len(classes):
            return everything, everything[:0]  # too few texts to set any aside
        return train_test_split(everything, test_size=held_out, stratify=ids, random_state=seed)

    def recipe(self, width: int, seed: int, keep_best: bool) -> Recipe:
        """How to train; the learning rate is the method's where none is given."""
        lr = METHODS[self.method].learning_rate(width) if self.lr is None else self.lr
        return Recipe(
            lr=number("lr", lr, above=0),
            epochs=whole_number("epochs", self.epochs),
            seed=seed,
            keep_best=keep_best,
            class_weight=self.class_weight,
        )

    # -------------------------------------------------------------------------------------------------------------- use

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """(n, classes): the probability of each class, in the order of ``classes_``."""
        check_is_fitted(self, "model_")
        return super().predict_proba(texts)

    def save(self, folder: str | Path) -> Path:
        """Write a run folder: config.json, adapter/, history.csv and curves.png. Returns it."""
        check_is_fitted(self, "model_")
        folder = Path(folder)
        if (folder / "config.json").exists():
            raise InputError(f"{folder} holds a run already; name another folder", "folder")
        config = self.settings()
        with refused_if_not_writable(folder, "folder"):
            folder.mkdir(parents=True, exist_ok=True)
        save(self.model_, folder / "adapter")
        write_history(folder, self.progress_)
        write_json(folder / "config.json", config)  # last: with it the folder is a run
        return folder

    def settings(self) -> dict:
        """What config.json says: enough to load the run, and to repeat it with the same texts."""
        return {
            "method": self.method,
            "options": self.model_.peft.options,
            "model": self.model,
            "batch_size": int(self.batch_size),
            **dataclasses.asdict(self.recipe_),
            "validation_fraction": float(self.validation_fraction),
            "classes": self.classes_.tolist(),
            "positive": None,
            "max_length": self.max_length_,
            "pad_to": self.pad_to_,
            "base_sha256": self.model_.peft.base_fingerprints["float32"],
            "versions": versions(),
        }

    @classmethod
    def load(cls, folder: str | Path, assets: str | None = None, device: str = "auto", **changes: Any) -> Self:
        """The classifier of a run folder, whether ``save`` or scripts/finetune_spam.py wrote it.

        changes   options of the method to load it with, such as ``quantize=False``
        """
        config = read_run(Path(folder))
        known = ("method", "model", "epochs", "batch_size", "lr", "class_weight", "validation_fraction")
        given = {name: config[name] for name in known if name in config}
        classifier = cls(**given, random_state=config["seed"], device=device, assets=assets, **config["options"])
        return classifier.read(Path(folder), config, assets, changes)
