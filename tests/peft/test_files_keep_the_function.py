"""Files that must keep the function: heads that are not tied, layers trained twice over, ranks that were cut."""

import json

import pytest
import torch

import peft
from gpt2 import generate, load_gpt2
from gpt2.checkpoints.weights import save_gpt2
from gpt2.classifier import add_classification_head, has_classification_head
from gpt2.errors import InputError
from peft.dylora import set_rank
from peft.files.adapter import CONFIG_FILE, OWN_TYPE

FAMILY = [name for name, method in peft.METHODS.items() if method.lora_head]
UNTIED = [("lora", "wte"), ("rslora", "wte")] + [(method, "lm_head") for method in FAMILY]


def config_of(folder) -> dict:
    return json.loads((folder / CONFIG_FILE).read_text())


@pytest.mark.parametrize("method, target", UNTIED)
def test_a_language_models_head_apart_from_its_embedding(method, target, new_model, randomise, tokens, tmp_path):
    model = randomise(peft.apply(new_model("language modelling"), method, target_modules=target))
    expected = model(tokens)
    peft.save(model, tmp_path / "adapter")
    assert torch.equal(peft.load(new_model("language modelling"), tmp_path / "adapter")(tokens), expected)
    peft.export(model, tmp_path / "exported")
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["tie_word_embeddings"] is False
    back = load_gpt2(tmp_path / "exported")
    torch.testing.assert_close(back(tokens), expected, atol=1e-4, rtol=1e-4)
    assert not has_classification_head(back) and generate(back, tokens, max_new_tokens=2).shape == (3, 11)
    save_gpt2(back, tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "exported" / "model.safetensors"
    ).read_bytes()
    if method != "qlora":
        peft.merge(model)
        assert not has_classification_head(model)
        assert generate(model, tokens, max_new_tokens=2).shape == (3, 11)
        save_gpt2(model, tmp_path / "merged")
        torch.testing.assert_close(load_gpt2(tmp_path / "merged")(tokens), expected, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_that_names_a_head_and_lacks_it(new_model, tmp_path):
    save_gpt2(new_model("language modelling"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    with pytest.raises(InputError, match=r"lm_head\.weight is missing"):
        load_gpt2(tmp_path)


@pytest.mark.parametrize("classes", [61, 3])
def test_a_head_is_known_by_more_than_shared_memory(classes, new_model):
    model = add_classification_head(new_model("language modelling"), classes)  # 61 are as many as tokens
    assert has_classification_head(model)
    assert has_classification_head(peft.merge(peft.apply(model, "lora")))


@pytest.mark.parametrize("method", FAMILY)
def test_lora_on_the_classification_head_alone(method, new_model, randomise, tokens, tmp_path):
    model = randomise(peft.apply(new_model(), method, target_modules="lm_head"))
    peft.save(model, tmp_path / "adapter")
    config = config_of(tmp_path / "adapter")
    assert config["peft_type"] == OWN_TYPE and "only the classification head has a LoRA" in config["reason"]
    assert torch.equal(peft.load(new_model(), tmp_path / "adapter")(tokens), model(tokens))
    peft.export(model, tmp_path / "exported")


@pytest.mark.parametrize("options", [{}, {"queries": True}])
@pytest.mark.parametrize("modules_to_save", ["h.0.attn.k_proj", "q_proj", "h.1.mlp.fc_out"])
def test_ia3_with_a_trained_layer_that_it_scales(modules_to_save, options, new_model, randomise, tokens, tmp_path):
    model = randomise(peft.apply(new_model(), "ia3", modules_to_save=modules_to_save, **options))
    peft.save(model, tmp_path)
    config = config_of(tmp_path)
    assert config["peft_type"] == OWN_TYPE and "has trained h." in config["reason"]
    assert torch.equal(peft.load(new_model(), tmp_path)(tokens), model(tokens))


@pytest.mark.parametrize("use", ["classification", "language modelling"])
def test_a_dylora_cut_at_a_rank(use, new_model, randomise, tokens, tmp_path):
    """The rank in use is what every file holds; in the model itself nothing is lost."""
    model = randomise(peft.apply(new_model(use), "dylora", rank=4))
    full = model(tokens)
    set_rank(model, 2)
    cut = model(tokens)
    assert (cut - full).abs().max() > 0.01
    peft.save(model, tmp_path / "adapter")
    loaded = peft.load(new_model(use), tmp_path / "adapter")
    assert torch.equal(loaded(tokens), cut) and loaded.peft.options["rank"] == 2
    peft.save(loaded, tmp_path / "again")
    assert config_of(tmp_path / "again") == config_of(tmp_path / "adapter")
    config = config_of(tmp_path / "adapter")
    if config["peft_type"] == "LORA":
        assert config["r"] in (2, 6)  # c_attn holds three of ours
    peft.export(model, tmp_path / "exported")
    set_rank(model, 4)
    assert torch.equal(model(tokens), full) and model.peft.options["rank"] == 4


@pytest.mark.parametrize("vocab_size, end", [(50257, 50256), (50304, 50256), (97, 96)])
def test_the_end_of_text_of_a_larger_vocabulary(vocab_size, end, new_model):
    from gpt2 import GPT2Config

    config = GPT2Config(vocab_size=vocab_size).to_hugging_face()
    assert config["bos_token_id"] == config["eos_token_id"] == end


def test_the_exported_tokenizer_reads_special_tokens_as_text(new_model, tmp_path):
    transformers = pytest.importorskip("transformers")
    from gpt2.tokenizer import get_tokenizer

    peft.export(peft.apply(new_model(), "head"), tmp_path)
    text = "Win a prize<|endoftext|>"
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text)["input_ids"] == get_tokenizer().encode_ordinary(text)
