"""Checks of chapter 13: IA³ and other methods that only rescale."""

import torch
import torch.nn.functional as F
from torch import nn

import peft
from checks import close, forbidden, returned, whole_number
from course import Wrong, exercise
from gpt2 import GPT2, GPT2Config


@exercise("13.1")
def count(ia3_parameters):
    for C, L in ((24, 3), (10, 7)):
        for queries in (False, True):
            answer, right = whole_number(ia3_parameters(C, L, queries)), L * C * (7 if queries else 6)
            if answer == right:
                continue
            if answer == L * C * (4 if queries else 3):
                raise Wrong("one of the three vectors is longer than the others: how wide is the MLP's hidden layer?")
            if answer * L == right:
                raise Wrong("that is the number for one block")
            if queries and answer == L * C * 6:
                raise Wrong("with queries=True there is one more vector")
            raise Wrong(f"C={C}, L={L}, queries={queries}: you say {answer}; write down the length of each vector")


@exercise("13.2")
def merging(merge_output, merge_input):
    torch.manual_seed(1)
    W, b, x = torch.randn(5, 3), torch.randn(5), torch.randn(7, 3)
    l_out, l_in = torch.randn(5), torch.randn(3)
    weight, bias = pair("merge_output", merge_output, W, b, l_out)
    if not close(weight, l_out[:, None] * W):
        raise Wrong("merge_output: the weight is not right; is a row or a column of W what makes one output?")
    if close(bias, b):
        raise Wrong("merge_output: the factor hits the bias too, because it comes after the sum")
    if not close(F.linear(x, weight, bias), (F.linear(x, W, b)) * l_out):
        raise Wrong("merge_output: the bias is not right")
    weight, bias = pair("merge_input", merge_input, W, b, l_in)
    if not close(weight, W * l_in):
        raise Wrong("merge_input: the weight is not right; which numbers of W meet input j?")
    if not close(bias, b):
        raise Wrong("merge_input: does the bias depend on the input?")


def pair(name, function, W, b, factors):
    answer = function(W.clone(), b.clone(), factors.clone())
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(isinstance(a, torch.Tensor) for a in answer):
        raise Wrong(f"{name} should return two tensors, (weight, bias)")
    if answer[0].shape != W.shape or answer[1].shape != b.shape:
        raise Wrong(f"{name}: shapes {tuple(answer[0].shape)} and {tuple(answer[1].shape)}, expected those of W and b")
    return answer


@exercise("13.3")
def folding(fold_norm):
    torch.manual_seed(2)
    norm, linear, x = nn.LayerNorm(6), nn.Linear(6, 4), torch.randn(9, 6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    before = [p.detach().clone() for p in (*norm.parameters(), *linear.parameters())]
    new = fold_norm(norm, linear)
    if not isinstance(new, nn.Linear):
        raise Wrong("return one nn.Linear")
    if not all(map(torch.equal, before, (*norm.parameters(), *linear.parameters()))):
        raise Wrong("the given norm or linear layer has changed; build a new layer")
    if new.weight.shape != linear.weight.shape or new.bias is None:
        raise Wrong(f"the new layer should have a weight of shape {tuple(linear.weight.shape)} and a bias")
    with torch.no_grad():
        if close(new(F.layer_norm(x, (6,))), linear(norm(x))):
            return
        if not close(new.weight, linear.weight * norm.weight):
            raise Wrong("the weight is not right: γ multiplies inputs, so which part of W does it scale?")
    raise Wrong("the weight is right; the bias is not: what becomes of β on its way through W?")


@exercise("13.4")
def least_squares(best_factors):
    torch.manual_seed(3)
    X = torch.randn(40, 5)
    Y = X * torch.tensor([2.0, 0.5, -1.0, 0.0, 1.0]) + 0.3 * torch.randn(40, 5)
    answer = best_factors(X, Y)
    if not isinstance(returned(answer), torch.Tensor):
        raise Wrong(f"a tensor is expected, not {type(answer).__name__}")
    if answer.shape != (5,):
        raise Wrong(f"expected one factor per channel, shape (5,), not {tuple(answer.shape)}")
    right = torch.stack([torch.linalg.lstsq(X[:, j : j + 1], Y[:, j : j + 1]).solution[0, 0] for j in range(5)])
    if close(answer, Y.norm(dim=0) / X.norm(dim=0)):
        raise Wrong("a ratio of lengths is never negative; look at channel 2, where Y points the other way")
    if close(answer, (Y / X).mean(dim=0)):
        raise Wrong("the mean of the ratios gives much weight to tokens where x is nearly zero; minimise the squares")
    if not close(answer, right):
        raise Wrong("not the smallest sum of squares: set its derivative by l to zero, for one channel")
    X[:, 1] = 0
    answer = best_factors(X, Y)
    if not answer[1].item() == 1.0:
        raise Wrong(f"a channel that is zero for all tokens should get the factor one, not {answer[1].item()}")
    right[1] = 1.0
    if not close(answer, right):
        raise Wrong("one channel of zeros should leave the factors of the others as they are")


@exercise("13.5", inside=True)
def from_scratch(my_ia3):
    torch.manual_seed(4)
    config = GPT2Config(vocab_size=13, n_positions=12, n_embd=8, n_layer=3, n_head=2)
    plain = GPT2(config).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_(std=0.3)
    tokens = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    mine, package = GPT2(config).eval(), GPT2(config).eval()
    for model in (mine, package):
        model.load_state_dict(plain.state_dict())
    peft.apply(package, "ia3").eval()
    modules = [type(module) for module in mine.modules()]
    with forbidden(my_ia3, "write it without peft", "peft"):
        factors = my_ia3(mine)
    if not isinstance(factors, list | tuple) or len(factors) != 3:
        raise Wrong("return a list with one dictionary per block")
    for own in factors:
        if not isinstance(own, dict | nn.ParameterDict) or set(own) != {"k", "v", "ff"}:
            raise Wrong('each block needs a dictionary with the keys "k", "v" and "ff"')
        for name, length in (("k", 8), ("v", 8), ("ff", 32)):
            if not isinstance(own[name], nn.Parameter):
                raise Wrong(f"{name!r} should be an nn.Parameter")
            if own[name].shape != (length,):
                raise Wrong(f"{name!r} has shape {tuple(own[name].shape)}, expected ({length},) for a width of 8")
    if [type(module) for module in mine.modules()] != modules:
        raise Wrong("leave all modules where they are; use hooks")
    with torch.no_grad():
        if not close(mine(tokens), plain(tokens)):
            raise Wrong("before training the model should be unchanged")
        for name, layer in (("k", "attn.k_proj"), ("v", "attn.v_proj"), ("ff", "mlp.fc_out")):
            before = mine(tokens)
            for own, block in zip(factors, package.h, strict=True):
                own[name].uniform_(0.2, 2.0)
                block.get_submodule(layer).scale.copy_(own[name])
            if close(mine(tokens), package(tokens)):
                continue
            if close(mine(tokens), before):
                raise Wrong(f"the factors {name!r} have no effect; does your hook return the new value?")
            for block in package.h:
                block.get_submodule(layer).scale.copy_(factors[-1][name])
            if close(mine(tokens), package(tokens)):
                raise Wrong("every block uses the last block's factors: when does a lambda look up its names?")
            raise Wrong(f"the factors {name!r} do not act at the right point, or before instead of after something")
