"""Checks of chapter 11: adapters."""

import copy

import torch
from torch import nn

import peft
from checks import close, forbidden, whole_number
from course import Wrong, exercise
from gpt2 import GPT2, GPT2Config, load_gpt2
from peft.adapters import SerialAdapter


@exercise("11.1")
def parameters(adapter_parameters):
    for C, L, m in ((24, 3, 5), (16, 2, 7)):
        for method in ("adapter-pfeiffer", "adapter-parallel", "adapter"):
            model = peft.apply(small_model(C, L), method, bottleneck=m)
            right = sum(p.numel() for p in peft.trainable_parameters(model).values())
            with forbidden(adapter_parameters, "no model is to be built: count by arithmetic", GPT2, load_gpt2):
                answer = whole_number(adapter_parameters(C, L, m, method))
            if answer == right:
                continue
            adapters = L * (2 if method == "adapter" else 1)
            if answer == right - adapters * (C + m):
                raise Wrong("close: each of the two linear layers also has a bias")
            if answer in (right - adapters * C, right - adapters * m):
                raise Wrong("one of the two biases is missing; how long is each?")
            if answer * L == right:
                raise Wrong("that is the number for one block")
            if answer in (2 * right, right / 2):
                raise Wrong(f"for {method!r} the number of adapters in each block is another one")
            raise Wrong(f"for {method!r} with C={C}, L={L}, m={m} you say {answer}; write down the two layers' shapes")


@exercise("11.2", inside=True)
def own_adapter(MyAdapter):
    torch.manual_seed(1)
    adapter, x = MyAdapter(6, 3, 0.5), torch.randn(2, 4, 6)
    for name, shape in (("down", (3, 6)), ("up", (6, 3))):
        layer = getattr(adapter, name, None)
        if not isinstance(layer, nn.Linear):
            raise Wrong(f"the class needs an nn.Linear called self.{name}")
        if layer.weight.shape != shape or layer.bias is None:
            raise Wrong(f"{name}: expected a weight of shape {shape} (dim 6, bottleneck 3) and a bias")
    out = adapter(x)
    if not isinstance(out, torch.Tensor):
        raise Wrong("forward returns no tensor yet")
    if out.shape != x.shape:
        raise Wrong(f"input {tuple(x.shape)}, output {tuple(out.shape)}: they should have the same shape")
    if torch.equal(out, x):
        raise Wrong("at the start it should return zero, the change alone; the skip connection is added outside")
    if out.abs().max() > 0:
        raise Wrong("before training the output is not exactly zero: which of the two layers must start at zero?")
    out.sum().backward()
    grads = [layer.weight.grad for layer in (adapter.down, adapter.up)]
    if not any(grad is not None and grad.abs().max() > 0 for grad in grads):
        raise Wrong("zero at the start, but neither weight has a gradient: it can never learn more than a constant")
    with torch.no_grad():
        for parameter in (*adapter.down.parameters(), *adapter.up.parameters()):  # and not a scale that is one, too
            parameter.normal_()
    inner = x @ adapter.down.weight.T + adapter.down.bias

    def expected(narrow, scale=0.5):
        return scale * (narrow @ adapter.up.weight.T + adapter.up.bias)

    out = adapter(x)
    if close(out, expected(inner.tanh())):
        return
    if close(out, expected(inner.tanh(), 1.0)):
        raise Wrong("the scale is forgotten")
    if close(out, expected(inner)):
        raise Wrong("there is no non-linearity between down and up")
    if close(out, expected(inner.relu())):
        raise Wrong("the task asks for another non-linearity")
    if close(out, expected(inner.tanh()) + x):
        raise Wrong("the skip connection does not belong in here: the class returns the change alone")
    raise Wrong("shapes and start are right, but the output is not scale * up(tanh(down(x)))")


@exercise("11.3")
def softmax_split(split):
    torch.manual_seed(2)
    T, S, P, D = 4, 6, 3, 8
    q, k, v = torch.randn(T, D), torch.randn(S, D), torch.randn(S, D)
    p_k, p_v = torch.randn(P, D), torch.randn(P, D)
    parts = split(q, k, v, p_k, p_v)
    if not isinstance(parts, tuple | list) or len(parts) != 3:
        raise Wrong("return three tensors: lam, delta, h")
    lam, delta, h = parts
    for name, part, shape in (("lam", lam, (T, 1)), ("delta", delta, (T, D)), ("h", h, (T, D))):
        if not isinstance(part, torch.Tensor):
            raise Wrong(f"{name} is not computed yet")
        if part.shape != shape:
            raise Wrong(f"{name} has shape {tuple(part.shape)}, expected {shape}")
    right_h, right_delta = (torch.softmax(q @ a.T / D**0.5, dim=-1) @ b for a, b in ((k, v), (p_k, p_v)))
    if close(h, torch.softmax(q @ k.T, dim=-1) @ v) or close(delta, torch.softmax(q @ p_k.T, dim=-1) @ p_v):
        raise Wrong("the scores must be divided by the root of D")
    if not close(h, right_h):
        raise Wrong("h should be plain attention over the text alone, with weights that sum to one")
    if not close(delta, right_delta):
        raise Wrong("delta should be attention over the prefix alone, with weights that sum to one")
    weights = torch.softmax(q @ torch.cat([p_k, k]).T / D**0.5, dim=-1)
    right = weights[:, :P].sum(dim=-1, keepdim=True)
    if close(lam, 1 - right):
        raise Wrong("lam is the share of the text; it should be the share of the prefix")
    if not close(lam, right):
        raise Wrong("delta and h are right, lam is not: it is the prefix's share of all the exponentials")
    lam, delta, h = split(200 * q, k, v, p_k, p_v)
    together = torch.softmax(200 * q @ torch.cat([p_k, k]).T / D**0.5, dim=-1) @ torch.cat([p_v, v])
    if not close(lam * delta + (1 - lam) * h, together):
        raise Wrong("right for small scores, but with large ones exp overflows: stay with logarithms of the sums")


@exercise("11.4")
def merged(merge_linear_adapter):
    torch.manual_seed(3)
    linear, down, up, scale, x = nn.Linear(5, 6), nn.Linear(6, 2), nn.Linear(2, 6), 0.7, torch.randn(9, 5)
    before = copy.deepcopy([linear.weight, down.weight, up.weight, linear.bias, down.bias, up.bias])
    new = merge_linear_adapter(linear, down, up, scale)
    if not isinstance(new, nn.Linear):
        raise Wrong("return one nn.Linear")
    after = [linear.weight, down.weight, up.weight, linear.bias, down.bias, up.bias]
    if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        raise Wrong("one of the three given layers has changed; build a new one")
    if new.weight.shape != linear.weight.shape:
        raise Wrong(f"the weight has shape {tuple(new.weight.shape)}, expected {tuple(linear.weight.shape)}")
    with torch.no_grad():
        y = linear(x)
        expected = y + scale * up(down(y))
        if close(new(x), expected):
            return
        weight = linear.weight + scale * up.weight @ down.weight @ linear.weight
        if close(new.weight, weight):
            raise Wrong("the weight is right, the bias is not: three biases go into it, two of them through a matrix")
        if close(new.weight, weight - linear.weight):
            raise Wrong("the skip connection is forgotten: y itself must come through as well")
        if close(new.weight, linear.weight + up.weight @ down.weight @ linear.weight):
            raise Wrong("the scale is forgotten")
    raise Wrong("the output differs: put y = Wx + b into the formula and collect what stands before x")


@exercise("11.5")
def dropped(drop_adapters):
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    for method, per_block in (("adapter", 2), ("adapter-pfeiffer", 1)):
        for below in (2, 0, 3):
            model = peft.apply(small_model(16, 3), method, bottleneck=4)
            torch.manual_seed(4)
            for parameter in peft.trainable_parameters(model).values():
                nn.init.normal_(parameter, std=0.5)
            silent = copy.deepcopy(model)
            for block in silent.h[:below]:
                for part in block.modules():
                    if isinstance(part, SerialAdapter):
                        part.adapter.scale = 0.0
            count = drop_adapters(model, below)
            left = [sum(isinstance(part, SerialAdapter) for part in block.modules()) for block in model.h]
            wanted = [0] * below + [per_block] * (3 - below)
            if left != wanted:
                raise Wrong(
                    f"{method}, 3 blocks, below={below}: the blocks hold {left} adapters afterwards, expected {wanted}"
                )
            with torch.no_grad():
                if not close(model(tokens), silent(tokens)):
                    raise Wrong("the adapters are gone, but the model's output is not what is left without them")
            if whole_number(count) != per_block * below:
                raise Wrong(f"{method}, below={below}: {per_block * below} adapters were taken out, you return {count}")


def small_model(C: int, L: int) -> GPT2:
    torch.manual_seed(0)
    return GPT2(GPT2Config(vocab_size=11, n_positions=12, n_embd=C, n_layer=L, n_head=2)).eval()
