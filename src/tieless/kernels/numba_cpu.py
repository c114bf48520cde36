"""CPU kernels in Numba: the functions of ``reference``, bit for bit, each in one pass over flat memory.

Half types are widened to float32, which is exact, and rounded once at the end, as the reference does. Compiled
code is kept on disk, so that only the first process pays for it.
"""

# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportMissingParameterType=false
# (numba has no types; everything outside the jitted loops is annotated)

from __future__ import annotations

import numpy as np
import torch
from numba import njit  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from tieless.kernels.reference import (
    PHILOX_KEY_STEPS,
    PHILOX_MULTIPLIERS,
    PHILOX_ROUNDS,
    UNIFORM_STEP,
    WORD,
    arithmetic_dtype,
    slope_range,
)

__all__ = ["gate", "jam", "three_level", "uniform", "window_bits"]

_M0, _M1 = (np.uint64(multiplier) for multiplier in PHILOX_MULTIPLIERS)
_W0, _W1 = (np.uint64(step) for step in PHILOX_KEY_STEPS)
_LOW = np.uint64(WORD)
_SHIFT = np.uint64(32)
_STEP = np.float32(UNIFORM_STEP)
_EIGHT = np.uint64(8)

_jit = njit(cache=True, nogil=True, error_model="numpy")
_CHUNK = 1024
_inline = njit(cache=True, nogil=True, error_model="numpy", inline="always")


@_inline
def _words(block, stream, draw, key0, key1):
    # Words stay in 64-bit lanes: numba widens 32-bit integers anyway, and one vector multiplication serves 8 of them.
    c0, c1, c2, c3 = block & _LOW, block >> _SHIFT, stream, draw
    for _ in range(PHILOX_ROUNDS):
        product0, product1 = _M0 * c0, _M1 * c2
        c0, c1 = (product1 >> _SHIFT) ^ c1 ^ key0, product1 & _LOW
        c2, c3 = (product0 >> _SHIFT) ^ c3 ^ key1, product0 & _LOW
        key0, key1 = (key0 + _W0) & _LOW, (key1 + _W1) & _LOW
    return c0, c1, c2, c3


@_inline
def _number(word):
    return np.float32(word >> _EIGHT) * _STEP


@_inline
def _fill(out, first_block, stream, draw, key0, key1):
    """``uniform`` for the elements of ``out``, the first of which is the first of ``first_block``."""
    whole = out.size // 4
    for j in range(whole):
        w0, w1, w2, w3 = _words(np.uint64(first_block + j), stream, draw, key0, key1)
        out[4 * j] = _number(w0)
        out[4 * j + 1] = _number(w1)
        out[4 * j + 2] = _number(w2)
        out[4 * j + 3] = _number(w3)
    if 4 * whole < out.size:
        rest = _words(np.uint64(first_block + whole), stream, draw, key0, key1)
        for i in range(4 * whole, out.size):
            out[i] = _number(rest[i - 4 * whole])


@_jit
def _uniform(out, stream, draw, key0, key1):
    _fill(out, 0, stream, draw, key0, key1)


@_inline
def _block(sent, bits, zero):
    """Zero where the bit is unset. Whole bytes first: a byte and eight elements make one vector operation."""
    whole = sent.size // 8
    for byte in range(whole):
        packed = bits[byte]
        for place in range(8):
            i = 8 * byte + place
            sent[i] = sent[i] if (packed >> place) & 1 else zero
    for i in range(8 * whole, sent.size):
        sent[i] = sent[i] if (bits[whole] >> (i & 7)) & 1 else zero


@_jit
def _jam(out, grad, bits, stream, key0, key1, low, span, ceiling, magnitude):
    numbers = np.empty(_CHUNK, grad.dtype)
    for start in range(0, grad.size, _CHUNK):
        count = min(_CHUNK, grad.size - start)
        _fill(numbers[:count], start // 4, stream, np.uint64(0), key0, key1)
        feedback, sent = grad[start : start + count], out[start : start + count]
        if magnitude:
            for i in range(count):
                g = feedback[i]
                sign = low * 0 + 1 if g > 0 else (low * 0 - 1 if g < 0 else g * 0)
                sent[i] = sign * min(numbers[i] * span + low, ceiling)
        else:
            for i in range(count):
                sent[i] = feedback[i] * min(numbers[i] * span + low, ceiling)
        if bits is not None:
            _block(sent, bits[start // 8 :], low - low)


@_jit
def _window_bits(bits, z, low, high, open_low, open_high):
    whole = z.size // 8
    for byte in range(whole):
        packed = 0
        for place in range(8):
            value = z[8 * byte + place]
            inside = ((value > low) | ((value == low) & (not open_low))) & (
                (value < high) | ((value == high) & (not open_high))
            )
            packed |= inside << place
        bits[byte] = packed
    if 8 * whole < z.size:
        packed = 0
        for i in range(8 * whole, z.size):
            value = z[i]
            inside = ((value > low) | ((value == low) & (not open_low))) & (
                (value < high) | ((value == high) & (not open_high))
            )
            packed |= inside << (i & 7)
        bits[whole] = packed


@_inline
def _gated(grad, passes, inside, outside, zero):
    if passes:
        return grad * inside if inside != 0 else zero
    return grad * outside if outside != 0 else zero


@_jit
def _gate(out, grad, bits, inside, outside):
    zero = inside - inside  # +0 whatever the sign of inside
    whole = grad.size // 8
    for byte in range(whole):
        packed = bits[byte]
        for place in range(8):
            i = 8 * byte + place
            out[i] = _gated(grad[i], (packed >> place) & 1, inside, outside, zero)
    for i in range(8 * whole, grad.size):
        out[i] = _gated(grad[i], (bits[whole] >> (i & 7)) & 1, inside, outside, zero)


@_jit
def _three_level(y, z, low, high, below, between, above):
    for i in range(z.size):
        value = z[i]
        level = below if value < low else (above if value > high else between)
        y[i] = level if value == value else value


def _flat(tensor: Tensor) -> np.ndarray:
    """The elements in logical order as a flat array of their arithmetic dtype; a view wherever that is possible."""
    return tensor.detach().to(arithmetic_dtype(tensor.dtype)).contiguous().view(-1).numpy()


def _empty(count: int, dtype: torch.dtype) -> tuple[Tensor, np.ndarray]:
    tensor = torch.empty(count, dtype=dtype)
    return tensor, tensor.numpy()


def _laid_out(flat: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """``flat`` shaped and laid out like ``like``."""
    shaped = flat.view(like.shape)
    if shaped.dtype == dtype and shaped.stride() == like.stride():
        return shaped
    return torch.empty_like(like, dtype=dtype).copy_(shaped)


def _key_words(key: Tensor) -> tuple[np.uint64, np.uint64]:
    bits = int(key.item()) & 0xFFFFFFFFFFFFFFFF
    return np.uint64(bits & WORD), np.uint64(bits >> 32)


def _number_type(tensor: Tensor) -> type[np.float32 | np.float64]:
    return np.float64 if tensor.dtype == torch.float64 else np.float32


def window_bits(z: Tensor, low: float, high: float, open_low: bool, open_high: bool) -> Tensor:
    number = _number_type(z)
    bits = torch.empty((z.numel() + 7) // 8, dtype=torch.uint8)
    _window_bits(bits.numpy(), _flat(z), number(low), number(high), open_low, open_high)
    return bits


def gate(grad_output: Tensor, bits: Tensor, inside: float, outside: float) -> Tensor:
    number = _number_type(grad_output)
    sent, out = _empty(grad_output.numel(), arithmetic_dtype(grad_output.dtype))
    _gate(out, _flat(grad_output), bits.numpy(), number(inside), number(outside))
    return _laid_out(sent, grad_output, grad_output.dtype)


def three_level(z: Tensor, low: float, high: float, below: float, between: float, above: float) -> Tensor:
    number = _number_type(z)
    y, out = _empty(z.numel(), arithmetic_dtype(z.dtype))
    _three_level(out, _flat(z), number(low), number(high), number(below), number(between), number(above))
    return _laid_out(y, z, z.dtype)


def uniform(like: Tensor, key: Tensor, stream: int, draw: int) -> Tensor:
    numbers, out = _empty(like.numel(), arithmetic_dtype(like.dtype))
    _uniform(out, np.uint64(stream), np.uint64(draw), *_key_words(key))
    return _laid_out(numbers, like, numbers.dtype)


def jam(
    grad_output: Tensor, key: Tensor, stream: int, minimum: float, maximum: float, magnitude: bool, bits: Tensor | None
) -> Tensor:
    number, dtype = _number_type(grad_output), arithmetic_dtype(grad_output.dtype)
    low, span, ceiling = (number(value) for value in slope_range(minimum, maximum, dtype))
    sent, out = _empty(grad_output.numel(), dtype)
    packed = None if bits is None else bits.numpy()
    _jam(out, _flat(grad_output), packed, np.uint64(stream), *_key_words(key), low, span, ceiling, magnitude)
    return _laid_out(sent, grad_output, grad_output.dtype)
