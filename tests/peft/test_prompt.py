"""Soft prompts before and around the text: positions, padding, templates, encoders, several tasks in one batch."""

import pytest
import torch
from torch import nn

import peft
from gpt2 import GPT2, GPT2Config, generate, get_tokenizer
from gpt2.classifier import add_classification_head, classify
from gpt2.errors import InputError
from peft.merging import finished
from peft.options import PromptOptions, PTuningOptions
from peft.prompt import PromptPerTask, SoftPrompt, p_tuning, parse_template, select_tasks

TOKENS = torch.tensor([[5, 17, 40, 2, 9], [33, 8, 61, 0, 0]])
LENGTHS = torch.tensor([5, 3])
AROUND = {"template": "[P][P] TEXT [P][P][P]", "encoder_hidden": 7}
SETTINGS = [
    ("prompt", {"virtual_tokens": 4}),
    ("p-tuning", {"virtual_tokens": 4, "encoder_hidden": 7}),
    ("p-tuning", {"virtual_tokens": 3, "encoder": "lstm", "encoder_hidden": 5, "encoder_layers": 2}),
    ("p-tuning", AROUND),
    ("p-tuning", {"template": "TEXT [P][P]", "encoder": "lstm", "encoder_hidden": 5}),
]


@pytest.fixture
def classifier(tiny_model):
    torch.manual_seed(3)
    return add_classification_head(tiny_model, 3)


def as_tokens(model, ids):
    """A prompt of the embeddings of these tokens, which the model cannot tell from the tokens."""
    return model.wte(torch.tensor(ids)).detach().clone()


def test_prompt_of_token_embeddings_equals_those_tokens(tiny_model):
    expected = tiny_model(torch.cat([torch.tensor([[7, 50, 3]] * 2), TOKENS], dim=1))[:, 3:]
    tiny_model.prompt = SoftPrompt(as_tokens(tiny_model, [7, 50, 3]))
    assert tiny_model.virtual_positions() == 3
    torch.testing.assert_close(tiny_model(TOKENS), expected)


def test_text_start_equals_writing_the_text_first():
    torch.manual_seed(0)
    model = GPT2(GPT2Config(n_positions=32, n_embd=8, n_layer=1, n_head=2)).eval()
    ids = get_tokenizer().encode("Is this message spam?")
    expected = model(torch.cat([torch.tensor([ids] * 2), TOKENS], dim=1))[:, len(ids) :]
    peft.apply(model, "prompt", virtual_tokens=len(ids), init="text", init_text="Is this message spam?")
    torch.testing.assert_close(model(TOKENS), expected)


def test_starts():
    torch.manual_seed(0)
    model = GPT2(GPT2Config(n_positions=32, n_embd=8, n_layer=1, n_head=2))

    def start(**options):
        model.prompt = None
        torch.manual_seed(5)
        peft.METHODS["prompt"].insert(model, PromptOptions(virtual_tokens=7, **options))
        return model.prompt.vectors

    ids = get_tokenizer().encode("Spam or not?")
    assert torch.equal(start(init_text="Spam or not?"), as_tokens(model, (ids + ids)[:7]))  # repeated, and cut
    drawn = start()
    torch.manual_seed(5)
    assert torch.equal(drawn, as_tokens(model, torch.randint(5000, (7,)).tolist()))
    assert start(init="random").abs().max() <= 0.5
    assert torch.equal(start(init="random"), start(init="random"))


def test_template_of_token_embeddings_equals_those_tokens(classifier):
    """Trailing vectors follow the message, not its padding, and the head reads behind them."""
    model = classifier
    model.prompt = SoftPrompt(as_tokens(model, [7, 50, 3, 11]), trailing=2)
    assert model.virtual_positions() == 4
    for row, n in zip(TOKENS.tolist(), LENGTHS.tolist(), strict=True):
        by_hand = torch.tensor([[7, 50, *row[:n], 3, 11]])
        model.prompt, soft = None, model.prompt
        expected = model(by_hand)[0]
        model.prompt = soft
        tokens = torch.tensor([row])
        h = model.lm_head(model.hidden_states(tokens, lengths=torch.tensor([n])))[0]
        torch.testing.assert_close(h[: n - 1], expected[2 : 2 + n - 1])
        torch.testing.assert_close(h[n - 1], expected[-1])
        torch.testing.assert_close(classify(model, tokens, torch.tensor([n]))[0], expected[-1])
    torch.testing.assert_close(model(TOKENS)[:, -1], classify(model, TOKENS, torch.tensor([5, 5])))  # without lengths


@pytest.mark.parametrize("method, options", SETTINGS)
def test_one_row_per_token_and_padding_does_not_matter(classifier, method, options):
    model = peft.apply(classifier, method, **options).eval()
    assert model(TOKENS).shape == (2, 5, 3)
    alone = torch.cat([classify(model, TOKENS[i : i + 1, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS)])
    together = classify(model, TOKENS, LENGTHS)
    wide = classify(model, torch.cat([TOKENS, torch.full((2, 9), 1)], dim=1), LENGTHS)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(wide, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method, options", SETTINGS)
def test_generation_with_and_without_cache(tiny_model, method, options):
    model = peft.apply(tiny_model, method, **options)
    cached = generate(model, TOKENS[:, :4], max_new_tokens=30)
    assert torch.equal(cached, generate(model, TOKENS[:, :4], max_new_tokens=30, use_cache=False))
    room = model.config.n_positions - model.virtual_positions()
    assert cached.size(1) == room + 1  # the last token drawn need not be read


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("method, options", SETTINGS)
def test_generation_from_prompts_of_different_lengths(tiny_model, method, options, use_cache):
    """A template's trailing vectors stand behind each prompt of the batch, before its padding."""
    model = peft.apply(tiny_model, method, **options)
    rows = generate(model, TOKENS, 30, lengths=[5, 2], use_cache=use_cache)
    assert torch.equal(rows[0], generate(model, TOKENS[:1], 30)[0])
    assert torch.equal(rows[1], generate(model, TOKENS[1:, :2], 30)[0])


@pytest.mark.parametrize("method, options", SETTINGS)
def test_gradient_reaches_exactly_what_trains(classifier, method, options):
    model = peft.apply(classifier, method, **options)
    trainable = peft.trainable_parameters(model)
    assert all(name.startswith(("prompt.", "lm_head.")) for name in trainable)
    classify(model, TOKENS, LENGTHS).square().sum().backward()
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert moved == (name in trainable), name


def encoder_count(C, P, encoder, h, n):
    """The formulas of peft/prompt.py."""
    if encoder == "mlp":
        return P * C + h * C + h + (n - 1) * (h**2 + h) + C * h + C
    return P * C + 8 * h * (C + h + 2) + (n - 1) * 8 * h * (3 * h + 2) + 4 * h**2 + 2 * h + 2 * h * C + C


@pytest.mark.parametrize(
    "method, options, published",
    [
        ("prompt", {}, 16_898),
        ("p-tuning", {}, 476_930),
        ("p-tuning", {"encoder": "lstm"}, 4_351_746),
    ],
)
def test_parameter_counts(method, options, published, tiny_model):
    with torch.device("meta"):  # GPT-2 124M without its memory
        model = add_classification_head(GPT2(GPT2Config())).requires_grad_(False)
        peft.METHODS[method].insert(model, peft.METHODS[method].options_type(**options))
        model.lm_head.requires_grad_(True)
    assert sum(p.numel() for p in peft.trainable_parameters(model).values()) == published
    if method == "prompt":
        assert published == 20 * 768 + 1538
        return
    encoder = options.get("encoder", "mlp")
    assert published == encoder_count(768, 20, encoder, 256, 2) + 1538
    for layers in (1, 3):
        tiny_model.prompt = None
        p_tuning(tiny_model, PTuningOptions(virtual_tokens=6, encoder=encoder, encoder_hidden=5, encoder_layers=layers))
        assert sum(p.numel() for p in tiny_model.prompt.parameters()) == encoder_count(24, 6, encoder, 5, layers)


@pytest.mark.parametrize("method, options", SETTINGS)
def test_save_and_load(tiny_config, classifier, method, options, tmp_path):
    base = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    model = peft.apply(classifier, method, **options).eval()
    expected = classify(model, TOKENS, LENGTHS)
    peft.save(model, tmp_path)
    assert torch.equal(classify(model, TOKENS, LENGTHS), expected)  # saving leaves the encoder in place
    fresh = add_classification_head(GPT2(tiny_config), 3).eval()
    fresh.load_state_dict(base)
    peft.load(fresh, tmp_path)
    torch.testing.assert_close(classify(fresh, TOKENS, LENGTHS), expected, rtol=0, atol=1e-6)
    trained = {name for name in peft.trainable_parameters(fresh) if name.startswith("prompt.")}
    assert trained == {"prompt.vectors"} and fresh.prompt.encoder is None
    peft.save(fresh, tmp_path / "again")


def test_finished_prompt_is_the_same_without_the_encoder(tiny_model):
    peft.apply(tiny_model, "p-tuning", **AROUND)
    plain = finished(tiny_model.prompt)
    assert torch.equal(plain(), tiny_model.prompt()) and torch.equal(plain.after(), tiny_model.prompt.after())
    assert [name for name, _ in plain.named_parameters()] == ["vectors"]


@pytest.mark.parametrize("trailing", [0, 2])
def test_every_message_its_own_prompt(classifier, trailing):
    model = classifier
    prompts = [SoftPrompt(torch.randn(5, 24), trailing) for _ in range(3)]
    alone = []
    for row, task in enumerate([2, 0]):
        model.prompt = prompts[task]
        alone.append(classify(model, TOKENS[row : row + 1], LENGTHS[row : row + 1]))
    model.prompt = PromptPerTask(prompts)
    select_tasks(model, [2, 0])
    assert model.virtual_positions() == 5
    together = classify(model, TOKENS, LENGTHS)
    torch.testing.assert_close(together, torch.cat(alone))
    together.sum().backward()
    assert [prompt.vectors.grad.abs().sum() > 0 for prompt in prompts] == [True, False, True]


def test_tasks_generate_together(tiny_model):
    prompts = [SoftPrompt(torch.randn(3, 24), trailing=1) for _ in range(2)]
    expected = []
    for row, task in enumerate([1, 0]):
        tiny_model.prompt = prompts[task]
        expected.append(generate(tiny_model, TOKENS[row : row + 1], 6))
    short = generate(tiny_model, TOKENS[1:, :2], 6)  # the second, with its own task, and shorter
    tiny_model.prompt = PromptPerTask(prompts)
    select_tasks(tiny_model, [1, 0])
    assert torch.equal(generate(tiny_model, TOKENS, 6), torch.cat(expected))
    rows = generate(tiny_model, TOKENS, 6, lengths=[5, 2])
    assert torch.equal(rows[0], expected[0][0]) and torch.equal(rows[1], short[0])


def test_tasks_that_do_not_fit(tiny_model):
    with pytest.raises(InputError, match="same number of virtual tokens"):
        PromptPerTask([SoftPrompt(torch.zeros(3, 24)), SoftPrompt(torch.zeros(3, 24), trailing=1)])
    tiny_model.prompt = PromptPerTask([SoftPrompt(torch.zeros(3, 24))] * 2)
    with pytest.raises(InputError, match="select_tasks"):
        tiny_model(TOKENS)
    with pytest.raises(InputError, match="tasks 0 to 1"):
        select_tasks(tiny_model, [0, 2])


@pytest.mark.parametrize("method, options", SETTINGS)
def test_context_overflow_counts_virtual_tokens(tiny_model, method, options):
    model = peft.apply(tiny_model, method, **options)
    room = 24 - model.virtual_positions()
    assert model(torch.zeros(1, room, dtype=torch.long)).shape == (1, room, 97)
    with pytest.raises(InputError, match="^25 positions are more than this model's context of 24"):
        model(torch.zeros(1, room + 1, dtype=torch.long))


def test_templates():
    assert parse_template("[P][P] TEXT [P]") == (2, 1)
    assert parse_template(" TEXT[P] [P]") == (0, 2)
    for wrong in ("", "TEXT", "[P]", "[P] TEXT TEXT", "[P] text", "[P] TEXT [Q]", "[P] TEXT spam?"):
        with pytest.raises(InputError, match="expected one TEXT"):
            parse_template(wrong)


@pytest.mark.parametrize(
    "method, options, message",
    [
        ("prompt", {"virtual_tokens": 0}, "from 1 to 23"),
        ("prompt", {"virtual_tokens": 24}, "from 1 to 23"),
        ("prompt", {"init": "zeros"}, "unknown init 'zeros'; choose one of random, vocabulary, text"),
        ("prompt", {"init": "text"}, "init_text is None"),
        ("prompt", {"init_text": ""}, "init_text is ''"),
        ("prompt", {"init_text": "unknown words"}, "words that this model's vocabulary has"),
        ("prompt", {"encoder": "mlp"}, "prompt has no option 'encoder'"),
        ("p-tuning", {"virtual_tokens": 0}, "from 1 to 23"),
        ("p-tuning", {"encoder": "gru"}, "unknown encoder 'gru'; choose mlp or lstm"),
        ("p-tuning", {"encoder_hidden": 0}, "of at least 1"),
        ("p-tuning", {"encoder_layers": 0}, "of at least 1"),
        ("p-tuning", {"template": "[P] text"}, "expected one TEXT"),
        ("p-tuning", {"template": "[P]" * 30 + "TEXT"}, "virtual_tokens is 30, expected a whole number from 1 to 23"),
    ],
)
def test_bad_options(tiny_model, method, options, message):
    with pytest.raises(InputError) as error:
        peft.apply(tiny_model, method, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_prompt_follows_the_model_in_type_and_into_copies(tiny_model):
    model = peft.apply(tiny_model.double(), "p-tuning", virtual_tokens=2, encoder="lstm", encoder_hidden=4)
    assert model(TOKENS).dtype == torch.float64
    assert isinstance(model.prompt, nn.Module) and all(p.dtype == torch.float64 for p in model.prompt.parameters())
