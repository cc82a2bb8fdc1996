"""Checks of chapter 16: one base, many adapters."""

import tempfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import peft
from checks import Computed, returned
from course import Wrong, exercise
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head
from peft.lora import LinearWithLoRA, LoRALayer


def trained_lora(width: int, out: int, rank: int, alpha: float = 3.0) -> LoRALayer:
    lora = LoRALayer(width, out, rank, alpha)
    nn.init.normal_(lora.B)
    return lora.requires_grad_(False)


def tensors(answer: object, count: int) -> list[Tensor]:
    parts = answer if isinstance(answer, tuple | list) else (answer,)
    for part in parts:
        returned(part)
    if len(parts) != count or not all(isinstance(part, Tensor) for part in parts):
        raise Wrong(f"the function should return {count} tensor{'s' if count > 1 else ''}")
    return [part.detach() for part in parts]


@exercise("16.1")
def what_is_in_the_file(numbers_in) -> None:
    for method, options in (("lora", {"rank": 3}), ("ia3", {}), ("adapter", {"bottleneck": 4})):
        torch.manual_seed(16)
        model = add_classification_head(GPT2(GPT2Config(vocab_size=50, n_positions=8, n_embd=16, n_layer=2, n_head=2)))
        peft.apply(model, method, **options)
        for parameter in peft.trainable_parameters(model).values():
            nn.init.normal_(parameter)
        with tempfile.TemporaryDirectory() as folder:
            peft.save(model, folder)
            answer = numbers_in(folder)
            found = load_file(f"{folder}/adapter_model.safetensors")
        parts = answer if isinstance(answer, tuple | list) else (answer,)
        for part in parts:
            returned(part)
        if len(parts) != 2:
            raise Wrong("two numbers are asked for, (count, zeros)")
        count, zeros = map(float, parts)
        expected = sum(tensor.numel() for tensor in found.values())
        none = sum(int((tensor == 0).sum()) for tensor in found.values())
        if count != expected:
            if count == len(found):
                raise Wrong("that is the number of tensors; how many numbers do they hold?")
            if count == 4 * expected:
                raise Wrong("these are bytes")
            if count == sum(p.numel() for p in peft.trainable_parameters(model).values()):
                raise Wrong("these are the trained parameters; the file holds more")
            raise Wrong(f"the file of a {method} holds {expected:,} numbers, you count {count:,.0f}")
        if abs(zeros - none / expected) > 1e-6:
            if abs(zeros - none) < 1e-9 and none:
                raise Wrong("the share of zeros is asked for, not their number")
            if abs(zeros - (1 - none / expected)) < 1e-9:
                raise Wrong("that is the share of the others")
            means = [float((tensor == 0).float().mean()) for tensor in found.values()]
            if abs(zeros - sum(means) / len(means)) < 1e-6:
                raise Wrong("a mean of the tensors' shares lets a small tensor count as much as a large one")
            raise Wrong(f"the share of zeros in the file of a {method} is not {zeros:.4f}")


@exercise("16.2")
def merge_one_layer(merged_linear) -> None:
    torch.manual_seed(162)
    for width, out, rank, bias in ((6, 4, 2, True), (5, 5, 3, True), (7, 3, 1, False)):
        layer = LinearWithLoRA(nn.Linear(width, out, bias=bias), rank, alpha=5.0)
        nn.init.normal_(layer.lora.B)
        W, x = layer.linear.weight.detach().clone(), torch.randn(4, width)
        expected = layer(x).detach()
        new = returned(merged_linear(layer))
        if not torch.equal(layer.linear.weight, W):
            raise Wrong("the base weight itself has changed, for every adapter that shares it; make a new tensor")
        if type(new) is not nn.Linear:
            raise Wrong(f"a plain nn.Linear is asked for, not a {type(new).__name__}")
        if new.weight.data_ptr() == layer.linear.weight.data_ptr():
            raise Wrong("the new layer shares the memory of the old weight")
        y = new(x).detach()
        if y.shape != expected.shape or not torch.allclose(y, expected, atol=1e-5):
            with torch.no_grad():
                unscaled = W + layer.lora.B @ layer.lora.A
            if torch.allclose(new.weight, W):
                raise Wrong("the new weight is the base's alone")
            if torch.allclose(new.weight, unscaled, atol=1e-6):
                raise Wrong("the update's scale is forgotten")
            if bias and torch.allclose(new.weight, W + layer.lora.delta(), atol=1e-5):
                raise Wrong("the weight is right; and the bias?")
            raise Wrong("the merged layer gives another output")


class Products(TorchDispatchMode):
    """Counts the operations that compute something from this weight; a transpose or another view computes nothing."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.address, self.count = weight.data_ptr(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        uses = any(isinstance(part, Tensor) and part.data_ptr() == self.address for part in args)
        if uses and isinstance(made, Tensor) and made.data_ptr() != self.address:
            self.count += 1
        return made


@exercise("16.3")
def mixed_batch(mixed_rows) -> None:
    torch.manual_seed(163)
    for tasks in ([0, 1, 2, 1, 0], [2, 2, 0], [1]):
        linear = nn.Linear(6, 4)
        loras = [trained_lora(6, 4, 2, 1.0), trained_lora(6, 4, 3, 7.0), None]
        x = torch.randn(len(tasks), 3, 6)
        with Products(linear.weight) as products:
            (y,) = tensors(mixed_rows(x.clone(), linear, loras, torch.tensor(tasks)), 1)
        if products.count > 1:
            raise Wrong(f"{products.count} products with the base's weight; one is enough, for all rows together")
        with torch.no_grad():
            plain = nn.functional.linear(x, linear.weight, linear.bias)
            updates = [
                torch.zeros_like(plain[0]) if loras[t] is None else loras[t](row)
                for t, row in zip(tasks, x, strict=True)
            ]
            expected = plain + torch.stack(updates)
        if y.shape != expected.shape:
            raise Wrong(f"y should have shape {tuple(expected.shape)}, not {tuple(y.shape)}")
        if not torch.allclose(y, expected, atol=1e-5):
            if torch.allclose(y, plain, atol=1e-5):
                raise Wrong("that is the base alone, without any update")
            if torch.allclose(y.sum(dim=0), expected.sum(dim=0), atol=1e-4):
                raise Wrong("the rows come out in the wrong order")
            wrong = [i for i in range(len(tasks)) if not torch.allclose(y[i], expected[i], atol=1e-5)]
            raise Wrong(f"with tasks {tasks}, rows {wrong} are wrong: does each get its own update, and no other?")


@exercise("16.4")
def sum_of_two(add) -> None:
    torch.manual_seed(164)
    for r1, r2, w1, w2 in ((2, 3, 0.7, 0.3), (4, 1, 1.0, -0.5), (2, 2, 0.0, 2.0)):
        first, second = trained_lora(9, 7, r1, 2.0), trained_lora(9, 7, r2, 5.0)
        try:
            with Computed(never=[first.B @ first.A, second.B @ second.A, first.delta(), second.delta()]) as computed:
                A, B = tensors(add(first, second, w1, w2), 2)
        except RuntimeError as error:
            raise Wrong(
                f"ranks {r1} and {r2} do not fit together ({error}); must one add the factors at all?"
            ) from None
        if A.shape != (r1 + r2, 9) or B.shape != (7, r1 + r2):
            raise Wrong(
                f"A should be {(r1 + r2, 9)} and B {(7, r1 + r2)}; yours are {tuple(A.shape)} and {tuple(B.shape)}"
            )
        expected = w1 * first.delta() + w2 * second.delta()
        if not torch.allclose(B @ A, expected, atol=1e-4):
            if torch.allclose(B @ A, w1 * first.B @ first.A + w2 * second.B @ second.A, atol=1e-4):
                raise Wrong("the scales of the two are missing")
            if torch.allclose(B @ A, first.delta() + second.delta(), atol=1e-4):
                raise Wrong("the weights w1 and w2 are missing")
            if torch.allclose(B @ A, w1**2 * first.delta() + w2**2 * second.delta(), atol=1e-4):
                raise Wrong("the weights count twice, once in A and once in B")
            raise Wrong(
                "B A is not the weighted sum of the two updates; what is a row of blocks times a column of blocks?"
            )
        if computed.built:
            raise Wrong("right, but an update is built on the way: the factors alone are enough")


@exercise("16.5")
def three_in_one(fuse) -> None:
    torch.manual_seed(165)
    for ranks in ((2, 2, 2), (1, 3, 2), (2, None, 4), (None, None, 3), (1, None, None)):
        loras = [None if rank is None else trained_lora(6, 6, rank, 1.0 + i) for i, rank in enumerate(ranks)]
        A, B = tensors(fuse(*loras), 2)
        R = sum(rank or 0 for rank in ranks)
        if A.shape != (R, 6) or B.shape != (18, R):
            shapes = f"yours are {tuple(A.shape)} and {tuple(B.shape)}"
            raise Wrong(f"with ranks {ranks}, A should be {(R, 6)} and B {(18, R)}; {shapes}")
        expected = torch.cat([torch.zeros(6, 6) if lora is None else lora.delta() for lora in loras])
        if not torch.allclose(B @ A, expected, atol=1e-4):
            plain = torch.cat([torch.zeros(6, 6) if lora is None else lora.B @ lora.A for lora in loras])
            if torch.allclose(B @ A, plain, atol=1e-4):
                raise Wrong("the scales are missing; each update has its own")
            parts = zip("qkv", (B @ A).split(6), expected.split(6), strict=True)
            wrong = [name for name, part, wanted in parts if not torch.allclose(part, wanted, atol=1e-4)]
            raise Wrong(f"with ranks {ranks}, rows of {', '.join(wrong)} are wrong: does an update reach another's?")
