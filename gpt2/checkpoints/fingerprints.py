"""Which weights are these? sha256 over tensors: to recognise GPT-2 124M, and the base that an adapter belongs to."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from gpt2.classifier import has_classification_head

FINGERPRINTS = Path(__file__).parent / "gpt2_124m.sha256"  # of every tensor, as raw float32 in the Hugging Face layout


def uncompiled(model: nn.Module) -> nn.Module:
    """The model itself, where ``torch.compile(model)`` has put a module of its own around it."""
    return getattr(model, "_orig_mod", model)


def plain_name(name: str) -> str:
    """A parameter's name as the model that was not compiled has it: without what torch.compile puts into names."""
    return name.replace("_orig_mod.", "")


def parameters_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """name -> parameter, the names as without torch.compile."""
    return {plain_name(name): parameter for name, parameter in model.named_parameters()}


def sha256(tensor: Tensor, precision: torch.dtype = torch.float32) -> str:
    """Fingerprint of a tensor's bytes in this precision, little-endian and row by row."""
    rounded = tensor.to(precision).contiguous()
    bits = rounded.view({4: torch.int32, 2: torch.int16}[rounded.element_size()]).cpu().numpy()
    return hashlib.sha256(bits.astype(bits.dtype.newbyteorder("<"), copy=False).data).hexdigest()


def fingerprint(model: nn.Module, precision: torch.dtype = torch.float32) -> str:
    """One sha256 over the names, shapes and values of a model's weights; a classification head, new and random,
    is left out. Adapters are saved with it, so that they are not put onto another model by mistake.

    precision   round the weights to this first
    """
    digest, model = hashlib.sha256(), uncompiled(model)
    without = "lm_head." if has_classification_head(model) else None
    for name, parameter in sorted(parameters_of(model).items()):
        if without is None or not name.startswith(without):
            values = "meta" if parameter.is_meta else sha256(parameter.detach().cpu(), precision)  # meta: to count with
            digest.update(f"{name} {tuple(parameter.shape)} {values}\n".encode())
    return digest.hexdigest()


def fingerprints(model: nn.Module) -> dict[str, str]:
    """Name of a precision -> fingerprint: as float32, and rounded to the 16-bit precisions that copies of this model
    may be in. A model in 16 bits has its own precision besides float32."""
    coarse = {torch.float16, torch.bfloat16}
    own = {p.dtype for p in model.parameters() if p.dtype in coarse}
    return {
        str(p).removeprefix("torch."): fingerprint(model, p) for p in (torch.float32, *sorted(own or coarse, key=str))
    }


def same_base(saved: dict[str, str], here: dict[str, str]) -> bool:
    """Are these the ``fingerprints`` of one model, or of a model and its copy in 16 bits?"""
    if saved.get("float32") == here["float32"]:
        return True
    for copy, original in ((saved, here), (here, saved)):
        own = copy.keys() - {"float32"}
        if (
            len(own) == 1
            and own <= original.keys()
            and all(copy[precision] == original[precision] for precision in own)
        ):
            return True
    return False


def read_fingerprints() -> dict[str, str]:
    """Tensor name -> sha256 for GPT-2 124M; the head's is the embedding's, to which it is tied."""
    lines = FINGERPRINTS.read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    table = {name: digest for digest, name in pairs}
    return table | {"lm_head.weight": table["wte.weight"]}
