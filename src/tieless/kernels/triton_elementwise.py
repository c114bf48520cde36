"""Forwards and slopes as Triton functions of one block and up to five parameters, for the CUDA kernels to apply.

Each is the function of its name in ``reference``, bit for bit, but for the exponentials, which are those of
the CPU kernels. Rounding, division and exponentials are our own: Triton's versions take numbers below 2^-126 for 0 or
are off in the last bits. Kernels are launched without the fusion of products and sums, which would round once where the
reference rounds twice.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingImports=false, reportMissingTypeStubs=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false
# pyright: reportAssignmentType=false, reportInvalidTypeForm=false, reportGeneralTypeIssues=false
# (Triton compiles these by their source: what is compiled cannot be checked as Python)

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl


@triton.jit
def _linear(z, p):
    return z


VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])

INTERPRETED = tl.constexpr(not isinstance(_linear, triton.JITFunction))
"""True if ``TRITON_INTERPRET=1`` was set when Triton was loaded: kernels then run on the CPU, as Python."""

# Up to Triton 3.5 tl.div_rn is libdevice's, compiled to div.rn.ftz.f32.
_FLUSHED_QUOTIENTS = tl.constexpr(VERSION < (3, 6))


# Numbers.


@triton.jit
def widen(x):
    """Values of ``x`` in the dtype of the arithmetic."""
    if x.dtype == tl.float64:
        return x
    elif INTERPRETED and x.dtype == tl.bfloat16:
        # Triton's interpreter reads a bfloat16 below 2^-126 as another number.
        return (x.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        return x.to(tl.float32)


@triton.jit
def narrow(x, dtype: tl.constexpr):
    """Values of ``x`` rounded to ``dtype``, ties to even."""
    if INTERPRETED and x.dtype == tl.float32 and dtype == tl.bfloat16:
        # A GPU has an instruction for it; Triton's interpreter cuts the lower bits off.
        bits = x.to(tl.uint32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return tl.where(x == x, rounded, 0x7FC0).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return x.to(dtype)


@triton.jit
def divide(x, y):
    """Quotient, rounded once."""
    if x.dtype == tl.float64:
        return x / y
    elif _FLUSHED_QUOTIENTS:
        # Of 53 bits, more than twice 24, rounding twice is rounding once (Roux 2014, doi:10.6092/issn.1972-5787/4359).
        return (x.to(tl.float64) / y.to(tl.float64)).to(tl.float32)
    else:
        # x / y would be div.full.f32, which is off by up to two units in the last place.
        return tl.div_rn(x, y)


@triton.jit
def rint(z):
    """Nearest whole number, ties to even; 0 keeps the sign of ``z``."""
    # From here on all numbers are whole, so that adding it rounds. libdevice's rint is not known to the interpreter.
    big: tl.constexpr = 4503599627370496.0 if z.dtype == tl.float64 else 8388608.0
    size = tl.abs(z)
    whole = (size + big) - big
    # Not -whole: to Triton that is 0 - whole, which makes -0 of no 0.
    signed = tl.where(whole == 0, z * 0.0, tl.where(z < 0, whole * -1.0, whole))
    return tl.where(size < big, signed, z)


@triton.jit
def floor(z):
    """Largest whole number that is not above ``z``."""
    # tl.floor is cvt.rmi.ftz.f32.f32, by which the floor of -1e-40 is 0.
    whole = rint(z)
    return whole - tl.where(whole > z, 1.0, 0.0)


_INVERSE_FACTORIALS = tl.constexpr(tuple(1 / math.factorial(number) for number in range(14)))
_INVERSE_LN2 = tl.constexpr(1 / math.log(2))
_SQRT_HALF = tl.constexpr(math.sqrt(0.5))


@triton.jit
def decay(x):
    """Function ``exp(-x)`` for ``x >= 0``; 0 where the result would be below the smallest normal number."""
    # The steps of the CPU kernels' decay, each rounded as there, so that both agree bit for bit. tl.exp is ex2.approx.
    double: tl.constexpr = x.dtype == tl.float64
    terms: tl.constexpr = 14 if double else 8
    largest: tl.constexpr = 1022.0 if double else 126.0
    upper: tl.constexpr = 6.93147180369123816490e-01 if double else 0.693359375
    lower: tl.constexpr = 1.90821492927058770002e-10 if double else -2.12194440e-4
    integer: tl.constexpr = tl.int64 if double else tl.int32
    bias: tl.constexpr = 1023 if double else 127
    shift: tl.constexpr = 52 if double else 23
    n = rint(x * _INVERSE_LN2)
    n = tl.where(n < largest, n, largest)
    r = n * upper - x
    r = r + n * lower
    series = tl.full(x.shape, _INVERSE_FACTORIALS[terms - 1], x.dtype)
    for done in tl.static_range(2, terms + 1):
        series = series * r + _INVERSE_FACTORIALS[terms - done]
    halved = ((bias - n.to(integer)) << shift).to(x.dtype, bitcast=True)
    return tl.where(x > largest * 0.6931471805599453, 0.0, series * halved)


# Forwards.


@triton.jit
def _relu(z, p):
    return tl.where(z < 0, 0.0, z)


@triton.jit
def _leaky_relu(z, p):
    return tl.where(z > 0, z, z * p[0])


@triton.jit
def _clamp(z, p):
    return tl.where(z < p[0], p[0], tl.where(z > p[1], p[1], z))


@triton.jit
def _hard_sigmoid(z, p):
    raised = z + 3.0
    raised = tl.where(raised < 0, 0.0, tl.where(raised > 6, 6.0, raised))
    return divide(raised, tl.full((), 6.0, z.dtype))


@triton.jit
def _three_level(z, p):
    return tl.where(z < p[0], p[2], tl.where(z > p[1], p[4], tl.where(z == z, p[3], z)))


@triton.jit
def _round(z, p):
    return rint(z)


@triton.jit
def _staircase(z, p):
    return divide(rint(tl.where(z < 0, 0.0, tl.where(z > 1, 1.0, z)) * p[0]), p[0])


@triton.jit
def _square_wave(z, p):
    turns = divide(z, p[0])
    phase = turns - floor(turns)
    return tl.where(phase < 0.5, 1.0, tl.where(phase >= 0.5, -1.0, phase))


@triton.jit
def _sawtooth(z, p):
    turns = divide(z, p[0])
    return 2.0 * (turns - floor(turns + 0.5))


@triton.jit
def _gelu(z, p):
    # As PyTorch's own for CUDA; tl.erf is the error function that it calls.
    return z * 0.5 * (1.0 + tl.erf(z * _SQRT_HALF))


# Slopes.


@triton.jit
def _triangular(z, p):
    height = 1.0 - tl.abs(z) * p[0]
    return tl.where(height < 0, 0.0, height) * p[1]


@triton.jit
def _inverse(z):
    return divide(tl.full(z.shape, 1.0, z.dtype), z)


@triton.jit
def _atan(z, p):
    scaled = z * p[0]
    return _inverse(1.0 + scaled * scaled) * p[1]


@triton.jit
def _fast_sigmoid(z, p):
    grown = 1.0 + tl.abs(z) * p[0]
    return _inverse(grown * grown) * p[1]


@triton.jit
def _sigmoid(z, p):
    fallen = decay(tl.abs(z) * p[0])
    risen = 1.0 + fallen
    return divide(4.0 * p[1] * fallen, risen * risen)


@triton.jit
def _erf(z, p):
    scaled = z * p[0]
    return decay(scaled * scaled) * p[1]


@triton.jit
def _piecewise_exp(z, p):
    return decay(tl.abs(z - p[2]) * p[0]) * p[1]


@triton.jit
def _sign_log_abs(z, p):
    return _inverse(1.0 + tl.abs(z) * p[0]) * p[1]


@triton.jit
def _fake_numerical_gradient(z, p):
    scaled = tl.abs(z) * p[0]
    return _inverse(tl.where(scaled < 1, 1.0, scaled)) * p[1]


@triton.jit
def _log_tailed_relu(z, p):
    scaled = z * p[0]
    return tl.where(z <= 0, p[2], _inverse(tl.where(scaled < 1, 1.0, scaled)) * p[1])


@triton.jit
def _s2nn(z, p):
    fallen = decay(tl.abs(z) * p[0])
    risen = 1.0 + fallen
    return tl.where(z < 0, divide(4.0 * p[2] * fallen, risen * risen), _inverse(1.0 + tl.abs(z)) * p[1])


@triton.jit
def _sparse_fast_sigmoid(z, p):
    return tl.where((z > p[2]) & (z < p[3]), _fast_sigmoid(z, p), 0.0)


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
WITH_CODES: dict[str, Any] = {**FORWARDS, "gelu": _gelu}
"""Forwards whose values are made together with codes. gelu in at most float32: the interpreter's error function is that."""
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
