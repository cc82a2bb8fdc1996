"""Which weights are these? sha256 over tensors: to recognise GPT-2 124M, and the base that an adapter belongs to."""

import hashlib
from pathlib import Path

from torch import Tensor, nn

from gpt2.classifier import has_classification_head

FINGERPRINTS = Path(__file__).parent / "gpt2_124m.sha256"  # of every tensor, as raw float32 in the Hugging Face layout


def sha256(tensor: Tensor) -> str:
    """Fingerprint of a tensor's bytes as little-endian float32, row by row."""
    return hashlib.sha256(tensor.float().contiguous().numpy().astype("<f4", copy=False)).hexdigest()


def fingerprint(model: nn.Module) -> str:
    """One sha256 over the names, shapes and values of a model's weights; a classification head, new and random,
    is left out. Adapters are saved with it, so that they are not put onto another model by mistake."""
    digest = hashlib.sha256()
    without = "lm_head." if has_classification_head(model) else None
    for name, parameter in sorted(model.named_parameters()):
        if without is None or not name.startswith(without):
            values = "meta" if parameter.is_meta else sha256(parameter.detach().cpu())  # meta: shapes, to count with
            digest.update(f"{name} {tuple(parameter.shape)} {values}\n".encode())
    return digest.hexdigest()


def read_fingerprints() -> dict[str, str]:
    """Tensor name -> sha256 for GPT-2 124M; the head's is the embedding's, to which it is tied."""
    lines = FINGERPRINTS.read_text(encoding="ascii").splitlines()
    table = dict(reversed(line.split()) for line in lines if not line.startswith("#"))
    return table | {"lm_head.weight": table["wte.weight"]}
