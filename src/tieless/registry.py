"""Registries of classes by name: from a spec to a frozen value, and from a frozen value to its spec.

A ``Named`` is a frozen dataclass that a registry knows by its name. Its fields are the parameters of its spec:
plain fields are always printed, those made by ``hidden_at_default`` only where they differ from their default.
"""

from __future__ import annotations

import difflib
import importlib
import math
import numbers
import re
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, field, fields
from functools import _lru_cache_wrapper, lru_cache  # pyright: ignore[reportPrivateUsage]  the type of what it returns
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Generic, Literal, SupportsIndex, TypeVar, cast, get_args, get_origin, get_type_hints

import torch

from tieless.errors import RuleTypeError, RuleValueError, SpecError
from tieless.grammar import Call, Value, format_call, is_name, is_text, parse_call, parse_chain, shown

T = TypeVar("T")

_CACHES: list[Callable[[], None]] = []

generation = "0"
"""Text that changes with each registration: compiled code that has read it is compiled anew."""


def forget_when_registered(clear: Callable[[], None]) -> None:
    """Call ``clear`` at each registration: a cache by spec must not outlive what the spec meant."""
    _CACHES.append(clear)


def remembered(function: Callable[..., T]) -> _lru_cache_wrapper[T]:
    """``function`` with a cache that is cleared when a name is registered, or a temporary meaning ends."""
    cached = lru_cache(maxsize=1024)(function)
    forget_when_registered(cached.cache_clear)
    return cached


ClassT = TypeVar("ClassT", bound=type)


def loadable(cls: ClassT) -> ClassT:
    """Class decorator: ``torch.load(weights_only=True)`` takes values of this class, which hold nothing but values."""
    torch.serialization.add_safe_globals([cls])
    return cls


def forget_caches() -> None:
    """Clear all caches by name, and let compiled code be compiled anew: a name has another meaning now."""
    global generation  # noqa: PLW0603
    generation = str(int(generation) + 1)
    for clear in _CACHES:
        clear()


def hidden_at_default(default: Value) -> Any:
    """Dataclass field whose parameter is printed in a spec only where it differs from ``default``."""
    return field(default=default, metadata={"hidden_at_default": True})


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for a name that does not exist: the given name, the nearest that exists, all that exist."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean {shown(near[0])}?" if near else ""
    there = ", ".join(shown(one)[1:-1] for one in names)
    return f"Unknown {kind} {shown(name)}.{hint} There are: {there or 'none'}."


def snake_case(definition: Any) -> str:
    """Name of a class or a function in snake case, empty if it has none: ``"two_layers"`` of ``TwoLayers``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", getattr(definition, "__name__", "")).lower()


def _bare(name: str) -> str:
    """Letters and digits in lower case, by which names in different styles are compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@remembered
def _types(cls: type) -> Mapping[str, Any]:
    return types_of(cls)


def types_of(written: Callable[..., Any]) -> Mapping[str, Any]:
    """Types of a class's fields or of a function's parameters.

    Raises:
        SpecError: a name in the annotations does not exist, or not where they are read.
    """
    try:
        return get_type_hints(written)
    except (NameError, TypeError, SyntaxError) as error:
        raise SpecError(
            f"The types of {shown(getattr(written, '__name__', written))} cannot be read: {error}. "
            "Define what they name at the top of the module."
        ) from None


def plain_number(value: object) -> int | float | None:
    """Number as Python's own ``int`` or ``float``, which a spec can hold; ``None`` if it is none, or a boolean.

    Example:
        >>> import numpy as np
        >>> plain_number(np.float64(0.5)), plain_number(np.int32(3)), plain_number(True), plain_number("1")
        (0.5, 3, None, None)
    """
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return math.inf


def number(name: str, value: object) -> int | float:
    """Finite number as Python's own; ``name`` is that of its owner, for messages.

    Raises:
        RuleTypeError: the value is no number.
        RuleValueError: the number is not finite, or larger than a float can be.
    """
    plain = plain_number(value)
    if plain is None:
        raise RuleTypeError(f"{name} must be a number, got {shown(value)}.")
    if domain := _outside(float, plain):
        raise RuleValueError(f"{name} must be {domain}, got {shown(value)}.")
    return plain


def positive_number(name: str, value: object) -> int | float:
    """A finite number above 0 as Python's own; ``name`` is whose it is, for messages.

    Raises:
        RuleTypeError: it is none.
        RuleValueError: it is not finite, or not positive.
    """
    plain = plain_number(value)
    if plain is not None and (plain <= 0 or _outside(float, plain)):
        raise RuleValueError(f"{name} must be finite and positive, got {shown(value)}.")
    return number(name, value)


def whole_number(name: str, value: object, least: int) -> int:
    """Integer of 64 bits as Python's own; ``name`` is that of its owner, for messages.

    Raises:
        RuleTypeError: the value is no integer.
        RuleValueError: the number is less than ``least``, or has more bits.
    """
    plain = plain_number(value)
    if not isinstance(plain, int):
        raise RuleTypeError(f"{name} must be an integer, got {shown(value)}.")
    if plain < least:
        raise RuleValueError(f"{name} must be at least {least}, got {shown(plain)}.")
    if domain := _outside(int, plain):
        raise RuleValueError(f"{name} must be {domain}, got {shown(plain)}.")
    return plain


def _plain(expected: Any, value: object) -> object:
    """Value as the expected type, of Python's own kind; ``None`` if it is of another."""
    if expected is float or expected is int:
        number = plain_number(value)
        return number if expected is float or isinstance(number, int) else None
    if expected is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, str) and (expected is str or value in get_args(expected)):
        return str.__str__(value)
    return None


def is_value_type(kind: Any) -> bool:
    """True if a spec can hold values of a type."""
    if get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in get_args(kind))
    return kind in (float, int, bool, str)


def _in_words(expected: Any) -> str:
    if get_origin(expected) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(expected))
    return {float: "a number", int: "an integer", bool: "true or false", str: "a string"}.get(expected, str(expected))


class Named:
    """Frozen dataclass with a registered name: hashable, comparable, picklable, and ``str`` gives its spec.

    Subclasses are ``@dataclass(frozen=True, slots=True)`` and put the domain of their parameters into ``check``.
    """

    # Compilers guard on an object by a weak reference to it.
    __slots__ = ("__weakref__",)
    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str] = ""
    known_as: ClassVar[tuple[str, ...]] = ()
    """Names in other libraries, such as ``"snnTorch atan"``: the error for such a name gives ours."""
    _wide: ClassVar[bool] = False
    """True if its parameters are used in float32 for a ``z`` of a half type."""

    def __post_init__(self) -> None:
        for parameter in fields(self):
            given, expected = getattr(self, parameter.name), _types(type(self))[parameter.name]
            value = _plain(expected, given)
            if value is None:
                raise RuleTypeError(f"{self.name}: {parameter.name} must be {_in_words(expected)}, got {shown(given)}.")
            if domain := _outside(expected, value):
                raise RuleValueError(f"{self.name}: {parameter.name} must be {domain}, got {shown(value)}.")
            if value is not given:
                object.__setattr__(self, parameter.name, value)
        self.check()

    @classmethod
    def is_ours(cls) -> bool:
        """True if its code is this package's, which is known to write nowhere and to read nothing that learns."""
        return cls.__module__.startswith("tieless.")

    def check(self) -> None:
        """Raise ``RuleValueError`` if a parameter lies outside its domain."""

    def require(self, holds: bool, expected: str) -> None:
        """Raise ``RuleValueError`` unless ``holds``: the message has the expected domain and all given parameters."""
        if not holds:
            given = ", ".join(f"{p.name}={shown(getattr(self, p.name))}" for p in fields(self))
            raise RuleValueError(f"{self.name} needs {expected}{', got ' * bool(given)}{given}.")

    def _sizes(self) -> dict[str, float]:
        """Numbers that must fit in the dtype of ``z``, by name: all parameters of type ``float``, unless overridden."""
        return {p.name: float(getattr(self, p.name)) for p in fields(self) if p.type in ("float", float)}

    def meet_dtype(self, dtype: torch.dtype) -> None:
        """Raise ``RuleValueError`` if a parameter would silently become infinite or 0 beside a ``z`` of ``dtype``."""
        used = torch.float32 if self._wide and dtype.itemsize < 4 else dtype
        info = torch.finfo(used)
        for name, size in self._sizes().items():
            # Half a unit in the last place beyond the largest number is rounded to it; half of the smallest to 0.
            becomes = "infinite" if abs(size) > info.max * (1 + info.eps / 4) else "0"
            if becomes == "infinite" or 0 < abs(size) <= info.tiny * info.eps / 2:
                raise RuleValueError(
                    f"{self.name}: {name}={size!r} is {becomes} in {used}, for a z of {dtype}. "
                    f"Give a size from {info.tiny * info.eps:.3g} to {info.max:.6g}, or a z of a wider dtype."
                )

    def call(self) -> Call:
        """Spec of this value, as a ``Call``."""
        plain = tuple(getattr(self, p.name) for p in fields(self) if "hidden_at_default" not in p.metadata)
        options = {
            p.name: getattr(self, p.name)
            for p in fields(self)
            if "hidden_at_default" in p.metadata and getattr(self, p.name) != p.default
        }
        return Call(self.name, plain, options)

    def __str__(self) -> str:
        return format_call(self.call())

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Reduce to kind and name, as in a spec, so that a file holds no class; unregistered, to the class."""
        kind = next((kind for kind, known in _REGISTRIES.items() if known.knows(type(self))), None)
        if kind is None or type(self).__reduce__ is not object.__reduce__:
            return super().__reduce_ex__(protocol)
        parameters = {parameter.name: getattr(self, parameter.name) for parameter in fields(self)}
        return _restored, (kind, type(self).__module__, self.name, parameters)


NamedT = TypeVar("NamedT", bound=Named)


def _outside(expected: Any, value: object) -> str | None:
    """Domain that every value of a type has, if the value is outside of it."""
    if isinstance(value, str):
        return None if is_text(value) else "a text without both kinds of quotation marks, which no spec can hold"
    if expected is int and not -(2**63) <= cast("int", value) < 2**63:
        return "an integer of 64 bits"
    try:
        return None if math.isfinite(cast("float", value)) else "finite"
    except OverflowError:
        return "a number that a float can hold"


class Registry(Generic[NamedT]):
    """Classes of one kind by name, each made from a spec.

    Args:
        kind: Name of the kind, for messages: ``"rule"``, ``"forward"``.
        chain: Function that makes one value of several, which a spec joins with ``>>``; ``None`` if it joins none.
        advice: Sentence behind the message for an unknown name.
    Attributes:
        read: Value of a spec, remembered until a name is registered; it raises as ``build``, and ``SpecError`` for a
            text that is no spec.
    """

    def __init__(
        self, kind: str, chain: Callable[[tuple[NamedT, ...]], NamedT] | None = None, *, advice: str = ""
    ) -> None:
        self.kind = kind
        self.read = remembered(self._read)
        self._chain = chain
        self._advice = advice
        self._classes: dict[str, type[NamedT]] = {}
        _REGISTRIES[kind] = self

    def _read(self, spec: str) -> NamedT:
        if self._chain is None:
            return self.build(parse_call(spec))
        first, *others = map(self.build, parse_chain(spec))
        return self._chain((first, *others)) if others else first

    def register(self, cls: type[NamedT]) -> type[NamedT]:
        """Add a class under its ``name``, or under its own name in snake case where it has none.

        Raises:
            SpecError: the name is taken by another class, or it or a parameter cannot be written in a spec.
            RuleTypeError: the class is no frozen dataclass.
        """
        name = cls.__dict__.get("name") or snake_case(cls)
        taken = self._classes.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise SpecError(f"The {self.kind} {name!r} exists already ({taken.__module__}.{taken.__qualname__}).")
        self._check(cls, name)
        cls.name = name
        self._classes[name] = cls
        forget_caches()
        return cls

    def _check(self, cls: type[NamedT], name: object) -> None:
        """Raise an error unless a spec can hold the values of the class."""
        settings = getattr(cls, "__dataclass_params__", None)
        if settings is None or not settings.frozen or cls.__hash__ is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise RuleTypeError(
                f"The {self.kind} {shown(name)} is a value, got {cls.__qualname__}, which is no frozen dataclass. "
                "Write @dataclass(frozen=True, slots=True) above the class."
            )
        for one in (name, *[parameter.name for parameter in fields(cls)]):
            if not isinstance(one, str) or not is_name(one):
                raise SpecError(
                    f"A spec cannot hold the name {shown(one)} of the {self.kind} {cls.__qualname__}. "
                    "Take letters, digits and '_', a letter first."
                )

    def knows(self, cls: type[Named]) -> bool:
        """True if specs with the name of the class make this class."""
        return self._classes.get(cls.name) is cls

    @contextmanager
    def temporary(self) -> Generator[None, None, None]:
        """Context: classes that are registered inside are gone afterwards."""
        before = dict(self._classes)
        try:
            yield
        finally:
            if self._classes != before:
                self._classes = before
                forget_caches()

    def catalogue(self) -> Mapping[str, type[NamedT]]:
        """Classes by name, sorted, read-only."""
        return MappingProxyType(dict(sorted(self._classes.items())))

    def _elsewhere(self, name: str) -> str:
        """Hint for a message: the name here of what the field or another library calls so; empty if none has it."""
        if ours := self._called(name):
            return f"What others call {shown(name)} is {' or '.join(ours)} here. "
        others = ((kind, known._called(name)) for kind, known in _REGISTRIES.items() if known is not self)  # noqa: SLF001
        found = next(((kind, names) for kind, names in others if names), None)
        return f"{shown(name)} is the {found[0]} {' or '.join(found[1])}, and no {self.kind}. " if found else ""

    def _called(self, name: str) -> list[str]:
        """Names of the classes that are called so here, in the field or in another library."""
        wanted = _bare(name)
        return [
            repr(cls.name)
            for cls in self._classes.values()
            if wanted
            and any(wanted in (_bare(alias), _bare(alias.partition(" ")[2])) for alias in (cls.name, *cls.known_as))
        ]

    def build(self, call: Call) -> NamedT:
        """Build the value that a call names.

        Raises:
            SpecError: the name or a parameter does not exist, or a parameter is missing or given twice.
            RuleTypeError: a parameter has the wrong type.
            RuleValueError: a parameter is out of range.
        """
        cls = self._classes.get(call.name)
        if cls is None:
            raise SpecError(self._elsewhere(call.name) + unknown(self.kind, call.name, self._classes) + self._advice)
        return make(cls, call)


def make(cls: type[NamedT], call: Call) -> NamedT:
    """Value of a class, with the arguments of a call.

    Raises:
        SpecError: a parameter does not exist, is missing or is given twice.
        RuleTypeError: a parameter has the wrong type.
        RuleValueError: a parameter is out of range.
    """
    names = [parameter.name for parameter in fields(cls)]
    takes = f"{call.name} takes {', '.join(names)}" if names else f"{call.name} takes no parameters"
    written = shown(format_call(call))[1:-1]
    if len(call.args) > len(names):
        raise SpecError(f"Too many parameters in {written}: {takes}.")
    values: dict[str, Value] = dict(zip(names, call.args, strict=False))
    for name, value in call.kwargs.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SpecError(f"Unknown parameter {shown(name)} in {written}.{hint} {takes}.")
        if name in values:
            raise SpecError(f"Parameter {name!r} is given twice in {written}.")
        values[name] = value
    missing = [
        p.name for p in fields(cls) if p.name not in values and p.default is MISSING and p.default_factory is MISSING
    ]
    if missing:
        raise SpecError(f"{written} lacks {', '.join(missing)}: {takes}.")
    build: Callable[..., NamedT] = cls
    return build(**values)


_REGISTRIES: dict[str, Registry[Any]] = {}
_KNOWN: list[dict[str, Any]] = []
"""Dictionaries of what is registered by a name alone."""


def known_by_name(names: dict[str, T]) -> dict[str, T]:
    """The same dictionary; ``temporary_names`` takes back what is added to it."""
    _KNOWN.append(names)
    return names


@contextmanager
def temporary_names() -> Generator[None, None, None]:
    """Context: rules, forwards, models, data sets, losses and metrics that are registered inside are gone afterwards.

    So is whatever else has a name in specs.

    Example:
        >>> from tieless.testing import temporary_names
        >>> with temporary_names():
        ...     @tl.register_rule
        ...     def everywhere(z): return torch.ones_like(z)
        ...     "everywhere" in tl.rules()
        True
        >>> "everywhere" in tl.rules()
        False
    """
    before = [dict(known) for known in _KNOWN]
    with ExitStack() as stack:
        for registry in _REGISTRIES.values():
            stack.enter_context(registry.temporary())
        try:
            yield
        finally:
            for known, names in zip(_KNOWN, before, strict=False):
                known.clear()
                known.update(names)
            forget_caches()


class CataloguePackage(ModuleType, Generic[NamedT]):
    """Package of named classes that is called for its catalogue: ``tieless.rules()``, beside ``tieless.rules.Sign``."""

    def __call__(self) -> Mapping[str, type[NamedT]]:
        """Classes by name, sorted, read-only."""
        return vars(self)["_catalogue"]()

    def __reduce__(self) -> tuple[object, ...]:
        return importlib.import_module, (self.__name__,)


def make_callable(package: str, catalogue: Callable[[], Mapping[str, type[Named]]]) -> None:
    """Make an imported package callable for its catalogue."""
    module = sys.modules[package]
    module.__class__ = CataloguePackage
    vars(module)["_catalogue"] = catalogue


def _restored(kind: str, module: str, name: str, parameters: dict[str, Any]) -> Named:
    """Value from the content of a pickle."""
    if kind not in _REGISTRIES or name not in _REGISTRIES[kind].catalogue():
        importlib.import_module(module)  # as pickle does for any class
    return _REGISTRIES[kind].build(Call(name, (), parameters))


def _restored_from_what_is_known(kind: str, module: str, name: str, parameters: dict[str, Any]) -> Named:
    """Value from a pickle for ``torch.load(weights_only=True)``: a file from an untrusted source imports nothing."""
    if kind not in _REGISTRIES or name not in _REGISTRIES[kind].catalogue():
        raise SpecError(f"The file holds the {kind} {shown(name)}, which nobody has registered. Import {module} first.")
    return _REGISTRIES[kind].build(Call(name, (), parameters))


torch.serialization.add_safe_globals([(_restored_from_what_is_known, f"{__name__}.{_restored.__name__}")])
