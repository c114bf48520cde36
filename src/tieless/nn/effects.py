"""Effects of PyTorch's functions on memory: what a call writes to, and whether its result may share memory with it.

Dynamo calls these functions while it traces, so each takes a function and returns a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import BuiltinFunctionType, FunctionType
from typing import Any, Literal, cast

import torch

from tieless._tracing import known_when_traced

Kind = Literal["write", "view", "perhaps", "index", "parameter", "read"]

_ASSIGNING = frozenset(
    f"__{name}__"
    for name in ("set", "setitem", "iadd", "isub", "imul", "idiv", "itruediv", "ifloordiv", "imod", "ipow")
)


OF_PARAMETERS = frozenset({"grad", "register_hook", "register_post_accumulate_grad_hook", "retain_grad"})
"""Attributes and methods of a parameter that have no use for a tensor that is computed at each reading."""
_VIEWS = frozenset(
    {
        "T",
        "mT",
        "H",
        "mH",
        "data",
        "detach",
        "t",
        "view",
        "view_as",
        "transpose",
        "swapaxes",
        "swapdims",
        "permute",
        "movedim",
        "moveaxis",
        "select",
        "narrow",
        "squeeze",
        "unsqueeze",
        "expand",
        "expand_as",
        "diagonal",
        "unfold",
        "chunk",
        "split",
        "tensor_split",
        "unbind",
        "unflatten",
    }
)
"""Functions whose results are views of their first argument, for a compiler, to which no memory is known."""
_PERHAPS_VIEWS = frozenset(
    {
        "real",
        "type",
        "cpu",
        "cuda",
        "float",
        "double",
        "half",
        "bfloat16",
        "einsum",
        "meshgrid",
        "broadcast_tensors",
        "atleast_1d",
        "atleast_2d",
        "atleast_3d",
        "as_tensor",
        "asarray",
        "to_dense",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_alpha_dropout",
        "numpy",
        "__array__",
        "__dlpack__",
        "untyped_storage",
        "data_ptr",
    }
)
"""Functions whose results may be views, or share memory otherwise, of which their schemas do not tell."""


def name_of(func: Any) -> str:
    """Name of a function, of an operator without its overload, or of an attribute that is read or set."""
    if isinstance(func, torch._ops.OpOverload):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return func._schema.name.partition("::")[2]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    name = getattr(func, "__name__", str(func))
    return func.__self__.__name__ if name == "__get__" else name


def written_by(func: Any, args: Sequence[Any], keywords: dict[str, Any]) -> Any:
    """Tensor, or list of tensors, to which a call writes; ``None`` if it writes to none that its name tells of."""
    if keywords.get("out") is not None:
        return keywords["out"]
    place = _place_of_inplace(func)
    if _writes_to_first(func) or keywords.get("inplace") is True or (0 <= place < len(args) and args[place] is True):
        return args[0] if args else keywords.get("input", next(iter(keywords.values())))
    return None


@known_when_traced
def _writes_to_first(func: Any) -> bool:
    return _writes(name_of(func))


@known_when_traced
def _place_of_inplace(func: Any) -> int:
    """Place of the parameter ``inplace`` among a function's parameters; -1 without one."""
    code = getattr(func, "__code__", None)
    names = () if code is None else code.co_varnames[: code.co_argcount]
    return names.index("inplace") if "inplace" in names else -1


@known_when_traced
def is_attribute(func: Any) -> bool:
    """True if a function reads an attribute."""
    return getattr(func, "__name__", "") == "__get__"


@known_when_traced
def method_read(func: Any) -> tuple[bool, str]:
    """Method in Python that a reading of an attribute gives, such as ``split``: whether ``torch`` has it, and its name.

    The name is empty for another function. Of two of one name the one in C++ counts: Dynamo before PyTorch 2.14 follows no
    method that calls ``super()``, as ``Tensor.unflatten`` does.
    """
    method = getattr(func, "__self__", None)
    if not is_attribute(func) or not isinstance(method, FunctionType):
        return False, ""
    return isinstance(getattr(torch, method.__name__, None), BuiltinFunctionType), method.__name__


@known_when_traced
def kind_of(func: Any) -> Kind:
    """Kind of a function: ``"write"``, ``"view"``, ``"perhaps"`` a view, ``"index"``, ``"parameter"``, or else ``"read"``."""
    name = name_of(func)
    if name in OF_PARAMETERS:
        return "parameter"
    if name == "__getitem__":
        return "index"
    if _writes(name):
        return "write"
    if name in _VIEWS:
        return "view"
    return "perhaps" if name in _PERHAPS_VIEWS or _may_share(name) else "read"


def _may_share(name: str) -> bool:
    """True if an operator of PyTorch's of this name may return its input, or a view of it, by one of its schemas."""
    packet = cast("object", getattr(torch.ops.aten, name, None))
    overloads = cast("list[str]", getattr(packet, "overloads", list)())
    schemas = [getattr(packet, overload)._schema for overload in overloads]  # noqa: SLF001
    return any(one.alias_info is not None and not one.alias_info.is_write for found in schemas for one in found.returns)


@known_when_traced
def let_all_writes_be_seen() -> None:
    """Let Dynamo ask ``__torch_function__`` about functions that write, as PyTorch itself does.

    It asks about those that PyTorch documents as overridable: not about ``torch.relu_``, nor ``torch._foreach_add_``. And
    it looks for tensors in lists, not in tuples, such as the ``out`` of ``torch.max``.
    """
    from torch._dynamo.variables import torch_function  # noqa: PLC0415
    from torch._dynamo.variables.torch import get_overridable_functions  # noqa: PLC0415

    flatten = torch_function._flatten_vts  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if flatten is not _flatten_tuples_too:
        _flattening.append(flatten)
        torch_function._flatten_vts = _flatten_tuples_too  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    rooms = cast("list[Any]", [torch, torch._C._nn])  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    written = {getattr(room, name) for room in rooms for name in dir(room) if _writes(name)}
    get_overridable_functions().update(written, {torch.as_strided})


_flattening: list[Callable[[Iterable[Any]], list[Any]]] = []
"""Dynamo's own function that looks for tensors in lists, once it is replaced."""


def _flatten_tuples_too(variables: Iterable[Any]) -> list[Any]:
    from torch._dynamo.variables.lists import TupleVariable  # noqa: PLC0415

    found: list[Any] = []
    for one in _flattening[0](variables):
        found += _flatten_tuples_too(one.items) if one.is_realized() and isinstance(one, TupleVariable) else [one]
    return found


def is_basic(index: Any) -> bool:
    """True if an index gives a view: it has numbers, slices, ``None`` and an ellipsis alone."""
    places = cast("tuple[Any, ...]", index if isinstance(index, tuple) else (index,))
    return all(
        one is None or one is ... or (isinstance(one, (int, slice)) and not isinstance(one, bool)) for one in places
    )


def _writes(name: str) -> bool:
    return name in _ASSIGNING or (name.endswith("_") and not name.endswith("__"))
