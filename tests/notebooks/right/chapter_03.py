"""Other right answers to the exercises of chapter 03 than the solution's."""

RIGHT = {
    "03.1": [
        """\
def layer_norm(x, weight, bias, eps=1e-5):
    C = x.shape[-1]
    mean = x.sum(-1, keepdim=True) / C
    variance = (x * x).sum(-1, keepdim=True) / C - mean * mean
    return weight * (x - mean) * (variance.clamp(min=0) + eps) ** -0.5 + bias
""",
        """\
import torch


def layer_norm(x, weight, bias, eps=1e-5):
    rows = []
    for row in x.reshape(-1, x.size(-1)):
        variance, mean = torch.var_mean(row, unbiased=False)
        rows.append((row - mean) * torch.rsqrt(variance + eps) * weight + bias)
    return torch.stack(rows).reshape(x.shape)
""",
        """\
import numpy as np
import torch


def layer_norm(x, weight, bias, eps=1e-5):
    a = x.numpy()
    y = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + eps)
    return torch.from_numpy(y) * weight + bias
""",
    ],
    "03.2": [
        """\
import numpy as np


def count(config):
    C = np.int64(config.n_embd)
    return config.n_layer * (12 * C**2 + 13 * C) + 2 * C + C * (config.vocab_size + config.n_positions)
""",
        """\
import torch


def count(config):
    C = config.n_embd
    shapes = [(config.vocab_size, C), (config.n_positions, C), (C,), (C,)]
    for _ in range(config.n_layer):
        shapes += 4 * [(C, C), (C,)] + 4 * [(C,)] + [(C, 4 * C), (4 * C,), (4 * C, C), (C,)]
    return sum(torch.tensor(shape).prod() for shape in shapes)
""",
        """\
def count(config):
    def linear(n_in, n_out):
        return (n_in + 1) * n_out

    C = config.n_embd
    block = 3 * linear(C, C) + linear(C, C) + linear(C, 4 * C) + linear(4 * C, C) + 8 * C / 2
    return config.n_layer * block + 2 * C + sum([config.vocab_size, config.n_positions]) * C
""",
    ],
    "03.3": [
        """\
def forward(block, x):
    x = block.attn(block.ln_1(x)) + x
    x = block.mlp(block.ln_2(x)) + x
    return x
""",
        """\
def forward(block, x):
    for norm, part in ((block.ln_1, block.attn), (block.ln_2, block.mlp)):
        x += part(norm(x))
    return x
""",
    ],
    "03.4": [
        """\
import torch


def lens(model, tokens):
    streams = []
    hooks = [block.register_forward_pre_hook(lambda part, args: streams.append(args[0])) for block in model.h]
    hooks += [model.h[-1].register_forward_hook(lambda part, args, out: streams.append(out))]
    model(tokens)
    for hook in hooks:
        hook.remove()
    return model.lm_head(model.ln_f(torch.stack(streams)))
""",
        """\
import torch


def lens(model, tokens):
    x = model.wte(tokens) + model.wpe(torch.arange(tokens.shape[1]))
    out = torch.empty(len(model.h) + 1, *tokens.shape, model.config.vocab_size)
    out[0] = model.lm_head(model.ln_f(x))
    for i in range(len(model.h)):
        x = model.h[i](x)
        out[i + 1] = model.ln_f(x) @ model.wte.weight.T
    return out
""",
    ],
}
