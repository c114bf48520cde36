"""Choice of the halves for each activation: selectors are matched with names, and the narrowest of several counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar, cast

from torch import nn

from tieless.convert.converted import original_class
from tieless.convert.find import Found
from tieless.convert.functions import kind_of_class
from tieless.convert.records import Unreached
from tieless.errors import ConversionError
from tieless.forwards import Forward, ForwardLike, forward as forward_of
from tieless.nn.select import Selector, between_ends, fits
from tieless.rules import Rule, RuleLike, rule as rule_of


@dataclass(frozen=True, slots=True)
class TypeName:
    """Class by its name, as files have it."""

    name: str

    def __str__(self) -> str:
        return f"the type {self.name}"


HalvesLike = RuleLike | Mapping[str, Any] | None
"""A rule, ``{"forward": ..., "backward": ...}``, or ``None`` to restore the original."""


@dataclass(frozen=True, slots=True)
class Halves:
    """Halves for an activation: it keeps its own forward if ``forward`` is ``None``."""

    forward: Forward | None
    backward: Rule


What = TypeVar("What")


@dataclass(frozen=True, slots=True)
class Entry(Generic[What]):
    """One selector with the value for its selection; ``None`` restores what is selected."""

    selector: Selector | TypeName
    given: What | None

    def __str__(self) -> str:
        if isinstance(self.selector, str):
            return repr(self.selector)
        return getattr(self.selector, "__name__", str(self.selector))

    def fits(self, name: str, found: Found) -> bool:
        """True if the selector fits an activation by this name."""
        selector = self.selector
        cls = original_class(found.module)
        if isinstance(selector, TypeName):
            classes = cls.__mro__ if found.place == "module" else ()
            kind = kind_of_class(getattr(nn, selector.name, nn.Module))
            return found.kind in {kind, selector.name} or any(base.__name__ == selector.name for base in classes)
        if isinstance(selector, type):
            return (found.place == "module" and issubclass(cls, selector)) or found.kind == kind_of_class(selector)
        return fits(selector, name, found.module)


Choice = tuple[Found, Halves | None]


def halves(given: HalvesLike, what: str, default: Halves | None = None) -> Halves | None:
    """Halves that are written for a layer.

    Args:
        given: Rule, mapping, or ``None``.
        what: Name of the owner of the halves, for messages.
        default: Halves that complete a mapping that lacks one.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        if unknown := sorted(set(given) - {"forward", "backward"}):
            raise ConversionError(f"{what} has {', '.join(unknown)}: a layer has forward and backward, nothing else.")
        forward, backward = given.get("forward"), given.get("backward")
        if backward is None and default is None:
            raise ConversionError(f"{what} has no backward rule. Give it one, for example backward: full_jam.")
        rule = default.backward if backward is None and default is not None else rule_of(cast("RuleLike", backward))
        return Halves(_forward(forward, default), rule)
    return Halves(default.forward if default else None, rule_of(given))


def _forward(given: ForwardLike | None, default: Halves | None) -> Forward | None:
    if given is None:
        return default.forward if default else None
    return forward_of(given)


def whole_types(entries: Sequence[Entry[Halves]]) -> tuple[type[nn.Module], ...]:
    """Classes among the selectors that are activations because the user says so."""
    types = (entry.selector for entry in entries if isinstance(entry.selector, type))
    return tuple(cls for cls in types if cls is not nn.Module and not cls.__module__.startswith(("torch.", "tieless.")))


def choose(
    found: Sequence[Found],
    entries: Sequence[Entry[What]],
    *,
    keep_ends: bool = False,
    of: str = "activation",
    have: str = "rules",
) -> list[tuple[Found, What | None]]:
    """Choose the narrowest selector that fits each activation: the one whose names are all among those of the others.

    Args:
        found: Activations to choose from.
        entries: Selectors with their values.
        keep_ends: True if the first and the last activation found are left out.
        of, have: Nouns for messages: for the things to choose from, and for the values that they get.

    Raises:
        ConversionError: a selector fits nothing; two overlap, and none is narrower; two names of one module get
            different halves; a selected activation cannot be converted.
    """
    found = between_ends(found, keep_ends)
    names = [(name, one) for one in found for name in one.names]
    selected = [frozenset(name for name, one in names if entry.fits(name, one)) for entry in entries]
    for entry, some in zip(entries, selected, strict=True):
        if not some:
            raise ConversionError(
                f"{entry} selects no {of}. There are: {listed(found)}."
                + " The first and the last are kept: keep_ends=False takes them too." * keep_ends
            )
    choices: list[tuple[Found, What | None]] = []
    for one in found:
        by_name = {name: _narrowest(name, entries, selected) for name in one.names}
        given = {name: entry and (entry.given, entry.given is None) for name, entry in by_name.items()}
        if len(set(given.values())) > 1:
            raise ConversionError(
                f"{' and '.join(by_name)} are one shared module, and cannot have different {have}. Select both alike, or "
                "give each its own module."
            )
        entry = next(iter(by_name.values()))
        if entry is None:
            continue
        if one.why_not is not None:
            if entry.selector == original_class(one.module) or (
                isinstance(entry.selector, str) and entry.selector in one.names
            ):
                raise ConversionError(f"{one.names[0]} ({one.kind}) cannot be converted: {one.why_not}.")
            continue
        choices.append((one, entry.given))
    return choices


def _narrowest(name: str, entries: Sequence[Entry[What]], selected: Sequence[frozenset[str]]) -> Entry[What] | None:
    fitting = [(some, entry) for some, entry in zip(selected, entries, strict=True) if name in some]
    if not fitting:
        return None
    least, narrowest = min(fitting, key=lambda pair: len(pair[0]))
    for some, entry in fitting:
        if entry.given != narrowest.given and not least < some:
            raise ConversionError(
                f"{narrowest} and {entry} both select {name}, and neither is narrower. Write its name out to decide."
            )
    return narrowest


_MOST_LISTED = 12


def listed(found: Sequence[Found]) -> str:
    """Activations by name and kind; of many, the first ones."""
    words = [f"{one.names[0] or '(the model)'} ({one.kind})" for one in found[:_MOST_LISTED]]
    more = [f"and {len(found) - _MOST_LISTED} more"] if len(found) > _MOST_LISTED else []
    return ", ".join([*words, *more]) or "none"


def concerns(unreached: Unreached, entries: Sequence[Entry[Halves]]) -> bool:
    """True if the selectors may have meant the activations that were not reached; also true in doubt."""
    for entry in entries:
        if entry.given is None:
            continue
        selector = entry.selector
        if isinstance(selector, str):
            if fnmatchcase(unreached.name, selector) or fnmatchcase(
                f"{unreached.name}.{unreached.what}".lstrip("."), selector
            ):
                return True
        elif isinstance(selector, (type, TypeName)):
            kind = kind_of_class(selector if isinstance(selector, type) else getattr(nn, selector.name, nn.Module))
            if kind is not None and kind in unreached.what:
                return True
        else:
            return True
    return False
