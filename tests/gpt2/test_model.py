"""The model is GPT-2: number by number Hugging Face's, with and without cache, prompt and prefix."""

import math

import pytest
import torch
from torch import nn

from gpt2 import GPT2, GPT2Config, InputError, generate
from gpt2.config import SIZES
from gpt2.layout import KVCache, Layout, causal_mask
from gpt2.model import plain_attention

TOLERANCE = {"atol": 1e-4, "rtol": 0}


class Prompt(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3)))

    def forward(self):
        return self.vectors


class Prefix(nn.Module):
    def __init__(self, *shape, seed=4):  # (H, P, D) or (B, H, P, D)
        super().__init__()
        self.length = shape[-2]
        self.k, self.v = torch.randn((2, *shape), generator=torch.Generator().manual_seed(seed))

    def forward(self):
        return self.k, self.v


def give_prefixes(model, length, batch=()):
    for i, block in enumerate(model.h):
        block.attn.prefix = Prefix(*batch, model.config.n_head, length, model.config.head_dim, seed=i)


def in_chunks(model, tokens, size):
    cache = model.new_cache()
    return torch.cat([model(chunk, cache) for chunk in tokens.split(size, dim=1)], dim=1)


# ------------------------------------------------------------------------------------------ the same function


@torch.no_grad()
@pytest.mark.parametrize("time", [1, 7, "full context"])
def test_logits_equal_transformers(pair, draw_tokens, time):
    theirs, ours = pair
    tokens = draw_tokens(3, ours.config.n_positions if time == "full context" else time, ours)
    expected = theirs(tokens).logits
    assert expected.std() > 0.5, "logits near zero would agree with anything"
    torch.testing.assert_close(ours(tokens), expected, **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_logits_with_cache_equal_transformers(pair, draw_tokens, size):
    theirs, ours = pair
    tokens = draw_tokens(2, ours.config.n_positions, ours)  # up to the last position
    torch.testing.assert_close(in_chunks(ours, tokens, size), theirs(tokens).logits, **TOLERANCE)


@torch.no_grad()
def test_every_parameter_matters_to_the_logits(tiny_model, draw_tokens):
    """So the tests of equality above can fail: no tensor could be forgotten or exchanged unnoticed."""
    tokens = draw_tokens(2, 9, tiny_model)
    before = tiny_model(tokens)
    for name, parameter in tiny_model.named_parameters():
        original = parameter.clone()
        parameter.add_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter))
        change = (tiny_model(tokens) - before).abs().max()
        if name.endswith("k_proj.bias"):  # adds the same to the scores of all keys: softmax does not see it
            assert change < 1e-4
        else:
            assert change > 1e-2, name
        parameter.copy_(original)


@pytest.mark.parametrize(
    ("name", "count"),
    [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-large", 774_030_080), ("gpt2-xl", 1_557_611_200)],
)
def test_published_parameter_counts(name, count):
    with torch.device("meta"):
        model = GPT2(SIZES[name])
    assert sum(p.numel() for p in model.parameters()) == count


def test_module_names_of_the_contract(tiny_model):
    linears = {name for name, module in tiny_model.named_modules() if isinstance(module, nn.Linear)}
    parts = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out")
    assert linears == {f"h.{i}.{part}" for i in range(2) for part in parts} | {"lm_head"}
    for name in ("wte", "wpe", "h.0.ln_1", "h.0.ln_2", "ln_f"):
        tiny_model.get_submodule(name)
    assert tiny_model.prompt is None and tiny_model.h[0].attn.prefix is None


def test_head_is_tied_to_the_embedding(tiny_model, draw_tokens):
    assert tiny_model.lm_head.weight is tiny_model.wte.weight
    assert "lm_head.weight" not in dict(tiny_model.named_parameters())
    tiny_model(draw_tokens(1, 3, tiny_model)).sum().backward()
    unread = torch.ones(97, dtype=torch.bool)
    unread[draw_tokens(1, 3, tiny_model)] = False
    assert tiny_model.wte.weight.grad[unread].abs().min() > 0, "the gradient of the head reaches the embedding"


def test_initial_weights_are_gpt2s():
    torch.manual_seed(0)
    model = GPT2(GPT2Config(vocab_size=500, n_positions=100, n_embd=96, n_layer=3, n_head=4))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "ln_" in name:
            assert (parameter == 1).all(), name
        else:
            into_stream = name.endswith(("out_proj.weight", "fc_out.weight"))
            std = 0.02 / math.sqrt(2 * 3) if into_stream else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.05), name
            assert abs(parameter.mean()) < std / 10, name


def test_dropout_acts_in_training_mode_only(tiny_config, draw_tokens):
    from dataclasses import replace

    model = GPT2(replace(tiny_config, dropout=0.5))
    tokens = draw_tokens(1, 8, model)
    model.eval()
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.allclose(model(tokens), model(tokens))
    model = GPT2(tiny_config).train()  # dropout 0
    assert torch.equal(model(tokens), model(tokens))


# ---------------------------------------------------------------------------------------------------- attention


def test_plain_attention_is_the_formula_position_by_position():
    q, k, v = torch.randn(3, 1, 1, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    y = plain_attention(q[:, :, 2:], k, v)  # queries 2, 3 and 4 of five positions
    for row, position in enumerate((2, 3, 4)):
        scores = [float(q[0, 0, position] @ k[0, 0, s]) / 2 for s in range(position + 1)]  # √4 = 2
        weights = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
        expected = sum(w * v[0, 0, s] for s, w in enumerate(weights))
        torch.testing.assert_close(y[0, 0, row], expected)


@torch.no_grad()
@pytest.mark.parametrize("past", [0, 1, 4])
@pytest.mark.parametrize("time", [1, 2, 6])
def test_fused_attention_equals_plain_attention(tiny_model, past, time):
    attn = tiny_model.h[0].attn
    x = torch.randn(2, past + time, 24, generator=torch.Generator().manual_seed(5))
    layout = Layout(cache=KVCache(capacity=24))
    if past:
        attn(x[:, :past], layout)
    y = attn(x[:, past:], layout)
    q, k, v = (attn.split_heads(projection(x)) for projection in (attn.q_proj, attn.k_proj, attn.v_proj))
    expected = plain_attention(q[:, :, past:], k, v).transpose(1, 2).reshape(2, time, 24)
    torch.testing.assert_close(y, attn.out_proj(expected), atol=1e-5, rtol=1e-5)


def test_causal_mask_lets_the_last_queries_look_back_only():
    assert causal_mask(2, 4, torch.device("cpu")).tolist() == [[True, True, True, False], [True, True, True, True]]


@torch.no_grad()
@pytest.mark.parametrize("size", [None, 1, 3])
def test_a_later_token_changes_no_earlier_logits(tiny_model, draw_tokens, size):
    read = tiny_model if size is None else lambda tokens: in_chunks(tiny_model, tokens, size)
    tokens = draw_tokens(2, 10, tiny_model)
    before = read(tokens)
    for t in range(10):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % 97
        after = read(changed)
        torch.testing.assert_close(after[:, :t], before[:, :t], atol=1e-6, rtol=0)
        assert ((after - before)[:, t:].abs().amax(dim=-1) > 1e-3).all(), "and every later row sees it"


# ----- the prompt's extension point


@torch.no_grad()
def test_prompt_equals_transformers_reading_the_vectors_as_embeddings(pair, draw_tokens):
    theirs, ours = pair
    ours.prompt = Prompt(5, ours.config.n_embd)
    tokens = draw_tokens(2, ours.config.n_positions - 5, ours)
    vectors = torch.cat([ours.prompt().expand(2, -1, -1), theirs.transformer.wte(tokens)], dim=1)
    expected = theirs(inputs_embeds=vectors).logits[:, 5:]
    assert ours(tokens).shape == (*tokens.shape, ours.config.vocab_size), "one row per real token"
    torch.testing.assert_close(ours(tokens), expected, **TOLERANCE)
    torch.testing.assert_close(in_chunks(ours, tokens, 4), expected, **TOLERANCE)


@torch.no_grad()
def test_prompt_shifts_text_positions_by_its_length(tiny_model, draw_tokens):
    tokens = draw_tokens(2, 6, tiny_model)
    tiny_model.prompt = Prompt(3, 24)
    x = tiny_model.embed(tokens)
    torch.testing.assert_close(x[:, 3:], tiny_model.wte(tokens) + tiny_model.wpe.weight[3:9])
    torch.testing.assert_close(x[:, :3], (tiny_model.prompt() + tiny_model.wpe.weight[:3]).expand(2, -1, -1))


@torch.no_grad()
def test_prompt_of_its_own_for_each_row(tiny_model, draw_tokens):
    tokens = draw_tokens(3, 6, tiny_model)
    vectors = Prompt(3, 4, 24)()
    tiny_model.prompt = Prompt(3, 4, 24)
    together, cached = tiny_model(tokens), in_chunks(tiny_model, tokens, 2)
    assert tiny_model.virtual_positions() == 4
    for row in range(3):
        tiny_model.prompt.vectors = nn.Parameter(vectors[row])
        alone = tiny_model(tokens[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(cached[row : row + 1], alone, atol=1e-5, rtol=1e-5)


# ----- the prefix's extension point


@torch.no_grad()
def test_prefix_equals_transformers_with_these_keys_and_values_in_its_cache(pair, draw_tokens):
    from transformers import DynamicCache

    theirs, ours = pair
    give_prefixes(ours, 4)
    past = DynamicCache()
    for i, block in enumerate(ours.h):
        k, v = block.attn.prefix()
        past.update(k.expand(2, -1, -1, -1), v.expand(2, -1, -1, -1), i)
    tokens = draw_tokens(2, ours.config.n_positions - 4, ours)
    expected = theirs(tokens, past_key_values=past).logits
    assert ours(tokens).shape == expected.shape, "one row per real token"
    torch.testing.assert_close(ours(tokens), expected, **TOLERANCE)
    for size in (1, 5):
        torch.testing.assert_close(in_chunks(ours, tokens, size), expected, **TOLERANCE)


@torch.no_grad()
def test_prefix_is_visible_to_every_token_by_the_plain_formula(tiny_model):
    attn = tiny_model.h[0].attn
    attn.prefix = Prefix(3, 2, 8)
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(5))
    q, k, v = (attn.split_heads(projection(x)) for projection in (attn.q_proj, attn.k_proj, attn.v_proj))
    k = torch.cat([attn.prefix.k.expand(2, -1, -1, -1), k], dim=2)
    v = torch.cat([attn.prefix.v.expand(2, -1, -1, -1), v], dim=2)
    expected = attn.out_proj(plain_attention(q, k, v).transpose(1, 2).reshape(2, 5, 24))
    torch.testing.assert_close(attn(x), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_prefix_of_its_own_for_each_row(tiny_model, draw_tokens):
    tokens = draw_tokens(3, 6, tiny_model)
    give_prefixes(tiny_model, 2, batch=(3,))
    together = tiny_model(tokens)
    per_row = [block.attn.prefix() for block in tiny_model.h]
    for row in range(3):
        for block, (k, v) in zip(tiny_model.h, per_row, strict=True):
            block.attn.prefix.k, block.attn.prefix.v = k[row], v[row]
        alone = tiny_model(tokens[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("which", [0, 1])
def test_prefix_in_one_block_only_works_with_cache(tiny_model, draw_tokens, which):
    tokens = draw_tokens(2, 8, tiny_model)
    tiny_model.h[which].attn.prefix = Prefix(3, 4, 8)
    torch.testing.assert_close(in_chunks(tiny_model, tokens, 3), tiny_model(tokens), atol=1e-5, rtol=1e-5)
    rows = generate(tiny_model, tokens, 100, lengths=[3, 8])
    for row, n in enumerate([3, 8]):
        assert torch.equal(rows[row], generate(tiny_model, tokens[row : row + 1, :n], 100, use_cache=False)[0])


@torch.no_grad()
def test_rows_go_on_each_behind_its_own_text(tiny_model, draw_tokens):
    tokens, cache = draw_tokens(2, 6, tiny_model), tiny_model.new_cache(12)
    tiny_model.hidden_states(tokens, layout=Layout(cache=cache))
    for kept in (*cache.k.values(), *cache.v.values()):
        assert kept.size(2) == 12 and not kept[:, :, 6:].any()
    cache.padding = torch.tensor([4, 0])
    new = draw_tokens(2, 3, tiny_model)
    for t in range(3):
        logits = tiny_model(new[:, t : t + 1], cache)[:, -1]
        for row, n in enumerate([2, 6]):
            text = torch.cat([tokens[row, :n], new[row, : t + 1]])
            torch.testing.assert_close(logits[row], tiny_model(text[None])[0, -1], atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------ both extension points, and the context


def give_prompt(model):
    model.prompt = Prompt(4, 24)


def give_both(model):
    give_prefixes(model, 3)
    give_prompt(model)


@pytest.mark.parametrize(
    ("give", "virtual"),
    [(lambda model: None, 0), (give_prompt, 4), (lambda model: give_prefixes(model, 3), 3), (give_both, 7)],
    ids=["plain", "prompt", "prefix", "both"],
)
class TestWithVirtualPositions:
    @torch.no_grad()
    def test_cache_changes_nothing(self, tiny_model, draw_tokens, give, virtual):
        give(tiny_model)
        tokens = draw_tokens(2, 24 - virtual, tiny_model)
        expected = tiny_model(tokens)
        for size in (1, 2, 7):
            torch.testing.assert_close(in_chunks(tiny_model, tokens, size), expected, atol=1e-5, rtol=1e-5)

    def test_context_counts_them(self, tiny_model, draw_tokens, give, virtual):
        give(tiny_model)
        assert tiny_model.virtual_positions() == virtual
        room = 24 - virtual
        assert tiny_model(draw_tokens(1, room, tiny_model)).shape == (1, room, 97)
        with pytest.raises(InputError, match="25 positions .* context of 24"):
            tiny_model(draw_tokens(1, room + 1, tiny_model))
        cache = tiny_model.new_cache()
        tiny_model(draw_tokens(1, room, tiny_model), cache)
        with pytest.raises(InputError, match="25 positions .* context of 24"):
            tiny_model(draw_tokens(1, 1, tiny_model), cache)

    def test_generation_fills_the_context_and_no_more(self, tiny_model, draw_tokens, give, virtual):
        give(tiny_model)
        prompt = draw_tokens(2, 5, tiny_model)
        written = generate(tiny_model, prompt, max_new_tokens=100)
        assert torch.equal(written, generate(tiny_model, prompt, max_new_tokens=100, use_cache=False))
        assert written.shape == (2, 24 - virtual + 1)  # the last token is written, and never read
        with pytest.raises(InputError, match=f"{25 - virtual} tokens, more than the context of {24 - virtual}"):
            generate(tiny_model, draw_tokens(1, 25 - virtual, tiny_model))

    @pytest.mark.parametrize("use_cache", [True, False])
    def test_prompts_of_different_lengths(self, tiny_model, draw_tokens, give, virtual, use_cache):
        give(tiny_model)
        tokens, lengths = draw_tokens(3, 12, tiny_model), [4, 12, 1]
        rows = generate(tiny_model, tokens, max_new_tokens=100, lengths=lengths, use_cache=use_cache)
        for row, n in enumerate(lengths):
            alone = generate(tiny_model, tokens[row : row + 1, :n], max_new_tokens=100)[0]
            assert torch.equal(rows[row], alone) and len(alone) == 24 - virtual + 1

    def test_gradients_flow(self, tiny_model, draw_tokens, give, virtual):
        give(tiny_model)
        tiny_model(draw_tokens(2, 5, tiny_model)).square().mean().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tiny_model.parameters())
