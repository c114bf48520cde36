"""PyTorch's elementwise activations: their functions, methods and modules, and the forwards that have the same values.

One of our forwards takes the place of PyTorch's function only if the values are equal bit for bit
(``tests/convert/test_functions.py`` compares them in all four dtypes). If a parameter changes the values, such as the
approximation of a GELU, the forward is PyTorch's own function with that parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.nn import functional as F

from tieless.forwards import (
    Elementwise,
    Elu,
    FixedFunction,
    Forward,
    Gelu,
    HardSigmoid,
    HardTanh,
    LeakyRelu,
    Logistic,
    Relu,
    Relu6,
    Silu,
    Softplus,
    Tanh,
)
from tieless.nn import inside

Parameters = Mapping[str, float | str]

KINDS: Mapping[str, Parameters] = MappingProxyType(
    {
        "celu": {"alpha": 1.0},
        "elu": {"alpha": 1.0},
        "gelu": {"approximate": "none"},
        "hardshrink": {"lambd": 0.5},
        "hardsigmoid": {},
        "hardswish": {},
        "hardtanh": {"min_val": -1.0, "max_val": 1.0},
        "leaky_relu": {"negative_slope": 0.01},
        "logsigmoid": {},
        "mish": {},
        "relu": {},
        "relu6": {},
        "selu": {},
        "sigmoid": {},
        "silu": {},
        "softplus": {"beta": 1.0, "threshold": 20.0},
        "softshrink": {"lambd": 0.5},
        "softsign": {},
        "tanh": {},
        "tanhshrink": {},
        "threshold": {"threshold": 0.0, "value": 0.0},
    }
)
"""PyTorch's names of its activations, with their parameters in the order of a call and the defaults of the modules."""


@dataclass(frozen=True, slots=True)
class Function:
    """One of PyTorch's functions that is an activation.

    Args:
        kind: Name in ``KINDS``.
        inplace: True if it writes to its input, as functions with a ``_`` at the end do.
        parameters: Parameters that a ``functools.partial`` has fixed.
    """

    kind: str
    inplace: bool = False
    parameters: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class NativeCall(FixedFunction):
    """PyTorch's own function with its parameters, as a value that is hashable and can be pickled.

    Example:
        >>> from tieless.convert.functions import NativeCall
        >>> NativeCall("gelu", (("approximate", "tanh"),))(torch.tensor([1.0]))
        tensor([0.8412])
    """

    kind: str
    parameters: tuple[tuple[str, float | str], ...]

    def __call__(self, z: Tensor) -> Tensor:
        return getattr(F, self.kind)(z, **dict(self.parameters))

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(f'{name}={value!r}' for name, value in self.parameters)})"


_SAME: Mapping[str, type[Forward]] = MappingProxyType(
    {
        "hardsigmoid": HardSigmoid,
        "leaky_relu": LeakyRelu,
        "relu": Relu,
        "relu6": Relu6,
        "sigmoid": Logistic,
        "silu": Silu,
        "tanh": Tanh,
    }
)
"""Our forwards that have the same values, and the same parameters, if any."""

_SAME_AT: Mapping[tuple[object, ...], Forward] = MappingProxyType(
    {
        ("gelu", "none"): Gelu(),
        ("hardtanh", -1, 1): HardTanh(),
        ("hardtanh", 0, 6): Relu6(),
        ("softplus", 1, 20): Softplus(),
    }
)
"""Our forwards that have the same values at some parameters."""


def equal_forward(kind: str, parameters: Parameters) -> Forward:
    """Forward that has the values of PyTorch's function: one of ours if it is equal, else the function itself.

    Args:
        kind: Name in ``KINDS``.
        parameters: Parameters that are given; the others have their defaults.
    Example:
        >>> from tieless.convert.functions import equal_forward
        >>> str(equal_forward("leaky_relu", {"negative_slope": 0.2})), str(equal_forward("gelu", {"approximate": "tanh"}))
        ('leaky_relu(0.2)', "gelu(approximate='tanh')")
    """
    every = {**KINDS[kind], **parameters}
    elu = kind == "elu" and float(every["alpha"]) > 0
    make = cast("Callable[..., Forward] | None", Elu if elu else _SAME.get(kind))
    if make is not None:
        return make(**every)
    return _SAME_AT.get((kind, *every.values())) or Elementwise(NativeCall(kind, tuple(every.items())))


kind_of_class = inside.kind_of_class
"""Name of the PyTorch activation that a class is; all modules use this one function."""

METHODS = frozenset(name + ending for name in KINDS for ending in ("", "_") if hasattr(Tensor, name + ending))
"""Tensor methods that are activations, such as ``x.relu()``."""


_INNER: Any = vars(torch._C)["_nn"]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_ROOMS: tuple[Any, ...] = (F, torch, Tensor, _INNER)
"""Modules in which PyTorch keeps its activations, and the class of tensors."""


def _functions() -> Mapping[Any, Function]:
    found: dict[Any, Function] = {torch.special.expit: Function("sigmoid")}
    for room in _ROOMS:
        for kind in KINDS:
            for name in (kind, f"{kind}_"):
                # The operator of an ELU has two parameters more than PyTorch's function.
                if (function := getattr(room, name, None)) and not (kind == "elu" and room is _INNER):
                    found[function] = Function(kind, inplace=name.endswith("_"))
    return MappingProxyType(found)


_FUNCTIONS = _functions()
"""PyTorch's activation functions, each with its description."""

NAMES = frozenset(name + ending for name in KINDS for ending in ("", "_")) | {"expit"}
"""Names by which code calls these functions."""

LEFT: Mapping[str, str] = MappingProxyType(
    {
        "prelu": "its slope learns, and a rule would send it no gradient",
        "rrelu": "its slope is drawn anew in each call",
    }
)
"""Activations that stay as they are, by PyTorch's name, each with the reason."""

_LEFT = {
    getattr(room, name): name.removesuffix("_") for room in _ROOMS for name in (*LEFT, "rrelu_") if hasattr(room, name)
}

STEPS = frozenset({"ceil", "fix", "floor", "heaviside", "round", "sgn", "sign", "trunc"})
"""PyTorch's functions and methods of tensors that are flat between jumps."""

STEP = (
    "its derivative is 0 wherever it has one, so what is below gets no gradient; call "
    "tieless.untie(z, forward, backward) there, or a tieless.Activation"
)
"""Reason why a step function is reported."""

_STEPS = {
    getattr(room, name + ending): name
    for room in (torch, torch.special, Tensor)
    for name in STEPS
    for ending in ("", "_")
    if hasattr(room, name + ending)
}


def step_of(value: object) -> str | None:
    """Name in ``STEPS`` of a function, or of a ``functools.partial`` of one; ``None`` for any other value.

    Example:
        >>> from tieless.convert.functions import step_of
        >>> step_of(torch.Tensor.sign_), step_of(torch.relu)
        ('sign', None)
    """
    if isinstance(value, partial):
        return step_of(cast("partial[Any]", value).func)
    try:
        return _STEPS.get(value)
    except TypeError:  # it has no hash
        return None


_OPERATORS = {"log_sigmoid": "logsigmoid", "_prelu_kernel": "prelu", "rrelu_with_noise": "rrelu"}
"""Names of PyTorch's operators that differ from the names of its functions."""


def operator_name(value: object) -> str | None:
    """Name of an operator such as ``torch.ops.aten.relu.default``, in the form of PyTorch's function names.

    Example:
        >>> from tieless.convert.functions import operator_name
        >>> operator_name(torch.ops.aten.log_sigmoid.default), operator_name(torch.relu)
        ('logsigmoid', None)
    """
    if isinstance(value, OpOverload):
        name = value._schema.name  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    elif isinstance(value, OpOverloadPacket):
        name = value._qualified_op_name  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    else:
        return None
    name = str(name).removeprefix("aten::")
    return _OPERATORS.get(name, name)


def left_of(value: object) -> str | None:
    """Name in ``LEFT`` of an installed function; ``None`` for any other value.

    Example:
        >>> from tieless.convert.functions import left_of
        >>> left_of(torch.prelu), left_of(torch.relu)
        ('prelu', None)
    """
    name = operator_name(value)
    if name is None:
        try:
            return _LEFT.get(value)
        except TypeError:  # it has no hash
            return None
    return name.removesuffix("_") if name.removesuffix("_") in LEFT else None


def function_of(value: object) -> Function | None:
    """Activation that a function, or a ``functools.partial`` of one, is; ``None`` if it is none.

    Example:
        >>> from tieless.convert.functions import function_of
        >>> function_of(torch.relu_), function_of(torch.exp)
        (Function(kind='relu', inplace=True, parameters=()), None)
    """
    if isinstance(value, partial):
        call = cast("partial[Any]", value)
        whole = function_of(call.func)
        if whole is None or call.args or not set(call.keywords) <= {*KINDS[whole.kind], "inplace"}:
            return None
        parameters = {**dict(whole.parameters), **call.keywords}
        inplace = bool(parameters.pop("inplace", whole.inplace))
        return Function(whole.kind, inplace, tuple(parameters.items()))
    if name := operator_name(value):
        kind = name.removesuffix("_")
        whole = getattr(value, "_overloadname", "default") == "default"
        # The operator of an ELU has two parameters more than PyTorch's function.
        return Function(kind, name.endswith("_")) if whole and kind in KINDS and kind != "elu" else None
    try:
        return _FUNCTIONS.get(value)
    except TypeError:  # it has no hash, so it is no function
        return None
