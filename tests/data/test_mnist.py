"""MNIST's files: the format, and the real digits where they are at hand."""

import gzip
import hashlib

import numpy as np
import pytest

from data import mnist
from gpt2.checkpoints.hub import assets_folder


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def test_four_files_become_four_arrays(tmp_path, monkeypatch):
    arrays = [np.arange(np.prod(shape), dtype=np.uint8).reshape(shape) for shape in ((3, 4, 5), (3,), (2, 4, 5), (2,))]
    (tmp_path / "mnist").mkdir()
    for name, array in zip(mnist.FILES, arrays, strict=True):
        (tmp_path / "mnist" / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        monkeypatch.setitem(mnist.FILES, name, hashlib.sha256(idx(array)).hexdigest())
    for found, expected in zip(mnist.load_mnist(assets=tmp_path), arrays, strict=True):
        assert found.dtype == np.uint8 and np.array_equal(found, expected)


def test_the_real_digits():
    assets = assets_folder(None)
    if assets is None or not (assets / "mnist").is_dir():
        pytest.skip("needs mnist/ in the folder that GPT2_PEFT_ASSETS names")
    images, digits, test_images, test_digits = mnist.load_mnist()
    assert (images.shape, test_images.shape) == ((60_000, 28, 28), (10_000, 28, 28))
    assert digits[:5].tolist() == [5, 0, 4, 1, 9] and np.bincount(test_digits).tolist()[:2] == [980, 1135]
    assert images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
