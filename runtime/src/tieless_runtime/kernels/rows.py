"""Loops over rows of channels, which lie beside each other in memory: gathering, thresholds, pools and lines."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# ruff: noqa: C901  (loops of a kernel are longest where they are fastest)

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _move(width, *, copy):
    """Intrinsic that copies ``count`` numbers of ``width`` bits, or sets them to 0, by addresses: no index is checked."""
    kind, size = ir.IntType(width), ir.Constant(ir.IntType(64), width // 8)

    @intrinsic
    def move(_context, target, source, count):
        def lower(_context, builder, _sig, args):
            def at(address, index):
                return builder.inttoptr(builder.add(address, builder.mul(index, size)), kind.as_pointer())

            with cgutils.for_range(builder, args[2]) as loop:
                found = builder.load(at(args[1], loop.index)) if copy else ir.Constant(kind, 0)
                builder.store(found, at(args[0], loop.index))
            return ir.Constant(ir.IntType(64), 0)

        return types.int64(types.int64, types.int64, types.int64), lower

    return move


_copy4, _copy8, _clear4, _clear8 = (
    _move(32, copy=True),
    _move(64, copy=True),
    _move(32, copy=False),
    _move(64, copy=False),
)


@numba.njit(nogil=True, cache=True)
def _copy(target, source, count, size):
    """Copy ``count`` words of ``size`` bytes, and return the address behind them."""
    if size == 8:
        _copy8(target, source, count)
    else:
        _copy4(target, source, count)
    return target + size * count


@numba.njit(nogil=True, cache=True)
def _clear(target, count, size):
    """Clear ``count`` words of ``size`` bytes, and return the address behind them."""
    if size == 8:
        _clear8(target, target, count)
    else:
        _clear4(target, target, count)
    return target + size * count


@numba.njit(nogil=True, cache=True)
def gather(x, kernel, stride, padding, dilation, places, start, out):
    """Windows as rows: of ``x (n, height, width, channels)``, those of the output places ``start`` and on.

    ``out`` has a row for each: the channels of the first place of the window, of the next, and so on; 0 outside. Both have
    numbers of the same 4 or 8 bytes.
    """
    _, height, width, channels = x.shape
    size = x.itemsize
    # Neighbours in a row of the image lie beside each other in memory, if the window has no gaps.
    run = kernel[1] if dilation[1] == 1 else 1
    image, left = divmod(start, places[0] * places[1])
    top, side = divmod(left, places[1])
    source, target = x.ctypes.data, out.ctypes.data
    for _ in range(out.shape[0]):
        for i in range(kernel[0]):
            h = top * stride[0] - padding[0] + i * dilation[0]
            line_ = source + (image * height + h) * width * channels * size
            for j in range(0, kernel[1], run):
                w = side * stride[1] - padding[1] + j * dilation[1]
                before = min(run, max(0, -w)) if 0 <= h < height else run
                inside = max(0, min(run - before, width - w - before))
                after = run - before - inside
                if before > 0:
                    target = _clear(target, before * channels, size)
                target = _copy(target, line_ + (w + before) * channels * size, inside * channels, size)
                if after > 0:
                    target = _clear(target, after * channels, size)
        side += 1
        if side == places[1]:
            side = 0
            top += 1
            if top == places[0]:
                top = 0
                image += 1


def _compare(number):
    """Intrinsic that compares 16 numbers with edges, in the direction of each, and gives the bits."""
    kind = ir.FloatType() if number == types.float32 else ir.IntType(32)
    vector = ir.VectorType(kind, 16)

    @intrinsic
    def compare(_context, numbers, edges, up):
        def lower(_context, builder, _sig, args):
            def load(address):
                found = builder.load(builder.inttoptr(address, vector.as_pointer()))
                found.align = 4
                return found

            def bits(sign):
                compared = builder.fcmp_ordered if number == types.float32 else builder.icmp_signed
                return builder.bitcast(compared(sign, load(args[0]), load(args[1])), ir.IntType(16))

            rising = builder.trunc(args[2], ir.IntType(16))
            met = builder.or_(builder.and_(bits(">="), rising), builder.and_(bits("<="), builder.not_(rising)))
            return builder.zext(met, ir.IntType(64))

        return types.uint64(types.int64, types.int64, types.int64), lower

    return compare


_compare_floats, _compare_integers = _compare(types.float32), _compare(types.int32)


@numba.njit(nogil=True, cache=True)
def one_bit(x, edges, up, floats, out):
    """Bit of each number of ``x (rows, channels)`` that meets its edge, ``out (rows, words)``; channels in sixteens.

    ``up`` has 16 bits for as many channels: 1 where numbers from the edge up meet it, 0 where those down from it do.
    """
    count, channels = x.shape
    for row in range(count):
        for word in range(out.shape[1]):
            bits = np.uint64(0)
            for part in range(4 * word, min(4 * word + 4, channels // 16)):
                numbers, edge = x.ctypes.data + 4 * (row * channels + 16 * part), edges.ctypes.data + 64 * part
                met = _compare_floats(numbers, edge, up[part]) if floats else _compare_integers(numbers, edge, up[part])
                bits |= met << np.uint64(16 * (part - 4 * word))
            out[row, word] = bits


@numba.njit(nogil=True, cache=True)
def threshold(x, thresholds, direction, out):
    """Codes of ``x (rows, channels)`` as planes of words, ``out (planes, rows, words)``."""
    levels, channels = thresholds.shape
    planes = out.shape[0]
    codes = np.empty(64, np.uint64)
    for row in range(x.shape[0]):
        for word in range(out.shape[2]):
            first = 64 * word
            count = min(64, channels - first)
            codes[:] = 0
            for level in range(levels):
                for place in range(count):
                    number, edge = x[row, first + place], thresholds[level, first + place]
                    up, down = number >= edge, number <= edge
                    codes[place] += np.uint64(up if direction[first + place] > 0 else down)
            for plane in range(planes):
                bits = np.uint64(0)
                for place in range(count):
                    bits |= ((codes[place] >> np.uint64(plane)) & np.uint64(1)) << np.uint64(place)
                out[plane, row, word] = bits


@numba.njit(nogil=True, cache=True)
def pool_bits(x, kernel, stride, padding, dilation, least, out):
    """Largest bit of windows of words, ``(n, height, width, words)``: OR, or AND for the bits of ``least``."""
    _, height, width, words = x.shape
    for image in range(out.shape[0]):
        for top in range(out.shape[1]):
            for side in range(out.shape[2]):
                for word in range(words):
                    some, every = np.uint64(0), ~np.uint64(0)
                    for i in range(kernel[0]):
                        h = top * stride[0] - padding[0] + i * dilation[0]
                        for j in range(kernel[1]):
                            w = side * stride[1] - padding[1] + j * dilation[1]
                            if 0 <= h < height and 0 <= w < width:
                                some |= x[image, h, w, word]
                                every &= x[image, h, w, word]
                    out[image, top, side, word] = (some & ~least[word]) | (every & least[word])


@numba.njit(nogil=True, cache=True)
def pool(x, kernel, stride, padding, dilation, lowest, total, out):
    """Maximum over windows of ``x (n, height, width, channels)``, or the sum; places outside do not count."""
    _, height, width, channels = x.shape
    for image in range(out.shape[0]):
        for top in range(out.shape[1]):
            for side in range(out.shape[2]):
                found = out[image, top, side]
                found[:] = lowest
                for i in range(kernel[0]):
                    h = top * stride[0] - padding[0] + i * dilation[0]
                    for j in range(kernel[1]):
                        w = side * stride[1] - padding[1] + j * dilation[1]
                        if 0 <= h < height and 0 <= w < width:
                            seen = x[image, h, w]
                            if total:
                                for channel in range(channels):
                                    found[channel] += seen[channel]
                            else:
                                for channel in range(channels):
                                    found[channel] = max(found[channel], seen[channel])


@numba.njit(nogil=True, cache=True)
def line(x, factor, offset, other, slope, shift, has_line, has_other, has_slope, has_shift, out):
    """``y = factor x + offset``, plus ``other``, then ``slope y`` where it is negative, plus ``shift``; each if asked."""
    for row in range(x.shape[0]):
        y = out[row]
        channels = y.shape[0]
        if has_line:
            for c in range(channels):
                y[c] = np.float32(x[row, c]) * factor[c] + offset[c]
        else:
            for c in range(channels):
                y[c] = x[row, c]
        if has_other:
            for c in range(channels):
                y[c] += other[row, c]
        if has_slope:
            for c in range(channels):
                y[c] = y[c] if y[c] >= 0 else y[c] * slope[c]
        if has_shift:
            for c in range(channels):
                y[c] = y[c] * shift[0, c] + shift[1, c]


@numba.njit(nogil=True, cache=True)
def fraction(x, factor, offset, shift, low, high, below, out):
    """Integers ``y = clip((factor x + half) >> shift, low, high) + offset``, or ``x`` where it is not below ``below``."""
    half = np.int64(1) << np.int64(shift) >> np.int64(1)
    for row in range(x.shape[0]):
        for c in range(x.shape[1]):
            wide = np.int64(x[row, c])
            y = min(max((wide * factor[c] + half) >> shift, low), high) + offset[c]
            out[row, c] = y if wide < below else wide


def _spikes(*, whole):
    """Kernel of neurons that leak, integrate and fire, of integers or of floats."""

    @numba.njit(nogil=True, cache=True)
    def spikes(x, beta, shift, threshold, at_threshold, delay, clears, back, out):
        """Spikes ``out (times, rows, words)`` of ``x (times, rows, channels)``, or of one step that is seen each time.

        A spike takes ``back`` from the potential, or clears it and ``back`` is 0, at once or, with ``delay``, in the next step after the leak.
        """
        half = np.int64(1) << np.int64(shift) >> np.int64(1)
        v, fired = np.empty(64, x.dtype), np.empty(64, np.bool_)
        for row in range(x.shape[1]):
            for word in range(out.shape[2]):
                first = 64 * word
                count = min(64, x.shape[2] - first)
                v[:], fired[:] = 0, False
                for time in range(out.shape[0]):
                    current = x[min(time, x.shape[0] - 1), row, first : first + count]
                    for c in range(count):
                        y = (beta[first + c] * v[c] + half) >> shift if whole else beta[first + c] * v[c]
                        lower = back if clears else y - back
                        y = (lower if delay and fired[c] else y) + current[c]
                        fired[c] = y >= threshold if at_threshold else y > threshold
                        lower = back if clears else y - back
                        v[c] = lower if fired[c] and not delay else y
                    bits = np.uint64(0)
                    for c in range(count):
                        bits |= np.uint64(fired[c]) << np.uint64(c)
                    out[time, row, word] = bits

    return spikes


spikes_of_integers, spikes_of_floats = _spikes(whole=True), _spikes(whole=False)


@numba.njit(nogil=True, cache=True)
def numbers(x, low, step, channels, out):
    """Numbers that codes stand for: ``x (planes, rows, words)`` into ``out (rows, channels)``."""
    for row in range(out.shape[0]):
        for c in range(channels):
            code = np.uint64(0)
            for plane in range(x.shape[0]):
                code |= ((x[plane, row, c // 64] >> np.uint64(c % 64)) & np.uint64(1)) << np.uint64(plane)
            out[row, c] = low + step * np.int64(code)


@numba.njit(nogil=True, cache=True)
def codes(x, low, step, out):
    """Planes of words ``out (planes, rows, words)`` of numbers ``x (rows, channels)``: the opposite of ``numbers``."""
    for row in range(x.shape[0]):
        for plane in range(out.shape[0]):
            for word in range(out.shape[2]):
                bits = np.uint64(0)
                for place in range(min(64, x.shape[1] - 64 * word)):
                    code = np.uint64((x[row, 64 * word + place] - low) // step)
                    bits |= ((code >> np.uint64(plane)) & np.uint64(1)) << np.uint64(place)
                out[plane, row, word] = bits
