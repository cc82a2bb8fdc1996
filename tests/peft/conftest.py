"""Fixtures for the methods' tests: models in two uses and three shapes, and a way to move what a method trains."""

import pytest
import torch

import peft
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head

SHAPES = {
    "small": GPT2Config(vocab_size=61, n_positions=48, n_embd=24, n_layer=2, n_head=3),
    "deeper": GPT2Config(vocab_size=61, n_positions=48, n_embd=16, n_layer=5, n_head=2),
    "wider": GPT2Config(vocab_size=61, n_positions=48, n_embd=76, n_layer=1, n_head=2),
}
CLASSES = 3


@pytest.fixture
def new_model():
    """new_model(use, shape): the same model at every call, its every number random, in evaluation mode."""

    def new_model(use: str = "classification", shape: str = "small") -> GPT2:
        torch.manual_seed(0)
        model = GPT2(SHAPES[shape]).eval()
        if use == "classification":
            add_classification_head(model, CLASSES)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.1)
        return model

    return new_model


@pytest.fixture
def randomise():
    """randomise(model): add noise to everything that trains, so that no zero at the start hides a mistake."""

    def randomise(model: GPT2, std: float = 0.1) -> GPT2:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in peft.trainable_parameters(model).values():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * std)
        return model

    return randomise


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(61, (3, 9), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def gpt2_124m():
    """A GPT-2 124M with two classes that has shapes and no memory, for counting."""
    with torch.device("meta"):
        return add_classification_head(GPT2(GPT2Config()))
