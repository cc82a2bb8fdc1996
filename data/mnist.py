"""MNIST: 70,000 handwritten digits (LeCun, Cortes, Burges, 1998), for chapter 10: LoRA on another kind of model.

Each of its four files is in the idx format, wrapped in gzip:

    00 00 | 08: bytes | number of dimensions d | d sizes, 4 bytes each, big-endian | the numbers themselves
"""

import gzip
from pathlib import Path

import numpy as np

from data.download import local_or_download

URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
FILES = {  # sha256 of what the gzip files hold
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def load_mnist(assets: str | Path | None = None, timeout: float = 10.0) -> list[np.ndarray]:
    """Images (60000, 28, 28), digits (60000,), test images (10000, 28, 28), test digits (10000,): uint8, 0 is paper.

    From ``<assets>/mnist/``, the cache, or the network. Raises InputError and RunError as ``local_or_download`` does.
    """
    arrays = []
    for name, sha256 in FILES.items():
        path = local_or_download(f"mnist/{name}.gz", f"{URL}{name}.gz", sha256, assets=assets, timeout=timeout)
        arrays.append(read_idx(gzip.decompress(path.read_bytes())))
    return arrays


def read_idx(content: bytes) -> np.ndarray:
    """An idx file of bytes -> an array of its shape."""
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
