"""Loops over rows of channels, which lie beside each other in memory: gathering, thresholds, pools and lines."""

# pyright: basic, reportMissingTypeStubs=false
# ruff: noqa: C901  (loops of a kernel are longest where they are fastest)

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def gather(x, kernel, stride, padding, dilation, places, start, out):
    """Windows as rows: of ``x (n, height, width, channels)``, those of the output places ``start`` and on.

    ``out`` has a row for each: the channels of the first place of the window, of the next, and so on; 0 outside.
    """
    _, height, width, channels = x.shape
    for row in range(out.shape[0]):
        place = start + row
        image, left = divmod(place, places[0] * places[1])
        top, side = divmod(left, places[1])
        column = 0
        for i in range(kernel[0]):
            h = top * stride[0] - padding[0] + i * dilation[0]
            for j in range(kernel[1]):
                w = side * stride[1] - padding[1] + j * dilation[1]
                if 0 <= h < height and 0 <= w < width:
                    for channel in range(channels):
                        out[row, column + channel] = x[image, h, w, channel]
                else:
                    for channel in range(channels):
                        out[row, column + channel] = 0
                column += channels


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
