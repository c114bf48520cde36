"""Philox 4x32-10."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from tieless.kernels.lanes.kinds import (
    I32,
    I64,
    LANES,
    Lanes,
    constant_lanes,
    everywhere,
    number_type,
    pointer_to,
    vector,
)
from tieless.kernels.philox import PHILOX_KEY_STEPS, PHILOX_MULTIPLIERS, PHILOX_ROUNDS, WORD


def _upper(builder, product):
    """The upper half of each 64-bit lane, in both halves.

    A shift would do, but shifts and multiplications wait for the same unit, and a shuffle has one of its own.
    """
    words = builder.bitcast(product, vector(I32))
    order = ir.Constant(vector(I32), [place | 1 for place in range(LANES)])
    return builder.bitcast(builder.shuffle_vector(words, words, order), product.type)


def philox(builder, lots, key0, key1):
    """The four words of 8 counters for each lot of them, each in a 64-bit lane whose upper half holds anything."""
    low = constant_lanes(WORD, I64, 8)
    multipliers = [constant_lanes(multiplier, I64, 8) for multiplier in PHILOX_MULTIPLIERS]
    for _ in range(PHILOX_ROUNDS):
        keys = everywhere(builder, key0, 8), everywhere(builder, key1, 8)
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
        key0 = builder.add(key0, ir.Constant(I64, PHILOX_KEY_STEPS[0]))
        key1 = builder.add(key1, ir.Constant(I64, PHILOX_KEY_STEPS[1]))
    return lots


@intrinsic
def uniforms(_context, arguments, element, stream, draw, key0, key1):
    """The 64 numbers on [0, 1) of the elements from ``element`` on, a multiple of 16, as four rows of lanes.

    In the arithmetic dtype: the upper 24 bits of each word times 2^-24, which float32 holds exactly.
    """
    row = Lanes(arguments.number)

    def lower(context, builder, sig, args):
        _, element, stream, draw, key0, key1 = args
        first = builder.ashr(element, ir.Constant(I64, 2))
        # 16 counters, in two lots of 8 that take turns: one lot waits five cycles for each multiplication. Their upper
        # words are equal, but for counters beyond the last element: 2^32 of them are whole chunks. So all that follows
        # from the constant words alone, the better part of two rounds, is computed once.
        upper = everywhere(builder, builder.lshr(first, ir.Constant(I64, 32)), 8)
        lots = []
        for lot in range(2):
            places = ir.Constant(vector(I64, 8), list(range(8 * lot, 8 * lot + 8)))
            block = builder.add(everywhere(builder, first, 8), places)
            lots.append((block, upper, everywhere(builder, stream, 8), everywhere(builder, draw, 8)))
        rows = []
        for words in philox(builder, lots, key0, key1):
            rows += [_on_unit_interval(builder, lanes, row) for lanes in _in_order(builder, words)]
        return context.make_tuple(builder, sig.return_type, rows)

    integer = types.int64
    return types.UniTuple(row, 4)(arguments, integer, integer, integer, integer, integer), lower


@intrinsic
def spread_uniforms(_context, arguments, room, places, pitch, blocks, step, stream, draw, key0, key1):
    """Write the numbers of 8 counters each of two blocks, ``step`` counters apart from each other.

    The four numbers of a counter come ``pitch`` places apart, those of the 8 counters side by side. ``places`` and
    ``blocks`` are pairs; what belongs to the first is written before the second.
    """
    row = Lanes(arguments.number)

    def lower(context, builder, sig, args):
        _, room, places, pitch, blocks, step, stream, draw, key0, key1 = args
        apart = builder.mul(everywhere(builder, step, 8), ir.Constant(vector(I64, 8), list(range(8))))
        lots = []
        for number in range(2):
            block = builder.add(everywhere(builder, builder.extract_value(blocks, number), 8), apart)
            upper = builder.lshr(block, constant_lanes(32, I64, 8))
            lots.append((block, upper, everywhere(builder, stream, 8), everywhere(builder, draw, 8)))
        for number, words in enumerate(philox(builder, lots, key0, key1)):
            place = builder.extract_value(places, number)
            for word in words:
                lanes = _on_unit_interval(builder, builder.trunc(word, vector(I32, 8)), row)
                pointer = pointer_to(builder, room, place, number_type(row))
                builder.store(lanes, builder.bitcast(pointer, lanes.type.as_pointer())).align = 4
                place = builder.add(place, pitch)
        return context.get_dummy_value()

    integer, pair = types.int64, types.UniTuple(types.int64, 2)
    return types.void(arguments, integer, pair, integer, pair, *(integer,) * 5), lower


def _on_unit_interval(builder, words, row):
    """The upper 24 bits of each word times 2^-24, in the arithmetic dtype."""
    count = words.type.count
    number = builder.sitofp(builder.lshr(words, constant_lanes(8, I32, count)), vector(ir.FloatType(), count))
    number = builder.fmul(number, constant_lanes(2.0**-24, ir.FloatType(), count))
    return builder.fpext(number, vector(ir.DoubleType(), count)) if row.number == types.float64 else number


def _in_order(builder, words):
    """The words of 8 counters as 32 numbers of 32 bits: all four of the first counter, then of the next."""
    words = [builder.bitcast(word, vector(I32)) for word in words]
    # Of each 64-bit lane the lower half counts: words 0 and 1 of every counter side by side, likewise 2 and 3.
    low_words = ir.Constant(vector(I32), [place + half * LANES for place in range(0, LANES, 2) for half in range(2)])
    pairs = [
        builder.bitcast(builder.shuffle_vector(even, odd, low_words), vector(I64, 8))
        for even, odd in (words[:2], words[2:])
    ]
    for half in range(2):
        order = [place for counter in range(4 * half, 4 * half + 4) for place in (counter, 8 + counter)]
        mixed = builder.shuffle_vector(*pairs, ir.Constant(vector(I32, 8), order))
        yield builder.bitcast(mixed, vector(I32))
