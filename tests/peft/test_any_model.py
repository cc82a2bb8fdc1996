"""Models that are not this repository's GPT-2: what is natural works and trains, the rest is refused in one line."""

import numpy as np
import pytest
import torch
from torch import nn

import peft
from gpt2.errors import InputError
from peft.lora import replace_linear_with_lora
from peft.merging import to_plain

FAMILY = [name for name, method in peft.METHODS.items() if method.lora_head and not method.only_gpt2]
ONLY_GPT2 = [name for name, method in peft.METHODS.items() if method.only_gpt2]
family = pytest.mark.parametrize("method", FAMILY)


def train_a_step(model: nn.Module, loss) -> None:
    trained = peft.trainable_parameters(model)
    optimizer = torch.optim.AdamW(trained.values(), lr=0.05)
    for _ in range(2):  # B starts at zero, so A learns from the second step on
        optimizer.zero_grad()
        loss(model).backward()
        assert all(p.grad is not None for p in trained.values())
        optimizer.step()


def check(model: nn.Module, output) -> None:
    """It learns something, and evaluation, with and without gradients, and merging give what was learned."""
    before = output(model.eval()).detach()
    train_a_step(model.train(), lambda model: output(model).square().mean())
    after = output(model.eval())
    assert (after - before).abs().max() > 1e-3
    with torch.no_grad():
        torch.testing.assert_close(output(model), after, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output(peft.merge(model)), after, atol=1e-4, rtol=1e-3)
    peft.unmerge(model)
    torch.testing.assert_close(output(model), after)


@family
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_encoder(method, norm_first):
    """Its fast path reads weights instead of calling layers, whenever nothing trains: it must not pass over a LoRA."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first), nn.Linear(16, 3))
    x = torch.randn(2, 5, 16)
    check(peft.apply(model, method), lambda model: model(x))


@family
def test_a_transformer_encoder_with_padding(method):
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), 2)
    x, padding = torch.randn(2, 5, 16), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    model = peft.apply(nn.Sequential(encoder), method)
    check(model, lambda model: model[0](x, src_key_padding_mask=padding)[~padding])


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.attention(x, x, x, need_weights=False)[0])


@family
def test_multihead_attention(method):
    """It never calls its out_proj, so only a method that changes the weight itself reaches that."""
    torch.manual_seed(0)
    model = peft.apply(Attends(), method)
    x = torch.randn(2, 5, 16)
    check(model, lambda model: model(x))
    if method == "minlora":
        assert peft.apply(Attends(), method, target_modules="out_proj")
    else:
        assert {name.split(".")[0] for name in peft.trainable_parameters(model)} == {"out"}
        with pytest.raises(InputError, match="never called by nn.MultiheadAttention; minlora"):
            peft.apply(Attends(), method, target_modules="out_proj")


@family
def test_t5(method):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=50,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    tokens = torch.randint(50, (2, 5))
    model = peft.apply(transformers.T5ForConditionalGeneration(config), method)
    check(model, lambda model: model(input_ids=tokens, labels=tokens).logits)


@family
def test_transformers_gpt2_with_its_conv1d(method):
    transformers = pytest.importorskip("transformers")
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    config.embd_pdrop = config.attn_pdrop = config.resid_pdrop = 0.0
    tokens = torch.randint(50, (2, 5))
    base = transformers.GPT2LMHeadModel(config)
    model = peft.apply(base, method)
    rank8 = 8 * ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16))  # c_attn, c_proj, c_fc, c_proj
    lengths = 48 + 16 + 64 + 16 if method == "dora" else 0
    assert sum(p.numel() for p in peft.trainable_parameters(model).values()) == rank8 + lengths
    check(model, lambda model: model(tokens).logits)
    layer = model.transformer.h[0].attn.c_attn
    assert layer.weight.shape == (16, 48) and layer.bias.shape == (48,)
    assert type(to_plain(layer)) is Conv1D and to_plain(layer).weight.shape == (16, 48)


def test_wrappers_look_like_the_layer_they_wrap():
    linear, x = nn.Linear(6, 4), torch.randn(2, 6)
    model = nn.Sequential(linear)
    replace_linear_with_lora(model, rank=2, alpha=2)
    layer = model[0]
    assert layer.weight is linear.weight and layer.bias is linear.bias
    assert (layer.in_features, layer.out_features) == (6, 4)
    torch.testing.assert_close(layer(x), linear(x))


@pytest.mark.parametrize("method", ONLY_GPT2)
def test_methods_for_gpt2_say_so(method):
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    with pytest.raises(InputError, match="GPT2 only, not on Sequential; try full, bitfit, layernorm, lora"):
        peft.apply(model, method)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "model, options, said",
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), {}, "no linear layer to change, only Conv2d, ReLU"),
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.Linear(2, 2)), {"target_modules": "0"}, "'0' is a Conv1d, which"),
        (nn.Sequential(nn.Linear(2, 2)), {"layers_to_transform": "0"}, "layers_to_transform picks among the blocks"),
        (nn.Sequential(nn.Linear(2, 2)), {"target_modules": "zzz"}, "no module is called 'zzz'"),
    ],
)
@family
def test_what_cannot_be_changed_is_refused_in_one_line(method, model, options, said):
    with pytest.raises(InputError, match=said) as refused:
        peft.apply(model, method, **options)
    assert "\n" not in str(refused.value)
    assert all(p.requires_grad for p in model.parameters())


def test_layernorm_trains_rms_norms_too():
    model = nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4), nn.LayerNorm(4))
    assert set(peft.trainable_parameters(peft.apply(model, "layernorm"))) == {"1.weight", "2.weight", "2.bias"}
    with pytest.raises(InputError, match="no LayerNorm or RMSNorm"):
        peft.apply(nn.Sequential(nn.Linear(4, 4)), "layernorm")


def test_bitfit_trains_every_kind_of_bias():
    model = nn.ModuleDict({"lstm": nn.LSTM(4, 4), "attention": nn.MultiheadAttention(4, 2), "linear": nn.Linear(4, 4)})
    wanted = {"lstm.bias_ih_l0", "lstm.bias_hh_l0", "attention.in_proj_bias", "attention.out_proj.bias", "linear.bias"}
    assert set(peft.trainable_parameters(peft.apply(model, "bitfit"))) == wanted


@pytest.mark.parametrize(
    "method, options",
    [
        ("lora", {"rank": np.int64(4), "alpha": np.float64(2)}),
        ("adapter", {"bottleneck": np.int32(4)}),
        ("prompt", {"virtual_tokens": np.int64(4)}),
        ("prefix", {"virtual_tokens": np.int64(4), "prefix_hidden": np.int64(5)}),
        ("selective", {"blocks": np.int64(1)}),
        ("qlora", {"bits": np.int64(8), "quantize": np.bool_(True)}),
    ],
)
def test_numpys_numbers_are_numbers(method, options, new_model, tokens, tmp_path):
    model = peft.apply(new_model(), method, **options)
    peft.save(model, tmp_path)
    assert torch.equal(peft.load(new_model(), tmp_path)(tokens), model(tokens))


@pytest.mark.parametrize("rank", [2.0, "2", True, None, 0, np.float64(2)])
def test_other_things_are_no_whole_numbers(rank, new_model):
    with pytest.raises(InputError, match="rank is .* expected a whole number of at least 1"):
        peft.apply(new_model(), "lora", rank=rank)


def test_a_head_after_lora_on_the_embedding(new_model, tokens):
    from gpt2.classifier import add_classification_head

    model = peft.apply(new_model("language modelling"), "lora", target_modules="wte")
    assert add_classification_head(model, 3)(tokens).shape == (3, 9, 3)
