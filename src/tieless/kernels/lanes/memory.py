"""Arguments, loads and stores. Addresses are integers; indices count elements, bits are 8 to a byte, the first in the lowest."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from tieless.kernels.lanes.kinds import (
    ELEMENTS,
    I1,
    I8,
    I16,
    I32,
    I64,
    Elements,
    Lanes,
    Mask,
    constant_lanes,
    everywhere,
    number_type,
    pointer_to,
    vector,
)


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


@intrinsic
def load(_context, arguments, address, index):
    """The 16 elements from ``index`` on."""

    def lower(_context, builder, sig, args):
        element = ELEMENTS[arguments.storage]
        pointer = pointer_to(builder, args[1], args[2], element)
        raw = builder.load(builder.bitcast(pointer, vector(element).as_pointer()))
        raw.align = 2
        if arguments.storage == "bfloat16":
            raw = builder.shl(builder.zext(raw, vector(I32)), constant_lanes(16, I32))
        elif arguments.storage == "float16":
            return builder.fpext(builder.bitcast(raw, vector(ir.HalfType())), vector(ir.FloatType()))
        return builder.bitcast(raw, vector(number_type(sig.return_type)))

    return Lanes(arguments.number)(arguments, types.int64, types.int64), lower


@intrinsic
def load_numbers(_context, arguments, address, index):
    """16 numbers of the arithmetic dtype, from ``index`` on."""
    row = Lanes(arguments.number)

    def lower(_context, builder, _sig, args):
        element = number_type(row)
        pointer = pointer_to(builder, args[1], args[2], element)
        numbers = builder.load(builder.bitcast(pointer, vector(element).as_pointer()))
        numbers.align = 4
        return numbers

    return row(arguments, types.int64, types.int64), lower


def _to_bfloat16(builder, lanes):
    """Rounded to the nearest, halves to the even one; every NaN becomes the one that PyTorch writes."""
    bits = builder.bitcast(lanes, vector(I32))
    odd = builder.and_(builder.lshr(bits, constant_lanes(16, I32)), constant_lanes(1, I32))
    rounded = builder.lshr(builder.add(builder.add(bits, constant_lanes(0x7FFF, I32)), odd), constant_lanes(16, I32))
    nan = builder.fcmp_unordered("uno", lanes, lanes)
    return builder.trunc(builder.select(nan, constant_lanes(0x7FC0, I32), rounded), vector(I16))


@intrinsic
def store(_context, arguments, address, index, lanes):
    """Write the 16 elements from ``index`` on."""

    def lower(context, builder, _sig, args):
        element = ELEMENTS[arguments.storage]
        if arguments.storage == "bfloat16":
            raw = _to_bfloat16(builder, args[3])
        elif arguments.storage == "float16":
            raw = builder.bitcast(builder.fptrunc(args[3], vector(ir.HalfType())), vector(I16))
        else:
            raw = builder.bitcast(args[3], vector(element))
        pointer = builder.bitcast(pointer_to(builder, args[1], args[2], element), raw.type.as_pointer())
        builder.store(raw, pointer).align = 2
        return context.get_dummy_value()

    return types.void(arguments, types.int64, types.int64, lanes), lower


@intrinsic(prefer_literal=True)
def fetch(_context, arguments, address, index, write):
    """Bring the element at ``index`` near, to be read or to be written; past the end of a tensor, nothing happens."""

    def lower(context, builder, _sig, args):
        pointer = builder.bitcast(pointer_to(builder, args[1], args[2], ELEMENTS[arguments.storage]), I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", fnty=kind)
        settings = [ir.Constant(I32, value) for value in (write.literal_value, 3, 1)]
        builder.call(prefetch, [pointer, *settings])
        return context.get_dummy_value()

    return types.void(arguments, types.int64, types.int64, write), lower


@intrinsic
def word_at(_context, address, place):
    """The integer at a place of a table of 64-bit integers."""

    def lower(_context, builder, _sig, args):
        return builder.load(pointer_to(builder, args[0], args[1], I64))

    return types.int64(types.int64, types.int64), lower


@intrinsic
def set_word(_context, address, place, value):
    """Write an integer at a place of a table of 64-bit integers."""

    def lower(context, builder, _sig, args):
        builder.store(args[2], pointer_to(builder, args[0], args[1], I64))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), lower


@intrinsic
def pattern_at(_context, arguments, address, index):
    """The bits of one element as a signed integer."""

    def lower(_context, builder, _sig, args):
        raw = builder.load(pointer_to(builder, args[1], args[2], ELEMENTS[arguments.storage]))
        return raw if raw.type == I64 else builder.sext(raw, I64)

    return types.int64(arguments, types.int64, types.int64), lower


def _narrowed(builder, pattern, element):
    return pattern if element == I64 else builder.trunc(pattern, element)


@intrinsic
def matches(_context, arguments, address, index, pattern):
    """Mask of those of the 16 elements from ``index`` on that have these very bits."""

    def lower(_context, builder, _sig, args):
        element = ELEMENTS[arguments.storage]
        pointer = pointer_to(builder, args[1], args[2], element)
        raw = builder.load(builder.bitcast(pointer, vector(element).as_pointer()))
        raw.align = element.width // 8
        return builder.icmp_signed("==", raw, everywhere(builder, _narrowed(builder, args[3], element)))

    return Mask(arguments, types.int64, types.int64, types.int64), lower


@intrinsic
def store_patterns(_context, arguments, address, index, mask, chosen, other):
    """Write the bits ``chosen`` in the lanes of the mask and ``other`` elsewhere, 16 elements from ``index`` on."""

    def lower(context, builder, _sig, args):
        element = ELEMENTS[arguments.storage]
        both = [everywhere(builder, _narrowed(builder, pattern, element)) for pattern in args[4:]]
        pointer = builder.bitcast(pointer_to(builder, args[1], args[2], element), vector(element).as_pointer())
        builder.store(builder.select(args[3], *both), pointer).align = element.width // 8
        return context.get_dummy_value()

    integer = types.int64
    return types.void(arguments, integer, integer, Mask, integer, integer), lower


@intrinsic
def any_lane(_context, mask):
    """True if a lane is in the mask."""

    def lower(_context, builder, _sig, args):
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], I16), ir.Constant(I16, 0))

    return types.boolean(mask), lower


@intrinsic
def elements_of(_context, arguments):
    """The dtype of the elements, for functions that need no more of the arguments."""
    return Elements(arguments.storage)(arguments), lambda context, *_: context.get_dummy_value()


@intrinsic
def copy(_context, elements, target, index, source, place):
    """One element, as it is."""

    def lower(context, builder, _sig, args):
        element = ELEMENTS[elements.storage]
        raw = builder.load(pointer_to(builder, args[3], args[4], element))
        builder.store(raw, pointer_to(builder, args[1], args[2], element))
        return context.get_dummy_value()

    integer = types.int64
    return types.void(elements, integer, integer, integer, integer), lower


@intrinsic
def element_size(_context, arguments):
    """Bytes of an element."""
    width = ELEMENTS[arguments.storage].width // 8
    return types.int64(arguments), lambda _context, _builder, _sig, _args: ir.Constant(I64, width)


def _room(builder, element, count):
    with builder.goto_entry_block():
        room = builder.alloca(element, ir.Constant(I32, count.literal_value))
        room.align = 64
    return builder.ptrtoint(room, I64)


@intrinsic(prefer_literal=True)
def scratch(_context, arguments, count):
    """The address of room on the stack for so many elements, a literal number."""
    return types.int64(arguments, count), lambda _context, builder, _sig, _args: _room(
        builder, ELEMENTS[arguments.storage], count
    )


@intrinsic(prefer_literal=True)
def number_scratch(_context, arguments, count):
    """The address of room on the stack for so many numbers of the arithmetic dtype, a literal number."""
    return types.int64(arguments, count), lambda _context, builder, _sig, _args: _room(
        builder, number_type(Lanes(arguments.number)), count
    )


def _bits_pointer(builder, address, index):
    return builder.bitcast(pointer_to(builder, address, builder.ashr(index, ir.Constant(I64, 3)), I8), I16.as_pointer())


@intrinsic
def bits_at(_context, address, index):
    """The mask of the 16 elements from ``index`` on, a multiple of 16."""

    def lower(_context, builder, _sig, args):
        raw = builder.load(_bits_pointer(builder, *args))
        raw.align = 1
        return builder.bitcast(raw, vector(I1))

    return Mask(types.int64, types.int64), lower


@intrinsic
def set_bits_at(_context, address, index, mask):
    """Write the mask of the 16 elements from ``index`` on, a multiple of 16."""

    def lower(context, builder, _sig, args):
        builder.store(builder.bitcast(args[2], I16), _bits_pointer(builder, *args[:2])).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, Mask), lower


@intrinsic
def byte_at(_context, address, place):
    """The byte at a place."""

    def lower(_context, builder, _sig, args):
        return builder.zext(builder.load(pointer_to(builder, args[0], args[1], I8)), I64)

    return types.int64(types.int64, types.int64), lower


@intrinsic
def set_byte(_context, address, place, value):
    """Write a byte."""

    def lower(context, builder, _sig, args):
        builder.store(builder.trunc(args[2], I8), pointer_to(builder, args[0], args[1], I8))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), lower
