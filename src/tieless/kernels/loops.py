"""The loops of the CPU kernels, compiled by Numba: each one pass over memory.

A kernel works through its thread's share of the elements in chunks that fit the first cache. What lies in memory in the
order of the work is read and written where it is; anything else, and the last few elements of a tensor, goes through a
buffer on the stack, so that the arithmetic sees whole rows of 16 lanes only, and no tensor is copied.

The places of their arguments are those of the structs in ``numba_cpu``.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba has no types: what is compiled cannot be checked as Python)

from __future__ import annotations

import llvmlite.binding
from numba import njit, types
from numba.extending import overload

from tieless.kernels.elementwise import FORWARDS, SLOPES
from tieless.kernels.lanes import (
    LANES,
    any_lane,
    bits_at,
    copy,
    element_size,
    fabs,
    fill_uniforms,
    load,
    matches,
    number_at,
    number_size,
    pattern_at,
    real,
    scratch,
    scratch_numbers,
    set_bits_at,
    set_word,
    splat,
    store,
    store_patterns,
    where,
    word,
    word_at,
)
from tieless.kernels.threads import runtime

__all__ = ["activate", "codes", "gate", "jam", "levels", "restore", "slope", "two_values", "uniform", "window_bits"]

CHUNK = 1024
"""Elements at a time: their buffers fit the first cache, and a chunk is whole bytes of bits and whole Philox blocks."""

_inline = njit(inline="always", error_model="numpy")
_jit = njit(error_model="numpy")

_thread_number = types.ExternalFunction("tieless_thread_number", types.int32())
_thread_count = types.ExternalFunction("tieless_thread_count", types.int32())
llvmlite.binding.add_symbol("tieless_thread_number", runtime().thread_number)
llvmlite.binding.add_symbol("tieless_thread_count", runtime().thread_count)


# The work of one thread.


@_inline
def _share(arguments):
    """The first element of this thread's share, and the one after its last."""
    elements = word(arguments, 0)
    chunks = (elements + CHUNK - 1) // CHUNK
    number, count = _thread_number(), _thread_count()
    return chunks * number // count * CHUNK, min(elements, chunks * (number + 1) // count * CHUNK)


@_inline
def _count(start, stop):
    """How many elements the chunk at ``start`` has: whole rows of lanes, or the last few."""
    count = min(CHUNK, stop - start)
    return count - count % LANES if count >= LANES else count


@_jit
def _move(arguments, place, start, count, buffer, inward):
    """``count`` elements of an operand from ``start`` on, into the buffer or out of it."""
    address, geometry = word(arguments, place), word(arguments, place + 1)
    dims = word_at(geometry, 0) if geometry else 0
    done = 0
    while done < count:
        run, offset, stride = count, start, 1
        if geometry:
            rest, offset = start + done, 0
            for dim in range(dims, 0, -1):
                size = word_at(geometry, dim)
                offset += rest % size * word_at(geometry, dims + dim)
                rest //= size
            size, stride = word_at(geometry, dims), word_at(geometry, 2 * dims)
            run = min(size - (start + done) % size, count - done)
        if inward:
            for i in range(run):
                copy(arguments, buffer, done + i, address, offset + i * stride)
        else:
            for i in range(run):
                copy(arguments, address, offset + i * stride, buffer, done + i)
        done += run


@_inline
def _in_place(arguments, place, count):
    return (word(arguments, place + 1) == 0) & (count >= LANES)


@_inline
def _source(arguments, place, start, count, buffer):
    """Where the chunk of an operand can be read."""
    if _in_place(arguments, place, count):
        return word(arguments, place) + start * element_size(arguments)
    _move(arguments, place, start, count, buffer, True)
    return buffer


@_inline
def _target(arguments, place, start, count, buffer):
    """Where the chunk of a result can be written; ``_settle`` brings it home."""
    return word(arguments, place) + start * element_size(arguments) if _in_place(arguments, place, count) else buffer


@_inline
def _settle(arguments, place, start, count, buffer):
    if not _in_place(arguments, place, count):
        _move(arguments, place, start, count, buffer, False)


def _apply(arguments, z, p):
    """The function that the type of the arguments names."""


@overload(_apply, inline="always")
def _chosen(arguments, z, p):
    body = _inline({**FORWARDS, **SLOPES}[arguments.function])
    return lambda arguments, z, p: body(z, p)


# Kernels.


@_inline
def _parameters(arguments, place):
    return (
        real(arguments, place),
        real(arguments, place + 1),
        real(arguments, place + 2),
        real(arguments, place + 3),
        real(arguments, place + 4),
    )


@_inline
def _inside(z, low, high, open_low, open_high):
    above = z > low if open_low else z >= low
    below = z < high if open_high else z <= high
    return above & below


def activate(arguments):
    first, last = _share(arguments)
    p = _parameters(arguments, 10)
    bits, open_low, open_high = word(arguments, 5), word(arguments, 6), word(arguments, 7)
    low, high = real(arguments, 8), real(arguments, 9)
    room_z, room_y = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        source = _source(arguments, 1, start, count, room_z)
        target = _target(arguments, 3, start, count, room_y)
        for i in range(0, count, LANES):
            store(arguments, target, i, _apply(arguments, load(arguments, source, i), p))
        if bits:
            # A loop of its own, over what is in the first cache now: both in one take longer than one after the other.
            for i in range(0, count, LANES):
                mask = _inside(load(arguments, source, i), low, high, open_low, open_high)
                set_bits_at(bits, start + i, mask, count - i)
        _settle(arguments, 3, start, count, room_y)
        start += count


def window_bits(arguments):
    first, last = _share(arguments)
    bits, open_low, open_high = word(arguments, 3), word(arguments, 4), word(arguments, 5)
    low, high = real(arguments, 6), real(arguments, 7)
    room = scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        source = _source(arguments, 1, start, count, room)
        for i in range(0, count, LANES):
            mask = _inside(load(arguments, source, i), low, high, open_low, open_high)
            set_bits_at(bits, start + i, mask, count - i)
        start += count


def codes(arguments):
    first, last = _share(arguments)
    base, plane_bytes, planes, even = word(arguments, 3), word(arguments, 4), word(arguments, 5), word(arguments, 6)
    room = scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        source = _source(arguments, 1, start, count, room)
        for i in range(0, count, LANES):
            z = load(arguments, source, i)
            if even:
                z = fabs(z)
            for plane in range(planes):
                # Boundaries ascend, so the number passed has this bit set between each odd multiple of 2^plane and the
                # even one after it. Missing boundaries are infinite.
                step = 1 << plane
                mask = z != z
                mask = mask & ~mask
                for passed in range(step, 1 << planes, 2 * step):
                    mask = mask | ((z > real(arguments, 6 + passed)) & ~(z > real(arguments, 6 + passed + step)))
                set_bits_at(base + plane * plane_bytes, start + i, mask, count - i)
        start += count


def gate(arguments):
    first, last = _share(arguments)
    bits = word(arguments, 5)
    inside, outside = real(arguments, 6), real(arguments, 7)
    room_g, room_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        source = _source(arguments, 1, start, count, room_g)
        target = _target(arguments, 3, start, count, room_s)
        for i in range(0, count, LANES):
            g = load(arguments, source, i)
            # A slope of 0 sends 0 even of inf.
            passed = g * inside if inside != 0 else splat(arguments, 0)
            blocked = g * outside if outside != 0 else splat(arguments, 0)
            store(arguments, target, i, where(bits_at(bits, start + i, count - i), passed, blocked))
        _settle(arguments, 3, start, count, room_s)
        start += count


@_inline
def _level(arguments, base, plane_bytes, i, count, place, planes):
    """The value that the bits of one row of elements choose: a tree of choices, the lowest bit first."""
    bit0 = bits_at(base, i, count)
    value = where(bit0, real(arguments, place + 1), real(arguments, place))
    if planes > 1:
        bit1 = bits_at(base + plane_bytes, i, count)
        value = where(bit1, where(bit0, real(arguments, place + 3), real(arguments, place + 2)), value)
    if planes > 2:
        bit1 = bits_at(base + plane_bytes, i, count)
        bit2 = bits_at(base + 2 * plane_bytes, i, count)
        value2 = where(bit0, real(arguments, place + 5), real(arguments, place + 4))
        value3 = where(bit0, real(arguments, place + 7), real(arguments, place + 6))
        value = where(bit2, where(bit1, value3, value2), value)
    if planes > 3:
        bit1 = bits_at(base + plane_bytes, i, count)
        bit2 = bits_at(base + 2 * plane_bytes, i, count)
        bit3 = bits_at(base + 3 * plane_bytes, i, count)
        value4 = where(bit0, real(arguments, place + 9), real(arguments, place + 8))
        value5 = where(bit0, real(arguments, place + 11), real(arguments, place + 10))
        value6 = where(bit0, real(arguments, place + 13), real(arguments, place + 12))
        value7 = where(bit0, real(arguments, place + 15), real(arguments, place + 14))
        value = where(bit3, where(bit2, where(bit1, value7, value6), where(bit1, value5, value4)), value)
    return value


def levels(arguments):
    first, last = _share(arguments)
    base, plane_bytes, planes = word(arguments, 5), word(arguments, 6), word(arguments, 7)
    room_g, room_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        source = _source(arguments, 1, start, count, room_g)
        target = _target(arguments, 3, start, count, room_s)
        for i in range(0, count, LANES):
            value = _level(arguments, base, plane_bytes, start + i, count - i, 8, planes)
            sent = load(arguments, source, i) * value
            store(arguments, target, i, where(value == 0, 0.0, sent))
        _settle(arguments, 3, start, count, room_s)
        start += count


def slope(arguments):
    first, last = _share(arguments)
    p = _parameters(arguments, 7)
    room_g, room_v, room_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        source = _source(arguments, 1, start, count, room_g)
        value = _source(arguments, 3, start, count, room_v)
        target = _target(arguments, 5, start, count, room_s)
        for i in range(0, count, LANES):
            sent = load(arguments, source, i) * _apply(arguments, load(arguments, value, i), p)
            store(arguments, target, i, sent)
        _settle(arguments, 5, start, count, room_s)
        start += count


def _jammed(arguments, g, slope):
    """Feedback with its slope, or its sign with a magnitude."""


@overload(_jammed, inline="always")
def _jammed_by(arguments, g, slope):
    if arguments.function == "magnitude":
        # 0 stays 0 and NaN stays NaN.
        return lambda arguments, g, slope: where(g > 0, slope, where(g < 0, -slope, g * 0.0 * slope))
    return lambda arguments, g, slope: g * slope


@_inline
def _draw(arguments, room, start, count, stream, draw, key0, key1):
    """The random numbers of a chunk, a few more than it has elements."""
    for i in range(0, count, 4 * LANES):
        fill_uniforms(arguments, room + i * number_size(arguments), start + i, stream, draw, key0, key1)


@_inline
def _jam_row(arguments, source, numbers, at, low, span, ceiling):
    slope = number_at(arguments, numbers, at) * span + low
    return _jammed(arguments, load(arguments, source, at), where(slope > ceiling, ceiling, slope))


def jam(arguments):
    first, last = _share(arguments)
    bits, stream, key0, key1 = word(arguments, 5), word(arguments, 6), word(arguments, 7), word(arguments, 8)
    low, span, ceiling = real(arguments, 9), real(arguments, 10), real(arguments, 11)
    room_g, room_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    numbers = scratch_numbers(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        source = _source(arguments, 1, start, count, room_g)
        target = _target(arguments, 3, start, count, room_s)
        _draw(arguments, numbers, start, count, stream, 0, key0, key1)
        if bits:
            for i in range(0, count, LANES):
                sent = _jam_row(arguments, source, numbers, i, low, span, ceiling)
                store(arguments, target, i, where(bits_at(bits, start + i, count - i), sent, 0.0))
        else:
            for i in range(0, count, LANES):
                store(arguments, target, i, _jam_row(arguments, source, numbers, i, low, span, ceiling))
        _settle(arguments, 3, start, count, room_s)
        start += count


def uniform(arguments):
    first, last = _share(arguments)
    stream, draw, key0, key1 = word(arguments, 3), word(arguments, 4), word(arguments, 5), word(arguments, 6)
    room, numbers = scratch(arguments, CHUNK), scratch_numbers(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        target = _target(arguments, 1, start, count, room)
        _draw(arguments, numbers, start, count, stream, draw, key0, key1)
        for i in range(0, count, LANES):
            store(arguments, target, i, number_at(arguments, numbers, i))
        _settle(arguments, 1, start, count, room)
        start += count


def two_values(arguments):
    """In one thread, for it stops at the first element with a third value."""
    elements, address, bits, verdict = word(arguments, 0), word(arguments, 1), word(arguments, 2), word(arguments, 3)
    row = scratch(arguments, LANES)
    low = pattern_at(arguments, address, 0)
    high = low
    for i in range(0, elements, LANES):
        source, at = address, i
        if i + LANES > elements:
            source, at = row, 0
            for lane in range(LANES):
                copy(arguments, row, lane, address, i + lane if i + lane < elements else 0)
        others = ~matches(arguments, source, at, low)
        if any_lane(others):
            if high == low:
                for lane in range(LANES - 1, -1, -1):
                    pattern = pattern_at(arguments, source, at + lane)
                    high = pattern if pattern != low else high
            if any_lane(others & ~matches(arguments, source, at, high)):
                return
        set_bits_at(bits, i, others, elements - i)
    set_word(verdict, 0, 1)
    set_word(verdict, 1, low)
    set_word(verdict, 2, high)


def restore(arguments):
    first, last = _share(arguments)
    bits, low, high = word(arguments, 3), word(arguments, 4), word(arguments, 5)
    room = scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = _count(start, last)
        target = _target(arguments, 1, start, count, room)
        for i in range(0, count, LANES):
            store_patterns(arguments, target, i, bits_at(bits, start + i, count - i), high, low)
        _settle(arguments, 1, start, count, room)
        start += count
