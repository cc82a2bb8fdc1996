"""Train one row of the published comparison: stub, to be replaced by the real one."""

from dataclasses import dataclass
from pathlib import Path

from reproduction.rows import Row


@dataclass(frozen=True)
class Settings:
    """What all rows of a reproduction have in common."""

    out: Path
    protocol: str  # published or strict
    device: str
    assets: str | None
    weights: str  # pretrained, random or practice
    smoke: bool  # one epoch on a tenth of the messages


def folder_of(out: Path, row: Row, protocol: str, seed: int) -> Path:
    """Where a run leaves its files."""
    return out / "runs" / f"{row.id}-{protocol}-{seed}"


def run_row(row: Row, seed: int, settings: Settings) -> dict:
    """Train or resume one row, and return what metrics.json in its folder says."""
    raise NotImplementedError
