"""Names to classes: how a spec becomes a frozen value, and a frozen value a spec again.

A ``Named`` is a frozen dataclass that a registry knows by its name. Its fields are the parameters of its spec:
plain fields are always printed, those made by ``option`` only where they differ from their default.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, field, fields
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from tieless.errors import RuleTypeError, RuleValueError, SpecError
from tieless.spec import Call, Value, format_call

__all__ = ["Named", "Registry", "forget_when_registered", "option", "unknown"]


def option(default: Value) -> Any:
    """A dataclass field whose parameter is printed in a spec only where it differs from ``default``."""
    return field(default=default, metadata={"option": True})


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist: what was given, the nearest that exists, all that exist."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {name!r}.{hint} There are: {', '.join(names) or 'none'}."


def _bare(name: str) -> str:
    """Letters and digits in lower case: how names of different habits are compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _types(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls)


def _accepts(expected: Any, value: object) -> bool:
    if get_origin(expected) is Literal:
        return isinstance(value, str) and value in get_args(expected)
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)


def _in_words(expected: Any) -> str:
    if get_origin(expected) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(expected))
    return {float: "a number", int: "an integer", bool: "true or false", str: "a string"}.get(expected, str(expected))


class Named:
    """A frozen dataclass with a registered name: hashable, comparable, picklable, and ``str`` gives its spec.

    Subclasses are ``@dataclass(frozen=True, slots=True)`` and put the domain of their parameters into ``check``.
    """

    # Compilers guard on an object by a weak reference to it.
    __slots__ = ("__weakref__",)
    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str] = ""
    known_as: ClassVar[tuple[str, ...]] = ()
    """What other libraries call it, such as ``"snnTorch atan"``: a spec with such a name is told ours."""

    def __post_init__(self) -> None:
        for parameter in fields(self):
            value, expected = getattr(self, parameter.name), _types(type(self))[parameter.name]
            if not _accepts(expected, value):
                raise RuleTypeError(f"{self.name}: {parameter.name} must be {_in_words(expected)}, got {value!r}.")
            if isinstance(value, float) and not math.isfinite(value):
                raise RuleValueError(f"{self.name}: {parameter.name} must be finite, got {value!r}.")
        self.check()

    def check(self) -> None:
        """Raise ``RuleValueError`` where a parameter lies outside its domain."""

    def require(self, holds: bool, expected: str) -> None:
        """Raise ``RuleValueError`` unless ``holds``: what was expected, and all that was given."""
        if not holds:
            given = ", ".join(f"{p.name}={getattr(self, p.name)!r}" for p in fields(self))
            raise RuleValueError(f"{self.name} needs {expected}, got {given}.")

    def call(self) -> Call:
        """The spec of this value, as a ``Call``."""
        plain = tuple(getattr(self, p.name) for p in fields(self) if "option" not in p.metadata)
        options = {
            p.name: getattr(self, p.name)
            for p in fields(self)
            if "option" in p.metadata and getattr(self, p.name) != p.default
        }
        return Call(self.name, plain, options)

    def __str__(self) -> str:
        return format_call(self.call())


NamedT = TypeVar("NamedT", bound=Named)

_CACHES: list[Callable[[], None]] = []

generation = "0"
"""Another text after each registration: compiled code that has read it is compiled anew."""


def forget_when_registered(clear: Callable[[], None]) -> None:
    """Call ``clear`` at each registration: a cache by spec must not outlive what the spec meant."""
    _CACHES.append(clear)


def _forget() -> None:
    global generation  # noqa: PLW0603
    generation = str(int(generation) + 1)
    for clear in _CACHES:
        clear()


class Registry(Generic[NamedT]):
    """The classes of one kind by name, each made from a spec.

    Args:
        kind: What they are, for messages: ``"rule"``, ``"forward"``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[NamedT]] = {}

    def register(self, cls: type[NamedT]) -> type[NamedT]:
        """Add a class under its ``name``, or under its own name in snake case where it has none.

        Raises:
            SpecError: the name is taken by another class.
        """
        name = cls.__dict__.get("name") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        taken = self._classes.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise SpecError(f"The {self.kind} {name!r} exists already ({taken.__module__}.{taken.__qualname__}).")
        cls.name = name
        self._classes[name] = cls
        _forget()
        return cls

    @contextmanager
    def temporary(self) -> Generator[None, None, None]:
        """What is registered inside is gone afterwards."""
        before = dict(self._classes)
        try:
            yield
        finally:
            if self._classes != before:
                self._classes = before
                _forget()

    def catalogue(self) -> Mapping[str, type[NamedT]]:
        """Name to class, sorted by name, read-only."""
        return MappingProxyType(dict(sorted(self._classes.items())))

    def _elsewhere(self, name: str) -> str:
        """What a name of another library is called here, for a message; nothing if none has it."""
        ours = [
            repr(cls.name)
            for cls in self._classes.values()
            if any(_bare(name) in (_bare(alias), _bare(alias.partition(" ")[2])) for alias in cls.known_as)
        ]
        return f"What others call {name!r} is {' or '.join(ours)} here. " if ours else ""

    def build(self, call: Call) -> NamedT:
        """Make the value that a call names.

        Raises:
            SpecError: the name or a parameter does not exist, or a parameter is missing or given twice.
            RuleTypeError: a parameter has the wrong type.
            RuleValueError: a parameter is out of range.
        """
        cls = self._classes.get(call.name)
        if cls is None:
            raise SpecError(self._elsewhere(call.name) + unknown(self.kind, call.name, self._classes))
        names = [parameter.name for parameter in fields(cls)]
        takes = f"{call.name} takes {', '.join(names)}" if names else f"{call.name} takes no parameters"
        if len(call.args) > len(names):
            raise SpecError(f"Too many parameters in {format_call(call)}: {takes}.")
        values: dict[str, Value] = dict(zip(names, call.args, strict=False))
        for name, value in call.kwargs.items():
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise SpecError(f"Unknown parameter {name!r} in {format_call(call)}.{hint} {takes}.")
            if name in values:
                raise SpecError(f"Parameter {name!r} is given twice in {format_call(call)}.")
            values[name] = value
        missing = [p.name for p in fields(cls) if p.name not in values and p.default is MISSING]
        if missing:
            raise SpecError(f"{format_call(call)} lacks {', '.join(missing)}: {takes}.")
        make: Callable[..., NamedT] = cls
        return make(**values)
