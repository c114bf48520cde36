"""Forwards: their base class, their registry, and the adapter for any elementwise callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from types import BuiltinFunctionType, ModuleType, NoneType
from typing import Any, ClassVar, TypeVar, cast, overload

import torch
from torch import Tensor, nn

from tieless import ops
from tieless.draws import FORWARD_STREAM, Random
from tieless.errors import RuleTypeError, UntrainableError
from tieless.forwards.advice import CLIPPED, SMOOTH, Advice
from tieless.grammar import shown
from tieless.registry import Named, Registry, remembered
from tieless.signature import Function, class_of, companion_of, same_shape, signature_of
from tieless.slopes import OwnSlope, SlopeForm


class Forward(Named):
    """Forward half of an activation: a function ``z -> y``, elementwise but for the classes in ``forwards.weights``.

    Subclasses are frozen dataclasses with ``value``, or with ``body`` if kernels know the function, and, if it is of
    use, ``derivative``. A forward that ``draws`` has ``sample`` and ``exported``. ``str`` gives the spec.
    """

    __slots__ = ()
    draws: ClassVar[bool] = False
    """True if ``y`` is random, so that the call needs a key."""
    elementwise: ClassVar[bool] = True
    """True if each element of ``y`` follows from one of ``z``."""
    rises_from: ClassVar[float | None] = None
    """Place below which ``y`` falls and above which it rises; -infinity if it rises everywhere, ``None`` if unknown."""

    def body(self, dtype: torch.dtype) -> tuple[str, tuple[float, ...]] | None:
        """Name of the function for kernels, with its parameters in ``dtype``; ``None`` if no kernel knows it."""
        return None

    def value(self, z: Tensor) -> Tensor:
        """Output ``y``, of the shape, dtype and layout of ``z``. NaN stays NaN. A random forward draws a key."""
        if self.draws:
            key = ops.draw_key_now(z) if ops.kernels_callable(z) else ops.draw_key(z.detach())
            return self.sample(z, Random(key, FORWARD_STREAM))
        body = self.body(z.dtype)
        if body is None:
            raise RuleTypeError(f"The forward {type(self).__name__} has no value: it needs a method value or body.")
        return ops.activate(z, *body)

    def sample(self, z: Tensor, random: Random) -> Tensor:
        """Output ``y`` of a forward that ``draws``, by the call's random numbers."""
        raise NotImplementedError

    def exported(self, z: Tensor) -> Tensor:
        """Output ``y`` in a program for another runtime: by operators that every exporter of PyTorch's knows.

        A forward that ``draws`` uses PyTorch's own random numbers there, for such a program has no key.
        """
        if self.draws:
            raise NotImplementedError
        return self.value(z)

    def derivative(self) -> SlopeForm | None:
        """Slope that the rule ``tied`` uses; ``None`` if the derivative is 0 almost everywhere."""
        return None

    def trained_by(self) -> tuple[Advice, Advice]:
        """Two rules that train a flat forward, best first. Messages about other rules name them."""
        return CLIPPED, SMOOTH


T = TypeVar("T")


def untrainable(forward: Forward, why: str) -> UntrainableError:
    """Refusal of a flat forward, which names the rules that train it."""
    first, second = (f"{rule.spec!r} ({rule.what})" for rule in forward.trained_by())
    return UntrainableError(f"{forward} is flat {why}. Give it {first} or {second}.")


def without_graph(forward: Forward) -> UntrainableError:
    """Refusal of a function that PyTorch cannot differentiate at all, if its own derivative is needed."""
    return untrainable(forward, "to PyTorch, whose graph does not lead from y to z: its own derivative would be 0")


_FLAT = {
    "ceil": "ceil",
    "fix": "round_to_zero",
    "floor": "floor",
    "heaviside": "heaviside",
    "round": "round",
    "sgn": "sign",
    "sign": "sign",
    "trunc": "round_to_zero",
}
_NAME_OF_FLAT = {getattr(room, name): ours for name, ours in _FLAT.items() for room in (torch, Tensor)}
"""PyTorch's own flat functions, each with the name of one of our forwards that is trained alike."""


class FixedFunction:
    """Base of callables that are values: equal ones compute the same at any time, so derived results are cached.

    For any other callable nothing is cached: its attributes may change, and it may hold on to large tensors.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Elementwise(Forward):
    """Any elementwise callable as a forward. The derivative is PyTorch's.

    Two such forwards are equal if their callables are; two callables without a hash, which may change, are equal only
    if they are one object.

    Args:
        function: Function ``z -> y`` of one shape and dtype, without parameters that learn, which leaves ``z``
            unchanged.
    Raises:
        RuleTypeError: the function is not callable, a class, a module with parameters, or one that writes to its input;
            or its result is no tensor.
    Example:
        >>> from tieless.forwards import Elementwise
        >>> z = torch.tensor([-1.0, 1.0], requires_grad=True)
        >>> untie(z, Elementwise(torch.exp), "rectangular(0, 2)").sum().backward(); z.grad
        tensor([0., 1.])
        >>> forward(torch.exp) == Elementwise(torch.exp)
        True
    """

    function: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        if isinstance(self.function, type):
            raise RuleTypeError(
                f"A forward is a spec, a Forward or an elementwise callable, got the class {self.function.__name__}. "
                f"Make one of it: {self.function.__name__}(...)."
            )
        if not callable(self.function):
            raise RuleTypeError(
                f"A forward is a spec, a Forward or an elementwise callable, got {shown(self.function)}."
            )
        if isinstance(self.function, nn.Module) and any(True for _ in self.function.parameters()):
            raise RuleTypeError(
                f"{type(self.function).__name__} has parameters, and a backward rule would send them no gradient. "
                "Give a forward without parameters."
            )
        if isinstance(self.function, nn.Module) and any(vars(m).get("inplace") for m in self.function.modules()):
            raise RuleTypeError(f"{self.function} writes to z, which the rule needs as it was. Give it inplace=False.")

    @property
    def changes(self) -> bool:
        """True unless the function is a value or PyTorch's own, and not in place: results found once always hold."""
        function = self.function
        built_in = isinstance(function, BuiltinFunctionType) and isinstance(
            function.__self__, (type, ModuleType, NoneType)
        )
        return not ((built_in and not function.__name__.endswith("_")) or isinstance(function, FixedFunction))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Elementwise):
            return NotImplemented
        if self.function is other.function:
            return True
        return _has_hash(self.function) and _has_hash(other.function) and bool(self.function == other.function)

    def __hash__(self) -> int:
        return hash(self.function) if _has_hash(self.function) else id(self.function)

    def value(self, z: Tensor) -> Tensor:
        y = self.function(z)
        if not isinstance(y, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuleTypeError(
                f"The forward {self} is not elementwise: it was given a tensor and returned {shown(y)}."
            )
        return y

    def _flat(self) -> str | None:
        """Name of a forward that is flat in the same way; ``None`` if the function is not known to be flat."""
        function = self.function.func if isinstance(self.function, partial) else self.function
        return _NAME_OF_FLAT.get(function) if _has_hash(function) else None

    def derivative(self) -> SlopeForm | None:
        return None if self._flat() else OwnSlope(self, "input")

    def trained_by(self) -> tuple[Advice, Advice]:
        return forward(name).trained_by() if (name := self._flat()) else Forward.trained_by(self)

    def slope_at(self, value: Tensor) -> Tensor:
        """PyTorch's derivative at ``z``."""
        return _derivative(self, value)

    def __str__(self) -> str:
        return getattr(self.function, "__name__", shown(self.function))


def remembered_by_forward(work: Callable[..., T]) -> Callable[..., T]:
    """Cache ``work`` by its arguments, the first a forward; nothing is cached for a callable that changes."""
    by_value = remembered(work)

    @wraps(by_value)
    def found(forward: Forward, *others: Any) -> T:
        return (work if isinstance(forward, Elementwise) and forward.changes else by_value)(forward, *others)

    return found


def _has_hash(function: Callable[[Tensor], Tensor]) -> bool:
    try:
        hash(function)
    except TypeError:
        return False
    return True


def _derivative(forward: Forward, z: Tensor) -> Tensor:
    def value(z: Tensor) -> Tensor:
        y = forward.value(z.clone())  # a function may write to what it gets
        if not y.requires_grad:
            raise without_graph(forward)
        return y

    y, pull = cast("tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]", torch.func.vjp(value, z))
    return pull(torch.ones_like(y))[0]


class WrittenForward(Forward):
    """Forward that was registered as one function, in PyTorch's operations."""

    __slots__ = ()
    _wide: ClassVar[bool] = True
    written: ClassVar[Function]
    written_slope: ClassVar[Function | None] = None
    flat: ClassVar[bool] = False

    def value(self, z: Tensor) -> Tensor:
        return same_shape(self.written(z, self), z, self)

    def derivative(self) -> SlopeForm | None:
        if self.flat:
            return None
        return OwnSlope(self, "input" if self.written_slope is None else self.written_slope.reads)

    def slope_at(self, value: Tensor) -> Tensor:
        """Slope that was given; PyTorch's derivative if none was."""
        if self.written_slope is None:
            return _derivative(self, value)
        return same_shape(self.written_slope(value, self), value, self)


ForwardLike = str | Forward | Callable[[Tensor], Tensor]
ForwardClass = TypeVar("ForwardClass", bound="type[Forward]")
Value = Callable[..., Tensor]

_REGISTRY: Registry[Forward] = Registry("forward")


@overload
def register_forward(definition: ForwardClass) -> ForwardClass: ...
@overload
def register_forward(definition: Value) -> type[Forward]: ...
@overload
def register_forward(*, slope: Value | None = None, flat: bool = False) -> Callable[[Value], type[Forward]]: ...
def register_forward(definition: Any = None, *, slope: Value | None = None, flat: bool = False) -> Any:
    """Register a forward by its name, from one function or from a class, so that specs can use it.

    The function gives ``y``, elementwise, in PyTorch's operations: ``def squash(z, k: float = 1.0)``. The decorated
    name then is a class like those of the built-in forwards: ``squash(2)`` is a frozen value and ``"squash(2)"`` its
    spec.

    Args:
        definition: Function whose other parameters need types (float, int, bool, str or a Literal of strings). Or a
            frozen dataclass derived from ``Forward``; its name is its class name in snake case.
        slope: Derivative that the rule ``tied`` uses, with the same parameters: of ``z``, or of ``y`` if its first
            parameter is named ``y``, which is shared with the next layer. Without a slope it is PyTorch's own
            derivative of the function.
        flat: True if the derivative is 0 almost everywhere, so that ``tied`` is refused.
    Raises:
        SpecError: the name is taken, or a parameter cannot be written in a spec.
        RuleTypeError: the definition is neither, or a default has the wrong type.
    Example:
        >>> @tl.register_forward(slope=lambda y, k: k * (1 - y * y))
        ... def squash(z, k: float = 1.0):
        ...     return torch.tanh(k * z)
        >>> z = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> untie(z, "squash(2)", "tied").sum().backward(); z.grad
        tensor([2.0000, 0.1413])
    """
    if definition is None:

        def decorate(function: Value) -> type[Forward]:
            return register_forward(_written(function, slope, flat))

        return decorate
    if not isinstance(definition, type):
        definition = _written(definition, slope, flat)
    if not issubclass(cast("type", definition), Forward):
        raise RuleTypeError(f"Register a function, or a class derived from Forward, got {shown(definition)}.")
    return _REGISTRY.register(definition)


def _written(function: Value, slope: Value | None, flat: bool) -> type[Forward]:
    written = signature_of(function)
    members = {"written": written, "written_slope": companion_of(slope, written), "flat": flat}
    return class_of(written, WrittenForward, members)


def forwards() -> Mapping[str, type[Forward]]:
    """Mapping of all forwards by name, sorted.

    Example:
        >>> "heaviside" in forwards()
        True
    """
    return _REGISTRY.catalogue()


def forward(spec: ForwardLike) -> Forward:
    """Forward of a spec, a forward or an elementwise callable.

    Args:
        spec: Spec such as ``"leaky_relu(0.1)"``, a ``Forward``, or a callable ``z -> y``.
    Raises:
        SpecError: the spec cannot be read, or has an unknown name.
        RuleTypeError, RuleValueError: a parameter has the wrong type or is out of range.
    Example:
        >>> forward("leaky_relu(0.1)")
        LeakyRelu(negative_slope=0.1)
    """
    if isinstance(spec, Forward):
        return spec
    if isinstance(spec, str):
        return _REGISTRY.read(spec)
    return Elementwise(spec)
