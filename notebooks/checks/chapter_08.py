"""Checks of chapter 08: selective fine-tuning."""

import math
import random

import torch

from checks import forbidden, returned, whole_number
from course import Wrong, exercise
from gpt2 import GPT2, GPT2Config, load_gpt2
from gpt2.classifier import add_classification_head


def small_classifier(blocks: int = 12, width: int = 8, classes: int = 3) -> GPT2:
    config = GPT2Config(vocab_size=17, n_positions=9, n_embd=width, n_layer=blocks, n_head=2)
    return add_classification_head(GPT2(config), classes)


@exercise("08.1")
def count(trained_parameters):
    for C, blocks, classes in ((8, 1, 2), (16, 3, 5), (4, 0, 2), (768, 1, 2)):
        with forbidden(trained_parameters, "use the formula, not a model", GPT2, load_gpt2):
            answer = whole_number(trained_parameters(C, blocks, classes))
        block, norm, head = 12 * C**2 + 13 * C, 2 * C, (C + 1) * classes
        right = blocks * block + norm + head
        where = f"for C = {C}, {blocks} blocks, {classes} classes"
        if answer == right:
            continue
        if answer == right - norm:
            raise Wrong(f"{where}: something with 2 C parameters is missing; is it the final norm?")
        if answer == right - classes:
            raise Wrong(f"{where}: you are short by one number per class; does the head have a bias?")
        if answer in (right - blocks * 13 * C, right - blocks * 13 * C - classes):
            raise Wrong(f"{where}: the matrices are counted; biases and norms are not")
        if answer == block + norm + head:
            raise Wrong(f"{where}: this is the number for one block")
        raise Wrong(f"{where}: {answer:,} is {'too many' if answer > right else 'too few'}; count a block part by part")


@exercise("08.2")
def train_only(function):
    cases = (["ln_f", "lm_head"], ["h.1", "lm_head"], ["h.1.attn"], ["h.11.mlp.fc_in", "wpe"], ["h.2.attn", "h.2"])
    for parts in cases:
        model = small_classifier()
        model.h[3].requires_grad_(False)  # the flags were in some state before
        model.h[1].requires_grad_(False)
        answer = function(model, *parts)
        if answer is ...:
            raise Wrong("the function does nothing yet")
        named = {part: set(model.get_submodule(part).parameters()) for part in parts}
        wanted = set().union(*named.values())
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter not in wanted:
                alike = [part for part in parts if name.startswith(part)]
                if alike:
                    raise Wrong(f"asked for {alike[0]!r}, {name!r} trains too: a name can begin like another module's")
                raise Wrong(f"asked for {parts}, {name!r} trains as well; what about flags that were on before?")
            if parameter in wanted and not parameter.requires_grad:
                raise Wrong(f"asked for {parts}, {name!r} does not train")
        if answer is None or answer is ...:
            raise Wrong("the right parameters train; now return their number")
        if whole_number(answer) != sum(p.numel() for p in wanted):
            raise Wrong(f"asked for {parts}, the right parameters train, but their number is not {answer:,}")


@exercise("08.3")
def blocks_visited(function):
    def answer(*trained):
        model = small_classifier(blocks=7)
        model.requires_grad_(False)
        for name in ("lm_head.weight", "lm_head.bias", *trained):
            model.get_parameter(name).requires_grad_(True)
        return whole_number(function(model))

    if answer() != 0 or answer("ln_f.weight") != 0:
        raise Wrong("with only the head, or head and final norm, trained, no block is visited")
    if answer(*(f"h.{i}.mlp.fc_in.weight" for i in range(7))) != 7:
        raise Wrong("with something trained in every block, all of them are visited; one trained tensor is enough")
    if answer("h.6.ln_2.bias") != 1:
        raise Wrong("a single bias in the last block: one block is visited")
    for i in range(7):
        if answer(f"h.{i}.attn.q_proj.bias") != 7 - i:
            raise Wrong(
                f"one bias trained in block {i} of 0 to 6: must the gradient not pass the frozen blocks above it?"
            )
    if answer("h.2.ln_1.weight", "h.5.ln_1.weight") != 5:
        raise Wrong("parameters trained in blocks 2 and 5: only the lowest one decides")
    for name in ("wte.weight", "wpe.weight"):
        if answer(name) != 7 or answer(name, "h.4.ln_1.bias") != 7:
            raise Wrong(f"{name} lies below block 0: how does a gradient get there?")


@exercise("08.4")
def parameter_groups(function):
    blocks, lr, decay = 5, random.uniform(0.001, 0.01), random.uniform(0.3, 0.9)

    def groups_of(model):
        groups = returned(function(model, lr, decay))
        fits = isinstance(groups, list | tuple) and all(isinstance(g, dict) for g in groups)
        if not fits or not all({"params", "lr"} <= set(g) for g in groups):
            raise Wrong('return a list of dictionaries, each with "params" and "lr"')
        groups = [{"params": list(g["params"]), "lr": float(g["lr"])} for g in groups]
        if not all(g["params"] for g in groups):
            raise Wrong("there is a group without parameters")
        rates = {}
        for group in groups:
            for parameter in group["params"]:
                if parameter in rates:
                    raise Wrong("a parameter stands in two groups, or twice in one")
                rates[parameter] = group["lr"]
        return groups, rates

    model = small_classifier(blocks)
    groups, rates = groups_of(model)
    depth = {"lm_head": 0, "ln_f": 0, "wte": blocks + 1, "wpe": blocks + 1}
    depth |= {f"h.{i}": blocks - i for i in range(blocks)}
    for part, exponent in depth.items():
        for name, parameter in model.get_submodule(part).named_parameters():
            if parameter not in rates:
                raise Wrong(f"{part}.{name} requires a gradient and is in no group")
            if abs(rates[parameter] - lr * decay**exponent) > 1e-9:
                if part == "h.0" and abs(rates[parameter] - lr * decay) < 1e-9:
                    raise Wrong("block 0 has the learning rate of the last block: count from the head downwards")
                power = math.log(rates[parameter] / lr, decay) + 0.0 if rates[parameter] > 0 else math.inf
                raise Wrong(f"{part} of {blocks} blocks has lr * decay**{power:.3g}; look at its exponent")
    torch.optim.AdamW(groups)

    model = small_classifier(blocks)
    for part in (model.wte, model.wpe, model.h[0], model.h[2].attn):
        part.requires_grad_(False)
    _, rates = groups_of(model)
    if not all(parameter.requires_grad for parameter in rates):
        raise Wrong("some of the parameters were frozen, and a group holds them all the same")
    if len(rates) != sum(p.requires_grad for p in model.parameters()):
        raise Wrong("with parts of the model frozen, some trained parameters are in no group")
