"""Conversion of a function into a class of frozen values: its first parameter is a tensor, the others become fields.

So a rule or a forward that is written as one function has a spec, typed parameters and a name, as the built-in ones do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from tieless.errors import RuleTypeError, SpecError
from tieless.grammar import shown
from tieless.registry import Named, is_value_type, types_of

NamedT = TypeVar("NamedT", bound=Named)


@dataclass(frozen=True, slots=True)
class Function:
    """Elementwise function of a tensor and parameters.

    Args:
        call: Function itself.
        reads: Name of the tensor that it reads: ``"output"`` if its first parameter is named ``y``, else ``"input"``.
        parameters: Other parameters: name, type, default or ``MISSING``.
    """

    call: Callable[..., Tensor]
    reads: Literal["input", "output"]
    parameters: tuple[tuple[str, Any, Any], ...]

    def __call__(self, value: Tensor, owner: Named) -> Tensor:
        """Value of the function at ``value``, with the parameters of its owner."""
        return self.call(value, **parameters_of(owner))


def parameters_of(value: Named) -> dict[str, Any]:
    """Parameters of a value, by name."""
    return {parameter.name: getattr(value, parameter.name) for parameter in fields(value)}


def signature_of(function: Callable[..., Tensor]) -> Function:
    """Read a function's signature.

    Raises:
        RuleTypeError: the argument is not a function with a name.
        SpecError: a parameter has no type, or one that a spec cannot hold, or takes any number of values.
    """
    name = getattr(function, "__name__", "")
    if not callable(function) or not name.isidentifier():
        raise RuleTypeError(f"Register a class, or a function with a name of its own, got {shown(function)}.")
    given = _parameters(function)
    if not given or given[0].kind not in (given[0].POSITIONAL_ONLY, given[0].POSITIONAL_OR_KEYWORD):
        raise SpecError(f"{name} must take a tensor first: def {name}(z, width: float = 1.0).")
    found = _typed(name, given[1:], types_of(function))
    return Function(function, "output" if given[0].name == "y" else "input", found)


def _typed(name: str, given: Iterable[inspect.Parameter], types: Mapping[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    """Parameters as a spec holds them: name, type, default or ``MISSING``."""
    found: list[tuple[str, Any, Any]] = []
    for parameter in given:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise SpecError(
                f"{name}: {parameter} cannot be written in a spec. Name each parameter: width: float = 1.0."
            )
        kind = types.get(parameter.name)
        if not is_value_type(kind):
            what = "no type" if kind is None else f"the type {shown(kind)}"
            raise SpecError(
                f"{name}: {parameter.name} has {what}. A spec holds float, int, bool, str or a Literal of strings."
            )
        found.append((parameter.name, kind, MISSING if parameter.default is parameter.empty else parameter.default))
    return tuple(found)


def maker_of(definition: Callable[..., Any], supplied: Collection[str]) -> Maker:
    """Read the signature of a class or a function that makes something of parameters and of what it is supplied with.

    Args:
        definition: Class or function with a name.
        supplied: Names of the arguments that it does not get from a spec.
    Raises:
        RuleTypeError: the definition is no class or function with a name.
        SpecError: a parameter without a default has no type that a spec can hold.
    """
    name = getattr(definition, "__name__", "")
    if not callable(definition) or not name.isidentifier():
        raise RuleTypeError(f"Register a class, or a function with a name of its own, got {shown(definition)}.")
    given = _parameters(definition)
    # The types of a class's arguments stand at the method that takes them.
    types = types_of(definition.__init__ if isinstance(definition, type) else definition)
    plain: dict[str, Any] = {
        p.name: type(p.default) for p in given if p.name not in types and is_value_type(type(p.default))
    }
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    own = [
        p
        for p in given
        if p.name not in supplied
        and p.kind not in several
        # What no spec can hold keeps its default.
        and (p.default is p.empty or is_value_type({**plain, **types}.get(p.name)))
    ]
    takes = frozenset(parameter.name for parameter in given if parameter.name in supplied)
    return Maker(definition, takes, _typed(name, own, {**plain, **types}))


@dataclass(frozen=True, slots=True)
class Maker:
    """Class or function that makes something.

    Args:
        call: Class or function itself.
        takes: Names of the supplied arguments that it takes.
        parameters: Other parameters: name, type, default or ``MISSING``.
    """

    call: Callable[..., Any]
    takes: frozenset[str]
    parameters: tuple[tuple[str, Any, Any], ...]

    def __call__(self, supplied: Mapping[str, Any], owner: Named) -> Any:
        """Call with those supplied arguments that it takes, and with the parameters of its owner."""
        return self.call(**{name: supplied[name] for name in self.takes}, **parameters_of(owner))


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise RuleTypeError(
            f"{shown(function)} does not say what it takes. Write a function around it: def name(z): return ..."
        ) from None


def companion_of(function: Callable[..., Tensor] | None, main: Function) -> Function | None:
    """Function beside another one, such as its slope: of ``z`` or ``y``, and of the same parameters by name.

    Raises:
        SpecError: its parameters differ.
    """
    if function is None:
        return None
    names = [parameter.name for parameter in _parameters(function)]
    wanted = [name for name, _, _ in main.parameters]
    if not names or names[1:] != wanted:
        raise SpecError(
            f"What is given beside {main.call.__name__} must take ({', '.join(['z or y', *wanted])}), "
            f"got ({', '.join(names)})."
        )
    return Function(function, "output" if names[0] == "y" else "input", main.parameters)


def class_of(function: Function | Maker, base: type[NamedT], members: dict[str, Any]) -> type[NamedT]:
    """Frozen dataclass named as the function, with its parameters as fields, its docstring, and members of its own.

    Raises:
        SpecError: a parameter has the name of a member of ``base``.
    """
    call = function.call
    for name, _, _ in function.parameters:
        if hasattr(base, name):
            raise SpecError(
                f"{call.__name__}: {name!r} already means something in each of its kind. Rename the parameter."
            )
    columns = [
        (name, kind) if default is MISSING else (name, kind, field(default=default))
        for name, kind, default in function.parameters
    ]
    own = {"name": call.__name__, **members, "__doc__": call.__doc__ or f"{call.__name__}, registered from a function."}
    own["__repr__"] = _repr
    made: Any = make_dataclass(
        call.__name__, columns, bases=(base,), namespace=own, repr=False, frozen=True, slots=True
    )
    made.__module__, made.__qualname__ = call.__module__, call.__qualname__
    if all(default is not MISSING for _, _, default in function.parameters):
        made()  # a default of the wrong type is refused here, where it is written
    return made


def _repr(value: Named) -> str:
    # Not by the qualified name, as of a dataclass: a function made inside of another has a long one.
    return f"{value.name}({', '.join(f'{name}={given!r}' for name, given in parameters_of(value).items())})"


def same_shape(result: object, value: Tensor, owner: Named) -> Tensor:
    """Result in the dtype of ``value``, if it is a tensor of its shape.

    Raises:
        RuleTypeError: the result is no tensor, has another shape, or is complex.
    """
    name = owner.name or type(owner).__name__
    if not isinstance(result, Tensor) or result.shape != value.shape:
        found = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else shown(result)
        raise RuleTypeError(f"{name} is not elementwise: it was given shape {tuple(value.shape)} and returned {found}.")
    return real(result, value.dtype, name)


def real(result: Tensor, dtype: torch.dtype, owner: object) -> Tensor:
    """``result`` in ``dtype``, if its numbers are real.

    Raises:
        RuleTypeError: they are complex.
    """
    if result.is_complex():
        raise RuleTypeError(
            f"{owner} returned {result.dtype}, and {dtype} holds no imaginary part. Return real numbers, such as result.real."
        )
    return result.to(dtype)
