"""The two tails that gelu and silu are made of, within a few units in the last place.

``gelu(z) = max(z, 0) - t Phi(-t)`` and ``silu(z) = max(z, 0) - t sigma(-t)`` with ``t = |z|``: nothing is subtracted from 1,
so both keep their digits where the result is small, and at most half of ``z`` is taken away where it is not.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from tieless.kernels.lanes.kinds import I32, I64, LANES, call_intrinsic, constant_lanes, number_type, vector


@dataclass(frozen=True)
class _Format:
    """Floating format, as far as the arithmetic needs it.

    Args:
        suffix: Name in LLVM.
        integer: Integer of its width.
        shift: Place of the first bit of its exponent.
        lowest: Exponent of its smallest normal number.
        log2e: ``log2(e)`` in two numbers of the format, of which the first is the nearest.
        exp2: ``2^r`` for ``|r| <= 1/2``, the constant term first.
        above, below: ``exp(t^2 / 2) Phi(-t)`` for all ``t`` that count, as a quotient, likewise.
    """

    suffix: str
    integer: ir.IntType
    shift: int
    lowest: int
    log2e: tuple[float, float]
    exp2: tuple[float, ...]
    above: tuple[float, ...]
    below: tuple[float, ...]


# Polynomials and quotients of the least largest relative error, by Remez's exchange in 60 digits: tools/remez.py prints
# them. Relative errors before rounding: 1.9e-9 and 4.9e-9 for float32, 3.1e-18 and 8.5e-19 for float64. All
# coefficients of the quotient are positive, so none of its digits cancel.
_FORMATS = {
    types.float32: _Format(
        suffix=f".v{LANES}f32",
        integer=I32,
        shift=23,
        lowest=-126,
        log2e=(1.44269502162933349609, 1.9259629911266174681e-8),
        exp2=(
            1.0000000005538549516,
            0.69314720573904482529,
            0.24022646890041579783,
            0.055503287741643468509,
            0.0096184890397081900978,
            0.0013399932155164058827,
            0.00015345791105797590265,
        ),
        above=(
            0.5000000024463544383719017,
            0.4354520402732002434194695,
            0.1811341875641118469570438,
            0.03992624643444907194791887,
            0.004011650932560307529864554,
        ),
        below=(
            1.0,
            1.668788994379208701920323,
            1.193765267705607635247309,
            0.4639249003380388896458021,
            0.1000877277248642334366498,
            0.01005557217290531538108748,
        ),
    ),
    types.float64: _Format(
        suffix=f".v{LANES}f64",
        integer=I64,
        shift=52,
        lowest=-1022,
        log2e=(1.44269504088896338700, 2.03552737409310320496e-17),
        exp2=(
            0.9999999999999999971,
            0.69314718055994533046,
            0.24022650695910156212,
            0.055504108664819921915,
            0.0096181291075883328825,
            0.0013333558146789865622,
            0.00015403530462517011963,
            0.000015252733490024590245,
            1.3215433088485341257e-6,
            1.0178198012045204528e-7,
            7.0741058085061396384e-9,
            4.4352836118965323054e-10,
        ),
        above=(
            0.5000000000000000004230782,
            0.8269551251015826318241199,
            0.6780985781697082046448522,
            0.3561812800264161270014788,
            0.1314765519033195982198319,
            0.0354743702527985438189725,
            0.007075801936370228099659906,
            0.001031503513249782707201228,
            0.0001055786793289045445732741,
            0.000006899581829215879793117736,
            0.0000002212980302180725697958232,
        ),
        below=(
            1.0,
            2.45179481100603081428234,
            2.812446382297700303651799,
            1.996434221338752967747252,
            0.9767370298410855270353391,
            0.3467754940995546087185316,
            0.09147206631165149424355285,
            0.01799994226859767112398352,
            0.002602890558814138137196927,
            0.0002652012147001585285191038,
            0.00001729468689627674446894895,
            0.0000005547118996646174266387439,
        ),
    ),
}


class _Arithmetic:
    """Vectors of one format, with each product and sum rounded once."""

    def __init__(self, builder, lanes) -> None:
        self.builder = builder
        self.format = _FORMATS[lanes.number]
        self.number = number_type(lanes)
        self.kind = vector(self.number)
        self.fma = partial(call_intrinsic, builder, "llvm.fma" + self.format.suffix, self.kind)

    def constant(self, value):
        return constant_lanes(value, self.number)

    def polynomial(self, coefficients, x):
        value = self.constant(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            value = self.fma(value, x, self.constant(coefficient))
        return value

    def falling(self, size, rest, rate):
        """``exp(-rate (size + rest))``, where that is a normal number and ``rest`` what ``size`` was rounded by."""
        builder, format_ = self.builder, self.format
        upper, lower = (self.constant(-rate * part) for part in format_.log2e)
        # Added to a number whose last digit is worth 1, a number is rounded to a whole one, found in the last digits.
        rounder = self.constant(1.5 * 2.0**format_.shift)
        rounded = self.fma(size, upper, rounder)
        whole = builder.fsub(rounded, rounder)
        fraction = self.fma(size, lower, self.fma(size, upper, builder.fneg(whole)))
        if rest is not None:
            fraction = self.fma(rest, upper, fraction)
        bits = vector(format_.integer)
        places = constant_lanes(format_.shift, format_.integer)
        exponent = builder.shl(builder.bitcast(rounded, bits), places)
        power = builder.bitcast(self.polynomial(format_.exp2, fraction), bits)
        return builder.bitcast(builder.add(power, exponent), self.kind)

    def up_to(self, size, largest, value):
        """``value`` where ``size`` is below ``largest``, else 0: there it is below the smallest normal number."""
        inside = self.builder.fcmp_ordered("<", size, self.constant(largest))
        return self.builder.select(inside, value, self.constant(0.0))


_LN2 = 0.6931471805599453


def _tail(compute):
    @intrinsic
    def function(_context, size):
        def lower(_context, builder, _sig, args):
            return compute(_Arithmetic(builder, size), args[0])

        return size(size), lower

    function.__doc__ = compute.__doc__
    return function


@_tail
def logistic_tail(lanes, size):
    """``t / (1 + exp(t))`` for ``t >= 0``; 0 for NaN, and where ``exp(-t)`` is below the smallest normal number."""
    fallen = lanes.falling(size, None, 1.0)
    quotient = lanes.builder.fdiv(fallen, lanes.builder.fadd(fallen, lanes.constant(1.0)))
    return lanes.up_to(size, -lanes.format.lowest * _LN2, lanes.builder.fmul(size, quotient))


@_tail
def normal_tail(lanes, size):
    """``t Phi(-t)`` for ``t >= 0``; 0 for NaN, and where ``exp(-t^2 / 2)`` is below the smallest normal number."""
    builder, format_ = lanes.builder, lanes.format
    square = builder.fmul(size, size)
    # An error of the square is one of the exponent: 20 units in the last place of the result at t = 6.
    rest = lanes.fma(size, size, builder.fneg(square))
    fallen = lanes.falling(square, rest, 0.5)
    quotient = builder.fdiv(lanes.polynomial(format_.above, size), lanes.polynomial(format_.below, size))
    largest = (-2 * format_.lowest * _LN2) ** 0.5
    return lanes.up_to(size, largest, builder.fmul(builder.fmul(size, fallen), quotient))
