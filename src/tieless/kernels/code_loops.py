"""The loops of slopes of a few bits: which of up to 16 regions an element lies in, and the value of that region.

A code is found by halves, its highest bit first, each of which chooses the boundary that the next is compared with. So 15
boundaries take 4 comparisons and 11 choices, where 15 comparisons would wait for the one unit that compares.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba has no types: what is compiled cannot be checked as Python)

from __future__ import annotations

from tieless.kernels.chunks import (
    BLOCK,
    CHUNK,
    apply,
    bits_for,
    bits_of,
    count_at,
    inline,
    parameters,
    source_of,
    target_of,
    thread_range,
    write_back,
    write_bits_back,
)
from tieless.kernels.lanes import LANES, bits_at, fabs, fetch, load, real, scratch, set_bits_at, store, where, word

AHEAD = 512
"""How many elements ahead a loop that computes much asks for memory: 2 to 8% less time where that is the third cache."""


@inline
def _sixteen(arguments, place):
    """As many numbers, from a place on."""
    return (
        real(arguments, place),
        real(arguments, place + 1),
        real(arguments, place + 2),
        real(arguments, place + 3),
        real(arguments, place + 4),
        real(arguments, place + 5),
        real(arguments, place + 6),
        real(arguments, place + 7),
        real(arguments, place + 8),
        real(arguments, place + 9),
        real(arguments, place + 10),
        real(arguments, place + 11),
        real(arguments, place + 12),
        real(arguments, place + 13),
        real(arguments, place + 14),
        real(arguments, place + 15),
    )


@inline
def _code1(z, c, first, _plane, i):
    set_bits_at(first, i, z > c[0])


@inline
def _code2(z, c, first, plane, i):
    bit1 = z > c[1]
    set_bits_at(first, i, z > where(bit1, c[2], c[0]))
    set_bits_at(first + plane, i, bit1)


@inline
def _code3(z, c, first, plane, i):
    bit2 = z > c[3]
    bit1 = z > where(bit2, c[5], c[1])
    set_bits_at(first, i, z > where(bit2, where(bit1, c[6], c[4]), where(bit1, c[2], c[0])))
    set_bits_at(first + plane, i, bit1)
    set_bits_at(first + 2 * plane, i, bit2)


@inline
def _code4(z, c, first, plane, i):
    bit3 = z > c[7]
    bit2 = z > where(bit3, c[11], c[3])
    bit1 = z > where(bit3, where(bit2, c[13], c[9]), where(bit2, c[5], c[1]))
    lower = where(bit2, where(bit1, c[6], c[4]), where(bit1, c[2], c[0]))
    upper = where(bit2, where(bit1, c[14], c[12]), where(bit1, c[10], c[8]))
    set_bits_at(first, i, z > where(bit3, upper, lower))
    set_bits_at(first + plane, i, bit1)
    set_bits_at(first + 2 * plane, i, bit2)
    set_bits_at(first + 3 * plane, i, bit3)


@inline
def _write_codes_back(first, plane, planes, start, count, buffer):
    for row in range(planes):
        write_bits_back(first + row * plane, start, count, buffer + 8 * row)


@inline
def _codes_of(code, arguments, source, rows, apart, count, even, c):
    for i in range(0, count, LANES):
        z = load(arguments, source, i)
        code(fabs(z) if even else z, c, rows, apart, i)


@inline
def _activated(code, arguments, source, target, rows, apart, count, even, c, p):
    for i in range(0, count, LANES):
        z = load(arguments, source, i)
        fetch(arguments, source, i + AHEAD, 0)
        fetch(arguments, target, i + AHEAD, 1)
        store(arguments, target, i, apply(arguments, z, p))
        code(fabs(z) if even else z, c, rows, apart, i)


def codes(arguments):
    first, last = thread_range(arguments)
    base, plane, planes, even = (
        word(arguments, 3),
        word(arguments, 4),
        word(arguments, 5),
        word(arguments, 6),
    )
    c = _sixteen(arguments, 7)
    scratch_z = scratch(arguments, CHUNK)
    scratch_bits = scratch(arguments, BLOCK)
    start = first
    while start < last:
        count = count_at(start, last)
        source = source_of(arguments, 1, start, count, scratch_z)
        rows = bits_for(base, start, count, scratch_bits)
        apart = plane if count >= BLOCK else 8
        if planes == 1:
            _codes_of(_code1, arguments, source, rows, apart, count, even, c)
        elif planes == 2:
            _codes_of(_code2, arguments, source, rows, apart, count, even, c)
        elif planes == 3:
            _codes_of(_code3, arguments, source, rows, apart, count, even, c)
        else:
            _codes_of(_code4, arguments, source, rows, apart, count, even, c)
        _write_codes_back(base, plane, planes, start, count, scratch_bits)
        start += count


def activate_codes(arguments):
    first, last = thread_range(arguments)
    p = parameters(arguments, 25)
    base, plane, planes, even = (
        word(arguments, 5),
        word(arguments, 6),
        word(arguments, 7),
        word(arguments, 8),
    )
    c = _sixteen(arguments, 9)
    scratch_z, scratch_y = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    scratch_bits = scratch(arguments, BLOCK)
    start = first
    while start < last:
        count = count_at(start, last)
        source = source_of(arguments, 1, start, count, scratch_z)
        target = target_of(arguments, 3, start, count, scratch_y)
        rows = bits_for(base, start, count, scratch_bits)
        apart = plane if count >= BLOCK else 8
        if planes == 1:
            _activated(_code1, arguments, source, target, rows, apart, count, even, c, p)
        elif planes == 2:
            _activated(_code2, arguments, source, target, rows, apart, count, even, c, p)
        elif planes == 3:
            _activated(_code3, arguments, source, target, rows, apart, count, even, c, p)
        else:
            _activated(_code4, arguments, source, target, rows, apart, count, even, c, p)
        _write_codes_back(base, plane, planes, start, count, scratch_bits)
        write_back(arguments, 3, start, count, scratch_y)
        start += count


@inline
def _send(arguments, source, target, i, value):
    # A slope of 0 sends 0 even of inf.
    sent = load(arguments, source, i) * value
    store(arguments, target, i, where(value == 0, 0.0, sent))


@inline
def _choose4(bit0, bit1, v, at):
    return where(bit1, where(bit0, v[at + 3], v[at + 2]), where(bit0, v[at + 1], v[at]))


@inline
def _choose8(bit0, bit1, bit2, v, at):
    return where(bit2, _choose4(bit0, bit1, v, at + 4), _choose4(bit0, bit1, v, at))


def levels(arguments):
    first, last = thread_range(arguments)
    base, plane, planes = word(arguments, 5), word(arguments, 6), word(arguments, 7)
    v = _sixteen(arguments, 8)
    scratch_g, scratch_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    scratch_bits = scratch(arguments, BLOCK)
    start = first
    while start < last:
        count = count_at(start, last)
        source = source_of(arguments, 1, start, count, scratch_g)
        target = target_of(arguments, 3, start, count, scratch_s)
        rows = bits_of(base, start, count, scratch_bits)
        for row in range(1, planes):
            bits_of(base + row * plane, start, count, scratch_bits + 8 * row)
        apart = plane if count >= BLOCK else 8
        if planes == 1:
            for i in range(0, count, LANES):
                _send(arguments, source, target, i, where(bits_at(rows, i), v[1], v[0]))
        elif planes == 2:
            for i in range(0, count, LANES):
                value = _choose4(bits_at(rows, i), bits_at(rows + apart, i), v, 0)
                _send(arguments, source, target, i, value)
        elif planes == 3:
            for i in range(0, count, LANES):
                bit0, bit1, bit2 = bits_at(rows, i), bits_at(rows + apart, i), bits_at(rows + 2 * apart, i)
                _send(arguments, source, target, i, _choose8(bit0, bit1, bit2, v, 0))
        else:
            for i in range(0, count, LANES):
                bit0, bit1, bit2 = bits_at(rows, i), bits_at(rows + apart, i), bits_at(rows + 2 * apart, i)
                lower, upper = _choose8(bit0, bit1, bit2, v, 0), _choose8(bit0, bit1, bit2, v, 8)
                _send(arguments, source, target, i, where(bits_at(rows + 3 * apart, i), upper, lower))
        write_back(arguments, 3, start, count, scratch_s)
        start += count
