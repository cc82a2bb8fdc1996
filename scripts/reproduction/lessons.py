"""What the published rows teach, two at a time. The figures come from published.csv, the sentences are ours."""

import math
from dataclasses import dataclass

from comparison.significance import LEVEL, holm
from gpt2.metrics import wilson
from reproduction.costs import cost_of
from reproduction.evidence import fisher, messages_of, published_count
from reproduction.rows import Row, rows


@dataclass(frozen=True)
class Lesson:
    """Two rows that differ in one thing."""

    before: str
    after: str
    change: str
    thought: str  # what a reader may take from it; before, after: parameters trained, minutes: ratio of the times


SAME_TWICE = "the same settings, published twice"
LESSONS = (
    Lesson(
        "book-ch6",
        "extra-01",
        SAME_TWICE,
        "One is in the book, the other in the table of additional experiments. This is how far luck moves a figure: "
        "another machine, another order of random numbers.",
    ),
    Lesson("book-appendix-E-2025", "extra-11", SAME_TWICE, "Again the book and the table, for LoRA."),
    Lesson(
        "extra-01",
        "extra-16",
        "read the last real token instead of the last position",
        "In a padded message the last position is a padding token. Only the longest message ends with a word there. "
        "The head has to read the message through the padding.",
    ),
    Lesson(
        "extra-01",
        "extra-13",
        "pad to 1,024 positions instead of 120",
        "The same head, now with about a thousand padding tokens between the message and what it reads.",
    ),
    Lesson(
        "extra-01",
        "extra-14",
        "no padding, batches of one",
        "Without padding the last position is the last real token. Two more things change: a batch of one takes eight "
        "times as many steps, and each step is noisier.",
    ),
    Lesson(
        "extra-14",
        "extra-15",
        "sum the gradients of eight such batches",
        "Now there are as many steps as with batches of eight, still without padding.",
    ),
    Lesson(
        "extra-01",
        "extra-02",
        "read the first token",
        "With the causal mask the first token has seen nothing but itself. All that remains is how messages begin.",
    ),
    Lesson(
        "extra-01",
        "extra-17",
        "no causal mask",
        "The last position saw everything before. Without the mask the tokens before it see more, in a way that "
        "pretraining never had.",
    ),
    Lesson("extra-01", "extra-19", "average all positions", "The average holds the real tokens too, not only padding."),
    Lesson(
        "extra-01",
        "extra-03",
        "train the head only",
        "{after:,} parameters are left to train. The last block was made to predict the next token, not to sum up a "
        "message.",
    ),
    Lesson(
        "extra-01",
        "extra-04",
        "train two blocks instead of one",
        "{after:,} parameters instead of {before:,}.",
    ),
    Lesson(
        "extra-01",
        "extra-05",
        "train everything",
        "{after:,} parameters, and {minutes:.1f} times the published time.",
    ),
    Lesson(
        "extra-05",
        "extra-11",
        "LoRA instead of everything",
        "{after:,} parameters instead of {before:,}. The published time is not shorter: LoRA saves memory and disk.",
    ),
    Lesson(
        "extra-05",
        "extra-10",
        "random weights instead of pretrained ones",
        "Most of this spam can be told by its words, which a model learns from a thousand messages.",
    ),
    Lesson(
        "extra-01",
        "extra-06",
        "GPT-2 medium instead of small",
        "A larger model is worse here, and the next larger one is not. One row and one seed cannot say why.",
    ),
    Lesson(
        "extra-01",
        "extra-07",
        "GPT-2 large",
        "{minutes:.1f} times the published time of the small model.",
    ),
    Lesson(
        "extra-01",
        "extra-08",
        "GPT-2 xl",
        "{minutes:.1f} times the published time of the small model.",
    ),
    Lesson(
        "extra-08",
        "extra-12",
        "GPT-2 xl: LoRA instead of the last block",
        "{after:,} parameters instead of {before:,}, and {minutes:.1f} times the published time.",
    ),
    Lesson(
        "book-appendix-E-2025",
        "book-appendix-E-later",
        "scale 1 instead of 16",
        "The low-rank update counts a sixteenth, at the same learning rate.",
    ),
)


def thought_of(lesson: Lesson) -> str:
    """The thought with its numbers."""
    before, after = rows()[lesson.before], rows()[lesson.after]
    minutes = (after.minutes or math.nan) / (before.minutes or math.nan)
    return lesson.thought.format(before=cost_of(before).trained, after=cost_of(after).trained, minutes=minutes)


@dataclass(frozen=True)
class Verdict:
    """A lesson with its numbers."""

    lesson: Lesson
    difference: float
    p: float
    p_holm: float

    @property
    def shown(self) -> bool:
        """Do these test messages show a difference?"""
        return self.p_holm < LEVEL


def test_count(row: Row) -> tuple[int, int]:
    """Right answers and messages of the published test accuracy."""
    count = published_count(row, "test")
    assert count is not None, row.id
    return count, messages_of(row, "test")


def verdicts() -> list[Verdict]:
    """All lessons, tested together."""
    every = rows()
    counts = [(test_count(every[lesson.before]), test_count(every[lesson.after])) for lesson in LESSONS]
    p_values = [fisher(*before, *after) for before, after in counts]
    adjusted = holm(p_values)
    return [
        Verdict(lesson, after[0] / after[1] - before[0] / before[1], p, p_holm)
        for lesson, (before, after), p, p_holm in zip(LESSONS, counts, p_values, adjusted, strict=True)
    ]


def with_interval(row: Row) -> str:
    """``95.00 (91.9 … 96.9)``, in percent."""
    right, n = test_count(row)
    low, high = wilson(right, n)
    return f"{100 * right / n:.2f} ({100 * low:.1f} … {100 * high:.1f})"
