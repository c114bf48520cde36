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

from numba.extending import overload

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
from tieless.kernels.lanes import (
    LANES,
    any_lane,
    bits_at,
    copy,
    load,
    load_numbers,
    matches,
    number_scratch,
    pattern_at,
    real,
    scratch,
    set_bits_at,
    set_word,
    splat,
    spread_uniforms,
    store,
    store_patterns,
    uniforms,
    where,
    word,
)

CROSSED = 1 << 14
"""How many random numbers are drawn at a time, at most, for elements that lie in memory in another order."""
_ROOM = CROSSED + LANES
"""With those of channels that do not exist."""


@inline
def _inside(z, low, high, open_low, open_high):
    above = z > low if open_low else z >= low
    below = z < high if open_high else z <= high
    return above & below


def activate(arguments):
    first, last = thread_range(arguments)
    p = parameters(arguments, 10)
    bits, open_low, open_high = word(arguments, 5), word(arguments, 6), word(arguments, 7)
    low, high = real(arguments, 8), real(arguments, 9)
    scratch_z, scratch_y = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    scratch_bits = scratch(arguments, BLOCK)
    start = first
    while start < last:
        count = count_at(start, last)
        source = source_of(arguments, 1, start, count, scratch_z)
        target = target_of(arguments, 3, start, count, scratch_y)
        for i in range(0, count, LANES):
            store(arguments, target, i, apply(arguments, load(arguments, source, i), p))
        if bits:
            # A loop of its own, over what is in the first cache now: both in one take longer than one after the other.
            rows = bits_for(bits, start, count, scratch_bits)
            for i in range(0, count, LANES):
                set_bits_at(rows, i, _inside(load(arguments, source, i), low, high, open_low, open_high))
            write_bits_back(bits, start, count, scratch_bits)
        write_back(arguments, 3, start, count, scratch_y)
        start += count


def window_bits(arguments):
    first, last = thread_range(arguments)
    bits, open_low, open_high = word(arguments, 3), word(arguments, 4), word(arguments, 5)
    low, high = real(arguments, 6), real(arguments, 7)
    room, scratch_bits = scratch(arguments, CHUNK), scratch(arguments, BLOCK)
    start = first
    while start < last:
        count = count_at(start, last)
        source = source_of(arguments, 1, start, count, room)
        rows = bits_for(bits, start, count, scratch_bits)
        for i in range(0, count, LANES):
            set_bits_at(rows, i, _inside(load(arguments, source, i), low, high, open_low, open_high))
        write_bits_back(bits, start, count, scratch_bits)
        start += count


def gate(arguments):
    first, last = thread_range(arguments)
    bits = word(arguments, 5)
    inside, outside = real(arguments, 6), real(arguments, 7)
    scratch_g, scratch_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    scratch_bits = scratch(arguments, BLOCK)
    start = first
    while start < last:
        count = count_at(start, last)
        source = source_of(arguments, 1, start, count, scratch_g)
        target = target_of(arguments, 3, start, count, scratch_s)
        rows = bits_of(bits, start, count, scratch_bits)
        for i in range(0, count, LANES):
            g = load(arguments, source, i)
            # A slope of 0 sends 0 even of inf.
            passed = g * inside if inside != 0 else splat(arguments, 0)
            blocked = g * outside if outside != 0 else splat(arguments, 0)
            store(arguments, target, i, where(bits_at(rows, i), passed, blocked))
        write_back(arguments, 3, start, count, scratch_s)
        start += count


def slope(arguments):
    first, last = thread_range(arguments)
    p = parameters(arguments, 7)
    scratch_g, scratch_v, scratch_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = count_at(start, last)
        source = source_of(arguments, 1, start, count, scratch_g)
        value = source_of(arguments, 3, start, count, scratch_v)
        target = target_of(arguments, 5, start, count, scratch_s)
        for i in range(0, count, LANES):
            sent = load(arguments, source, i) * apply(arguments, load(arguments, value, i), p)
            store(arguments, target, i, sent)
        write_back(arguments, 5, start, count, scratch_s)
        start += count


def _jammed(arguments, g, number, low, span, ceiling):
    """Feedback times its slope, or its sign times that."""


@overload(_jammed, inline="always")
def _jammed_by(arguments, g, number, low, span, ceiling):
    # Uniform on [0, 1) as it comes, unless it was asked for otherwise.
    slope_of = _as_it_is if arguments.function.startswith("unit") else _scaled
    signed = _with_sign if arguments.function.endswith("magnitude") else _product
    return lambda arguments, g, number, low, span, ceiling: signed(g, slope_of(number, low, span, ceiling))


@inline
def _scaled(number, low, span, ceiling):
    slope = number * span + low
    return where(slope > ceiling, ceiling, slope)


@inline
def _as_it_is(number, low, span, ceiling):
    return number


@inline
def _product(g, slope):
    return g * slope


@inline
def _with_sign(g, slope):
    # 0 stays 0 and NaN stays NaN.
    return where(g > 0, slope, where(g < 0, -slope, g * 0.0 * slope))


@inline
def _jam_row(arguments, source, target, at, number, low, span, ceiling):
    store(arguments, target, at, _jammed(arguments, load(arguments, source, at), number, low, span, ceiling))


@inline
def _jam_inside(arguments, source, target, at, number, low, span, ceiling, rows):
    sent = _jammed(arguments, load(arguments, source, at), number, low, span, ceiling)
    store(arguments, target, at, where(bits_at(rows, at), sent, 0.0))


@inline
def _numbers_in_memory_order(arguments, room, start, count, channels, quarter, stream, draw, key0, key1):
    """The numbers of the elements from ``start`` on, where the channels of a position lie side by side.

    Their order as they are drawn has the positions of a channel side by side: ``4 * quarter`` of them. So the four numbers
    of a counter belong to four positions of a channel, and the counters of the channels are ``quarter`` apart.
    """
    group = start // (4 * channels)
    for place in range(0, count, 8 * channels):
        after = group + 1
        first = group // quarter * channels * quarter + group % quarter
        second = after // quarter * channels * quarter + after % quarter
        # Eight channels at a time, the last ones first: the numbers of those that do not exist are written where a later
        # position has its first channels, and are written over.
        channel = (channels - 1) // 8 * 8
        while channel >= 0:
            places = place + channel, place + 4 * channels + channel
            blocks = first + channel * quarter, second + channel * quarter
            spread_uniforms(arguments, room, places, channels, blocks, quarter, stream, draw, key0, key1)
            channel -= 8
        group += 2


def jam(arguments):
    if word(arguments, 9):
        _jam_crossed(arguments)
    else:
        _jam_in_order(arguments)


@inline
def _jam_in_order(arguments):
    first, last = thread_range(arguments)
    bits, stream, key0, key1 = word(arguments, 5), word(arguments, 6), word(arguments, 7), word(arguments, 8)
    low, span, ceiling = real(arguments, 12), real(arguments, 13), real(arguments, 14)
    scratch_g, scratch_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    scratch_bits = scratch(arguments, BLOCK)
    start = first
    while start < last:
        count = count_at(start, last)
        source = source_of(arguments, 1, start, count, scratch_g)
        target = target_of(arguments, 3, start, count, scratch_s)
        if bits:
            rows = bits_of(bits, start, count, scratch_bits)
            for i in range(0, count, BLOCK):
                n0, n1, n2, n3 = uniforms(arguments, start + i, stream, 0, key0, key1)
                _jam_inside(arguments, source, target, i, n0, low, span, ceiling, rows)
                _jam_inside(arguments, source, target, i + LANES, n1, low, span, ceiling, rows)
                _jam_inside(arguments, source, target, i + 2 * LANES, n2, low, span, ceiling, rows)
                _jam_inside(arguments, source, target, i + 3 * LANES, n3, low, span, ceiling, rows)
        else:
            for i in range(0, count, BLOCK):
                n0, n1, n2, n3 = uniforms(arguments, start + i, stream, 0, key0, key1)
                _jam_row(arguments, source, target, i, n0, low, span, ceiling)
                _jam_row(arguments, source, target, i + LANES, n1, low, span, ceiling)
                _jam_row(arguments, source, target, i + 2 * LANES, n2, low, span, ceiling)
                _jam_row(arguments, source, target, i + 3 * LANES, n3, low, span, ceiling)
        write_back(arguments, 3, start, count, scratch_s)
        start += count


@inline
def _jam_crossed(arguments):
    channels, quarter, unit = word(arguments, 9), word(arguments, 10), word(arguments, 11)
    first, last = thread_range(arguments, unit)
    bits, stream, key0, key1 = word(arguments, 5), word(arguments, 6), word(arguments, 7), word(arguments, 8)
    low, span, ceiling = real(arguments, 12), real(arguments, 13), real(arguments, 14)
    scratch_g, scratch_s = scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    scratch_bits, numbers = scratch(arguments, BLOCK), number_scratch(arguments, _ROOM)
    begin = first
    while begin < last:
        end = min(begin + unit, last)
        _numbers_in_memory_order(arguments, numbers, begin, end - begin, channels, quarter, stream, 0, key0, key1)
        start = begin
        while start < end:
            count = count_at(start, end)
            source = source_of(arguments, 1, start, count, scratch_g)
            target = target_of(arguments, 3, start, count, scratch_s)
            if bits:
                rows = bits_of(bits, start, count, scratch_bits)
                for i in range(0, count, LANES):
                    number = load_numbers(arguments, numbers, start - begin + i)
                    _jam_inside(arguments, source, target, i, number, low, span, ceiling, rows)
            else:
                for i in range(0, count, LANES):
                    number = load_numbers(arguments, numbers, start - begin + i)
                    _jam_row(arguments, source, target, i, number, low, span, ceiling)
            write_back(arguments, 3, start, count, scratch_s)
            start += count
        begin = end


def uniform(arguments):
    if word(arguments, 7):
        _uniform_crossed(arguments)
    else:
        _uniform_in_order(arguments)


@inline
def _uniform_in_order(arguments):
    first, last = thread_range(arguments)
    stream, draw, key0, key1 = word(arguments, 3), word(arguments, 4), word(arguments, 5), word(arguments, 6)
    room = scratch(arguments, CHUNK)
    start = first
    while start < last:
        count = count_at(start, last)
        target = target_of(arguments, 1, start, count, room)
        for i in range(0, count, BLOCK):
            n0, n1, n2, n3 = uniforms(arguments, start + i, stream, draw, key0, key1)
            store(arguments, target, i, n0)
            store(arguments, target, i + LANES, n1)
            store(arguments, target, i + 2 * LANES, n2)
            store(arguments, target, i + 3 * LANES, n3)
        write_back(arguments, 1, start, count, room)
        start += count


@inline
def _uniform_crossed(arguments):
    channels, quarter, unit = word(arguments, 7), word(arguments, 8), word(arguments, 9)
    first, last = thread_range(arguments, unit)
    stream, draw, key0, key1 = word(arguments, 3), word(arguments, 4), word(arguments, 5), word(arguments, 6)
    room, numbers = scratch(arguments, CHUNK), number_scratch(arguments, _ROOM)
    begin = first
    while begin < last:
        end = min(begin + unit, last)
        _numbers_in_memory_order(arguments, numbers, begin, end - begin, channels, quarter, stream, draw, key0, key1)
        start = begin
        while start < end:
            count = count_at(start, end)
            target = target_of(arguments, 1, start, count, room)
            for i in range(0, count, LANES):
                store(arguments, target, i, load_numbers(arguments, numbers, start - begin + i))
            write_back(arguments, 1, start, count, room)
            start += count
        begin = end


def two_values(arguments):
    """In one thread, for it stops at the first element with a third value."""
    elements, address, bits, verdict = word(arguments, 0), word(arguments, 1), word(arguments, 2), word(arguments, 3)
    row, row_bits = scratch(arguments, LANES), scratch(arguments, BLOCK)
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
        if source == address:
            set_bits_at(bits, i, others)
        else:
            set_bits_at(row_bits, 0, others)
            write_bits_back(bits, i, elements - i, row_bits)
    set_word(verdict, 0, 1)
    set_word(verdict, 1, low)
    set_word(verdict, 2, high)


def restore(arguments):
    first, last = thread_range(arguments)
    bits, low, high = word(arguments, 3), word(arguments, 4), word(arguments, 5)
    room, scratch_bits = scratch(arguments, CHUNK), scratch(arguments, BLOCK)
    start = first
    while start < last:
        count = count_at(start, last)
        target = target_of(arguments, 1, start, count, room)
        rows = bits_of(bits, start, count, scratch_bits)
        for i in range(0, count, LANES):
            store_patterns(arguments, target, i, bits_at(rows, i), high, low)
        write_back(arguments, 1, start, count, room)
        start += count
