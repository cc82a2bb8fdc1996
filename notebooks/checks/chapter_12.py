"""Checks of chapter 12: prompts and prefixes."""

import torch
import torch.nn.functional as F

import peft
from checks import close, returned
from course import Wrong, exercise
from gpt2 import GPT2, GPT2Config
from gpt2.model import plain_attention
from peft.prompt import SoftPrompt


@exercise("12.1")
def positions(text_positions):
    for prefix, prompt, T in ((0, 0, 3), (0, 4, 3), (5, 0, 2), (3, 2, 4)):
        answer, right = text_positions(prefix, prompt, T), list(range(prefix + prompt, prefix + prompt + T))
        returned(answer)
        if isinstance(answer, torch.Tensor):
            answer = answer.tolist()
        answer = list(answer)
        if answer == right:
            continue
        case = f"prefix={prefix}, prompt={prompt}, T={T}: you say {answer}"
        if len(answer) != T:
            raise Wrong(f"{case}; one position for each of the {T} text tokens, please")
        if prefix and answer == list(range(prompt, prompt + T)):
            raise Wrong(f"{case}; a prefix takes positions too, though it adds no tokens")
        if answer == [position + 1 for position in right]:
            raise Wrong(f"{case}; positions are counted from 0")
        raise Wrong(f"{case}; what stands before the text?")


@exercise("12.2")
def nearest_words(nearest):
    torch.manual_seed(1)
    wte, vectors = torch.randn(50, 6) * torch.linspace(0.2, 4, 50)[:, None], torch.randn(4, 6)
    cosine = F.normalize(vectors, dim=-1) @ F.normalize(wte, dim=-1).T
    for k in (3, 1, 5):
        answer = nearest(vectors, wte, k)
        if not isinstance(returned(answer), torch.Tensor):
            raise Wrong(f"a tensor is expected, not {type(answer).__name__}")
        if answer.shape != (4, k):
            raise Wrong(f"expected shape (P, k) = (4, {k}), not {tuple(answer.shape)}")
        if answer.is_floating_point():
            raise Wrong("these are similarities; the task asks for the numbers of the tokens")
        answer, right = answer.long(), cosine.topk(k).indices
        if torch.equal(answer, right):
            continue
        if torch.equal(answer, (vectors @ wte.T).topk(k).indices):
            raise Wrong("an inner product favours long embeddings; the cosine takes the lengths out")
        if torch.equal(answer, cosine.topk(k, largest=False).indices):
            raise Wrong("these are the farthest tokens")
        if torch.equal(answer.sort(dim=-1).values, right.sort(dim=-1).values):
            raise Wrong("the right tokens, but not the best first")
        if torch.equal(answer, torch.cdist(vectors, wte).topk(k, largest=False).indices):
            raise Wrong("these are nearest by distance; the task asks for the angle")
        raise Wrong("not the tokens with the highest cosine similarity")


@exercise("12.3")
def with_prefix(prefix_attention):
    torch.manual_seed(2)
    H, D = 2, 8
    for T, P in ((5, 3), (3, 4), (1, 2)):
        q, k, v = torch.randn(3, H, T, D)
        p_k, p_v = torch.randn(2, H, P, D)
        answer = prefix_attention(q, k, v, p_k, p_v)
        if not isinstance(returned(answer), torch.Tensor):
            raise Wrong(f"a tensor is expected, not {type(answer).__name__}")
        if answer.shape != (H, T, D):
            raise Wrong(f"expected shape (H, T, D) = {(H, T, D)}, not {tuple(answer.shape)}")
        both_k, both_v = torch.cat([p_k, k], dim=1), torch.cat([p_v, v], dim=1)
        right = plain_attention(q[None], both_k[None], both_v[None])[0]
        if close(answer, right):
            continue
        scores = q @ both_k.transpose(-2, -1)
        sees = torch.ones(T, P + T).tril(diagonal=P).bool()
        if close(answer, scores.masked_fill(~sees, -torch.inf).softmax(-1) @ both_v):
            raise Wrong("the scores must be divided by the root of D")
        scores = scores / D**0.5
        if close(answer, scores.softmax(-1) @ both_v):
            raise Wrong("without a mask each token sees the tokens behind it")
        if close(answer, scores.masked_fill(~torch.ones(T, P + T).tril().bool(), -torch.inf).softmax(-1) @ both_v):
            raise Wrong("the mask hides a part of the prefix from the first tokens: where should its diagonal start?")
        if close(answer, plain_attention(q[None], k[None], v[None])[0]):
            raise Wrong("that is attention without the prefix")
        raise Wrong(f"not right for T={T}, P={P}: join keys and values, mask, softmax, and the values' average")


@exercise("12.4")
def text_as_prefix(prefix_of):
    model, ids, tokens = small_model(), [3, 8, 5], torch.tensor([[1, 4, 1, 9]])
    cache = model.new_cache()

    def no_cache(*args, **options):
        raise Wrong("the task asks for a way without new_cache")

    model.new_cache = no_cache
    pairs = prefix_of(model, ids)
    if not isinstance(pairs, list | tuple) or len(pairs) != len(model.h):
        raise Wrong("return a list with one pair per block")
    for i, own in enumerate(pairs):
        if not isinstance(own, list | tuple) or len(own) != 2 or not all(isinstance(t, torch.Tensor) for t in own):
            raise Wrong(f"block {i}: expected a pair of tensors, (keys, values)")
        for name, tensor in zip(("keys", "values"), own, strict=True):
            if tensor.shape != (2, 3, 4):
                shape = tuple(tensor.shape)
                raise Wrong(f"block {i}: {name} have shape {shape}, expected (H, P, D) = (2, 3, 4) for three tokens")
    with torch.no_grad():
        model(torch.tensor([ids]), cache)
        expected = model(tokens, cache)
    for i, (block, (keys, values)) in enumerate(zip(model.h, pairs, strict=True)):
        right_k, right_v = cache.k[block.attn][0, :, :3], cache.v[block.attn][0, :, :3]
        if close(keys, right_v) and close(values, right_k):
            raise Wrong("keys and values are the wrong way round")
        if close(keys, right_k) and close(values, right_v):
            continue
        with torch.no_grad():
            if i == 0 and close(keys, heads(model, model.wte(torch.tensor([ids])))):
                raise Wrong("block 0: the words have no positions; what does the model add to their embeddings?")
        if i == 0:
            raise Wrong("block 0 is not right: what exactly enters k_proj and v_proj?")
        raise Wrong(f"block 0 is right, block {i} is not: its keys and values come from what the block below returns")
    peft.apply(model, "p-tuning-v2", virtual_tokens=3)
    with torch.no_grad():
        for block, (keys, values) in zip(model.h, pairs, strict=True):
            block.attn.prefix.keys.copy_(keys)
            block.attn.prefix.values.copy_(values)
        if not close(model(tokens), expected):
            raise Wrong("a model with this prefix does not behave as if it had read the text")


def heads(model, x):
    """Block 0's keys for the stream x."""
    attn = model.h[0].attn
    return attn.split_heads(attn.k_proj(model.h[0].ln_1(x)))[0]


@exercise("12.5")
def words_again(harden):
    model, tokens = small_model(), torch.tensor([[1, 4, 1, 9]])
    torch.manual_seed(5)
    with torch.no_grad():
        model.wte.weight.mul_(torch.linspace(0.3, 3, 13)[:, None])
    vectors = torch.randn(4, 8)
    model.prompt = SoftPrompt(vectors.clone())
    wte = model.wte.weight.detach().clone()
    right = (F.normalize(vectors, dim=-1) @ F.normalize(wte, dim=-1).T).argmax(dim=-1).tolist()
    ids = returned(harden(model))
    ids = ids.tolist() if isinstance(ids, torch.Tensor) else list(ids)
    if not torch.equal(model.wte.weight, wte):
        raise Wrong("the embedding itself has changed; only the prompt should")
    if ids == (vectors @ wte.T).argmax(dim=-1).tolist() != right:
        raise Wrong("an inner product favours long embeddings; the cosine takes the lengths out")
    if ids != right:
        raise Wrong("these are not the tokens with the highest cosine similarity, one for each vector")
    if not isinstance(model.prompt, SoftPrompt):
        raise Wrong("the model should still have its soft prompt, with other vectors")
    if torch.equal(model.prompt.vectors.detach(), vectors):
        raise Wrong("the tokens are right, but the model's prompt has not changed")
    with torch.no_grad():
        soft, model.prompt = model(tokens), None
        if not close(soft, model(torch.cat([torch.tensor([right]), tokens], dim=1))[:, 4:]):
            raise Wrong("not the same as with these tokens before the text: are the vectors their embeddings?")


def small_model() -> GPT2:
    torch.manual_seed(0)
    model = GPT2(GPT2Config(vocab_size=13, n_positions=12, n_embd=8, n_layer=3, n_head=2)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model
