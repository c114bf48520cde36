"""Schedules of rules: values that give the rule of each step and change nothing by themselves, by the names in specs."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from tieless.errors import SpecError
from tieless.grammar import parse_chain, shown
from tieless.registry import forget_caches
from tieless.rules.base import Rule, rules

MakerT = TypeVar("MakerT", bound=Callable[..., "RuleSchedule"])

_MAKERS: dict[str, Callable[..., RuleSchedule]] = {}


class RuleSchedule(ABC):
    """Base of ``Anneal`` and ``Alternate``, which are values: hashable, comparable, picklable. ``str`` gives a spec."""

    __slots__ = ("__weakref__",)  # as a ``Named`` has it

    @abstractmethod
    def at(self, step: int) -> Rule:
        """The rule of a step, from 0 on."""

    @abstractmethod
    def kinds(self) -> tuple[Rule, ...]:
        """Rules enough to say with which forwards the schedule can go: one of each kind that it gives."""

    @abstractmethod
    def belongs_to(self, rule: Rule) -> bool:
        """True if an activation with this rule is one that the schedule is for."""

    @abstractmethod
    def whose(self) -> str:
        """In words, which rule an activation has that the schedule is for."""


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
    """The schedule that a spec writes; ``None`` where it writes a rule.

    Raises:
        SpecError: it cannot be read, or is a part of a chain: what a schedule gives are chains themselves.
        RuleTypeError, RuleValueError: as ``alternate`` and ``anneal`` raise them.
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
