"""Kernels on tensors that lie between guards: what is skipped, what is written too far, and what is read too far.

Every tensor that goes in or comes out is a view into the middle of a larger block of memory, filled with one byte. Each
check runs twice, with 0x00 and with 0xFF: an element that is not written keeps the filling, one that is written outside
changes it, and no value is equal to both; likewise a result that follows from memory outside the operands changes.
"""

from itertools import product
from unittest.mock import patch

import torch

from tieless.kernels import membranes, numba_cpu, reference
from tieless.kernels.membranes import Membrane

GUARD = 1 << 12
"""Bytes on either side. No mutant in ``test_tail`` goes as far as that."""

LANES, BYTE, BLOCK, CHUNK = 16, 8, 64, 1024
THREADS = 3
SIZES = sorted(
    {0, 1, 2, *range(BYTE - 1, BYTE + 2), *range(LANES - 1, LANES + 2), *range(LANES + BYTE - 1, LANES + BYTE + 2)}
    | {
        edge + step
        for edge in (2 * LANES, BLOCK, BLOCK + LANES, CHUNK - LANES, CHUNK, 2 * CHUNK, THREADS * CHUNK)
        for step in (-1, 0, 1)
    }
    # Threads whose shares differ by a chunk, with every kind of tail.
    | {(2 * THREADS + 1) * CHUNK + tail for tail in (-1, 0, 1, BYTE, LANES - 1, LANES + 1)}
)


class Memory:
    """Gives out guarded tensors, and takes the place of ``torch`` where kernels allocate."""

    def __init__(self, filling):
        self.filling = filling
        self._blocks = []

    def __getattr__(self, name):
        return getattr(torch, name)

    def _tensor(self, extent, sizes, strides, dtype):
        """A tensor whose elements take up to ``extent`` places."""
        width = dtype.itemsize
        block = torch.full((extent * width + 2 * GUARD,), self.filling, dtype=torch.uint8)
        view = block[GUARD : GUARD + extent * width].view(dtype).as_strided(sizes, strides)
        places = torch.arange(extent).as_strided(sizes, strides, 0).reshape(-1)
        own = torch.zeros(extent, dtype=torch.bool)
        own[places] = True
        bytes_of_own = own[:, None].expand(extent, width).reshape(-1)
        outside = torch.cat([torch.ones(GUARD, dtype=torch.bool), ~bytes_of_own, torch.ones(GUARD, dtype=torch.bool)])
        self._blocks.append((block, outside))
        return view

    def empty(self, *size, dtype, device):
        """As ``torch.empty``."""
        assert device.type == "cpu"
        sizes = torch.Size(size[0] if isinstance(size[0], (tuple, list)) else size)
        return self._tensor(sizes.numel(), sizes, torch.empty(sizes, device="meta").stride(), dtype)

    def empty_like(self, like, *, dtype=None):
        """As ``torch.empty_like``."""
        model = torch.empty_like(like, device="meta")
        return self._tensor(model.numel(), model.shape, model.stride(), dtype or like.dtype)

    def put(self, tensor):
        """A copy, laid out as the tensor is: what lies between its elements is guarded too."""
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        extent = 1 + sum((size - 1) * stride for size, stride in steps) if tensor.numel() else 0
        return self._tensor(extent, tensor.shape, tensor.stride(), tensor.dtype).copy_(tensor)

    def harmed(self):
        """Number of bytes outside of the tensors that are not as they were."""
        return sum(int((block[outside] != self.filling).sum()) for block, outside in self._blocks)


def _inside(z):
    """Bits of a window into which both ends of ``z`` fall, so that a bit that is left out is seen."""
    return reference.window_bits(z, -0.5, 0.5, False, False)


def _codes(z):
    return reference.codes(z, [-1.0, 0.0, 1.0], False)


WINDOW = (-0.5, 0.5, False, False)
PATTERN = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _two(z):
    """The elements of ``z`` made two different ones, the last one unlike the first."""
    flat = torch.where(z.reshape(-1) > 0, 1.0, -1.0).to(z.dtype)
    flat[-1:] = 1.0
    flat[:1] = -1.0
    return flat


def _verdict(kernels, elements):
    bits, low, high = kernels.two_values(elements)
    return () if bits is None else (bits, torch.tensor([low, high]))


def _third(z):
    """The same with a third value in the last place."""
    flat = _two(z)
    flat[-1:] = 3.0
    return flat


def _patterns(z):
    return [int(x) for x in torch.tensor([-1.0, 1.0], dtype=z.dtype).view(PATTERN[z.dtype.itemsize])]


# Sums of such steps are exact in every dtype: half precision is rounded at other places than in the reference.
ZEROED = Membrane("three_level", (0.0, 0.0, 0.0, 0.0, 1.0), 0.5, 1.0, 0.25, "zero", delayed=False)
DELAYED = Membrane("three_level", (0.0, 0.0, 0.0, 0.0, 1.0), 0.5, 1.0, 0.25, "zero", delayed=True)


def _steps(z):
    """Three time steps of small integers."""
    flat = z.reshape(-1).round().clamp(-2, 2)
    return torch.stack([flat, flat.flip(0), flat])


def _over_time(kernels):
    """Kernels over time steps, whose reference is a module of its own."""
    return membranes if kernels is reference else kernels


CALLS = {
    "activate": [
        lambda k, put, z: k.activate(put(z), "relu", (), WINDOW),
        lambda k, put, z: k.activate(put(z), "relu", (), None)[:1],
    ],
    "activate_codes": [lambda k, put, z: k.activate_codes(put(z), "relu", (), (-1.0, 0.0, 1.0), False)],
    "window_bits": [lambda k, put, z: (k.window_bits(put(z), *WINDOW),)],
    "codes": [lambda k, put, z: (k.codes(put(z), [-1.0, 0.0, 1.0], False),)],
    "gate": [lambda k, put, z: (k.gate(put(z), put(_inside(z)), 1.0, 0.5),)],
    "levels": [lambda k, put, z: (k.levels(put(z), put(_codes(z)), [0.2, 0.4, 0.6, 0.8]),)],
    "slope": [lambda k, put, z: (k.slope(put(z), put(z), "atan", (0.7, 1.3)),)],
    "jam": [
        lambda k, put, z: (k.jam(put(z), 5, 1, 0.5, 1.0, False, None),),
        lambda k, put, z: (k.jam(put(z), 5, 1, 0.5, 1.0, False, put(_inside(z))),),
    ],
    "uniform": [lambda k, put, z: (k.uniform(put(z), 5, 1, 0),)],
    "potentials": [
        lambda k, put, z: _over_time(k).potentials(put(_steps(z)), None, ZEROED),
        lambda k, put, z: _over_time(k).potentials(put(_steps(z)), put(_steps(z)[0]), DELAYED),
    ],
    "potentials_backward": [
        lambda k, put, z: _over_time(k).potentials_backward(
            put(_steps(z)), put(_steps(z)[0]), put(_steps(z)), None, ZEROED
        ),
        lambda k, put, z: _over_time(k).potentials_backward(
            put(_steps(z)), put(_steps(z)[0]), put(_steps(z)), put(_steps(z)[0]), DELAYED
        ),
    ],
    "two_values": [
        lambda k, put, z: _verdict(k, put(_two(z))) if z.numel() else (),
        lambda k, put, z: _verdict(k, put(_third(z))) if z.numel() > 2 else (),
    ],
    "restore": [lambda k, put, z: (k.restore(put(_inside(z)), *_patterns(z), z.numel(), z.dtype),)],
}
"""What calls each kernel, given the kernels, what puts a tensor where they are to find it, and numbers."""


def _plain(size, dtype):
    """Numbers inside the window at both ends."""
    values = torch.randn(size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    for end in (values[:1], values[-1:]):
        end.fill_(0.25)
    return values.to(dtype)


LAYOUTS = {
    "plain": lambda values: values,
    "apart": lambda values: torch.stack([values, values], 1)[:, 0],
    "turned": lambda values: values[: values.numel() // 2 * 2].view(2, -1).t().contiguous().t()[:, 1:],
    "channels last": lambda values: (
        values[: values.numel() // 24 * 24].view(-1, 6, 4, 1).contiguous(memory_format=torch.channels_last)
    ),
}


def _equal(result, expected):
    """The same numbers; which NaN it is, no kernel promises."""
    if result.dtype != expected.dtype or result.shape != expected.shape:
        return False
    same = result == expected
    return bool((same | (result.isnan() & expected.isnan())).all())


def defects(name, dtype, sizes=SIZES):
    """One line for each call of a kernel that left an element out, wrote outside, or followed from what is outside."""
    # Shares of a chunk, so that a few thousand elements have the edges of all threads.
    with patch.multiple(numba_cpu, _GRAIN=CHUNK, _RANDOM_GRAIN=CHUNK):
        for (layout, laid_out), size, (number, call) in product(LAYOUTS.items(), sizes, enumerate(CALLS[name])):
            z = laid_out(_plain(size, dtype))
            expected = call(reference, lambda tensor: tensor, z)
            for filling in (0x00, 0xFF):
                memory = Memory(filling)
                with patch.object(numba_cpu, "torch", memory):
                    results = call(numba_cpu, memory.put, z)
                where = f"{name}, call {number}, {layout}, {size} elements of {dtype}, {filling:#04x}"
                if len(results) != len(expected) or not all(map(_equal, results, expected)):
                    yield f"{where}: other results"
                if harmed := memory.harmed():
                    yield f"{where}: {harmed} bytes outside are not as they were"
