"""The types of Numba and LLVM that lanes are made of, and how a vector is built."""

# pyright: basic, reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (numba and llvmlite have no types)

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.extending import register_model

LANES = 16

I1, I8, I16, I32, I64 = (ir.IntType(width) for width in (1, 8, 16, 32, 64))
ELEMENTS = {"bool": I8, "float16": I16, "bfloat16": I16, "float32": I32, "float64": I64}


class Arguments(types.Type):
    """Argument of a kernel: a pointer to 64-bit words.

    Args:
        storage: Name of the dtype of the elements.
        function: Name of the elementwise function that a kernel applies, if it applies one.
        sources: Digest of what the kernel is compiled from, so that code compiled from older ones is never loaded.
    """

    def __init__(self, storage: str, function: str = "", sources: str = "") -> None:
        self.storage = storage
        self.function = function
        self.number = types.float64 if storage == "float64" else types.float32
        super().__init__(f"Arguments({storage}, {function}, {sources})")


class Elements(types.Type):
    """The dtype of the elements and nothing else: what is compiled for it serves every kernel of the dtype."""

    def __init__(self, storage: str) -> None:
        self.storage = storage
        super().__init__(f"Elements({storage})")


class Lanes(types.Type):
    """16 numbers of the arithmetic dtype: float32, or float64 for float64."""

    def __init__(self, number: types.Float) -> None:
        self.number = number
        super().__init__(f"Lanes({number})")


class MaskType(types.Type):
    """The type of ``Mask``."""

    def __init__(self) -> None:
        super().__init__("Mask")


Mask = MaskType()


@register_model(Arguments)
class _ArgumentsModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, I64.as_pointer())


register_model(Elements)(models.OpaqueModel)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, vector(number_type(fe_type)))


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, vector(I1))


def vector(element, count=LANES):
    return ir.VectorType(element, count)


def number_type(lanes):
    return ir.DoubleType() if lanes.number == types.float64 else ir.FloatType()


def everywhere(builder, value, count=LANES):
    """``value`` in every lane."""
    kind = vector(value.type, count)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(vector(I32, count), [0] * count))


def constant_lanes(value, element, count=LANES):
    return ir.Constant(vector(element, count), [value] * count)


def call_intrinsic(builder, name, result, *args):
    """An LLVM intrinsic on vectors."""
    function = builder.module.declare_intrinsic(name, fnty=ir.FunctionType(result, [arg.type for arg in args]))
    return builder.call(function, args)


def pointer_to(builder, address, index, element):
    return builder.gep(builder.inttoptr(address, element.as_pointer()), [index])
