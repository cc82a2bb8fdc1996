"""Checks of chapter 03: layer norm, counting parameters, the order inside a block, the logit lens."""

import torch
import torch.nn.functional as F
from torch import nn

from checks import close, forbidden, random_model, tensor_of, whole_number
from course import Wrong, exercise
from gpt2 import GPT2, SIZES, GPT2Config, load_gpt2

SHAPE = {"vocab_size": 31, "n_positions": 12, "n_embd": 12, "n_layer": 3, "n_head": 3}


BY_HAND = "no nn.LayerNorm and no F.layer_norm: take the mean and the variance yourself"


@exercise("03.1")
def check_layer_norm(layer_norm):
    draw = torch.Generator().manual_seed(7)
    cases = [
        ((2, 3, 8), 1.0, 1e-5),
        ((5, 4), 3.0, 1e-5),
        ((6,), 0.5, 1e-2),
        ((4, 4), 0.01, 1e-3),
        ((3, 2, 2, 5), 1, 0.5),
    ]
    for shape, size, eps in cases:
        x = size * (torch.randn(shape, generator=draw) + 2)
        weight, bias = 1 + torch.randn(2, shape[-1], generator=draw)
        given = x.clone()
        with forbidden(layer_norm, BY_HAND, F.layer_norm, torch.layer_norm, torch.native_layer_norm, nn.LayerNorm):
            found = tensor_of(layer_norm(given, weight, bias, eps), shape)
        if not torch.equal(given, x):
            raise Wrong("your function changes the x it was given; make a new tensor instead")
        if close(found, F.layer_norm(x, shape[-1:], weight, bias, eps)):
            continue
        plain = (x - x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0))
        if close(found, plain[0] / torch.sqrt(plain[1] + eps)):
            raise Wrong("normalised rightly, but weight and bias are not used")
        if close(found, plain[0] / torch.sqrt(x.var(-1, keepdim=True) + eps) * weight + bias):
            raise Wrong("the variance divides by C - 1; layer norm divides by C")
        if close(found, plain[0] / torch.sqrt(plain[1]) * weight + bias):
            raise Wrong(f"eps is not used (here it is {eps})")
        if close(found, plain[0] / (torch.sqrt(plain[1]) + eps) * weight + bias):
            raise Wrong("eps stands outside the root; it belongs to the variance")
        raise Wrong(f"wrong for x of shape {shape}: check mean and variance, and along which dimension they are taken")
    if not torch.isfinite(layer_norm(torch.ones(2, 4), torch.ones(4), torch.zeros(4), 1e-5)).all():
        raise Wrong("a constant vector gives NaN or infinite numbers; what is eps for?")


@exercise("03.2")
def check_count(count):
    shapes = [SIZES["practice"], SIZES["gpt2"], GPT2Config(50, 10, 6, 1, 2), GPT2Config(50, 10, 6, 4, 3)]
    for config in shapes:
        with forbidden(count, "no model is to be built: count by arithmetic", GPT2, load_gpt2):
            found = whole_number(count(config))
        with torch.device("meta"):
            expected = sum(parameter.numel() for parameter in GPT2(config).parameters())
        C, off = config.n_embd, found - expected
        if off == 0:
            continue
        if off == config.vocab_size * C:
            raise Wrong("the token table is counted twice; the head is tied to it")
        if off == -2 * C:
            raise Wrong("nearly: 2C are missing; is there a layer after the last block?")
        if off == -(config.n_layer * 13 + 2) * C:
            raise Wrong("the large matrices are right; biases and norms have parameters, too")
        if off == -config.n_layer * 9 * C:
            raise Wrong("9C are missing in each block: linear layers have biases")
        if off % config.n_layer == 0:
            raise Wrong(
                f"each block is {abs(off) // config.n_layer:,} too {'large' if off > 0 else 'small'} at C = {C}"
            )
        raise Wrong(f"{abs(off):,} too {'many' if off > 0 else 'few'} for {config}")


class Parts:
    """The parts of a block, without the block's own forward."""

    def __init__(self, block):
        self.ln_1, self.attn, self.ln_2, self.mlp, self.drop = block.ln_1, block.attn, block.ln_2, block.mlp, block.drop

    def __call__(self, *_):
        raise Wrong("call the four parts, not the block itself")

    forward = __call__


@exercise("03.3")
def check_forward(forward):
    block = random_model(0.4, seed=6, **SHAPE).h[0]
    draw = torch.Generator().manual_seed(8)
    for shape in ((1, 1, 12), (2, 5, 12)):
        x = torch.randn(shape, generator=draw)
        with torch.no_grad():
            expected = block(x.clone())
            found = tensor_of(forward(Parts(block), x.clone()), shape)
            a, n1, m, n2 = block.attn, block.ln_1, block.mlp, block.ln_2
            if close(found, expected):
                continue
            if close(found, m(n2(a(n1(x))))):
                raise Wrong("nothing is added to the stream: where are the two plus signs of the picture?")
            if close(found, x + a(n1(x)) + m(n2(x))):
                raise Wrong("the MLP reads the stream as it was before attention; it should read what attention left")
            if close(found, n2(n1(x + a(x)) + m(n1(x + a(x))))):
                raise Wrong("the norms stand in the stream, after the additions; GPT-2 has them before each part")
            if close(found, x + m(n2(x + a(n1(x))))):
                raise Wrong("the second addition starts from the x that came in, and loses what attention added")
            raise Wrong("other numbers than the block's: check the order, and which norm belongs to which part")


@exercise("03.4")
def check_lens(lens):
    model = random_model(0.4, seed=6, **SHAPE)
    for B, T in ((1, 1), (2, 7)):
        tokens = torch.randint(31, (B, T), generator=torch.Generator().manual_seed(9))
        with torch.no_grad():
            x, streams = model.embed(tokens), []
            for block in [None, *model.h]:
                x = x if block is None else block(x)
                streams.append(x)
            found = lens(model, tokens)
            if isinstance(found, torch.Tensor) and len(found) == 3:
                raise Wrong("one depth is missing: after the embedding, and after each of the blocks")
            found = tensor_of(found, (4, B, T, 31))
            expected = torch.stack([model.lm_head(model.ln_f(x)) for x in streams])
            if close(found, expected):
                continue
            if close(found, torch.stack([model.lm_head(x) for x in streams])):
                raise Wrong(
                    "the head reads the bare stream; what does the model do between the last block and the head?"
                )
            if close(found[0], model.lm_head(model.ln_f(model.wte(tokens)))):
                raise Wrong("the stream starts from the token table alone; what is added to it before the first block?")
            if not close(found[-1], model(tokens)):
                if close(found[0], expected[0]) and close(found[1], expected[1]):
                    raise Wrong("depths 0 and 1 are right, later ones not: is the stream itself normalised on the way?")
                raise Wrong("the last depth differs from model(tokens)")
            raise Wrong("the last depth is right, an earlier one is not; is each the stream after one more block?")
