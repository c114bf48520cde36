"""Vectors of 16 numbers inside Numba functions: types, arithmetic, loads and stores in all four dtypes.

Numba leaves vectors to LLVM's optimiser, which packs comparisons into bits four times slower than a vector compare
followed by a bitcast (3.2 against 1.0 us for 2^14 floats on AVX-512). So kernels say what they mean: 16 lanes a step,
whatever the machine's registers hold; LLVM splits them where they are narrower.

A kernel takes one ``Arguments``: a pointer to 64-bit words, integers and doubles mixed, read with ``word`` and
``real``. Its type carries the dtype of the elements, so that one Python function serves all four. Half types are
widened to float32 when loaded, which is exact, and rounded once when stored.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

import math
import operator

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.extending import intrinsic, lower_builtin, register_model, type_callable

from tieless.kernels.reference import PHILOX_KEY_STEPS, PHILOX_MULTIPLIERS, PHILOX_ROUNDS, WORD

__all__ = [
    "LANES",
    "Arguments",
    "Lanes",
    "Mask",
    "bits_at",
    "copy",
    "decay",
    "element_size",
    "fabs",
    "fill_uniforms",
    "floor",
    "load",
    "number_at",
    "number_size",
    "philox",
    "real",
    "rint",
    "scratch",
    "scratch_numbers",
    "set_bits_at",
    "splat",
    "store",
    "where",
    "word",
    "word_at",
]

LANES = 16

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(width) for width in (1, 8, 16, 32, 64))
_ELEMENTS = {"float16": _I16, "bfloat16": _I16, "float32": _I32, "float64": _I64}


class Arguments(types.Type):
    """What a kernel is called with: a pointer to 64-bit words.

    Args:
        storage: The dtype of the elements, by name.
        function: Which elementwise function a kernel applies, where it applies one.
        sources: A digest of the source of all kernels, so that code compiled from older ones is never loaded.
    """

    def __init__(self, storage: str, function: str = "", sources: str = "") -> None:
        self.storage = storage
        self.function = function
        self.number = types.float64 if storage == "float64" else types.float32
        super().__init__(f"Arguments({storage}, {function}, {sources})")


class Lanes(types.Type):
    """16 numbers of the arithmetic dtype: float32, or float64 for float64."""

    def __init__(self, number: types.Float) -> None:
        self.number = number
        super().__init__(f"Lanes({number})")


class _Mask(types.Type):
    def __init__(self) -> None:
        super().__init__("Mask")


Mask = _Mask()


@register_model(Arguments)
class _ArgumentsModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _I64.as_pointer())


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _vector(_number(fe_type)))


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _vector(_I1))


def _vector(element, count=LANES):
    return ir.VectorType(element, count)


def _number(lanes):
    return ir.DoubleType() if lanes.number == types.float64 else ir.FloatType()


def _all(builder, value, count=LANES):
    """``value`` in every lane."""
    vector = _vector(value.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(_vector(_I32, count), [0] * count)
    )


def _constant(value, element, count=LANES):
    return ir.Constant(_vector(element, count), [value] * count)


def _call(builder, name, result, *args):
    """An LLVM intrinsic on vectors."""
    function = builder.module.declare_intrinsic(name, fnty=ir.FunctionType(result, [arg.type for arg in args]))
    return builder.call(function, args)


def _as_lanes(context, builder, kind, value, number):
    if isinstance(kind, Lanes):
        return value
    return _all(builder, context.cast(builder, value, kind, number))


def _number_of(*kinds):
    for kind in kinds:
        if isinstance(kind, Lanes):
            return kind.number
    return kinds[0]


# Arithmetic. Numbers on either side are spread over all lanes.


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

    @lower_builtin(symbol, _Mask, _Mask)
    def _lower(_context, builder, _sig, args):
        return getattr(builder, instruction)(*args)


_logical(operator.and_, "and_")
_logical(operator.or_, "or_")


@type_callable(operator.invert)
def _type_invert(_context):
    return lambda value: Mask if value is Mask else None


@lower_builtin(operator.invert, _Mask)
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
        return _all(builder, context.cast(builder, args[1], sig.args[1], number))

    return Lanes(number)(arguments, value), lower


def _rounding(name):
    @intrinsic
    def function(_context, value):
        def lower(_context, builder, sig, args):
            suffix = "f64" if sig.return_type.number == types.float64 else "f32"
            return _call(builder, f"{name}.v{LANES}{suffix}", args[0].type, args[0])

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
        "integer": _I32,
        "bias": 127,
        "shift": 23,
    },
    types.float64: {
        "terms": 14,
        "upper": 6.93147180369123816490e-01,
        "lower": 1.90821492927058770002e-10,
        "largest": 1022,
        "integer": _I64,
        "bias": 1023,
        "shift": 52,
    },
}


@intrinsic
def decay(_context, value):
    """``exp(-x)`` for ``x >= 0``; 0 where the result would be below the smallest normal number."""
    number, format_ = value.number, _DECAY[value.number]

    def lower(context, builder, sig, args):
        x, kind = args[0], _number(value)
        suffix = f".v{LANES}{'f64' if number == types.float64 else 'f32'}"

        def constant(real_number):
            return _constant(real_number, kind)

        n = _call(builder, "llvm.nearbyint" + suffix, x.type, builder.fmul(x, constant(1 / math.log(2))))
        largest = constant(float(format_["largest"]))
        n = builder.select(builder.fcmp_ordered("<", n, largest), n, largest)
        r = builder.fsub(builder.fmul(n, constant(format_["upper"])), x)
        r = builder.fadd(r, builder.fmul(n, constant(format_["lower"])))
        series = constant(1 / math.factorial(format_["terms"] - 1))
        for power in range(format_["terms"] - 2, -1, -1):
            series = builder.fadd(builder.fmul(series, r), constant(1 / math.factorial(power)))
        integer = format_["integer"]
        exponent = builder.sub(_constant(format_["bias"], integer), builder.fptosi(n, _vector(integer)))
        halved = builder.bitcast(builder.shl(exponent, _constant(format_["shift"], integer)), x.type)
        tiny = builder.fcmp_ordered(">", x, constant(format_["largest"] * math.log(2)))
        return builder.select(tiny, constant(0.0), builder.fmul(series, halved))

    return value(value), lower


# Memory. Addresses are integers; indices count elements, bits are 8 to a byte with the first element in the lowest.


@intrinsic
def word(_context, arguments, place):
    """The integer at a place among the arguments."""

    def lower(_context, builder, _sig, args):
        return builder.load(builder.gep(args[0], [args[1]]))

    return types.int64(arguments, types.int64), lower


@intrinsic
def real(_context, arguments, place):
    """The number at a place among the arguments, in their arithmetic dtype."""

    def lower(context, builder, sig, args):
        pointer = builder.bitcast(builder.gep(args[0], [args[1]]), ir.DoubleType().as_pointer())
        return context.cast(builder, builder.load(pointer), types.float64, sig.return_type)

    return arguments.number(arguments, types.int64), lower


def _pointer(builder, address, index, element):
    return builder.gep(builder.inttoptr(address, element.as_pointer()), [index])


@intrinsic
def load(_context, arguments, address, index):
    """The 16 elements from ``index`` on."""

    def lower(_context, builder, sig, args):
        element = _ELEMENTS[arguments.storage]
        pointer = _pointer(builder, args[1], args[2], element)
        raw = builder.load(builder.bitcast(pointer, _vector(element).as_pointer()))
        raw.align = 2
        if arguments.storage == "bfloat16":
            raw = builder.shl(builder.zext(raw, _vector(_I32)), _constant(16, _I32))
        elif arguments.storage == "float16":
            return builder.fpext(builder.bitcast(raw, _vector(ir.HalfType())), _vector(ir.FloatType()))
        return builder.bitcast(raw, _vector(_number(sig.return_type)))

    return Lanes(arguments.number)(arguments, types.int64, types.int64), lower


def _to_bfloat16(builder, lanes):
    """Rounded to the nearest, halves to the even one; every NaN becomes the one that PyTorch writes."""
    bits = builder.bitcast(lanes, _vector(_I32))
    odd = builder.and_(builder.lshr(bits, _constant(16, _I32)), _constant(1, _I32))
    rounded = builder.lshr(builder.add(builder.add(bits, _constant(0x7FFF, _I32)), odd), _constant(16, _I32))
    nan = builder.fcmp_unordered("uno", lanes, lanes)
    return builder.trunc(builder.select(nan, _constant(0x7FC0, _I32), rounded), _vector(_I16))


@intrinsic
def store(_context, arguments, address, index, lanes):
    """Write the 16 elements from ``index`` on."""

    def lower(context, builder, _sig, args):
        element = _ELEMENTS[arguments.storage]
        if arguments.storage == "bfloat16":
            raw = _to_bfloat16(builder, args[3])
        elif arguments.storage == "float16":
            raw = builder.bitcast(builder.fptrunc(args[3], _vector(ir.HalfType())), _vector(_I16))
        else:
            raw = builder.bitcast(args[3], _vector(element))
        pointer = builder.bitcast(_pointer(builder, args[1], args[2], element), raw.type.as_pointer())
        builder.store(raw, pointer).align = 2
        return context.get_dummy_value()

    return types.void(arguments, types.int64, types.int64, lanes), lower


@intrinsic
def word_at(_context, address, place):
    """The integer at a place of a table of 64-bit integers."""

    def lower(_context, builder, _sig, args):
        return builder.load(_pointer(builder, args[0], args[1], _I64))

    return types.int64(types.int64, types.int64), lower


@intrinsic
def copy(_context, arguments, target, index, source, place):
    """One element, as it is."""

    def lower(context, builder, _sig, args):
        element = _ELEMENTS[arguments.storage]
        raw = builder.load(_pointer(builder, args[3], args[4], element))
        builder.store(raw, _pointer(builder, args[1], args[2], element))
        return context.get_dummy_value()

    integer = types.int64
    return types.void(arguments, integer, integer, integer, integer), lower


@intrinsic
def element_size(_context, arguments):
    """Bytes of an element."""
    width = _ELEMENTS[arguments.storage].width // 8
    return types.int64(arguments), lambda _context, _builder, _sig, _args: ir.Constant(_I64, width)


@intrinsic
def number_size(_context, arguments):
    """Bytes of a number of the arithmetic dtype."""
    width = arguments.number.bitwidth // 8
    return types.int64(arguments), lambda _context, _builder, _sig, _args: ir.Constant(_I64, width)


def _room(element):
    @intrinsic(prefer_literal=True)
    def function(_context, arguments, count):
        def lower(_context, builder, _sig, _args):
            with builder.goto_entry_block():
                room = builder.alloca(element(arguments), ir.Constant(_I32, count.literal_value))
                room.align = 64
            return builder.ptrtoint(room, _I64)

        return types.int64(arguments, count), lower

    return function


scratch = _room(lambda arguments: _ELEMENTS[arguments.storage])
"""``scratch(arguments, count)``: the address of room on the stack for so many elements, a literal number."""
scratch_numbers = _room(_number)
"""The same for numbers of the arithmetic dtype."""


@intrinsic
def number_at(_context, arguments, address, index):
    """16 numbers of the arithmetic dtype from ``index`` on."""

    def lower(_context, builder, _sig, args):
        pointer = _pointer(builder, args[1], args[2], _number(arguments))
        lanes = builder.load(builder.bitcast(pointer, _vector(_number(arguments)).as_pointer()))
        lanes.align = 8
        return lanes

    return Lanes(arguments.number)(arguments, types.int64, types.int64), lower


@intrinsic
def bits_at(_context, address, index, count):
    """The mask of the 16 elements from ``index`` on, of which ``count`` exist; ``index`` is a multiple of 16."""

    def lower(_context, builder, _sig, args):
        first = builder.gep(builder.inttoptr(args[0], _I8.as_pointer()), [builder.ashr(args[1], ir.Constant(_I64, 3))])
        with builder.if_else(builder.icmp_signed(">", args[2], ir.Constant(_I64, 8))) as (two_bytes, one_byte):
            with two_bytes:
                both = builder.load(builder.bitcast(first, _I16.as_pointer()))
                both.align = 1
                end_both = builder.block
            with one_byte:
                single = builder.zext(builder.load(first), _I16)
                end_single = builder.block
        raw = builder.phi(_I16)
        raw.add_incoming(both, end_both)
        raw.add_incoming(single, end_single)
        return builder.bitcast(raw, _vector(_I1))

    return Mask(types.int64, types.int64, types.int64), lower


@intrinsic
def set_bits_at(_context, address, index, mask, count):
    """Write the mask of the 16 elements from ``index`` on, of which ``count`` exist; the bits of the others are 0."""

    def lower(context, builder, _sig, args):
        first = builder.gep(builder.inttoptr(args[0], _I8.as_pointer()), [builder.ashr(args[1], ir.Constant(_I64, 3))])
        raw = builder.bitcast(args[2], _I16)
        count = builder.trunc(args[3], _I32)
        with builder.if_else(builder.icmp_signed(">=", count, ir.Constant(_I32, LANES))) as (whole, partial):
            with whole:
                builder.store(raw, builder.bitcast(first, _I16.as_pointer())).align = 1
            with partial:
                existing = builder.sub(builder.shl(ir.Constant(_I32, 1), count), ir.Constant(_I32, 1))
                kept = builder.and_(raw, builder.trunc(existing, _I16))
                builder.store(builder.trunc(kept, _I8), first)
                with builder.if_then(builder.icmp_signed(">", count, ir.Constant(_I32, 8))):
                    high = builder.trunc(builder.lshr(kept, ir.Constant(_I16, 8)), _I8)
                    builder.store(high, builder.gep(first, [ir.Constant(_I64, 1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, Mask, types.int64), lower


# Philox 4x32-10.


def _upper(builder, product):
    """The upper half of each 64-bit lane, in both halves.

    A shift would do, but shifts and multiplications wait for the same unit, and a shuffle has one of its own.
    """
    words = builder.bitcast(product, _vector(_I32))
    order = ir.Constant(_vector(_I32), [place | 1 for place in range(LANES)])
    return builder.bitcast(builder.shuffle_vector(words, words, order), product.type)


def philox(builder, lots, key0, key1):
    """The four words of 8 counters for each lot of them, each in a 64-bit lane whose upper half holds anything."""
    low = _constant(WORD, _I64, 8)
    multipliers = [_constant(multiplier, _I64, 8) for multiplier in PHILOX_MULTIPLIERS]
    for _ in range(PHILOX_ROUNDS):
        keys = _all(builder, key0, 8), _all(builder, key1, 8)
        # A multiplication reads the lower halves alone, so what is in the upper ones need not be cleared before.
        products = [
            [
                builder.mul(multiplier, builder.and_(word, low))
                for multiplier, word in zip(multipliers, lot[::2], strict=True)
            ]
            for lot in lots
        ]
        lots = [
            (
                builder.xor(builder.xor(_upper(builder, product1), c1), keys[0]),
                product1,
                builder.xor(builder.xor(_upper(builder, product0), c3), keys[1]),
                product0,
            )
            for (product0, product1), (_, c1, _, c3) in zip(products, lots, strict=True)
        ]
        key0 = builder.add(key0, ir.Constant(_I64, PHILOX_KEY_STEPS[0]))
        key1 = builder.add(key1, ir.Constant(_I64, PHILOX_KEY_STEPS[1]))
    return lots


BLOCKS = 16
"""Counters at a time, in two lots of 8 that take turns: one lot waits five cycles for each multiplication."""


@intrinsic
def fill_uniforms(_context, arguments, room, element, stream, draw, key0, key1):
    """Write the 64 numbers on [0, 1) of the elements from ``element`` on, a multiple of 4, at the address ``room``.

    They are written in the arithmetic dtype: the upper 24 bits of each word times 2^-24, which float32 holds exactly.
    """

    def lower(context, builder, sig, args):
        _, room, element, stream, draw, key0, key1 = args
        first = builder.ashr(element, ir.Constant(_I64, 2))
        lots = []
        for lot in range(2):
            places = ir.Constant(_vector(_I64, 8), list(range(8 * lot, 8 * lot + 8)))
            block = builder.add(_all(builder, first, 8), places)
            upper = builder.lshr(block, _constant(32, _I64, 8))
            lots.append((block, upper, _all(builder, stream, 8), _all(builder, draw, 8)))
        for lot, words in enumerate(philox(builder, lots, key0, key1)):
            for half, lanes in enumerate(_in_order(builder, words)):
                upper = builder.lshr(lanes, _constant(8, _I32))
                number = builder.sitofp(upper, _vector(ir.FloatType()))
                number = builder.fmul(number, _constant(2.0**-24, ir.FloatType()))
                if arguments.number == types.float64:
                    number = builder.fpext(number, _vector(ir.DoubleType()))
                index = ir.Constant(_I64, (2 * lot + half) * LANES)
                pointer = _pointer(builder, room, index, number.type.element)
                builder.store(number, builder.bitcast(pointer, number.type.as_pointer())).align = 8
        return context.get_dummy_value()

    integer = types.int64
    return types.void(arguments, integer, integer, integer, integer, integer, integer), lower


def _in_order(builder, words):
    """The words of 8 counters as 32 numbers of 32 bits: all four of the first counter, then of the next."""
    words = [builder.bitcast(word, _vector(_I32)) for word in words]
    # Of each 64-bit lane the lower half counts: words 0 and 1 of every counter side by side, likewise 2 and 3.
    low_words = ir.Constant(_vector(_I32), [place + half * LANES for place in range(0, LANES, 2) for half in range(2)])
    pairs = [
        builder.bitcast(builder.shuffle_vector(even, odd, low_words), _vector(_I64, 8))
        for even, odd in (words[:2], words[2:])
    ]
    for half in range(2):
        order = [place for counter in range(4 * half, 4 * half + 4) for place in (counter, 8 + counter)]
        mixed = builder.shuffle_vector(*pairs, ir.Constant(_vector(_I32, 8), order))
        yield builder.bitcast(mixed, _vector(_I32))
