"""A run that trains a classifier: its decision, its outcome on the three parts, and what is said of it."""

from dataclasses import dataclass, field

import peft
from common.cli import command_line
from common.experiment import Experiment
from common.outcome import Outcome
from common.text import one_line, sample
from data import Dataset
from gpt2.training.decision import AS_TRAINED, Decision, choose_temperature, choose_threshold
from gpt2.training.distributed import is_main
from gpt2.training.finetune import evaluate
from gpt2.training.prediction import predict


@dataclass(kw_only=True)
class ClassifierExperiment(Experiment):
    """``dataset``: the messages that the batches were made of."""

    dataset: Dataset
    threshold: str | None = None  # of two classes: a rule of gpt2/training/decision.py
    calibrate: bool = False  # choose a temperature
    untuned: dict[str, dict] = field(default_factory=dict)  # measured before training, where the recipe does so

    recorded = Experiment.recorded + " protocol recipe positive"

    def record(self, status: str, **results) -> dict:
        """As for every run, and what was measured before training."""
        return super().record(status, **({"untuned": self.untuned} if self.untuned else {}), **results)

    def record_figures(self) -> tuple[Outcome, dict, str | None] | None:
        """Save the adapter and evaluate on the three parts; what is there to print, None in other processes."""
        if not is_main():
            return None
        peft.save(self.model, self.folder / "adapter")
        index = self.dataset.positive_index
        how, parts = (self.recipe.pooling, index, self.batching, self.features), {}
        with peft.merged(self.model):
            decision = self.decide(index)
            for name, batches in self.batches.items():
                parts[name], probabilities = evaluate(self.model, batches, self.device, *how, decision)
        outcome = Outcome(self.dataset, decision, probabilities, parts)
        note = outcome.write(self.folder)
        return outcome, self.record("finished", **outcome.figures()), note

    def decide(self, positive: int | None) -> Decision:
        """The temperature and the threshold that were asked for, from the validation messages."""
        if not (self.calibrate or self.threshold):
            return AS_TRAINED
        batching = self.recipe.pooling, self.batching, self.features
        logits, labels = predict(self.model, self.batches["validation"], self.device, *batching)
        found = choose_temperature(logits, labels) if self.calibrate else None
        temperature = AS_TRAINED.temperature if found is None else found
        if not self.threshold or positive is None:
            return Decision(temperature)
        scores = (logits / temperature).softmax(dim=-1)[:, positive].numpy()
        threshold = choose_threshold(self.threshold, labels.numpy() == positive, scores)
        return Decision(temperature, threshold, self.threshold)

    def print_report(self, outcome: Outcome, metrics: dict, note: str | None) -> None:
        """Which epoch was kept, the closing tables, the costs, and how to try the model."""
        print(f"\n{self.progress.kept(self.recipe)}")
        outcome.print(metrics)
        if self.calibrate and outcome.decision.temperature == AS_TRAINED.temperature:
            print(
                f"No temperature follows from the {len(self.dataset.validation):,} validation messages: they are too "
                "few, or all answers are right, or no better than chance. Probabilities are as trained (T = 1)."
            )
        self.print_costs(metrics)
        if note:
            print(note)
        text = sample(self.dataset.test.text)
        words = ["--", text] if text.startswith("-") else [text]
        print(f"Results in {self.folder}; try: {command_line('classify.py', self.folder, *words)}")


def describe_dataset(dataset: Dataset) -> str:
    """What a run's first lines say of the data."""
    sizes = " / ".join(f"{len(part):,}" for part in (dataset.train, dataset.validation, dataset.test))
    classes = ", ".join(map(one_line, dataset.classes))
    return f"{dataset.name}: {sizes} messages to train / validate / test, classes {classes}"


def describe_untuned(untuned: dict[str, dict]) -> None:
    """The accuracies before training; beside them stands, in the reference recipe, how few messages they are of."""
    shown = " / ".join(f"{values['accuracy']:.2%}" for values in untuned.values())
    counts = list(dict.fromkeys(f"{values['n']:.0f}" for values in untuned.values()))
    print(
        f"Untuned  accuracy {shown} on the first {' / '.join(counts)} messages to train / validate / test", flush=True
    )
