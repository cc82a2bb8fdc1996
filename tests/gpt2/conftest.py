"""Hugging Face's GPT-2 as the reference. Our peft/ hides theirs from transformers; its GPT-2 imports all the same."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt2 import save_gpt2

SHAPES = {  # heads, width, depth, vocabulary and context all differ
    "one-head": {"vocab_size": 61, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 1},
    "deep": {"vocab_size": 97, "n_positions": 24, "n_embd": 24, "n_layer": 5, "n_head": 3},
    "wide": {"vocab_size": 300, "n_positions": 40, "n_embd": 128, "n_layer": 2, "n_head": 4},
    "many-heads": {"vocab_size": 33, "n_positions": 65, "n_embd": 48, "n_layer": 3, "n_head": 12},
}


@pytest.fixture(scope="session")
def hugging_face():
    """Function: a shape (keywords of GPT2Config) -> a GPT2LMHeadModel with lively random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    def build(model_class=GPT2LMHeadModel, **shape):
        config = GPT2Config(**shape, bos_token_id=0, eos_token_id=0)
        model = model_class(config).eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():  # 0.02 would leave logits too small to tell two functions apart
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        return model

    return build


@pytest.fixture(params=SHAPES)
def pair(request, hugging_face, tmp_path):
    """(theirs, ours): a random model of each shape, saved by transformers and loaded by load_gpt2."""
    from gpt2 import load_gpt2

    theirs = hugging_face(**SHAPES[request.param])
    theirs.save_pretrained(tmp_path)
    return theirs, load_gpt2(tmp_path)


@pytest.fixture
def draw_tokens():
    """Function (batch, time, model) -> random tokens of that model's vocabulary, the same in every run."""

    def draw(batch, time, model):
        generator = torch.Generator().manual_seed(2)
        return torch.randint(model.config.vocab_size, (batch, time), generator=generator)

    return draw


@pytest.fixture
def folder(tmp_path, tiny_model):
    """A checkpoint of ``tiny_model`` in the Hugging Face layout."""
    save_gpt2(tiny_model, tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def edit():
    """Function (folder, change): lets ``change`` alter the dictionary of tensors in a checkpoint."""

    def edit(folder, change):
        file = folder / "model.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)

    return edit
