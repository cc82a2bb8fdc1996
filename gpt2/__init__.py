"""GPT-2 by hand: the model, its weights, its tokenizer, generation, and the surgery that makes it a classifier.

    from gpt2 import GPT2, GPT2Config, load_gpt2, get_tokenizer, generate

Names are imported when first used: PyTorch alone takes over a second, and a command that only answers ``--help``
or reports a missing file should not wait for it.
"""

from importlib import import_module

__version__ = "0.1.0"  # of the project, written into every run's config.json

HOMES = {
    "GPT2": "gpt2.model",
    "GPT2Config": "gpt2.config",
    "SIZES": "gpt2.config",
    "load_gpt2": "gpt2.checkpoints.weights",
    "save_gpt2": "gpt2.checkpoints.weights",
    "get_tokenizer": "gpt2.tokenizer",
    "generate": "gpt2.generation",
    "beam_search": "gpt2.beams",
    "InputError": "gpt2.errors",
    "RunError": "gpt2.errors",
}
__all__ = list(HOMES)


def __getattr__(name: str):
    if name not in HOMES:
        raise AttributeError(f"module 'gpt2' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
