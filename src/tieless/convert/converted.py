"""Converted activations: the same objects, each with another class.

A converted module is not replaced. It gets a class made for it, derived from ``Activation`` and from the class that it
had, as ``torch.nn.utils.parametrize`` does it. So the object keeps everything that belongs to it: hooks, flags, its
place in every parent that shares it, the keys of ``state_dict``. Reverting gives the object its old class back.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from tieless._tracing import GraphNames, known_when_traced, no_script
from tieless.convert.functions import KINDS, Function, equal_forward
from tieless.errors import ConversionError
from tieless.forwards import Elementwise, FixedFunction, Forward
from tieless.functional import Pair, pair_of, untie_pair
from tieless.nn import UNTIED_CALLS, Activation
from tieless.nn.weights import rebuilt
from tieless.registry import remembered
from tieless.rules import Rule

KEPT = "_tieless_kept"
"""Attribute in which a changed module has the earlier values of its attributes."""

STANDS_FOR = "_tieless_stands_for"
"""Attribute in which a stand-in for a shared module has that module."""

ABSENT = "(absent)"


class Changed:
    """Base of every class that a conversion has made. An instance is pickled as one of the original class."""

    __prepare_scriptable__ = no_script
    tieless_original: ClassVar[type[nn.Module]]
    tieless_make: ClassVar[Callable[[Any], type[nn.Module]]]

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Skip the original class's own ``__init_subclass__``, which may for example register subclasses."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        made, arguments, *rest = cast("tuple[Any, ...]", super().__reduce_ex__(max(2, protocol)))
        make = type(self).tieless_make
        if made is rebuilt:
            return (_blank_of, (make, made, arguments), *rest)
        if made is not copyreg.__newobj__ or len(arguments) != 1:  # pyright: ignore[reportAttributeAccessIssue]
            raise ConversionError(
                f"{self.tieless_original.__name__} is copied and pickled in a way of its own. Revert the model before "
                "that."
            )
        # A shallow copy, too, has calls of its own.
        own = {name: dict(rest[0][name]) for name in (UNTIED_CALLS, KEPT) if name in rest[0]}
        return (_blank, (make, self.tieless_original), {**rest[0], **own}, *rest[1:])


def _blank(make: Callable[[type[nn.Module]], type[nn.Module]], original: type[nn.Module]) -> nn.Module:
    cls = make(original)
    return cls.__new__(cls)


def _blank_of(make: Callable[[type[nn.Module]], type[nn.Module]], made: Any, arguments: tuple[Any, ...]) -> nn.Module:
    """Blank instance of a layer with quantised weights, which has a class of its own."""
    module: nn.Module = made(*arguments)
    module.__class__ = make(type(module))
    return module


class Converted(Changed, Activation):
    """Base of converted activation modules: their own function or another one forward, a rule backward."""

    def forward(self, *given: Tensor, **named: object) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if len(given) != 1 or named:
            raise ConversionError(
                f"A converted {self.tieless_original.__name__} takes its input alone, got {len(given)} arguments"
                f"{' and ' * bool(named)}{', '.join(named)}. Leave it out of the conversion."
            )
        return _apply(given[0], self.tieless_pair, inplace=bool(vars(self).get("inplace", False)))


def _apply(z: Tensor, pair: Pair, *, inplace: bool) -> Tensor:
    if not inplace:
        return untie_pair(z, pair)
    # Other layers may read the input that is overwritten: a residual branch sees the output of the activation.
    return z.copy_(untie_pair(z.clone() if pair.keeps_input else z, pair))


class ConvertedCall(Activation):
    """Calls of one function at one place, as if they were a module.

    Args:
        function: Function that is called there.
        forward: Forward that takes the function's place; ``None`` keeps the function, with the parameters of each call.
        backward: Backward rule.
    """

    def __init__(self, function: Function, forward: Forward | None, backward: Rule) -> None:
        super().__init__(forward or equal_forward(function.kind, dict(function.parameters)), backward)
        self.function = function
        self.exchanged = forward is not None

    def forward(self, z: Tensor, parameters: tuple[tuple[str, Any], ...] = (), *, inplace: bool = False) -> Tensor:
        return _apply(z, self.with_parameters(parameters), inplace=inplace)

    def with_parameters(self, parameters: tuple[tuple[str, Any], ...]) -> Pair:
        """Halves for a call that gives the function these parameters."""
        if not parameters or self.exchanged:
            return self.tieless_pair
        return _variant(self.function.kind, (*self.function.parameters, *parameters), self.rule)

    def call(self, kind: str, inplace: bool, /, *given: Any, **keywords: Any) -> Tensor:
        """Call the activation by PyTorch's signature: ``z`` first or as ``input``, then parameters and ``inplace``."""
        if len(given) == 1 and not keywords:
            return self.forward(given[0], inplace=inplace)
        names = ("input", *KINDS[kind], "inplace")
        parameters = dict(zip(names, given, strict=False))
        parameters.update(keywords)
        inplace = bool(parameters.pop("inplace", inplace))
        if len(given) > len(names) or "input" not in parameters:
            raise ConversionError(
                f"A converted call of {kind} takes {', '.join(names)}, got {len(given)} arguments"
                f"{' and ' * bool(keywords)}{', '.join(keywords)}. Leave this call out of the conversion."
            )
        z = parameters.pop("input")
        for name, value in parameters.items():
            if name not in KINDS[kind] or isinstance(value, Tensor):
                raise ConversionError(
                    f"A converted call of {kind} takes numbers for {', '.join(KINDS[kind]) or 'no parameter'}, got "
                    f"{name} of type {type(value).__name__}. Leave this call out of the conversion."
                )
        return self.forward(z, tuple(parameters.items()), inplace=inplace)


def _variant(kind: str, parameters: tuple[tuple[str, Any], ...], rule: Rule) -> Pair:
    if torch.compiler.is_compiling():
        return _MET[_name(kind, parameters, rule)]
    return _pair(kind, parameters, rule)


@remembered
def _pair(kind: str, parameters: tuple[tuple[str, Any], ...], rule: Rule) -> Pair:
    return pair_of(equal_forward(kind, dict(parameters)), rule)


_MET: GraphNames[Pair] = GraphNames()
"""Pairs of halves, for calls with parameters of their own, that compilers have met."""


@known_when_traced
def _name(kind: str, parameters: tuple[tuple[str, Any], ...], rule: Rule) -> str:
    pair = _pair(kind, parameters, rule)
    return _MET.name(pair.name, pair)


@dataclass(frozen=True, slots=True)
class FunctionAttribute:
    """Value of an attribute that held a function, as ``TransformerEncoderLayer.activation`` does."""

    site: ConvertedCall
    function: Function

    def __call__(self, *given: Any, **keywords: Any) -> Tensor:
        return self.site.call(self.function.kind, self.function.inplace, *given, **keywords)


@dataclass(frozen=True, eq=False)
class OriginalForward(FixedFunction):
    """Function that a module computes: that of another module of its class with the same settings.

    Args:
        cls: Class without parameters, buffers and children.
        settings: Attributes of the instance, except those that every module has.
    """

    cls: type[nn.Module]
    settings: tuple[tuple[str, Any], ...]
    twin: nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        twin = self.cls.__new__(self.cls)
        nn.Module.__init__(twin)
        vars(twin).update(self.settings)
        object.__setattr__(self, "twin", twin)

    def __call__(self, z: Tensor) -> Tensor:
        # The content of z belongs to other code.
        return self.cls.forward(self.twin, z.clone() if vars(self.twin).get("inplace") else z)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OriginalForward) and (self.cls, self.settings) == (other.cls, other.settings)

    def __hash__(self) -> int:
        return hash(self.cls)

    def __reduce__(self) -> Any:
        return OriginalForward, (self.cls, self.settings)

    def __repr__(self) -> str:
        return self.cls.__name__


EVERY_MODULE = frozenset(vars(nn.Module())) | {KEPT, UNTIED_CALLS, STANDS_FOR, "tieless_pair"}
"""Attributes that do not belong to a class itself."""


def original_forward(module: nn.Module) -> Forward:
    """Function that an activation module computes, converted or not, as a forward.

    Args:
        module: Module without parameters, buffers and children.
    """
    settings = tuple((name, value) for name, value in vars(module).items() if name not in EVERY_MODULE)
    return Elementwise(OriginalForward(original_class(module), settings))


def original_class(module: nn.Module) -> type[nn.Module]:
    """Class that a module had before it was converted.

    Raises:
        ConversionError: the class was changed again after that.
    """
    cls = type(module)
    if not issubclass(cls, Changed):
        return cls
    if "tieless_original" not in vars(cls):
        raise ConversionError(
            f"The class of a converted {cls.tieless_original.__name__} was changed again, to {cls.__name__}. Undo this "
            "first."
        )
    return cls.tieless_original


_CONVERTED: WeakKeyDictionary[type[nn.Module], ref[type[nn.Module]]] = WeakKeyDictionary()
"""Classes that were made, as long as a module has them: no class of a user is kept alive from here."""


def converted_class(cls: type[nn.Module]) -> type[nn.Module]:
    """Class that a module of ``cls`` gets when it is converted as a whole."""
    known = _CONVERTED.get(cls)
    made = known and known()
    if made is None:
        made = derived_class(cls, converted_class, f"Converted{cls.__name__}", Converted)
        _CONVERTED[cls] = ref(made)
    return made


def derived_class(
    cls: type[nn.Module],
    make: Callable[[Any], type[nn.Module]],
    name: str | None = None,
    base: type = Changed,
    content: Mapping[str, Any] = MappingProxyType({}),
) -> type[nn.Module]:
    """Class that a conversion derives from ``cls``.

    Args:
        cls: Original class of the module.
        make: Function that makes the same class of ``cls`` again when a copy of a module is made.
        name: Name of the new class; without one, the name of ``cls``.
        base: Base class: ``Changed``, or a class derived from it.
        content: Further attributes of the class.
    """
    made = {"__module__": cls.__module__, "__doc__": cls.__doc__}
    if name is None:
        made["__qualname__"] = cls.__qualname__
    own = {"tieless_original": cls, "tieless_make": staticmethod(make)}
    return cast("type[nn.Module]", type(name or cls.__name__, (base, cls), {**made, **own, **content}))


def change_class(module: nn.Module, cls: type[nn.Module], **attributes: object) -> None:
    """Give a module a class that a conversion has made, and attributes, and store the old ones."""
    kept = vars(module).setdefault(KEPT, {})
    for name, value in attributes.items():
        kept.setdefault(name, vars(module).get(name, ABSENT))
        vars(module)[name] = value
    module.__class__ = cls


def restore(module: nn.Module) -> bool:
    """Restore a module to its state before it was converted; return True if it was converted."""
    if KEPT not in vars(module):
        return False
    module.__class__ = original_class(module)
    kept = vars(module).pop(KEPT)
    vars(module).get(UNTIED_CALLS, {}).clear()  # code of it that somebody has kept reads them
    for name, value in kept.items():
        if isinstance(value, str) and value == ABSENT:
            vars(module).pop(name, None)
        else:
            vars(module)[name] = value
    return True
