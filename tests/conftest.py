"""Fixtures for all tests: a GPT-2 small enough to run in a millisecond."""

import os
import random
import re

# Read when torch is first imported, also by the commands that tests start. Tiny models gain nothing from more threads,
# the other cores are for the other processes of the tests, and threads that spin while they wait for each other make a
# busy machine ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # huggingface_hub looks once, when it is imported: no test downloads GPT-2

import pytest  # noqa: E402

SLOW = (
    "parity",
    "test_chapters.py",
    "test_grading.py",
    "test_handout.py",
    "test_reproduce_notebook.py",
)  # folders, files
LONGEST = """
    test_chapters.py test_reference_recipe.py test_compare_methods.py test_benchmark.py test_finetune_spam.py
    test_run_folders.py test_torchrun.py test_batchings.py test_pretrain.py test_travel_parity.py test_grading.py
    test_experiments.py test_pretraining.py test_compiled.py test_adapters_parity.py test_weights.py test_export_hf.py
""".split()  # each ten seconds or more


def group(nodeid: str) -> str:
    """Tests of one group share a process, and what they prepare there: those of a file, or of a chapter."""
    file = nodeid.partition("::")[0].rpartition("/")[2]
    chapter = re.search(r"\d\d_\w+(?=\]$)", nodeid)
    return chapter[0] if chapter and file == "test_chapters.py" else file


def pytest_collection_modifyitems(items):
    """What takes long is marked, so that ``-m "not slow"`` leaves it out. With several processes it comes first, so
    that at the end none waits for the other."""
    for item in items:
        if set(SLOW) & set(item.path.parts):
            item.add_marker(pytest.mark.slow)
    if "PYTEST_XDIST_WORKER" in os.environ:
        rank = {name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Every test, and what is prepared for it, draws the same random numbers whatever ran before."""
    import numpy
    import torch

    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Which process gets which tests: whole groups. (pytest-xdist's own ``--dist loadgroup`` marks groups in the tests'
    ids, which pytest 9.2 no longer lets it change: what files prepare, and every chapter, then ran in both processes.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group(nodeid)

    config.option.loadscopereorder = False  # else the groups with most tests come first
    return Groups(config, log)


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
