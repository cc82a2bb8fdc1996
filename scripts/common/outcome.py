"""What a finished run says of its classifier: the figures, the baselines beside them, and the files that show more.

metrics.json       accuracy with its interval, each class by itself, the baselines (most frequent class, TF-IDF), and
                   the calibration error
predictions.csv    the test messages with label, answer and probability
mistakes.csv       the same of the wrong ones, the surest first
scores.png         how confident and how right it is; of two classes also what each threshold would give
decision.json      the temperature and the threshold, where they were asked for
"""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.text import class_table, one_line
from data import Dataset
from data.baselines import STRENGTHS, fit_tfidf
from gpt2.files import atomic_write, write_json
from gpt2.metrics import calibration_error, classification_metrics, effective_number, per_class, reliability, wilson
from gpt2.training.decision import AS_TRAINED, Decision
from gpt2.training.plots import plot_scores
from gpt2.training.runs import write_confusion

SHOWN_MISTAKES = 20
MANY = 20_000  # training messages beyond which TF-IDF tries one strength only


@dataclass
class Outcome:
    """The test messages' probabilities (n, classes) under a decision, and the metrics of the three parts."""

    dataset: Dataset
    decision: Decision
    probabilities: np.ndarray
    parts: dict[str, dict]

    def __post_init__(self) -> None:
        self.positive = self.dataset.positive_index
        self.labels = self.dataset.test.label.to_numpy()
        self.answers = self.decision.answers(self.probabilities, self.positive)
        self.reliability = reliability(self.labels, self.probabilities)

    def figures(self) -> dict:
        """What metrics.json says besides the run's settings and costs."""
        test = self.parts["test"]
        units = range(test["n"]) if self.dataset.units is None else self.dataset.units
        n = effective_number(self.answers == self.labels, units)
        low, high = wilson(test["accuracy"] * n, n)
        return self.parts | {
            "accuracy_interval": [low, high],
            "classes": per_class(self.labels, self.answers, self.dataset.classes),
            "baselines": self.baselines(),
            "calibration_error": calibration_error(self.reliability),
            **dataclasses.asdict(self.decision),
        }

    def baselines(self) -> dict[str, dict]:
        """Metrics of the test messages: the most frequent class for all of them, and words counted and weighed."""
        dataset, majority = self.dataset, int(self.dataset.train["label"].mode()[0])
        constant = np.eye(len(dataset.classes))[np.full(len(self.labels), majority)]
        strengths = STRENGTHS if len(dataset.train) <= MANY else (10.0,)
        words = fit_tfidf(dataset, strengths)(dataset.test.text)
        return {
            "majority": classification_metrics(self.labels, constant, self.positive),
            "tfidf": classification_metrics(self.labels, words, self.positive),
        }

    def write(self, folder: Path) -> str | None:
        """Write the files; returns what a person should know about the pictures."""
        classes, test = self.dataset.classes, self.dataset.test
        table = pd.DataFrame(
            {
                "label": [classes[label] for label in self.labels],
                "predicted": [classes[answer] for answer in self.answers],
                "probability": self.probabilities[np.arange(len(test)), self.answers].round(6),
                "text": test.text,
            }
        )
        wrong = table[table.label != table.predicted]
        surest = wrong.sort_values("probability", ascending=False, kind="stable").head(SHOWN_MISTAKES)
        for name, rows in (("predictions", table), ("mistakes", surest)):
            with atomic_write(folder / f"{name}.csv") as temporary:  # quoted: a text may hold any line break
                rows.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)
        with atomic_write(folder / "scores.png") as temporary:
            plot_scores(self.labels, self.probabilities, self.positive, self.decision, self.reliability, temporary)
        if self.decision != AS_TRAINED:
            write_json(folder / "decision.json", dataclasses.asdict(self.decision))
        return write_confusion(folder, self.labels, self.answers, classes)

    def print(self, figures: dict) -> None:
        """The figures of the three parts, of each class, and of the baselines."""
        shown = ["accuracy", "precision", "recall", "f1", "loss", "n"]
        formats = {key: "{:.2%}".format for key in shown[:4]} | {"loss": "{:.4f}".format}
        rows = {name: figures[name] for name in self.parts}
        rows |= {
            "TF-IDF, test": figures["baselines"]["tfidf"],
            f"always {one_line(self.dataset.majority()[0])}, test": figures["baselines"]["majority"],
        }
        table = pd.DataFrame(rows).T.reindex(columns=shown).astype({"n": int})
        print("\n" + table.to_string(formatters=formats, na_rep="–"))
        positive = self.dataset.positive
        about = f"of class {one_line(positive)}" if positive else "averaged over the classes"
        low, high = figures["accuracy_interval"]
        print(f"(precision, recall and F1 {about}; 95 % interval of the test accuracy {low:.1%} to {high:.1%})")
        if self.decision.rule != "0.5":
            print(f"Answers {positive} from probability {self.decision.threshold:.3f} on ({self.decision.rule}).")
        if self.decision.temperature != 1.0:
            print(f"Temperature {self.decision.temperature:.2f}, so that confidence is nearer to accuracy.")
        print("\n" + class_table(figures["classes"]))
