"""Fixtures for all tests: a GPT-2 small enough to run in a millisecond."""

import os

# Read when torch is first imported, also by the commands that tests start. Tiny models gain nothing from more threads,
# and threads that spin while they wait for each other make a busy machine ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # huggingface_hub looks once, when it is imported: no test downloads GPT-2

import pytest  # noqa: E402

SLOW = (
    "parity",
    "test_chapters.py",
    "test_grading.py",
    "test_handout.py",
)  # folders, files


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of one file share a process and what they prepare there, unless they name a group of their own. What takes
    long is marked, so that ``-m "not slow"`` leaves it out."""
    for item in items:
        if set(SLOW) & set(item.path.parts):
            item.add_marker(pytest.mark.slow)
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture
def tiny_config():
    from gpt2 import GPT2Config

    return GPT2Config(vocab_size=97, n_positions=24, n_embd=24, n_layer=2, n_head=3)


@pytest.fixture
def tiny_model(tiny_config):
    """A random GPT2 in evaluation mode, whose every parameter (biases too) visibly matters to its output."""
    import torch

    from gpt2 import GPT2

    model = GPT2(tiny_config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model
