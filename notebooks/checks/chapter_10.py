"""Checks of chapter 10: LoRA's family."""

import math
import random

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from checks import close, number, tensor_of
from course import Wrong, exercise
from peft.dora import LinearWithDoRA
from peft.lora import LoRALayer


@exercise("10.1")
def alpha_for_the_library(function):
    for rank in (1, 4, 10, 64):
        alpha = random.uniform(1, 20)
        answer = number(function(alpha, rank))
        if not math.isclose(answer / rank, alpha / math.sqrt(rank), rel_tol=1e-6):
            if math.isclose(answer, alpha / math.sqrt(rank)):
                raise Wrong("this is rsLoRA's scale s; but the library divides what you give it by the rank")
            raise Wrong(
                f"alpha {alpha:.1f}, rank {rank}: with your {answer:.2f} the library's scale is {answer / rank:.2f}, "
                f"rsLoRA's is {alpha / math.sqrt(rank):.2f}"
            )


@exercise("10.2")
def dora_weight(function):
    for n_out, n_in in ((4, 6), (5, 5), (6, 3)):
        W, A, B = torch.randn(n_out, n_in), torch.randn(2, n_in), torch.randn(n_out, 2)
        m, s = torch.rand(n_out) + 0.5, 1.7
        answer = tensor_of(function(W, A, B, m, s), W.shape, f"for W {(n_out, n_in)}, the answer")
        V = W + s * B @ A
        right = m[:, None] * V / V.norm(dim=1, keepdim=True)
        if close(answer, right):
            continue
        unscaled = W + B @ A
        if close(answer, m[:, None] * unscaled / unscaled.norm(dim=1, keepdim=True)):
            raise Wrong("the scale is missing")
        if close(answer, V / V.norm(dim=1, keepdim=True)):
            raise Wrong("these are the directions; their lengths are still all 1")
        if close(answer, m[:, None] * V):
            raise Wrong("the rows of V have lengths already; bring them to length 1 before multiplying by m")
        if not close(answer.norm(dim=1), m):
            raise Wrong(
                "the rows should have exactly the lengths m; over which dimension, and of which matrix, is the norm?"
            )
        raise Wrong("the rows have the lengths m, but point elsewhere; what is V?")


@exercise("10.3")
def dylora_delta(function):
    A, B, alpha = torch.randn(4, 6), torch.randn(5, 4), 3.0
    for b in (2, 1, 3, 4):
        answer = tensor_of(function(A, B, alpha, b), (5, 6), f"at rank {b}, the change")
        product = B[:, :b] @ A[:b]
        if close(answer, product * alpha / b):
            continue
        if close(answer, product):
            raise Wrong("the scale is missing")
        if close(answer, product * alpha / 4):
            raise Wrong("the scale is that of the full rank; which rank is in use?")
        if close(answer, B[:, b - 1 : b] @ A[b - 1 : b] * alpha / b):
            raise Wrong(f"only one row and column are used; at rank {b} there are {b}")
        if close(answer, B[:, -b:] @ A[-b:] * alpha / b):
            raise Wrong("the last rows and columns are used; which ones did training use most?")
        raise Wrong(f"the numbers at rank {b} are not right; which rows of A and columns of B take part?")


@exercise("10.4", inside=True)
def dora_link(DoRALink):
    linear = nn.Linear(6, 4).requires_grad_(False)
    x, before = torch.randn(3, 6), linear.weight.detach().clone()
    link = DoRALink(linear, 2, 3.0)
    magnitude = getattr(link, "magnitude", None)
    if magnitude is None or magnitude is ...:
        raise Wrong("magnitude is still empty")
    if not isinstance(getattr(link, "lora", None), LoRALayer):
        raise Wrong("lora should be a LoRALayer")
    if not isinstance(magnitude, nn.Parameter) or not magnitude.requires_grad:
        raise Wrong("no optimiser would ever see magnitude: what kind of tensor does a module train?")
    if magnitude.numel() != 4:
        raise Wrong(f"magnitude has {magnitude.numel()} numbers for a layer with 4 outputs and 6 inputs")
    result = link(before)
    if result is None or result is ...:
        raise Wrong("forward is still empty")
    tensor_of(result, (4, 6), "what forward returns")
    if not close(result, before):
        raise Wrong("before training the weight should be W itself; where do the lengths start?")
    parametrize.register_parametrization(linear, "weight", link)
    if not close(linear.weight, before):
        raise Wrong("registering it changed the layer's weight")

    with torch.no_grad():
        link.lora.B.normal_()
        magnitude.mul_(torch.rand_like(magnitude) + 0.5)
        plain = nn.Linear(6, 4)
        plain.weight.copy_(before)
        plain.bias.copy_(linear.bias)
        reference = LinearWithDoRA(plain, 2, 3.0)
        reference.lora.load_state_dict(link.lora.state_dict())
        reference.magnitude.copy_(magnitude.flatten())
        if not close(linear.weight.norm(dim=1), magnitude.flatten()):
            raise Wrong("after training the rows should have exactly the lengths in magnitude; what is V?")
        if not close(linear(x), reference(x)):
            raise Wrong("the lengths are right, the directions are not those of W + s B A")
    linear(x).square().sum().backward()
    if magnitude.grad is None or link.lora.B.grad is None:
        raise Wrong("after backward(), magnitude or B has no gradient")


@exercise("10.5", inside=True)
def conv_with_lora(Conv2dWithLoRA):
    for stride, padding, bias in ((1, 0, True), (2, 1, False), (1, 1, True)):
        torch.manual_seed(5)
        conv = nn.Conv2d(3, 7, 3, stride=stride, padding=padding, bias=bias)
        x, before = torch.randn(2, 3, 9, 8), {name: p.detach().clone() for name, p in conv.named_parameters()}
        where = f"for a convolution with stride {stride} and padding {padding}"
        layer = Conv2dWithLoRA(conv, 2, 3.0)
        out = layer(x)
        if out is None or out is ...:
            raise Wrong("forward is still empty")
        tensor_of(out, conv(x).shape, f"{where}, the output")
        if not close(out, conv(x)):
            raise Wrong(f"{where}: before training the output should be that of conv; which factor starts at zero?")
        if any(p.requires_grad for p in conv.parameters()):
            raise Wrong("the convolution that was given should be frozen")
        trained = [p for p in layer.parameters() if p.requires_grad]
        right = 2 * (3 * 3 * 3 + 7)
        if sum(p.numel() for p in trained) != right:
            n = sum(p.numel() for p in trained)
            raise Wrong(f"{n} numbers are trained, where A and B together have {right}; has a factor a bias?")
        with torch.no_grad():
            for parameter in trained:
                parameter.normal_()
        out = layer(x).detach()
        if close(out, conv(x)):
            raise Wrong("the factors have been changed, and the output has not")
        merged = layer.merged()
        if merged is None or merged is ...:
            raise Wrong("forward seems right; merged is still empty")
        if type(merged) is not nn.Conv2d:
            raise Wrong(f"merged() should return an nn.Conv2d, not {type(merged).__name__}")
        if any(not torch.equal(p, before[name]) for name, p in conv.named_parameters()):
            raise Wrong("merged() changed the convolution that was given")
        if not close(merged(x), out, 1e-3):
            change, wanted = merged(x) - conv(x), out - conv(x)
            if close(change * 1.5, wanted, 1e-3):
                raise Wrong(f"{where}: merged() lacks the scale")
            raise Wrong(f"{where}: merged() has another output than forward")
        matrix = (merged.weight - conv.weight).detach().reshape(7, -1)
        if torch.linalg.matrix_rank(matrix, atol=1e-3) > 2:
            raise Wrong("the change of the weight has a higher rank than asked for")
        if not close(layer(x), out):
            raise Wrong("merged() changed the output of forward")
        with torch.no_grad():
            for parameter in trained:
                parameter.fill_(1.0)  # now B A is 2 everywhere, whatever the factors' shapes
            change = layer(x) - conv(x)
            sums = F.conv2d(x, torch.ones_like(conv.weight), stride=stride, padding=padding)
        if close(change, 6.0 * sums, 1e-3):
            raise Wrong("the scale is alpha; it also depends on the rank")
        if not close(change, 3.0 * sums, 1e-3):
            raise Wrong("forward and merged() agree, but the scale is not alpha / rank")
