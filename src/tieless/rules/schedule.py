"""What a schedule of rules is: a value that gives the rule of each step. It changes nothing by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tieless.rules.base import Rule


class RuleSchedule(ABC):
    """Base of ``Anneal`` and ``Alternate``, which are values: hashable, comparable, picklable."""

    __slots__ = ("__weakref__",)  # as a ``Named`` has it

    @abstractmethod
    def at(self, step: int) -> Rule:
        """The rule of a step, from 0 on."""

    @abstractmethod
    def belongs_to(self, rule: Rule) -> bool:
        """Whether an activation with this rule is one that the schedule is for."""

    @abstractmethod
    def whose(self) -> str:
        """In words, which rule an activation has that the schedule is for."""
