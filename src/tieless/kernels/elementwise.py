"""Forwards and slopes as functions of one row of lanes and up to five parameters, for the kernels to apply.

Each is the function of its name in ``reference``, bit for bit, but for those in ``TOLERANCES``.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba has no types: what is compiled cannot be checked as Python)

from __future__ import annotations

from typing import Any

from numba import njit

from tieless.kernels.lanes import decay, fabs, floor, rint, where

__all__ = ["FORWARDS", "SLOPES", "TOLERANCES"]

_inline = njit(inline="always", error_model="numpy")


def _linear(z, p):
    return z


def _relu(z, p):
    return where(z < 0, 0.0, z)


def _leaky_relu(z, p):
    return where(z > 0, z, z * p[0])


def _clamp(z, p):
    return where(z < p[0], p[0], where(z > p[1], p[1], z))


def _hard_sigmoid(z, p):
    raised = z + 3.0
    return where(raised < 0, 0.0, where(raised > 6, 6.0, raised)) / 6.0


def _three_level(z, p):
    return where(z < p[0], p[2], where(z > p[1], p[4], where(z == z, p[3], z)))


def _round(z, p):
    return rint(z)


def _staircase(z, p):
    return rint(_clamp_unit(z) * p[0]) / p[0]


@_inline
def _clamp_unit(z):
    return where(z < 0, 0.0, where(z > 1, 1.0, z))


def _square_wave(z, p):
    turns = z / p[0]
    phase = turns - floor(turns)
    return where(phase < 0.5, 1.0, where(phase >= 0.5, -1.0, phase))


def _sawtooth(z, p):
    turns = z / p[0]
    return 2.0 * (turns - floor(turns + 0.5))


def _triangular(z, p):
    height = 1.0 - fabs(z) * p[0]
    return where(height < 0, 0.0, height)


def _atan(z, p):
    scaled = z * p[0]
    return 1.0 / (1.0 + scaled * scaled) * p[1]


def _fast_sigmoid(z, p):
    grown = 1.0 + fabs(z) * p[0]
    return 1.0 / (grown * grown) * p[1]


def _sigmoid(z, p):
    fallen = decay(fabs(z) * p[0])
    risen = 1.0 + fallen
    return 4.0 * p[1] * fallen / (risen * risen)


FORWARDS: dict[str, Any] = {
    "clamp": _clamp,
    "hard_sigmoid": _hard_sigmoid,
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "relu": _relu,
    "round": _round,
    "sawtooth": _sawtooth,
    "square_wave": _square_wave,
    "staircase": _staircase,
    "three_level": _three_level,
}
SLOPES: dict[str, Any] = {
    "atan": _atan,
    "fast_sigmoid": _fast_sigmoid,
    "sigmoid": _sigmoid,
    "triangular": _triangular,
}
# PyTorch computes exp by another polynomial, to one unit in the last place as this one; a slope of less than the
# smallest normal number may be 0 here.
TOLERANCES = {"sigmoid": 4}
"""How many units in the last place a function may differ from the reference."""
