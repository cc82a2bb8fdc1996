"""Where does the memory of a training step go? Arithmetic from shapes, and a check against a real step.

    weights       4 bytes a number in float32; 4.127 bits a weight of a linear layer in QLoRA's blocks
    gradients     4 bytes a trained number
    optimiser     8 bytes a trained number: AdamW's two running means
    activations   what the forward pass keeps for the backward pass, for each token of the batch:

In one block of gpt2/model.py, C wide with H heads, autograd keeps, in numbers per token,

    C + 2    input of ln_1, its mean and deviation      C + 2    input of ln_2, its mean and deviation
    C        input of q_proj, k_proj and v_proj         C        input of fc_in
    3 C      queries, keys and values                   4 C      input of the GELU
    C        output of attention, input of out_proj     4 C      input of fc_out
    H        sums of the softmax (the (T, T) weights themselves are never stored)

together 16 C + H + 4, and C + 2 for the last norm. LoRA needs the inputs of its layers just as full fine-tuning does,
because the gradient of A is made of them, and keeps r more for each of the six layers: it saves gradients and
optimiser state, and no activations.

    PYTHONPATH=scripts python -m comparison.memory practice lora     one real step: its peak above Python and libraries
"""

import functools
import itertools
import os
import subprocess
import sys
from dataclasses import dataclass

if __name__ == "__main__":
    from common import cli  # noqa: F401 - puts the repository first on the path

import torch
import torch.nn.functional as F
from tqdm import tqdm

import peft
from common.cli import ROOT
from gpt2.classifier import add_classification_head, classify
from gpt2.config import SIZES, GPT2Config
from gpt2.devices import peak_resident_bytes
from gpt2.model import GPT2

SHAPES = SIZES | {  # GPT-3's widths and depths (Brown et al., 2020, table 2.1), with GPT-2's vocabulary and context
    "7B": GPT2Config(n_embd=4096, n_layer=32, n_head=32),
    "13B": GPT2Config(n_embd=5120, n_layer=40, n_head=40),
}
TABLE = ("gpt2", "gpt2-xl", "7B", "13B")
CHECKED = ("practice", "gpt2")  # small enough for a step on any machine
METHODS = ("full", "lora", "qlora")
MESSAGES, TOKENS = 8, 128  # a batch


@dataclass(frozen=True)
class Budget:
    """Bytes."""

    weights: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.activations


@functools.cache
def budget(config: GPT2Config, method: str, tokens: int = MESSAGES * TOKENS) -> Budget:
    """What a step on a batch of so many tokens takes; ``method`` is one of METHODS, with its default options."""
    model = with_method(config, method)
    weights = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    trained = sum(parameter.nbytes for parameter in peft.trainable_parameters(model).values())
    rank = model.peft.options.get("rank", 0)
    return Budget(weights, trained, 2 * trained, 4 * tokens * activations(config, rank))


def with_method(config: GPT2Config, method: str) -> GPT2:
    """A classifier with a method in it, on the meta device: shapes without memory."""
    with torch.device("meta"):
        return peft.apply(add_classification_head(GPT2(config)), method)


def activations(config: GPT2Config, rank: int = 0) -> int:
    """Numbers kept per token for the backward pass when every block takes part; ``rank`` of LoRA on every layer."""
    C, H, linear_layers = config.n_embd, config.n_head, 6
    return config.n_layer * (16 * C + H + 4 + linear_layers * rank) + C + 2


def measure(config: GPT2Config, method: str) -> int:
    """Bytes that two real steps take, on the CPU with random weights; the second finds the optimiser's state there."""
    tiny = GPT2Config(vocab_size=10, n_positions=8, n_embd=8, n_layer=1, n_head=1)
    train(add_classification_head(GPT2(tiny)), "full", torch.zeros(1, 4, dtype=torch.long))  # loads what PyTorch needs
    before = peak_resident_bytes()
    model = add_classification_head(GPT2(config))
    train(model, method, torch.randint(config.vocab_size, (MESSAGES, TOKENS)))
    return peak_resident_bytes() - before


def check(sizes: tuple[str, ...] = CHECKED) -> dict[str, dict[str, int]]:
    """size -> method -> bytes measured, each in a process of its own; what could not be measured is left out.

    glibc keeps freed memory below a threshold that grows with use. A fixed one makes it give back what is free, and the
    peak shows what was in use; other systems ignore the variable.
    """
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": str(ROOT / "scripts")}
    found: dict[str, dict[str, int]] = {}
    for size, method in tqdm(list(itertools.product(sizes, METHODS)), desc="memory", leave=False, disable=None):
        command = [sys.executable, "-m", "comparison.memory", size, method]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode == 0:
            found.setdefault(size, {})[method] = int(result.stdout)
    return found


def train(model: GPT2, method: str, tokens: torch.Tensor) -> None:
    """Put a method into the model and take two training steps on tokens (B, T)."""
    peft.apply(model, method).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)
    lengths = torch.full((len(tokens),), tokens.size(1))
    for _ in range(2):
        loss = F.cross_entropy(classify(model, tokens, lengths), torch.zeros(len(tokens), dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    print(measure(SHAPES[sys.argv[1]], sys.argv[2]))
