"""A tensor of an adapter file, and which of our parameters lie in it.

Some files keep our numbers as we do; those of Hugging Face's peft keep them cut and turned differently. Either way a
tensor of the file is some of our parameters, put together:

    A of q_proj ─┐
    A of k_proj ─┼─ join ──► c_attn.lora_A in the file              here: torch.cat, one under the other
    A of v_proj ─┘

Only ``join`` has to be written down. To read, numbered parameters are joined (1, 2, 3, … instead of their values);
the result shows where in the file's tensor each of our numbers stands, and that is where it is taken from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gpt2.checkpoints.weights import check_tensor, open_safetensors
from gpt2.errors import InputError

FLOATS = ("F32", "F16", "BF16")
MOST_HEADER_BYTES = 4_000_000  # GPT-2 XL, trained fully, has 80,000


def one_after_another(*parts: Tensor) -> Tensor:
    """Join parts (n₁, …), (n₂, …), … along the first dimension."""
    return torch.cat(parts)


@dataclass(frozen=True)
class Field:
    """One tensor of a file, and what of ours lies in it.

    parts     our parameters; other tensors among them are constants, which the file must repeat
    join      puts the parts together. It may move numbers and add zeros, not change them
    derived   computed from our parameters; reading it back would not give them, so it is passed over
    """

    parts: list[Tensor]
    join: Callable[..., Tensor] = one_after_another
    derived: bool = False

    def tensor(self) -> Tensor:
        """What to write, on the CPU."""
        return self.join(*[part.detach().cpu() for part in self.parts]).contiguous()

    def numbered(self) -> Tensor:
        """At each place of the tensor the number of ours that stands there, counted from 1; 0 for none."""
        counts = [part.numel() for part in self.parts]
        numbers = torch.arange(1, sum(counts) + 1).split(counts)
        return self.join(*[n.view(part.shape) for n, part in zip(numbers, self.parts, strict=True)])

    def shape(self) -> tuple[int, ...]:
        bytes_ = [torch.zeros((), dtype=torch.uint8).expand(part.shape) for part in self.parts]
        return tuple(self.join(*bytes_).shape)

    @torch.no_grad()
    def read(self, tensor: Tensor) -> bool:
        """Copy a tensor of the right shape into our parameters. False when a constant or a zero is another number."""
        if self.derived:
            return True
        if self.join is one_after_another:
            pieces = tensor.split([len(part) for part in self.parts])
        else:
            numbered, counts = self.numbered(), [part.numel() for part in self.parts]
            ours = torch.empty(sum(counts), dtype=tensor.dtype)
            ours[numbered[numbered > 0] - 1] = tensor[numbered > 0]
            if tensor[numbered == 0].any():
                return False
            pieces = [piece.view(part.shape) for piece, part in zip(ours.split(counts), self.parts, strict=True)]
        for part, piece in zip(self.parts, pieces, strict=True):
            if isinstance(part, nn.Parameter):
                part.data = piece.to(part.device, part.dtype, copy=True)  # not into memory that others may share
            elif not torch.equal(part.cpu(), piece.to(part.dtype)):
                return False
        return True


class TensorFile:
    """A safetensors file of unknown origin, of which so far only the header is read.

    shapes   name -> shape, under the names that ``rename`` gives; what the file holds twice, it holds once here

    Raises InputError when it is truncated or corrupt, or holds anything but floating-point numbers.
    """

    def __init__(self, path: Path, rename: Callable[[str], str] = str):
        self.path = path
        self.names: dict[str, str] = {}  # as ``rename`` gives it -> in the file
        self.shapes: dict[str, tuple[int, ...]] = {}
        try:
            with open(path, "rb") as file:
                claimed = int.from_bytes(file.read(8), "little")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        if claimed > MOST_HEADER_BYTES:
            raise InputError(
                f"{path} is a truncated or corrupt safetensors file: its header would be {claimed:,} bytes"
            )
        with open_safetensors(path) as tensors:
            for stored in tensors.keys():  # noqa: SIM118 - safe_open is not a dict
                if ".original_module." in stored or ".modules_to_save." in stored:
                    continue  # with bias="all" Hugging Face's peft writes the norms twice
                name, part = rename(stored), tensors.get_slice(stored)
                if name in self.names or part.get_dtype() not in FLOATS:
                    problem = "is a duplicate" if name in self.names else f"is {part.get_dtype()}, expected {FLOATS}"
                    raise InputError(f"{path}: tensor {shown(stored)} {problem}")
                self.names[name], self.shapes[name] = stored, tuple(part.get_shape())

    def read(self, fields: dict[str, Field], may_lack: tuple[str, ...] = ()) -> None:
        """Fill all fields, each from the tensor of its name. Raises InputError when one is missing (unless it has one
        of the marks ``may_lack`` in its name), is not among the fields, or is not as it should be."""
        for name in sorted(self.names.keys() ^ fields.keys()):
            if name in self.names:
                raise InputError(f"{self.path}: tensor {shown(self.names[name])} does not belong to this adapter")
            if not any(mark in name for mark in may_lack):
                raise InputError(f"{self.path}: tensor {name} is missing")
        for name, stored in self.names.items():
            what, shape = f"{self.path}: tensor {shown(stored)}", fields[name].shape()
            if self.shapes[name] != shape:  # from the header: nothing is allocated yet
                raise InputError(f"{what} has shape {self.shapes[name]}, expected {shape}")
        with open_safetensors(self.path) as tensors:
            for name, stored in self.names.items():
                what = f"{self.path}: tensor {shown(stored)}"
                try:
                    tensor = tensors.get_tensor(stored)
                except SafetensorError as error:
                    raise InputError(f"{what} cannot be read ({error}); download or save it again") from error
                check_tensor(what, tensor, self.shapes[name])
                if not fields[name].read(tensor):
                    raise InputError(f"{what} holds other numbers than this method can have there")


def shown(name: str) -> str:
    """A name from the file, fit for a message: printable and short."""
    return ascii(name)[1:-1][:100]
