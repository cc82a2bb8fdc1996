"""Checks of chapter 14: four bits."""

import torch

from checks import Computed, number, returned
from course import Wrong, exercise
from peft.quantization import QuantizedTensor, normal_float_levels


def close(a: float, b: float) -> bool:
    return abs(a - b) < 1e-9


@exercise("14.1")
def count_the_bits(bits_per_weight) -> None:
    simple = number(bits_per_weight(4, 64))
    if close(simple, 4 + 64 / 32):
        raise Wrong("the quotient is upside down: a larger block shares its scale among more weights")
    if close(simple, 4):
        raise Wrong("the codes are counted, the scales are not")
    if close(simple, 4 + 8 / 64):
        raise Wrong("without a second block the scales are float32 numbers")
    for bits, block in [(4, 64), (8, 100), (3, 1)]:
        if not close(bits_per_weight(bits, block), bits + 32 / block):
            raise Wrong(
                f"with bits={bits}, block={block} you get {bits_per_weight(bits, block)}; think of one block whole"
            )
    twice = bits_per_weight(4, 64, 256)
    if close(twice, 4 + 32 / 64):
        raise Wrong("second_block is given but not used")
    if close(twice, 4 + 8 / 64 + 32 / 256):
        raise Wrong("second_block counts scales; how many weights share one float32 then?")
    if close(twice, 4 + 32 / 64 + 32 / (64 * 256)):
        raise Wrong("with a second block the first scales are no longer float32")
    if close(twice, 4 + 8 / 64):
        raise Wrong("the scales of the scales need room too")
    for bits, block, second in [(4, 64, 256), (2, 16, 10), (8, 128, 1)]:
        expected = bits + 8 / block + 32 / (block * second)
        if not close(bits_per_weight(bits, block, second), expected):
            raise Wrong(f"with bits={bits}, block={block}, second_block={second} the sum is wrong")


@exercise("14.2")
def pack_and_unpack(pack, unpack) -> None:
    generator = torch.Generator().manual_seed(14)
    for n in (6, 64, 7, 1):
        codes = torch.randint(16, (n,), generator=generator, dtype=torch.uint8)
        packed = pack(codes.clone())
        if not isinstance(returned(packed), torch.Tensor):
            raise Wrong(f"a tensor is expected, not {type(packed).__name__}")
        if packed.dtype != torch.uint8:
            raise Wrong(f"packed codes are bytes, torch.uint8, not {packed.dtype}")
        if packed.shape != ((n + 1) // 2,):
            odd = "; an odd number of codes needs a last, half-filled byte" if n % 2 else ""
            raise Wrong(f"{n} codes make {(n + 1) // 2} bytes, yours have shape {tuple(packed.shape)}{odd}")
        expected = torch.nn.functional.pad(codes, (0, n % 2))
        high, low = expected[0::2], expected[1::2]
        if not torch.equal(packed, high * 16 + low):
            if torch.equal(packed, low * 16 + high):
                raise Wrong("the halves are swapped: the first code of a pair goes into the upper four bits")
            if n > 2 and torch.equal(packed, expected[: len(high)] * 16 + expected[len(high) :]):
                raise Wrong("a pair is two neighbours, not one from the first and one from the second half")
            raise Wrong(
                f"{codes[:2].tolist()} should not become the byte {int(packed[0])}; look at its bits, f'{{byte:08b}}'"
            )
        back = unpack(packed.clone(), n)
        if not isinstance(returned(back), torch.Tensor):
            raise Wrong(f"a tensor is expected, not {type(back).__name__}")
        if back.shape != (n,):
            raise Wrong(f"unpack should give {n} codes back, yours have shape {tuple(back.shape)}")
        if not torch.equal(back.to(torch.uint8), codes):
            if torch.equal(back.sort().values.to(torch.uint8), codes.sort().values):
                raise Wrong("unpack gives the right codes in another order")
            raise Wrong("unpack(pack(codes), n) is not codes again")


@exercise("14.3")
def eight_bits(quantize_rows, linear) -> None:
    generator = torch.Generator().manual_seed(15)
    for out, width in [(5, 12), (30, 64), (1, 3)]:
        W = torch.randn(out, width, generator=generator) * torch.rand(out, 1, generator=generator)
        parts = returned(quantize_rows(W.clone()))
        if not isinstance(parts, tuple | list) or len(parts) != 2:
            raise Wrong("quantize_rows should return two tensors, (codes, scale)")
        codes, scale = parts
        if not isinstance(codes, torch.Tensor) or not isinstance(scale, torch.Tensor):
            raise Wrong("quantize_rows returns no tensors yet")
        if codes.shape != W.shape:
            raise Wrong(f"codes have shape {tuple(codes.shape)}, W has {tuple(W.shape)}")
        if scale.shape != (out,):
            raise Wrong(f"one scale per row: the shape should be ({out},), not {tuple(scale.shape)}")
        if codes.dtype != torch.int8:
            raise Wrong(f"codes should be torch.int8, not {codes.dtype}")
        W_hat = codes.float() * scale[:, None]
        step = W.abs().amax(dim=1, keepdim=True) / 127
        off = ((W_hat - W).abs() / step).max()
        if off > 100:
            raise Wrong(
                "codes * scale[:, None] is far from W; what must scale be, so that code 127 is the largest number?"
            )
        if off > 0.501:
            cut = "are the codes rounded, or cut off?" if off <= 1.01 else "is the scale that of its own row?"
            raise Wrong(f"some numbers are {off:.2f} steps off, and half a step is enough: {cut}")
        for shape in [(width,), (4, width), (2, 3, width)]:
            x = torch.randn(shape, generator=generator)
            with Computed(never=[W_hat]) as computed:
                y = linear(x, codes, scale)
            if not isinstance(returned(y), torch.Tensor):
                raise Wrong(f"a tensor is expected, not {type(y).__name__}")
            if y.shape != (*shape[:-1], out):
                raise Wrong(f"x of shape {shape} should give {(*shape[:-1], out)}, not {tuple(y.shape)}")
            if not torch.allclose(y, x @ W_hat.T, atol=1e-4):
                if torch.allclose(y, x @ codes.float().T, atol=1e-2):
                    raise Wrong("linear forgets the scale")
                raise Wrong("linear is not x times the transpose of the dequantised W")
            if computed.built:
                raise Wrong("the result is right, but the dequantised W is built on the way; there is no need for it")
    codes, scale = quantize_rows(torch.tensor([[0.0, 0.0], [1.0, -2.0]]))
    if not torch.equal(codes[0], torch.zeros(2, dtype=torch.int8)) or not torch.isfinite(scale).all():
        raise Wrong("a row of zeros should stay zeros: beware of 0 / 0")


@exercise("14.4")
def any_bits(normal_float) -> None:
    for bits in (4, 2, 3, 5):
        levels = returned(normal_float(bits))
        levels = [float(level) for level in levels]
        if len(levels) != 2**bits:
            raise Wrong(f"{bits} bits have {2**bits} levels, you made {len(levels)}")
        if sorted(levels) != levels:
            raise Wrong("the levels should ascend")
        if len(set(levels)) != len(levels):
            raise Wrong("a level occurs twice; is zero counted on both sides?")
        if min(abs(level) for level in levels) > 1e-9:
            raise Wrong("zero is not among the levels")
        if not (close(levels[0], -1) and close(levels[-1], 1)):
            raise Wrong(f"the levels should reach from -1 to 1, yours from {levels[0]:.3f} to {levels[-1]:.3f}")
        if sum(level > 1e-9 for level in levels) != 2 ** (bits - 1):
            raise Wrong("half of the levels should be positive")
        steps = [b - a for a, b in zip(levels[2 ** (bits - 1) :], levels[2 ** (bits - 1) + 1 :], strict=False)]
        if len(steps) > 1 and max(steps) - min(steps) < 1e-6:
            raise Wrong("these levels are evenly spaced; the steps should be even in probability")
        if bits == 4 and max(abs(a - b) for a, b in zip(levels, normal_float_levels(), strict=True)) > 1e-5:
            raise Wrong(
                "for four bits these are not NF4's levels; look at the outermost probability and at the steps from it"
            )
        if bits != 4 and max(abs(a - b) for a, b in zip(levels, expected_levels(bits), strict=True)) > 1e-5:
            raise Wrong(f"right for four bits, but not for {bits}: is a 32, a 30, an 8 or a 7 left from NF4?")


def expected_levels(bits: int) -> list[float]:
    from statistics import NormalDist

    n, quantile = 2**bits, NormalDist().inv_cdf
    p = 1 - (0.5 / n + 0.5 / (n - 1)) / 2
    up = [quantile(p + (0.5 - p) * i / (n // 2)) for i in range(n // 2)]
    down = [-quantile(p + (0.5 - p) * i / (n // 2 - 1)) for i in range(n // 2 - 1)]
    return [x / up[0] for x in [*down, 0.0, *reversed(up)]]


@exercise("14.5")
def better_scale(fit) -> None:
    generator = torch.Generator().manual_seed(16)
    levels = torch.tensor(normal_float_levels())
    for shape, block in [((32, 64), 64), ((16, 48), 32)]:
        W = torch.randn(shape, generator=generator) * 0.02
        answer = fit(W.clone(), levels.clone(), block)
        if not isinstance(returned(answer), torch.Tensor):
            raise Wrong(f"a tensor is expected, not {type(answer).__name__}")
        if answer.shape != W.shape:
            raise Wrong(f"W has shape {tuple(W.shape)}, the answer {tuple(answer.shape)}")
        blocks = answer.reshape(-1, block)
        for row in blocks:
            if not fits_levels(row, levels):
                raise Wrong("a block of the answer is not made of the levels times one scale")
        plain = QuantizedTensor(W, normal_float_levels(), block).dequantize().reshape(-1, block)
        errors = [(part - W.reshape(-1, block)).square().sum(dim=1) for part in (blocks, plain)]
        if (errors[0] > errors[1] * 1.0001).any():
            worse = int((errors[0] > errors[1] * 1.0001).sum())
            raise Wrong(
                f"{worse} of {len(errors[0])} blocks are worse than with the absmax; each has its own best scale"
            )
        gain = 1 - (errors[0].sum() / errors[1].sum()).item()
        if gain < 0.03:
            raise Wrong(f"the squared error is {gain:.1%} below that of the absmax, and 3% or more are possible")
    if fit(torch.zeros(1, 64), levels, 64).any():
        raise Wrong("zeros should stay zeros")


def fits_levels(row: torch.Tensor, levels: torch.Tensor) -> bool:
    """Is there one scale with which every number of the row is a level?"""
    largest = row.abs().max()
    if largest == 0:
        return True
    for level in levels[levels != 0].abs():
        scaled = row / (largest / level)
        if (scaled[:, None] - levels).abs().amin(dim=1).max() < 1e-4:
            return True
    return False
