"""Keys and values before the text: what they equal, positions, the network that makes them, several tasks."""

import pytest
import torch

import peft
from gpt2 import GPT2, GPT2Config, generate
from gpt2.classifier import add_classification_head, classify
from gpt2.errors import InputError
from peft.merging import finished
from peft.prefix import PrefixPerTask, PrefixTuning
from peft.prompt import select_tasks

TOKENS = torch.tensor([[5, 17, 40, 2, 9], [33, 8, 61, 0, 0]])
LENGTHS = torch.tensor([5, 3])
SETTINGS = [
    ("prefix", {"virtual_tokens": 4, "prefix_hidden": 6}),
    ("prefix", {"virtual_tokens": 4, "prefix_hidden": 0}),
    ("p-tuning-v2", {"virtual_tokens": 1}),
]


@pytest.fixture
def classifier(tiny_model):
    torch.manual_seed(3)
    return add_classification_head(tiny_model, 3)


def test_prefix_of_a_real_text_equals_that_text(tiny_model):
    """The keys and values that three tokens would have produced, put into the prefix: the same logits."""
    before = torch.tensor([[7, 50, 3]])
    cache = tiny_model.new_cache()
    tiny_model(before, cache)
    expected = tiny_model(torch.cat([before.expand(2, 3), TOKENS], dim=1))[:, 3:]
    peft.apply(tiny_model, "p-tuning-v2", virtual_tokens=3)
    with torch.no_grad():
        for block in tiny_model.h:
            block.attn.prefix.keys.copy_(cache.k[block.attn][0, :, :3])
            block.attn.prefix.values.copy_(cache.v[block.attn][0, :, :3])
    torch.testing.assert_close(tiny_model(TOKENS), expected)


def test_network_by_hand(tiny_model):
    peft.apply(tiny_model, "prefix", virtual_tokens=4, prefix_hidden=6)
    for block in tiny_model.h:
        prefix = block.attn.prefix
        x = torch.tanh(prefix.shared.start @ prefix.shared.linear.weight.T + prefix.shared.linear.bias)
        flat = x @ prefix.out.weight.T + prefix.out.bias  # (P, 2 C)
        keys, values = prefix()
        assert keys.shape == values.shape == (3, 4, 8)
        for head in range(3):
            torch.testing.assert_close(keys[head], flat[:, 8 * head : 8 * head + 8])
            torch.testing.assert_close(values[head], flat[:, 24 + 8 * head : 24 + 8 * head + 8])
    assert len({id(block.attn.prefix.shared) for block in tiny_model.h}) == 1


@pytest.mark.parametrize("method, options", SETTINGS)
def test_one_row_per_token_and_padding_does_not_matter(classifier, method, options):
    model = peft.apply(classifier, method, **options).eval()
    assert model.virtual_positions() == options["virtual_tokens"]
    assert model(TOKENS).shape == (2, 5, 3)
    alone = torch.cat([classify(model, TOKENS[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS)])
    wide = classify(model, torch.cat([TOKENS, torch.full((2, 9), 1)], dim=1), LENGTHS)
    torch.testing.assert_close(classify(model, TOKENS, LENGTHS), alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(wide, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method, options", SETTINGS)
def test_generation_with_and_without_cache(tiny_model, method, options):
    model = peft.apply(tiny_model, method, **options)
    cached = generate(model, TOKENS[:, :4], max_new_tokens=30)
    assert torch.equal(cached, generate(model, TOKENS[:, :4], max_new_tokens=30, use_cache=False))
    assert cached.size(1) == 24 - options["virtual_tokens"] + 1


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("method, options", SETTINGS)
def test_generation_from_prompts_of_different_lengths(tiny_model, method, options, use_cache):
    model = peft.apply(tiny_model, method, **options)
    rows = generate(model, TOKENS, 30, lengths=[5, 2], use_cache=use_cache)
    assert torch.equal(rows[0], generate(model, TOKENS[:1], 30)[0])
    assert torch.equal(rows[1], generate(model, TOKENS[1:, :2], 30)[0])


def test_prefix_and_prompt_together(tiny_model):
    """Positions: the prefix, then the prompt, then the text."""
    before, soft = torch.tensor([[7, 50, 3]]), [11, 4]
    expected = tiny_model(torch.cat([before.expand(2, 3), torch.tensor([soft] * 2), TOKENS], dim=1))[:, 5:]
    test_prefix_of_a_real_text_equals_that_text(tiny_model)
    from peft.prompt import SoftPrompt

    tiny_model.prompt = SoftPrompt(tiny_model.wte(torch.tensor(soft)).detach())
    assert tiny_model.virtual_positions() == 5
    torch.testing.assert_close(tiny_model(TOKENS), expected)
    cached = generate(tiny_model, TOKENS, 8)
    assert torch.equal(cached, generate(tiny_model, TOKENS, 8, use_cache=False))


@pytest.mark.parametrize("method, options", SETTINGS)
def test_gradient_reaches_exactly_what_trains(classifier, method, options):
    model = peft.apply(classifier, method, **options)
    trainable = peft.trainable_parameters(model)
    assert all(".attn.prefix." in name or name.startswith("lm_head.") for name in trainable)
    classify(model, TOKENS, LENGTHS).square().sum().backward()
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert moved == (name in trainable), name


@pytest.mark.parametrize("method, published", [("prefix", 9_866_242), ("p-tuning-v2", 370_178)])
def test_parameter_counts(method, published):
    with torch.device("meta"):  # GPT-2 124M without its memory
        model = add_classification_head(GPT2(GPT2Config())).requires_grad_(False)
        peft.METHODS[method].insert(model, peft.METHODS[method].options_type())
        model.lm_head.requires_grad_(True)
    assert sum(p.numel() for p in peft.trainable_parameters(model).values()) == published
    L, P, C, h = 12, 20, 768, 512
    formulas = {"prefix": P * C + h * C + h + 2 * L * C * (h + 1), "p-tuning-v2": 2 * L * P * C}
    assert published == formulas[method] + 1538


@pytest.mark.parametrize("method, options", SETTINGS)
def test_save_and_load(tiny_config, classifier, method, options, tmp_path):
    base = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    model = peft.apply(classifier, method, **options).eval()
    expected = classify(model, TOKENS, LENGTHS)
    peft.save(model, tmp_path)
    assert torch.equal(classify(model, TOKENS, LENGTHS), expected)  # saving leaves the network in place
    fresh = add_classification_head(GPT2(tiny_config), 3).eval()
    fresh.load_state_dict(base)
    peft.load(fresh, tmp_path)
    torch.testing.assert_close(classify(fresh, TOKENS, LENGTHS), expected, rtol=0, atol=1e-6)
    trained = [name for name in peft.trainable_parameters(fresh) if ".prefix." in name]
    assert trained == [f"h.{i}.attn.prefix.{part}" for i in range(2) for part in ("keys", "values")]
    peft.save(fresh, tmp_path / "again")


def test_finished_prefix_is_the_same_without_the_network(tiny_model):
    peft.apply(tiny_model, "prefix", virtual_tokens=4, prefix_hidden=6)
    prefix = tiny_model.h[1].attn.prefix
    plain = finished(prefix)
    assert plain.shared is None and plain.length == 4
    assert all(torch.equal(a, b) for a, b in zip(plain(), prefix(), strict=True))
    assert sum(p.numel() for p in plain.parameters()) == 2 * 4 * 24


def test_every_message_its_own_prefix(classifier):
    model = classifier
    prefixes = [[PrefixTuning(3, 8, 4) for _ in model.h] for _ in range(3)]
    alone = []
    for row, task in enumerate([2, 0]):
        for block, prefix in zip(model.h, prefixes[task], strict=True):
            block.attn.prefix = prefix
        alone.append(classify(model, TOKENS[row : row + 1], LENGTHS[row : row + 1]))
    for block, *choices in zip(model.h, *prefixes, strict=True):
        block.attn.prefix = PrefixPerTask(choices)
    select_tasks(model, [2, 0])
    assert model.virtual_positions() == 4
    torch.testing.assert_close(classify(model, TOKENS, LENGTHS), torch.cat(alone))
    with pytest.raises(InputError, match="same number of virtual tokens"):
        PrefixPerTask([PrefixTuning(3, 8, 4), PrefixTuning(3, 8, 5)])


@pytest.mark.parametrize("method, options", SETTINGS)
def test_context_overflow_counts_virtual_tokens(tiny_model, method, options):
    model = peft.apply(tiny_model, method, **options)
    room = 24 - options["virtual_tokens"]
    assert model(torch.zeros(1, room, dtype=torch.long)).shape == (1, room, 97)
    with pytest.raises(InputError, match="^25 positions are more than this model's context of 24"):
        model(torch.zeros(1, room + 1, dtype=torch.long))


@pytest.mark.parametrize(
    "method, options, message",
    [
        ("prefix", {"virtual_tokens": 0}, "from 1 to 23"),
        ("prefix", {"prefix_hidden": -1}, "prefix_hidden is -1"),
        ("p-tuning-v2", {"virtual_tokens": 24}, "from 1 to 23"),
        ("p-tuning-v2", {"prefix_hidden": 8}, "p-tuning-v2 has no option 'prefix_hidden'"),
    ],
)
def test_bad_options(tiny_model, method, options, message):
    with pytest.raises(InputError) as error:
        peft.apply(tiny_model, method, **options)
    assert message in str(error.value) and "\n" not in str(error.value)
