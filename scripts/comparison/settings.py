"""What the runs of a comparison have in common, for classifiers and for models that write, and the command of a run."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from comparison.rows import Row
from data.own_tables import TableSettings


@dataclass(frozen=True)
class Run:
    """One training run of the comparison."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row.name}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What all runs have in common; a results folder belongs to one such choice."""

    model: str
    data: str
    epochs: int
    device: str

    task: ClassVar[str]
    script: ClassVar[str]  # that trains

    def arguments(self, run: Run) -> list[str]:
        """The arguments of the script for a run."""
        given = {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, False)}
        flags = {name: f"--{name.replace('_', '-')}" for name in given}
        shared = [
            part for name, value in given.items() for part in ([flags[name]] + [str(value)] * (value is not True))
        ]
        return [*shared, *run.row.arguments(self.model), f"--seed={run.seed}"]

    @staticmethod
    def figures(metrics: dict) -> str:
        """The figures to show when a run has finished."""
        raise NotImplementedError

    @classmethod
    def later(cls) -> dict:
        """Settings with defaults: those that a comparison of an earlier version may lack."""
        fields = dataclasses.fields(cls)
        return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}


@dataclass(frozen=True, kw_only=True)
class Settings(TableSettings, RunSettings):
    """Of classifiers: also how to read an own table."""

    protocol: str

    task = "classification"
    script = "finetune_spam.py"

    def arguments(self, run: Run) -> list[str]:
        """The seed also draws the split, so all rows with one seed have the same split."""
        return [*super().arguments(run), f"--split-seed={run.seed}"]

    @staticmethod
    def figures(metrics: dict) -> str:
        return f"test accuracy {metrics['test']['accuracy']:.2%}, F1 {metrics['test']['f1']:.2%}"


@dataclass(frozen=True, kw_only=True)
class TextSettings(RunSettings):
    """Of models that learn to write."""

    source_column: str = "source"
    target_column: str = "target"
    encoding: str = "utf-8"
    max_pairs: int | None = None
    evaluation_pairs: int = 1000
    test_sources: int = 200
    num_beams: int = 4

    task = "text"
    script = "finetune_text.py"
    protocol = None

    def arguments(self, run: Run) -> list[str]:
        """The baselines are the same for all runs: the report has them once."""
        return [*super().arguments(run), "--no-baselines"]

    @staticmethod
    def figures(metrics: dict) -> str:
        bleu = metrics["written"]["model"]["bleu"]
        return f"perplexity {metrics['test']['perplexity']:.2f} on test targets, BLEU {bleu:.2f}"


LATER_SETTINGS = Settings.later()
