"""Forwards and slopes as functions of one row of lanes and up to five parameters, for the kernels to apply.

Each is the function of its name in ``reference``, bit for bit, but for those in ``TOLERANCES``.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba has no types: what is compiled cannot be checked as Python)

from __future__ import annotations

from typing import Any

from numba import njit

from tieless.kernels.lanes import decay, fabs, floor, logistic_tail, normal_tail, rint, where

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


def _gelu(z, p):
    # Times 0, not 0: what is left of -inf is NaN, as PyTorch has it.
    return where(z < 0, z * 0.0, z) - normal_tail(fabs(z))


def _silu(z, p):
    return where(z < 0, z * 0.0, z) - logistic_tail(fabs(z))


def _triangular(z, p):
    height = 1.0 - fabs(z) * p[0]
    return where(height < 0, 0.0, height) * p[1]


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


def _erf(z, p):
    scaled = z * p[0]
    return decay(scaled * scaled) * p[1]


def _piecewise_exp(z, p):
    return decay(fabs(z - p[2]) * p[0]) * p[1]


def _sign_log_abs(z, p):
    return 1.0 / (1.0 + fabs(z) * p[0]) * p[1]


def _fake_numerical_gradient(z, p):
    scaled = fabs(z) * p[0]
    return 1.0 / where(scaled < 1, 1.0, scaled) * p[1]


def _log_tailed_relu(z, p):
    scaled = z * p[0]
    return where(z <= 0, p[2], 1.0 / where(scaled < 1, 1.0, scaled) * p[1])


def _s2nn(z, p):
    fallen = decay(fabs(z) * p[0])
    risen = 1.0 + fallen
    return where(z < 0, 4.0 * p[2] * fallen / (risen * risen), 1.0 / (1.0 + fabs(z)) * p[1])


def _sparse_fast_sigmoid(z, p):
    grown = 1.0 + fabs(z) * p[0]
    return where((z > p[2]) & (z < p[3]), 1.0 / (grown * grown) * p[1], 0.0)


FORWARDS: dict[str, Any] = {
    "clamp": _clamp,
    "gelu": _gelu,
    "hard_sigmoid": _hard_sigmoid,
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "relu": _relu,
    "round": _round,
    "sawtooth": _sawtooth,
    "silu": _silu,
    "square_wave": _square_wave,
    "staircase": _staircase,
    "three_level": _three_level,
}
SLOPES: dict[str, Any] = {
    "atan": _atan,
    "erf": _erf,
    "fake_numerical_gradient": _fake_numerical_gradient,
    "fast_sigmoid": _fast_sigmoid,
    "log_tailed_relu": _log_tailed_relu,
    "piecewise_exp": _piecewise_exp,
    "s2nn": _s2nn,
    "sigmoid": _sigmoid,
    "sign_log_abs": _sign_log_abs,
    "sparse_fast_sigmoid": _sparse_fast_sigmoid,
    "triangular": _triangular,
}
# PyTorch computes exp by another polynomial, to one unit in the last place as this one; a slope of less than the
# smallest normal number may be 0 here. gelu and silu are compared with what they are exactly: PyTorch's own float32 gelu
# is another where z is contiguous, off by up to 7.6e-7, and of a result near 0 not one digit need be right. Measured: at
# most 6.2 for gelu (3.6 where z > -1) and 3.1 for silu, over 12 million float32, and 6.2 and 2.6 in float64. Half types
# are rounded once from float32. They are 0 below NEGLIGIBLE.
TOLERANCES = {"erf": 4, "gelu": 8, "piecewise_exp": 4, "s2nn": 4, "sigmoid": 4, "silu": 4}
"""How many units in the last place a function may differ from the reference."""
NEGLIGIBLE = 128
"""gelu and silu may be 0 where they are less than so many times the smallest normal number.

That of float64 in float64 and of float32 in all narrower types; silu needs 88 times that of float32.
"""
