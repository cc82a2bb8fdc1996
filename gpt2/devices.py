"""Where the numbers are crunched: CPU, NVIDIA GPU (cuda) or Apple GPU (mps), and what that costs in memory."""

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gpt2.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("fast", "float32")


def choose_device(name: str = "auto", precision: str = "fast") -> torch.device:
    """``auto`` takes an NVIDIA GPU, else an Apple GPU, else the CPU. Raises InputError for one that is not there.

    precision   of matrix products on an NVIDIA GPU, for the whole process: ``fast``, bfloat16 while training, else
                TF32 (10 bits of mantissa); or ``float32``, to compare numbers
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; choose {' or '.join(PRECISIONS)}", "precision")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if name not in DEVICES:
        raise InputError(f"unknown device {name!r}; choose one of {', '.join(DEVICES)}", "device")
    if not there[name]:
        raise InputError(f"this machine (or its PyTorch) has no {name} device; use auto", "device")
    if name == "cuda":
        torch.set_float32_matmul_precision("high" if precision == "fast" else "highest")
    return torch.device(name)


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """What is built inside has shapes, but no numbers: on PyTorch's meta device, and nothing is drawn at random."""
    with torch.device("meta"), NoDraws():
        yield


class NoDraws(TorchFunctionMode):
    """Leaves out the random starts of layers: without memory they would do nothing, but load PyTorch's compiler first,
    which takes more than a second."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """On a GPU that can, matrix products in bfloat16; weights, gradients and the optimiser stay in float32. Not where
    ``choose_device`` was asked for float32, or was not called."""
    if device.type == "cuda" and uses_bfloat16():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def uses_bfloat16() -> bool:
    """Does ``autocast`` do anything on an NVIDIA GPU? Not on those before 2020, such as Colab's T4, which have no units
    for bfloat16 and imitate it slowly."""
    fast = torch.get_float32_matmul_precision() != "highest"
    return fast and torch.cuda.is_bf16_supported(including_emulation=False)


def to_device(batch: Iterable[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """A batch's tensors on ``device``; to an NVIDIA GPU they travel while it still computes, from pinned memory."""
    if device.type == "cuda":
        return [part.pin_memory().to(device, non_blocking=True) for part in batch]
    return [part.to(device) for part in batch]


def fit_threads(width: int) -> None:
    """Use one CPU thread for a model narrower than 256: measured on the practice model, a second gains it nothing, and
    where other programs run too, threads that wait for each other make it several times slower."""
    if width < 256:
        torch.set_num_threads(1)


def keep_freed_memory() -> None:
    """Ask the C library (glibc only) to keep memory that was freed. A softmax over 50,257 tokens needs hundreds of MB
    for a moment, step after step, and getting them from the system each time takes as long as the computation."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(-4, 0)  # M_MMAP_MAX: no block of memory comes and goes by itself
            library.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: give back only when 2 GB are free


def describe(device: torch.device) -> str:
    """For people: ``cpu (2 threads)`` or ``cuda (NVIDIA H200, bf16)``."""
    if device.type == "cuda":
        precision = ", bf16" if uses_bfloat16() else ", float32"
        return f"cuda ({torch.cuda.get_device_name(device)}{precision})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads > 1 else ''})" if device.type == "cpu" else device.type


def peak_memory_mb(device: torch.device) -> float | None:
    """The most memory in use so far, in MB (10⁶ bytes): allocated on a CUDA device, else the process's resident set.
    None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        return peak_resident_bytes() / 1e6
    except (ImportError, OSError, AttributeError):
        return None


def reset_peak_memory(device: torch.device) -> None:
    """Let ``peak_memory_mb`` start again from what is in use now, where the system can (CUDA; Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_resident_bytes() -> int:
    """Of this process. Raises ImportError, OSError or AttributeError where the system does not tell."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":  # its getrusage may name the peak of the process that started this one
        with contextlib.suppress(OSError, StopIteration):  # containers may hide the line, or the file
            lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
