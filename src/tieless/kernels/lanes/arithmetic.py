"""Arithmetic on lanes: numbers on either side are spread over all of them."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

import math
import operator

from numba.core import types
from numba.extending import intrinsic, lower_builtin, type_callable

from tieless.kernels.lanes.kinds import (
    I32,
    I64,
    LANES,
    Lanes,
    Mask,
    MaskType,
    call_intrinsic,
    constant_lanes,
    everywhere,
    number_type,
    vector,
)


def _as_lanes(context, builder, kind, value, number):
    if isinstance(kind, Lanes):
        return value
    return everywhere(builder, context.cast(builder, value, kind, number))


def _number_of(*kinds):
    for kind in kinds:
        if isinstance(kind, Lanes):
            return kind.number
    return kinds[0]


def _binary(symbol, instruction):
    @type_callable(symbol)
    def _typed(_context):
        def typer(left, right):
            if isinstance(left, Lanes) or isinstance(right, Lanes):
                return Lanes(_number_of(left, right))
            return None

        return typer

    def lower(context, builder, sig, args):
        number = sig.return_type.number
        left, right = (_as_lanes(context, builder, kind, arg, number) for kind, arg in zip(sig.args, args, strict=True))
        return getattr(builder, instruction)(left, right)

    _lower_all(symbol, lower)


def _comparison(symbol, sign):
    @type_callable(symbol)
    def _typed(_context):
        def typer(left, right):
            return Mask if isinstance(left, Lanes) or isinstance(right, Lanes) else None

        return typer

    def lower(context, builder, sig, args):
        number = _number_of(*sig.args)
        left, right = (_as_lanes(context, builder, kind, arg, number) for kind, arg in zip(sig.args, args, strict=True))
        # As in Python: nothing compares with NaN, except that it differs from everything.
        return (builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered)(sign, left, right)

    _lower_all(symbol, lower)


def _lower_all(symbol, lower):
    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(symbol, *kinds)(lower)


for _symbol, _instruction in {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}.items():
    _binary(_symbol, _instruction)
for _symbol, _sign in {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
}.items():
    _comparison(_symbol, _sign)


@type_callable(operator.neg)
def _type_negative(_context):
    return lambda value: value if isinstance(value, Lanes) else None


@lower_builtin(operator.neg, Lanes)
def _lower_negative(_context, builder, sig, args):
    return builder.fneg(args[0])


def _logical(symbol, instruction):
    @type_callable(symbol)
    def _typed(_context):
        return lambda left, right: Mask if left is right is Mask else None

    @lower_builtin(symbol, MaskType, MaskType)
    def _lower(_context, builder, _sig, args):
        return getattr(builder, instruction)(*args)


_logical(operator.and_, "and_")
_logical(operator.or_, "or_")


@type_callable(operator.invert)
def _type_invert(_context):
    return lambda value: Mask if value is Mask else None


@lower_builtin(operator.invert, MaskType)
def _lower_invert(_context, builder, _sig, args):
    return builder.not_(args[0])


@intrinsic
def where(_context, mask, chosen, other):
    """``chosen`` in the lanes of the mask, ``other`` elsewhere."""
    number = _number_of(chosen, other)

    def lower(context, builder, sig, args):
        lanes = [
            _as_lanes(context, builder, kind, arg, number) for kind, arg in zip(sig.args[1:], args[1:], strict=True)
        ]
        return builder.select(args[0], *lanes)

    return Lanes(number)(mask, chosen, other), lower


@intrinsic
def splat(_context, arguments, value):
    """A number in every lane, in the arithmetic dtype of the arguments."""
    number = arguments.number

    def lower(context, builder, sig, args):
        return everywhere(builder, context.cast(builder, args[1], sig.args[1], number))

    return Lanes(number)(arguments, value), lower


def _rounding(name):
    @intrinsic
    def function(_context, value):
        def lower(_context, builder, sig, args):
            suffix = "f64" if sig.return_type.number == types.float64 else "f32"
            return call_intrinsic(builder, f"{name}.v{LANES}{suffix}", args[0].type, args[0])

        return value(value), lower

    return function


floor = _rounding("llvm.floor")
rint = _rounding("llvm.nearbyint")
fabs = _rounding("llvm.fabs")


# exp(-x) = 2^-n exp(n ln 2 - x) with n the integer nearest to x / ln 2. The series runs to the first term that is below
# half a unit in the last place; ln 2 comes in two parts, so that n times the first is exact.
_DECAY = {
    types.float32: {
        "terms": 8,
        "upper": 0.693359375,
        "lower": -2.12194440e-4,
        "largest": 126,
        "integer": I32,
        "bias": 127,
        "shift": 23,
    },
    types.float64: {
        "terms": 14,
        "upper": 6.93147180369123816490e-01,
        "lower": 1.90821492927058770002e-10,
        "largest": 1022,
        "integer": I64,
        "bias": 1023,
        "shift": 52,
    },
}


@intrinsic
def decay(_context, value):
    """``exp(-x)`` for ``x >= 0``; 0 where the result would be below the smallest normal number."""
    number, format_ = value.number, _DECAY[value.number]

    def lower(context, builder, sig, args):
        x, kind = args[0], number_type(value)
        suffix = f".v{LANES}{'f64' if number == types.float64 else 'f32'}"

        def constant(real_number):
            return constant_lanes(real_number, kind)

        n = call_intrinsic(builder, "llvm.nearbyint" + suffix, x.type, builder.fmul(x, constant(1 / math.log(2))))
        largest = constant(float(format_["largest"]))
        n = builder.select(builder.fcmp_ordered("<", n, largest), n, largest)
        r = builder.fsub(builder.fmul(n, constant(format_["upper"])), x)
        r = builder.fadd(r, builder.fmul(n, constant(format_["lower"])))
        series = constant(1 / math.factorial(format_["terms"] - 1))
        for power in range(format_["terms"] - 2, -1, -1):
            series = builder.fadd(builder.fmul(series, r), constant(1 / math.factorial(power)))
        integer = format_["integer"]
        exponent = builder.sub(constant_lanes(format_["bias"], integer), builder.fptosi(n, vector(integer)))
        halved = builder.bitcast(builder.shl(exponent, constant_lanes(format_["shift"], integer)), x.type)
        tiny = builder.fcmp_ordered(">", x, constant(format_["largest"] * math.log(2)))
        return builder.select(tiny, constant(0.0), builder.fmul(series, halved))

    return value(value), lower
