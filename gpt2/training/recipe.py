"""How to train: the settings of a fine-tuning run, ours and published ones."""

import math
from dataclasses import dataclass

from gpt2.errors import number, one_of, whole_number


@dataclass(frozen=True)
class Recipe:
    """How to train, whatever is trained. The defaults are ours; BOOK and SOURCE_NOTES repeat published runs."""

    lr: float  # AdamW's learning rate, at its highest
    epochs: int = 5
    weight_decay: float = 0.01
    decay_everything: bool = False  # False: matrices only, as nothing is gained by shrinking biases and norm gains
    warmup: float = 0.1  # share of all steps in which the learning rate rises from 0
    schedule: str = "cosine"  # then falls to 0 along a cosine, or stays "constant"
    clip: float | None = 1.0  # largest norm of all gradients together
    pooling: str = "last"  # which token the head reads, see gpt2/classifier.py
    keep_best: bool = True  # end with the weights of the epoch that was best on the validation data
    seed: int = 123
    accumulate: int = 1  # batches whose gradients are added up before a step, as of one large batch
    curve_every: int = 0  # batches between two points of the learning curve (gpt2/training/curve.py); 0: none
    class_weight: str | None = None  # "balanced": rare classes count as much as frequent ones in the loss
    label_smoothing: float = 0.0  # share of the answer's probability that is spread over all classes
    reference: bool = False  # random numbers to the letter of the reference recipe (gpt2/training/reference.py)

    def __post_init__(self):
        number("lr", self.lr, above=0)
        whole_number("epochs", self.epochs)
        number("weight_decay", self.weight_decay, least=0)
        number("warmup", self.warmup, least=0, below=1)
        number("label_smoothing", self.label_smoothing, least=0, below=1)
        one_of("schedule", self.schedule, ("cosine", "constant"))
        whole_number("seed", self.seed, least=0, most=2**32 - 1)
        whole_number("accumulate", self.accumulate)
        whole_number("curve_every", self.curve_every, least=0)
        one_of("class_weight", self.class_weight, (None, "balanced"))

    def lr_at(self, step: int, total: int) -> float:
        """The learning rate at ``step`` of ``total``: a linear rise, then constant or half a cosine down to 0."""
        rise = max(1, round(self.warmup * total))
        if self.warmup and step < rise:
            return self.lr * (step + 1) / rise
        if self.schedule == "constant":
            return self.lr
        done = (step - rise) / max(1, total - rise) if self.warmup else step / total
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))


BOOK = Recipe(  # Raschka, "Build a Large Language Model (From Scratch)", 2024, chapter 6 and appendix E
    lr=5e-5,
    weight_decay=0.1,
    decay_everything=True,
    warmup=0.0,
    schedule="constant",
    clip=None,
    pooling="last-position",
    keep_best=False,
    curve_every=50,
    reference=True,
)
# A 2024 article on PEFT with GPT-2 124M (91.44/93.29/90.33 for selective, 100.00/96.64/98.00 for LoRA). It does not
# state its settings: they are taken to be the book's. Its LoRA is that of the draft of appendix E of May 2024, which
# trains for six epochs (the options that belong to a method: scripts/finetune_spam.py).
SOURCE_NOTES = BOOK
