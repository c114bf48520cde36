"""Reference of every operation, in plain PyTorch: any device, any layout, float16 to float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from tieless.kernels.layout import in_memory_order, laid_out
from tieless.kernels.numbers import next_below, rounded
from tieless.kernels.operands import packed_bits, value_like
from tieless.kernels.philox import PHILOX_KEY_STEPS, PHILOX_MULTIPLIERS, PHILOX_ROUNDS, WORD

UNIFORM_STEP = 2.0**-24
"""Distance between neighbouring random numbers: 24 bits fit the significand of a float32 exactly."""


def arithmetic_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of the arithmetic: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _wide(z: Tensor) -> Tensor:
    return z.to(arithmetic_dtype(z.dtype))


def _three_level(z: Tensor, low: float, high: float, below: float, between: float, above: float) -> Tensor:
    """Step function: ``below`` where ``z < low``, ``above`` where ``z > high``, else ``between``; NaN for NaN."""
    # Comparisons alone: isnan is what Inductor's CPU code does one element at a time. No more of them than there are
    # levels: this is one pass of a compiled network.
    level = torch.where(z == z, between, z)  # noqa: PLR0124  (NaN is not)
    if above != between:
        level = torch.where(z > high, above, level)
    return level if below == between else torch.where(z < low, below, level)


def _staircase(z: Tensor, steps: float) -> Tensor:
    # In half types the product would round across a step.
    return (torch.round(_wide(z).clamp(0, 1) * steps) / steps).to(z.dtype)


def _square_wave(z: Tensor, period: float) -> Tensor:
    turns = _wide(z) / period
    phase = turns - torch.floor(turns)
    return torch.where(phase < 0.5, 1.0, torch.where(phase >= 0.5, -1.0, phase)).to(z.dtype)


def _sawtooth(z: Tensor, period: float) -> Tensor:
    # In half types turns + 1/2 would round up to the next tooth.
    turns = _wide(z) / period
    return (2 * (turns - torch.floor(turns + 0.5))).to(z.dtype)


FORWARDS: dict[str, Callable[..., Tensor]] = {
    "clamp": F.hardtanh,
    "gelu": F.gelu,
    "hard_sigmoid": F.hardsigmoid,
    "leaky_relu": F.leaky_relu,
    "linear": torch.clone,
    "relu": torch.relu,
    "round": torch.round,
    "sawtooth": _sawtooth,
    "silu": F.silu,
    "square_wave": _square_wave,
    "staircase": _staircase,
    "three_level": _three_level,
}
"""Forwards that are one pass over memory, by the names that kernels know them by."""


# Widths are given as their inverse: a product is four times faster than a quotient.


def _triangular(z: Tensor, inverse: float, height: float) -> Tensor:
    return (1 - z.abs() * inverse).clamp(min=0) * height


def _atan(z: Tensor, inverse: float, height: float) -> Tensor:
    return height * (1 + (z * inverse).square()).reciprocal()


def _fast_sigmoid(z: Tensor, inverse: float, height: float) -> Tensor:
    return height * (1 + z.abs() * inverse).square().reciprocal()


def _sigmoid(z: Tensor, inverse: float, height: float) -> Tensor:
    # 4 s (1 - s), written so that nothing is subtracted from 1 and nothing overflows.
    fallen = torch.exp(-(z.abs() * inverse))
    return 4 * height * fallen / (1 + fallen).square()


def _erf(z: Tensor, inverse: float, height: float) -> Tensor:
    return height * torch.exp(-(z * inverse).square())


def _piecewise_exp(z: Tensor, inverse: float, height: float, center: float) -> Tensor:
    return height * torch.exp(-((z - center).abs() * inverse))


def _sign_log_abs(z: Tensor, inverse: float, height: float) -> Tensor:
    return height * (1 + z.abs() * inverse).reciprocal()


def _at_least_one(scaled: Tensor) -> Tensor:
    """Values of at least 1, so that a division by them is by no 0; NaN stays NaN."""
    return torch.where(scaled < 1, 1.0, scaled)


def _fake_numerical_gradient(z: Tensor, inverse: float, height: float) -> Tensor:
    return height * _at_least_one(z.abs() * inverse).reciprocal()


def _log_tailed_relu(z: Tensor, inverse: float, height: float, leak: float) -> Tensor:
    return torch.where(z <= 0, leak, height * _at_least_one(z * inverse).reciprocal())


def _s2nn(z: Tensor, inverse: float, height: float, left: float) -> Tensor:
    return torch.where(z < 0, _sigmoid(z, inverse, left), height * (1 + z.abs()).reciprocal())


def _sparse_fast_sigmoid(z: Tensor, inverse: float, height: float, low: float, high: float) -> Tensor:
    return torch.where((z > low) & (z < high), _fast_sigmoid(z, inverse, height), 0.0)


SLOPES: dict[str, Callable[..., Tensor]] = {
    "atan": _atan,
    "erf": _erf,
    "fake_numerical_gradient": _fake_numerical_gradient,
    "fast_sigmoid": _fast_sigmoid,
    "log_tailed_relu": _log_tailed_relu,
    "piecewise_exp": _piecewise_exp,
    "s2nn": _s2nn,
    "sigmoid": _sigmoid,
    "sign_log_abs": _sign_log_abs,
    "sparse_fast_sigmoid": _sparse_fast_sigmoid,
    "triangular": _triangular,
}
"""Slopes that follow from a value stored by the forward pass, by the names that kernels know them by."""


def activate(
    z: Tensor, function: str, parameters: tuple[float, ...], window: tuple[float, float, bool, bool] | None
) -> tuple[Tensor, Tensor | None]:
    """Named forward of ``z``, and the bits of a window of ``z``."""
    y = FORWARDS[function](z, *parameters)
    return y, None if window is None else window_bits(z, *window)


def window_bits(z: Tensor, low: float, high: float, open_low: bool, open_high: bool) -> Tensor:
    """Window of ``z`` as 1 bit per element, 8 to a byte, first element in the lowest bit: ``1[low <= z <= high]``.

    Elements follow each other as they do in the memory of ``torch.empty_like(z)``. An edge belongs to the window unless
    it is open. NaN is outside.
    """
    inside = (z > low) if open_low else (z >= low)
    return _pack(inside & ((z < high) if open_high else (z <= high)), z)


def codes(z: Tensor, boundaries: Sequence[float], even: bool) -> Tensor:
    """Number of boundaries below each element, in binary: row j has bit j, packed as a window's.

    With ``even``, the absolute value counts. The boundaries ascend, and are numbers of the arithmetic dtype. No
    boundary is below NaN.
    """
    wide = z.to(arithmetic_dtype(z.dtype))
    wide = wide.abs() if even else wide
    passed = torch.zeros_like(wide, dtype=torch.uint8)
    for boundary in boundaries:
        passed += wide > boundary
    return torch.stack([_pack((passed >> plane) & 1 != 0, z) for plane in range(len(boundaries).bit_length())])


def activate_codes(
    z: Tensor, function: str, parameters: tuple[float, ...], boundaries: Sequence[float], even: bool
) -> tuple[Tensor, Tensor]:
    """Named forward of ``z``, and the codes of ``z``."""
    return FORWARDS[function](z, *parameters), codes(z, boundaries, even)


def _pack(mask: Tensor, like: Tensor) -> Tensor:
    bits = in_memory_order(mask, like).to(torch.uint8)
    bits = torch.nn.functional.pad(bits, (0, -bits.numel() % 8)).view(-1, 8)
    places = torch.arange(8, dtype=torch.uint8, device=mask.device)
    return (bits << places).sum(1, dtype=torch.uint8)


def unpack_bits(bits: Tensor, like: Tensor) -> Tensor:
    """Mask of packed bits, shaped and laid out like ``like``."""
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return laid_out(((bits[:, None] >> places) & 1).view(-1)[: like.numel()].bool(), like)


def gate(grad_output: Tensor, bits: Tensor, inside: float, outside: float) -> Tensor:
    """Product of ``grad_output`` and ``inside`` where the bit is set, else ``outside``; times 0 is 0, even of inf."""
    mask = unpack_bits(packed_bits(bits, grad_output), grad_output)
    zeros = torch.zeros_like(grad_output)
    passed = grad_output * inside if inside else zeros
    blocked = grad_output * outside if outside else zeros
    return torch.empty_like(grad_output).copy_(torch.where(mask, passed, blocked))


def levels(grad_output: Tensor, packed: Tensor, values: Sequence[float]) -> Tensor:
    """Product of ``grad_output`` and the value of each element's code; times 0 is 0, even of inf."""
    dtype = arithmetic_dtype(grad_output.dtype)
    packed = packed_bits(packed, grad_output, (len(values) - 1).bit_length())
    planes = (unpack_bits(row, grad_output).long() << plane for plane, row in enumerate(packed.unbind()))
    code = cast("Tensor", sum(planes))
    # An index without dimensions would be read as a number, which a meta tensor is not.
    value = torch.tensor(values, dtype=dtype, device=grad_output.device)[code.reshape(-1)].view(code.shape)
    sent = torch.where(value == 0, torch.zeros_like(value), grad_output.to(dtype) * value)
    return torch.empty_like(grad_output).copy_(sent)


def slope(grad_output: Tensor, value: Tensor, function: str, parameters: tuple[float, ...]) -> Tensor:
    """Product of ``grad_output`` and a named slope of ``value``; rounded once, to the dtype of ``grad_output``."""
    dtype = arithmetic_dtype(grad_output.dtype)
    value = value_like(value, grad_output)
    return (grad_output.to(dtype) * SLOPES[function](value.to(dtype), *parameters)).to(grad_output.dtype)


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor | int, Tensor | int]) -> tuple[Tensor, ...]:
    """Philox 4x32-10: four 32-bit words for each counter of four words, under a key of two.

    Args:
        counter: Counters, four int64 tensors that broadcast together, each word in 0..2^32-1.
        key: Key of two words, as numbers or as int64 tensors, likewise.
    """
    words, keys = counter, key
    for _ in range(PHILOX_ROUNDS):
        # int64 products wrap, which leaves their low 64 bits right; the mask after the shift drops the sign's copies.
        product0, product1 = words[0] * PHILOX_MULTIPLIERS[0], words[2] * PHILOX_MULTIPLIERS[1]
        words = (
            ((product1 >> 32) & WORD) ^ words[1] ^ keys[0],
            product1 & WORD,
            ((product0 >> 32) & WORD) ^ words[3] ^ keys[1],
            product0 & WORD,
        )
        keys = ((keys[0] + PHILOX_KEY_STEPS[0]) & WORD, (keys[1] + PHILOX_KEY_STEPS[1]) & WORD)
    return words


def uniform(like: Tensor, key: Tensor | int, stream: int, draw: int) -> Tensor:
    """Random numbers on [0, 1), shaped and laid out like ``like``, in its arithmetic dtype.

    Element ``i`` is word ``i % 4`` of Philox at counter ``(i // 4, stream, draw)``, its upper 24 bits times 2^-24:
    the same number in every dtype and on every device.

    Args:
        key: Key of 64 bits, from which all numbers follow; a tensor is int64, 0-dim.
        stream: Number of the rule in its chain.
        draw: Number of the draw of a rule.
    """
    blocks = torch.arange((like.numel() + 3) // 4, device=like.device)
    words = philox(
        (blocks & WORD, (blocks >> 32) & WORD, torch.full_like(blocks, stream), torch.full_like(blocks, draw)),
        (key & WORD, (key >> 32) & WORD),
    )
    numbers = (torch.stack(words, dim=1).view(-1)[: like.numel()] >> 8) * UNIFORM_STEP
    dtype = arithmetic_dtype(like.dtype)
    return torch.empty_like(like, dtype=dtype).copy_(numbers.to(dtype).view(like.shape))


@lru_cache(maxsize=1024)
def slope_range(minimum: float, maximum: float, dtype: torch.dtype) -> tuple[float, float, float]:
    """Range of a slope: ``minimum``, the span, and the largest slope below ``maximum``, each in ``dtype``."""
    low, span, high = (rounded(number, dtype) for number in (minimum, maximum - minimum, maximum))
    return low, span, max(low, next_below(high, dtype))


def jam(
    grad_output: Tensor,
    key: Tensor | int,
    stream: int,
    minimum: float,
    maximum: float,
    magnitude: bool,
    bits: Tensor | None,
) -> Tensor:
    """Product with random numbers: ``grad_output * U`` or ``sign(grad_output) * U``; 0 where a bit is unset.

    U is uniform on [minimum, maximum): ``U = minimum + (maximum - minimum) * uniform``, kept below ``maximum`` where
    the sum would round up to it. The product is rounded once, to the dtype of ``grad_output``.
    """
    dtype = arithmetic_dtype(grad_output.dtype)
    low, span, ceiling = slope_range(minimum, maximum, dtype)
    slope = (uniform(grad_output, key, stream, 0) * span + low).clamp(max=ceiling)
    feedback = grad_output.to(dtype)
    if magnitude:
        # 0 stays 0 and NaN stays NaN, which torch.sign does not promise.
        feedback = torch.where(feedback > 0, 1.0, torch.where(feedback < 0, -1.0, feedback * 0)).to(dtype)
    sent = feedback * slope
    if bits is not None:
        sent = torch.where(unpack_bits(packed_bits(bits, grad_output), grad_output), sent, torch.zeros_like(sent))
    return torch.empty_like(grad_output).copy_(sent)


# Elements are told apart by their bit patterns, so that -0.0 is not 0.0 and every NaN comes back as it was.
PATTERNS = {
    torch.bool: torch.int8,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}

# Almost all real activations have a third value among so few, and Python checks these in 3 microseconds.
_HEAD = 64

# Eight bytes of 0 or 1 are one 64-bit number, the first of them lowest, as in the memory of every machine that PyTorch
# runs on. Times `_GATHER`, byte i is bit 56 + i; a byte times `_ONES` is eight copies, of which `_SCATTER` leaves bit i
# in byte i. Ten times as fast as shifts and sums of single bytes.
_GATHER = 0x0102_0408_1020_4080
_ONES = 0x0101_0101_0101_0101
_SCATTER = 0x8040_2010_0804_0201 - (1 << 64)


def two_values(elements: Tensor) -> tuple[Tensor | None, int, int]:
    """Bits of elements that have at most two bit patterns: one bit per element.

    Args:
        elements: At least one element; one-dimensional, contiguous, of a dtype in ``PATTERNS``, and without a gradient.
    Returns:
        ``bits, low, high``. ``low`` is the pattern of the first element, ``high`` that of the first one which differs
        from it, or ``low`` if none does; both as signed integers of the element's width. ``bits`` has dtype uint8 and
        8 elements to a byte, the first in the lowest bit: 1 where the pattern is not ``low``. Unused bits are 0. The
        bits are ``None`` if there is a third pattern; ``low`` and ``high`` then mean nothing.
    """
    patterns = elements.view(PATTERNS[elements.dtype])
    if len(set(cast("list[int]", patterns[:_HEAD].tolist()))) > 2:
        return None, 0, 0
    smallest, largest = patterns.aminmax()
    two = ((patterns == smallest) | (patterns == largest)).all()
    other = smallest ^ largest ^ patterns[0]
    # Together, so that a GPU is waited for once.
    low, high, verdict = cast("list[int]", torch.stack([patterns[0], other, two.to(patterns.dtype)]).tolist())
    if not verdict:
        return None, 0, 0
    differs = F.pad((patterns != low).view(torch.uint8), (0, -len(patterns) % 8))
    return ((differs.view(torch.int64) * _GATHER) >> 56).to(torch.uint8), low, high


def restore(bits: Tensor, low: int, high: int, count: int, dtype: torch.dtype) -> Tensor:
    """Elements as given to ``two_values``, bit for bit, in new memory: one-dimensional, on the device of ``bits``.

    Args:
        bits, low, high: Result of ``two_values``.
        count: Number of elements.
        dtype: Dtype of the elements.
    """
    # The byte is 0x80 or more wherever a bit is set, then 0 or 1.
    differs = (((bits.to(torch.int64) * _ONES) & _SCATTER) + 0x7F * _ONES >> 7) & _ONES
    # Not `masked_fill`, which is 15 times slower on the CPU. In integers of its own width nothing overflows.
    mask = differs.view(torch.uint8)[:count].to(PATTERNS[dtype]).neg_()
    return mask.bitwise_and_(low ^ high).bitwise_xor_(low).view(dtype)
