"""CUDA kernels, compiled by Triton: each one pass over memory, one program for each block of elements.

Elements are numbered as they lie in memory. Parameters are given as float64, so that they are rounded here and once.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingImports=false, reportMissingTypeStubs=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false
# pyright: reportAssignmentType=false, reportInvalidTypeForm=false, reportGeneralTypeIssues=false
# (Triton compiles these by their source: what is compiled cannot be checked as Python)

from __future__ import annotations

import triton
import triton.language as tl

from tieless.kernels.philox import PHILOX_KEY_STEPS, PHILOX_MULTIPLIERS, PHILOX_ROUNDS
from tieless.kernels.reference import UNIFORM_STEP
from tieless.kernels.triton_elementwise import narrow, widen

_ROUNDS = tl.constexpr(PHILOX_ROUNDS)
_MULTIPLIER0, _MULTIPLIER1 = tl.constexpr(PHILOX_MULTIPLIERS[0]), tl.constexpr(PHILOX_MULTIPLIERS[1])
_KEY_STEP0, _KEY_STEP1 = tl.constexpr(PHILOX_KEY_STEPS[0]), tl.constexpr(PHILOX_KEY_STEPS[1])
_UNIFORM_STEP = tl.constexpr(UNIFORM_STEP)


# Elements and their bits.


@triton.jit
def _places(COUNT: tl.constexpr, WIDE: tl.constexpr):
    """Numbers of this program's ``COUNT`` items; in 64 bits if 32 are too few."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    return program * COUNT + tl.arange(0, COUNT)


@triton.jit
def _store_bits(bits, mask, elements, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Store eight elements to a byte, the first in the lowest bit. The mask is unset beyond the last element."""
    rows = mask.to(tl.int32).reshape(BLOCK // 8, 8)
    packed = tl.sum(rows << tl.arange(0, 8)[None, :], axis=1).to(tl.uint8)
    places = _places(BLOCK // 8, WIDE)
    tl.store(bits + places, packed, mask=places * 8 < elements)


@triton.jit
def _load_bits(bits, elements, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Mask of the elements whose bit is set."""
    places = _places(BLOCK // 8, WIDE)
    packed = tl.load(bits + places, mask=places * 8 < elements, other=0).to(tl.int32)
    return ((packed[:, None] >> tl.arange(0, 8)[None, :]) & 1).reshape(BLOCK) != 0


@triton.jit
def _parameters(p0, p1, p2, p3, p4, dtype: tl.constexpr):
    return (
        tl.full((), p0, dtype),
        tl.full((), p1, dtype),
        tl.full((), p2, dtype),
        tl.full((), p3, dtype),
        tl.full((), p4, dtype),
    )


@triton.jit
def _inside(z, low, high, OPEN_LOW: tl.constexpr, OPEN_HIGH: tl.constexpr):
    lower, upper = tl.full((), low, z.dtype), tl.full((), high, z.dtype)
    above = z > lower if OPEN_LOW else z >= lower
    below = z < upper if OPEN_HIGH else z <= upper
    return above & below


# Random numbers.


@triton.jit
def philox(c0, c1, c2, c3, k0, k1):
    """Philox 4x32-10: four words of 32 bits for a counter of four, under a key of two; all uint32."""
    for _ in tl.static_range(_ROUNDS):
        # A GPU makes both halves of a product at once; tl.umulhi and * are two multiplications.
        product0, product1 = c0.to(tl.uint64) * _MULTIPLIER0, c2.to(tl.uint64) * _MULTIPLIER1
        high0, high1 = (product0 >> 32).to(tl.uint32), (product1 >> 32).to(tl.uint32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, product1.to(tl.uint32), high0 ^ c3 ^ k1, product0.to(tl.uint32)
        k0, k1 = k0 + _KEY_STEP0, k1 + _KEY_STEP1
    return c0, c1, c2, c3


@triton.jit
def _words(blocks, held, key0, key1, stream, draw, WIDE: tl.constexpr):
    """Four words of each numbered Philox block, under a key that is given in two halves, or held at a place."""
    if held is not None:
        key = tl.load(held)
        key0, key1 = key, key >> 32
    upper = (blocks >> 32).to(tl.uint32) if WIDE else tl.full((), 0, tl.uint32)
    return philox(
        blocks.to(tl.uint32),
        upper,
        tl.full((), stream, tl.uint32),
        tl.full((), draw, tl.uint32),
        key0.to(tl.uint32),
        key1.to(tl.uint32),
    )


@triton.jit
def _random(
    held,
    key0,
    key1,
    stream,
    draw,
    sizes,
    strides,
    dtype: tl.constexpr,
    DIMS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Numbers on [0, 1) for this program's elements.

    Random numbers follow the logical order of the elements. Sizes and strides lead to it from the order in memory, the
    innermost dimension first; without any, both orders are one, and a Philox block makes four neighbours' numbers.
    """
    if DIMS == 0:
        w0, w1, w2, w3 = _words(_places(BLOCK // 4, WIDE), held, key0, key1, stream, draw, WIDE)
        word = tl.join(tl.join(w0, w2), tl.join(w1, w3)).reshape(BLOCK)
    else:
        rest = _places(BLOCK, WIDE)
        element = rest * 0
        for dim in tl.static_range(DIMS - 1):
            element += rest % sizes[dim] * strides[dim]
            rest = rest // sizes[dim]
        element += rest * strides[DIMS - 1]
        w0, w1, w2, w3 = _words(element >> 2, held, key0, key1, stream, draw, WIDE)
        lane = element & 3
        word = tl.where(lane < 2, tl.where(lane == 0, w0, w1), tl.where(lane == 2, w2, w3))
    return (word >> 8).to(dtype) * _UNIFORM_STEP


# Kernels.


@triton.jit
def activate(
    z,
    y,
    bits,
    elements,
    p0: tl.float64,
    p1: tl.float64,
    p2: tl.float64,
    p3: tl.float64,
    p4: tl.float64,
    low: tl.float64,
    high: tl.float64,
    FUNCTION: tl.constexpr,
    OPEN_LOW: tl.constexpr,
    OPEN_HIGH: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    places = _places(BLOCK, WIDE)
    valid = places < elements
    value = widen(tl.load(z + places, mask=valid, other=0))
    result = FUNCTION(value, _parameters(p0, p1, p2, p3, p4, value.dtype))
    tl.store(y + places, narrow(result, y.dtype.element_ty), mask=valid)
    if bits is not None:
        _store_bits(bits, _inside(value, low, high, OPEN_LOW, OPEN_HIGH) & valid, elements, BLOCK, WIDE)


@triton.jit
def window_bits(
    z,
    bits,
    elements,
    low: tl.float64,
    high: tl.float64,
    OPEN_LOW: tl.constexpr,
    OPEN_HIGH: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    places = _places(BLOCK, WIDE)
    valid = places < elements
    value = widen(tl.load(z + places, mask=valid, other=0))
    _store_bits(bits, _inside(value, low, high, OPEN_LOW, OPEN_HIGH) & valid, elements, BLOCK, WIDE)


@triton.jit
def codes(
    z,
    y,
    packed,
    elements,
    row_bytes,
    p0: tl.float64,
    p1: tl.float64,
    p2: tl.float64,
    p3: tl.float64,
    p4: tl.float64,
    FUNCTION: tl.constexpr,
    BOUNDARIES: tl.constexpr,
    COUNT: tl.constexpr,
    PLANES: tl.constexpr,
    EVEN: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    places = _places(BLOCK, WIDE)
    valid = places < elements
    value = widen(tl.load(z + places, mask=valid, other=0))
    if y is not None:
        result = FUNCTION(value, _parameters(p0, p1, p2, p3, p4, value.dtype))
        tl.store(y + places, narrow(result, y.dtype.element_ty), mask=valid)
    if EVEN:
        value = tl.abs(value)
    passed = tl.zeros((BLOCK,), tl.int32)
    for place in tl.static_range(COUNT):
        passed += (value > tl.full((), BOUNDARIES[place], value.dtype)).to(tl.int32)
    for plane in tl.static_range(PLANES):
        row = packed + tl.full((), row_bytes, tl.int64) * plane
        _store_bits(row, (((passed >> plane) & 1) != 0) & valid, elements, BLOCK, WIDE)


@triton.jit
def gate(
    grad,
    bits,
    sent,
    elements,
    inside: tl.float64,
    outside: tl.float64,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    places = _places(BLOCK, WIDE)
    valid = places < elements
    feedback = widen(tl.load(grad + places, mask=valid, other=0))
    # A slope of 0 sends 0 even of inf.
    passed = tl.where(inside == 0, 0.0, feedback * tl.full((), inside, feedback.dtype))
    blocked = tl.where(outside == 0, 0.0, feedback * tl.full((), outside, feedback.dtype))
    result = tl.where(_load_bits(bits, elements, BLOCK, WIDE), passed, blocked)
    tl.store(sent + places, narrow(result, sent.dtype.element_ty), mask=valid)


@triton.jit
def levels(
    grad,
    packed,
    sent,
    elements,
    row_bytes,
    VALUES: tl.constexpr,
    COUNT: tl.constexpr,
    PLANES: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    places = _places(BLOCK, WIDE)
    valid = places < elements
    feedback = widen(tl.load(grad + places, mask=valid, other=0))
    code = tl.zeros((BLOCK,), tl.int32)
    for plane in tl.static_range(PLANES):
        row = packed + tl.full((), row_bytes, tl.int64) * plane
        code += _load_bits(row, elements, BLOCK, WIDE).to(tl.int32) << plane
    value = tl.full((BLOCK,), VALUES[0], feedback.dtype)
    for place in tl.static_range(1, COUNT):
        value = tl.where(code == place, tl.full((), VALUES[place], feedback.dtype), value)
    result = tl.where(value == 0, 0.0, feedback * value)
    tl.store(sent + places, narrow(result, sent.dtype.element_ty), mask=valid)


@triton.jit
def slope(
    grad,
    value,
    sent,
    elements,
    p0: tl.float64,
    p1: tl.float64,
    p2: tl.float64,
    p3: tl.float64,
    p4: tl.float64,
    FUNCTION: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    places = _places(BLOCK, WIDE)
    valid = places < elements
    feedback = widen(tl.load(grad + places, mask=valid, other=0))
    kept = widen(tl.load(value + places, mask=valid, other=0)).to(feedback.dtype)
    result = feedback * FUNCTION(kept, _parameters(p0, p1, p2, p3, p4, kept.dtype))
    tl.store(sent + places, narrow(result, sent.dtype.element_ty), mask=valid)


# Neither keys nor shapes are known when a kernel is compiled: another would be a kernel more.
_ANY = ["key0", "key1", "stream", "draw", "sizes", "strides"]


@triton.jit(do_not_specialize=_ANY, do_not_specialize_on_alignment=["held"])
def uniform(
    numbers,
    elements,
    held,
    key0,
    key1,
    stream,
    draw,
    sizes,
    strides,
    DIMS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    places = _places(BLOCK, WIDE)
    random = _random(held, key0, key1, stream, draw, sizes, strides, numbers.dtype.element_ty, DIMS, BLOCK, WIDE)
    tl.store(numbers + places, random, mask=places < elements)


@triton.jit(do_not_specialize=_ANY, do_not_specialize_on_alignment=["held"])
def jam(
    grad,
    bits,
    sent,
    elements,
    held,
    key0,
    key1,
    stream,
    sizes,
    strides,
    low: tl.float64,
    span: tl.float64,
    ceiling: tl.float64,
    MAGNITUDE: tl.constexpr,
    DIMS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    places = _places(BLOCK, WIDE)
    valid = places < elements
    feedback = widen(tl.load(grad + places, mask=valid, other=0))
    dtype: tl.constexpr = feedback.dtype
    random = _random(held, key0, key1, stream, 0, sizes, strides, dtype, DIMS, BLOCK, WIDE)
    factor = random * tl.full((), span, dtype) + tl.full((), low, dtype)
    top = tl.full((), ceiling, dtype)
    factor = tl.where(factor > top, top, factor)
    if MAGNITUDE:
        # 0 stays 0 and NaN stays NaN.
        feedback = tl.where(feedback > 0, 1.0, tl.where(feedback < 0, -1.0, feedback * 0.0))
    result = feedback * factor
    if bits is not None:
        result = tl.where(_load_bits(bits, elements, BLOCK, WIDE), result, 0.0)
    tl.store(sent + places, narrow(result, sent.dtype.element_ty), mask=valid)
