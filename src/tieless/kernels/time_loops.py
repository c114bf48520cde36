"""The loops of neurons over time: some neurons at a time, whose state stays in the first cache for all time steps."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false
# (numba has no types: what is compiled cannot be checked as Python)

from __future__ import annotations

from tieless.kernels.chunks import BLOCK, CHUNK, apply, count_at, inline, parameters, thread_range
from tieless.kernels.lanes import (
    LANES,
    copy,
    element_size,
    elements_of,
    load,
    real,
    scratch,
    splat,
    store,
    word,
)

NONE, SUBTRACT, ZERO = range(3)
"""Resets, as arguments."""


@inline
def _read(arguments, address, start, count, buffer):
    """Address at which elements from ``start`` on can be read as whole rows."""
    if count >= BLOCK:
        return address + start * element_size(arguments)
    for i in range(count):
        copy(elements_of(arguments), buffer, i, address, start + i)
    return buffer


@inline
def _written(arguments, address, start, count, buffer):
    """Address at which elements from ``start`` on can be written as whole rows, before ``_write_back``."""
    return address + start * element_size(arguments) if count >= BLOCK else buffer


@inline
def _write_back(arguments, address, start, count, buffer):
    if count < BLOCK:
        for i in range(count):
            copy(elements_of(arguments), address, start + i, buffer, i)


@inline
def _copy_rows(arguments, target, source, count):
    for i in range(0, count, LANES):
        store(arguments, target, i, load(arguments, source, i))


@inline
def _after_reset(arguments, v, above, reset, threshold, p):
    if reset == SUBTRACT:
        return v - apply(arguments, above, p) * threshold
    if reset == ZERO:
        return v * (1.0 - apply(arguments, above, p))
    return v


@inline
def _one_step(arguments, source, target, membrane, count, numbers, reset, delayed, p):
    beta, gain, threshold = numbers
    for i in range(0, count, LANES):
        v, current = load(arguments, membrane, i), load(arguments, source, i)
        if gain != 1:
            current = current * gain
        if delayed:
            v = _after_reset(arguments, v * beta, v - threshold, reset, threshold, p) + current
            store(arguments, target, i, v - threshold)
        else:
            v = v * beta + current
            above = v - threshold
            store(arguments, target, i, above)
            v = _after_reset(arguments, v, above, reset, threshold, p)
        store(arguments, membrane, i, v)


def potentials(arguments):
    neurons, x, state = word(arguments, 0), word(arguments, 1), word(arguments, 2)
    z, end = word(arguments, 3), word(arguments, 4)
    steps, reset, delayed = word(arguments, 5), word(arguments, 6), word(arguments, 7)
    numbers = real(arguments, 8), real(arguments, 9), real(arguments, 10)
    p = parameters(arguments, 11)
    scratch_x, scratch_z, membrane = scratch(arguments, CHUNK), scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    first, last = thread_range(arguments)
    start = first
    while start < last:
        count = count_at(start, last)
        if state:
            _copy_rows(arguments, membrane, _read(arguments, state, start, count, scratch_x), count)
        else:
            for i in range(0, count, LANES):
                store(arguments, membrane, i, splat(arguments, 0))
        for step in range(steps):
            source = _read(arguments, x, step * neurons + start, count, scratch_x)
            target = _written(arguments, z, step * neurons + start, count, scratch_z)
            _one_step(arguments, source, target, membrane, count, numbers, reset, delayed, p)
            _write_back(arguments, z, step * neurons + start, count, scratch_z)
        _copy_rows(arguments, _written(arguments, end, start, count, scratch_z), membrane, count)
        _write_back(arguments, end, start, count, scratch_z)
        start += count


@inline
def _before_reset(arguments, grad, z, p):
    return grad * (1.0 - apply(arguments, z, p))


@inline
def _one_step_back(arguments, source, values, target, membrane, count, beta, gain, last, delayed, p):
    for i in range(0, count, LANES):
        grad = load(arguments, membrane, i)
        if values and not (last and delayed):
            grad = _before_reset(arguments, grad, load(arguments, values, i), p)
        if delayed and not last:
            grad = grad * beta
        grad = load(arguments, source, i) + grad
        store(arguments, target, i, grad * gain if gain != 1 else grad)
        store(arguments, membrane, i, grad if delayed else grad * beta)


@inline
def _first_state_back(arguments, before, target, membrane, count, beta, threshold, p):
    for i in range(0, count, LANES):
        grad = load(arguments, membrane, i)
        if before:
            grad = _before_reset(arguments, grad, load(arguments, before, i) - threshold, p)
        store(arguments, target, i, grad * beta)


def potentials_backward(arguments):
    """``z`` is there if a spike resets a potential to zero, and the state too if that is delayed."""
    neurons, grad_z, grad_end = word(arguments, 0), word(arguments, 1), word(arguments, 2)
    z, state = word(arguments, 3), word(arguments, 4)
    grad_x, grad_state = word(arguments, 5), word(arguments, 6)
    steps, delayed = word(arguments, 7), word(arguments, 8)
    beta, gain, threshold = real(arguments, 9), real(arguments, 10), real(arguments, 11)
    p = parameters(arguments, 12)
    scratch_g, scratch_z, scratch_x = scratch(arguments, CHUNK), scratch(arguments, CHUNK), scratch(arguments, CHUNK)
    membrane = scratch(arguments, CHUNK)
    first, last = thread_range(arguments)
    start = first
    while start < last:
        count = count_at(start, last)
        _copy_rows(arguments, membrane, _read(arguments, grad_end, start, count, scratch_g), count)
        for step in range(steps - 1, -1, -1):
            at = step * neurons + start
            source = _read(arguments, grad_z, at, count, scratch_g)
            values = _read(arguments, z, at, count, scratch_z) if z else 0
            target = _written(arguments, grad_x, at, count, scratch_x)
            is_last = step == steps - 1
            _one_step_back(arguments, source, values, target, membrane, count, beta, gain, is_last, delayed, p)
            _write_back(arguments, grad_x, at, count, scratch_x)
        target = _written(arguments, grad_state, start, count, scratch_x)
        if delayed:
            before = _read(arguments, state, start, count, scratch_z) if state else 0
            _first_state_back(arguments, before, target, membrane, count, beta, threshold, p)
        else:
            _copy_rows(arguments, target, membrane, count)
        _write_back(arguments, grad_state, start, count, scratch_x)
        start += count
