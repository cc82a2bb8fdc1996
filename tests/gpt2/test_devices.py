"""Peak memory where the system tells it, and where it does not; and what an Apple GPU cannot do."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt2.devices import peak_memory_mb
from gpt2.training.pretraining import PretrainingRecipe, held_out_loss

CPU = torch.device("cpu")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_peak_memory_is_measured():
    assert 10 < peak_memory_mb(CPU) < 1e6


@LINUX
@pytest.mark.parametrize("status", ["Name:\tpython\nVmRSS:\t5 kB\n", None], ids=["no VmHWM", "no file"])
def test_without_the_kernels_line_getrusage_serves(status, monkeypatch):
    def read_text(self, **options):
        if status is None:
            raise PermissionError(13, "Permission denied")
        return status

    monkeypatch.setattr(Path, "read_text", read_text)
    assert 10 < peak_memory_mb(CPU) < 1e6


@LINUX
def test_where_nothing_tells_it_is_none(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda self, **options: "")
    monkeypatch.setitem(sys.modules, "resource", None)  # cannot be imported
    assert peak_memory_mb(CPU) is None


def test_pretraining_sends_no_float64_to_the_device(tiny_model, monkeypatch):
    """As on Apple GPUs, which have none: there, the very call raises TypeError."""
    real = torch.Tensor.to

    def to(self, *args, **options):
        if self.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return real(self, *args, **options)

    monkeypatch.setattr(torch.Tensor, "to", to)
    tokens = np.arange(90, dtype=np.uint16)
    assert held_out_loss(tiny_model, tokens, PretrainingRecipe(steps=1, batch_size=2)) > 0
