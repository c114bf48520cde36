"""Schedules of rules: values that give the rule of each step and change nothing themselves, by their names in specs."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from tieless.errors import SpecError
from tieless.grammar import parse_chain, shown
from tieless.registry import forget_caches, known_by_name
from tieless.rules.base import Rule, rules

MakerT = TypeVar("MakerT", bound=Callable[..., "RuleSchedule"])

_MAKERS: dict[str, Callable[..., RuleSchedule]] = known_by_name({})


class RuleSchedule(ABC):
    """Base of ``Anneal`` and ``Alternate``, which are values: hashable, comparable, picklable. ``str`` gives a spec."""

    __slots__ = ("__weakref__",)  # as in a ``Named``

    @abstractmethod
    def at(self, step: int) -> Rule:
        """Rule of a step, counted from 0."""

    @abstractmethod
    def kinds(self) -> tuple[Rule, ...]:
        """One rule of each kind that the schedule gives, to check with which forwards the schedule can be used."""

    @abstractmethod
    def belongs_to(self, rule: Rule) -> bool:
        """True if the schedule is for an activation with this rule."""

    @abstractmethod
    def whose(self) -> str:
        """Description in words of the rule of an activation that the schedule is for."""


def register_schedule(name: str) -> Callable[[MakerT], MakerT]:
    """Decorator: specs call a function by ``name``, with quoted specs of rules as positional arguments.

    Raises:
        SpecError: the name is taken by another function, or by a rule.
    Example:
        >>> from tieless.rules import alternate, register_schedule, rule_schedule
        >>> @register_schedule("by_day")
        ... def by_day(day: str, night: str, *, hours: int = 12):
        ...     return alternate(day, night, every=hours)
        >>> rule_schedule("by_day('tied', 'full_jam', hours=6)").at(7)
        FullJam(minimum=0, maximum=1, replace='slope')
    """

    def register(make: MakerT) -> MakerT:
        taken = _MAKERS.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (make.__module__, make.__qualname__):
            raise SpecError(f"The schedule {name!r} exists already ({taken.__module__}.{taken.__qualname__}).")
        if name in rules():
            raise SpecError(f"{name!r} is a rule. Give the schedule another name.")
        _MAKERS[name] = make
        forget_caches()
        return make

    return register


def rule_schedule(spec: str) -> RuleSchedule | None:
    """Schedule that a spec writes; ``None`` if the spec writes a rule.

    Raises:
        SpecError: the spec cannot be read, or is a part of a chain: the rules of a schedule are chains themselves.
        RuleTypeError, RuleValueError: the reasons of ``alternate`` and ``anneal``.
    Example:
        >>> from tieless.rules import rule_schedule
        >>> rule_schedule("alternate('constant', 'tied', every=5)").at(5)
        Tied()
        >>> rule_schedule("constant") is None
        True
    """
    calls = parse_chain(spec)
    name = next((call.name for call in calls if call.name in _MAKERS), None)
    if name is None:
        return None
    if len(calls) != 1:
        raise SpecError(f"{name}(...) stands alone: put what follows it into its rules, in {shown(spec)}.")
    (call,) = calls
    parameters = inspect.signature(_MAKERS[name]).parameters.values()
    options = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    if unknown := sorted(set(call.kwargs) - set(options)):
        raise SpecError(
            f"{name} has no parameter {shown(unknown[0])}. It takes rules, quoted, and {', '.join(options)}."
        )
    if wrong := [one for one in call.args if not isinstance(one, str)]:
        raise SpecError(f"{name} takes rules as quoted specs, got {shown(wrong[0])} in {shown(spec)}.")
    try:
        inspect.signature(_MAKERS[name]).bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise SpecError(f"{name}: {error}, in {shown(spec)}.") from None
    return _MAKERS[name](*call.args, **call.kwargs)
