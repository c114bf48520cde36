"""Loops over rows of channels, which lie beside each other in memory: padding, thresholds, pools and lines."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# ruff: noqa: C901  (loops of a kernel are longest where they are fastest)

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@numba.njit(nogil=True, cache=True)
def pad(x, top, left, filler, out):
    """Lines ``x (images, height, line)`` inside of ``out``, with ``top`` lines and ``left`` numbers around them."""
    _, height, line_ = x.shape
    for image in range(out.shape[0]):
        for row in range(out.shape[1]):
            target = out[image, row]
            if top <= row < top + height:
                source = x[image, row - top]
                target[:left] = filler
                for place in range(line_):
                    target[left + place] = source[place]
                target[left + line_ :] = filler
            else:
                target[:] = filler


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
def one_bit(x, edges, up, floats, count, out):
    """Bit of each number of ``x (..., channels)`` that meets its edge, ``out (..., words)``, for ``count`` rows; channels in sixteens.

    ``up`` has 16 bits for as many channels: 1 where numbers from the edge up meet it, 0 where those down from it do.
    """
    channels, words = x.shape[-1], out.shape[-1]
    numbers, flat = x.ctypes.data, out.reshape(-1)
    for row in range(count):
        for word in range(words):
            bits = np.uint64(0)
            for part in range(4 * word, min(4 * word + 4, channels // 16)):
                edge = edges.ctypes.data + 64 * part
                met = _compare_floats(numbers, edge, up[part]) if floats else _compare_integers(numbers, edge, up[part])
                bits |= met << np.uint64(16 * (part - 4 * word))
                numbers += 64
            flat[row * words + word] = bits


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


def _window(lanes, *, total):
    """Intrinsic that takes the maximum over a window, or the sum, of ``blocks`` times as many channels as there are lanes."""

    @intrinsic
    def window(_context, target, source, height, width, line, side, blocks, lowest):
        def lower(_context, builder, _sig, args):
            target, source, height, width, line, side, blocks, lowest = args
            vector = ir.VectorType(lowest.type, lanes)
            lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            undefined = ir.Constant(vector, ir.Undefined)
            first = builder.insert_element(undefined, lowest, ir.Constant(ir.IntType(32), 0))
            first = builder.shuffle_vector(first, undefined, lane)
            real = isinstance(lowest.type, ir.FloatType)

            def joined(found, seen):
                if total:
                    return (builder.fadd if real else builder.add)(found, seen)
                larger = (builder.fcmp_ordered if real else builder.icmp_signed)(">", seen, found)
                return builder.select(larger, seen, found)

            def at(address):
                return builder.inttoptr(address, vector.as_pointer())

            found = cgutils.alloca_once(builder, vector)
            with cgutils.for_range(builder, blocks) as block:
                place = builder.mul(block.index, ir.Constant(ir.IntType(64), 4 * lanes))
                builder.store(first, found)
                with cgutils.for_range(builder, height) as outer:
                    start = builder.add(builder.add(source, place), builder.mul(outer.index, line))
                    with cgutils.for_range(builder, width) as inner:
                        seen = builder.load(at(builder.add(start, builder.mul(inner.index, side))))
                        seen.align = 4
                        builder.store(joined(builder.load(found), seen), found)
                builder.store(builder.load(found), at(builder.add(target, place))).align = 4
            return ir.Constant(ir.IntType(64), 0)

        return types.int64(*(types.int64,) * 7, lowest), lower

    return window


_most, _most_of_one = _window(16, total=False), _window(1, total=False)
_sum, _sum_of_one = _window(16, total=True), _window(1, total=True)


@numba.njit(nogil=True, cache=True)
def _inside(first, count, spread, size):
    """First place of a window that lies in ``size`` places, and the one behind the last."""
    before = max(0, (spread - 1 - first) // spread)
    return before, max(before, min(count, (size - first + spread - 1) // spread))


@numba.njit(nogil=True, cache=True)
def pool(x, kernel, stride, padding, dilation, lowest, total, out):
    """Maximum over windows of ``x (n, height, width, channels)``, or the sum; places outside do not count."""
    _, height, width, channels = x.shape
    blocks, left = divmod(channels, 16)
    size, behind = 4 * channels, 64 * blocks
    line_, side_ = width * size * dilation[0], size * dilation[1]
    target = out.ctypes.data
    for image in range(out.shape[0]):
        for top in range(out.shape[1]):
            h = top * stride[0] - padding[0]
            first, last = _inside(h, kernel[0], dilation[0], height)
            start = x.ctypes.data + ((image * height + h + first * dilation[0]) * width) * size
            for side in range(out.shape[2]):
                w = side * stride[1] - padding[1]
                begin, end = _inside(w, kernel[1], dilation[1], width)
                source = start + (w + begin * dilation[1]) * size
                if total:
                    _sum(target, source, last - first, end - begin, line_, side_, blocks, lowest)
                    _sum_of_one(target + behind, source + behind, last - first, end - begin, line_, side_, left, lowest)
                else:
                    _most(target, source, last - first, end - begin, line_, side_, blocks, lowest)
                    _most_of_one(
                        target + behind, source + behind, last - first, end - begin, line_, side_, left, lowest
                    )
                target += size


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
def fraction(x, factor, offset, shift, low, high, other, slope, bend, has_other, has_slope, out):
    """Integers ``y = clip((factor x + half) >> shift, low, high) + offset``, plus ``other``, then a fraction where negative; each if asked."""
    half, rest = np.int64(1) << np.int64(shift) >> np.int64(1), np.int64(1) << np.int64(bend) >> np.int64(1)
    for row in range(x.shape[0]):
        y = out[row]
        for c in range(x.shape[1]):
            # Of 32 bits each: that product is one instruction.
            wide = np.int64(x[row, c]) * np.int64(factor[c])
            y[c] = min(max((wide + half) >> shift, low), high) + offset[c]
        if has_other:
            for c in range(x.shape[1]):
                y[c] += other[row, c]
        if has_slope:
            for c in range(x.shape[1]):
                y[c] = y[c] if y[c] >= 0 else (np.int64(y[c]) * np.int64(slope[c]) + rest) >> bend


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
    codes = np.empty(64, np.uint64)
    for row in range(out.shape[0]):
        for word in range(x.shape[2]):
            codes[:] = 0
            for plane in range(x.shape[0]):
                bits = x[plane, row, word]
                for place in range(64):
                    codes[place] |= ((bits >> np.uint64(place)) & np.uint64(1)) << np.uint64(plane)
            for place in range(min(64, channels - 64 * word)):
                out[row, 64 * word + place] = low + step * np.int64(codes[place])


@numba.njit(nogil=True, cache=True)
def quantise(x, scale, low, high, base, out):
    """Integers ``clip(round(x / scale), low, high) - base`` of floats ``(n, height, width, channels)``; of NaN the lowest."""
    numbers, found = x.reshape(-1), out.reshape(-1)
    for place in range(x.size):
        scaled = np.rint(numbers[place] / scale)
        # A comparison with NaN is false.
        above = scaled if scaled > low else np.float32(low)
        found[place] = np.int32(above if above < high else np.float32(high)) - base


@numba.njit(nogil=True, cache=True)
def split(x, low, out):
    """Bytes of integers, less the lowest of them, ``out (planes, numbers)``, the lowest plane first."""
    for plane in range(out.shape[0]):
        for place in range(x.shape[0]):
            out[plane, place] = (np.int64(x[place]) - low) >> (8 * plane)


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
