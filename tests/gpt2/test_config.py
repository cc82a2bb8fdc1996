"""A config either describes a GPT-2 that we can build, or is refused with the name of the wrong field."""

import pytest

from gpt2 import GPT2Config, InputError
from gpt2.config import SIZES


@pytest.mark.parametrize("field", ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "12", None, True])
def test_shape_must_be_whole_positive_numbers(field, value):
    with pytest.raises(InputError, match=field):
        GPT2Config(**{field: value})


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5, float("nan")])
def test_dropout_must_be_a_probability_below_one(dropout):
    with pytest.raises(InputError, match="dropout"):
        GPT2Config(dropout=dropout)


@pytest.mark.parametrize("epsilon", [0, -1e-5, float("nan"), "small", None])
def test_layer_norm_epsilon_must_be_a_positive_number(epsilon):
    with pytest.raises(InputError, match="layer_norm_epsilon"):
        GPT2Config(layer_norm_epsilon=epsilon)


def test_width_must_be_divisible_by_heads():
    with pytest.raises(InputError, match="n_embd 24 is not divisible by n_head 5"):
        GPT2Config(n_embd=24, n_head=5)
    assert GPT2Config(n_embd=24, n_head=3).head_dim == 8


def test_published_heads_are_64_wide():
    assert {name: size.head_dim for name, size in SIZES.items() if name != "practice"} == {
        "gpt2": 64,
        "gpt2-medium": 64,
        "gpt2-large": 64,
        "gpt2-xl": 64,
    }


def test_hugging_face_config_and_back():
    for config in (*SIZES.values(), GPT2Config(9, 8, 6, 2, 3, layer_norm_epsilon=1e-6)):
        assert GPT2Config.from_hugging_face(config.to_hugging_face()) == config


def test_dropout_of_the_pretraining_is_not_taken_over():
    config = GPT2Config.from_hugging_face({"embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1})
    assert config == SIZES["gpt2"]
    assert config.dropout == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "llama"),
        ("activation_function", "relu"),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("n_inner", 100),
        ("n_embd", "768"),
        ("n_embd", None),
        ("n_layer", None),
        ("layer_norm_epsilon", "small"),
    ],
)
def test_config_of_another_function_is_refused_by_field(field, value):
    with pytest.raises(InputError, match=field):
        GPT2Config.from_hugging_face({field: value})


def test_other_spellings_of_the_same_function_are_accepted():
    assert GPT2Config.from_hugging_face({"activation_function": "gelu_pytorch_tanh", "n_inner": 3072}) == SIZES["gpt2"]
