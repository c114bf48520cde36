"""Common parts of the loops of the CPU kernels: a thread's range, a chunk at a time, wherever its elements lie."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba has no types: what is compiled cannot be checked as Python)

from __future__ import annotations

import llvmlite.binding
from numba import njit, types
from numba.extending import overload

from tieless.kernels.elementwise import FORWARDS, SLOPES
from tieless.kernels.lanes import byte_at, copy, element_size, elements_of, real, set_byte, word, word_at
from tieless.kernels.threads import runtime

CHUNK = 1024
"""Elements at a time: their buffers fit the first cache, and a chunk is whole bytes of bits and whole Philox blocks."""

BLOCK = 64
"""Elements that are worked on where they lie: whole rows of lanes, Philox blocks and words of bits. The last few elements
go through a buffer, so that the arithmetic sees whole blocks only."""

inline = njit(inline="always", error_model="numpy")
_jit = njit(error_model="numpy")

_thread_number = types.ExternalFunction("tieless_thread_number", types.int32())
_thread_count = types.ExternalFunction("tieless_thread_count", types.int32())
llvmlite.binding.add_symbol("tieless_thread_number", runtime().thread_number)
llvmlite.binding.add_symbol("tieless_thread_count", runtime().thread_count)


@inline
def thread_range(arguments, unit=CHUNK):
    """First element of this thread's range, and the one after its last. All ranges but the last are whole units."""
    elements = word(arguments, 0)
    units = (elements + unit - 1) // unit
    number, count = _thread_number(), _thread_count()
    return units * number // count * unit, min(elements, units * (number + 1) // count * unit)


@inline
def count_at(start, stop):
    """Number of elements of the chunk at ``start``: whole blocks, or the last few."""
    count = min(CHUNK, stop - start)
    return count - count % BLOCK if count >= BLOCK else count


@_jit
def _move(elements, address, geometry, start, count, buffer, inward):
    """``count`` elements of an operand from ``start`` on, into the buffer or out of it.

    It knows the dtype alone: with the place of the operand or the name of the kernel among its arguments, it would be
    compiled anew for each, which took half the time that it takes to compile a kernel.
    """
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
                copy(elements, buffer, done + i, address, offset + i * stride)
        else:
            for i in range(run):
                copy(elements, address, offset + i * stride, buffer, done + i)
        done += run


@inline
def _in_place(arguments, place, count):
    return (word(arguments, place + 1) == 0) & (count >= BLOCK)


@inline
def source_of(arguments, place, start, count, buffer):
    """Address at which the chunk of an operand can be read."""
    if _in_place(arguments, place, count):
        return word(arguments, place) + start * element_size(arguments)
    _move(elements_of(arguments), word(arguments, place), word(arguments, place + 1), start, count, buffer, True)
    return buffer


@inline
def target_of(arguments, place, start, count, buffer):
    """Address at which the chunk of a result can be written, before ``write_back``."""
    return word(arguments, place) + start * element_size(arguments) if _in_place(arguments, place, count) else buffer


@inline
def write_back(arguments, place, start, count, buffer):
    """Copy the chunk of a result from the buffer to its place, if it was written to the buffer."""
    if not _in_place(arguments, place, count):
        _move(elements_of(arguments), word(arguments, place), word(arguments, place + 1), start, count, buffer, False)


@inline
def bits_of(bits, start, count, buffer):
    """Address at which the bits of the chunk can be read, as whole rows."""
    if count >= BLOCK:
        return bits + start // 8
    for place in range((count + 7) // 8):
        set_byte(buffer, place, byte_at(bits, start // 8 + place))
    return buffer


@inline
def bits_for(bits, start, count, buffer):
    """Address at which the bits of the chunk can be written, as whole rows, before ``write_bits_back``."""
    return bits + start // 8 if count >= BLOCK else buffer


@inline
def write_bits_back(bits, start, count, buffer):
    """Copy the bits of the chunk from the buffer to their place, if they were written to the buffer. Those of no element become 0."""
    if count < BLOCK:
        for place in range((count + 7) // 8):
            existing = (1 << min(8, count - 8 * place)) - 1
            set_byte(bits, start // 8 + place, byte_at(buffer, place) & existing)


def apply(arguments, z, p):
    """The function that the type of the arguments names."""


@overload(apply, inline="always")
def _chosen(arguments, z, p):
    body = inline({**FORWARDS, **SLOPES}[arguments.function])
    return lambda arguments, z, p: body(z, p)


@inline
def parameters(arguments, place):
    """The five numbers of an elementwise function."""
    return (
        real(arguments, place),
        real(arguments, place + 1),
        real(arguments, place + 2),
        real(arguments, place + 3),
        real(arguments, place + 4),
    )
