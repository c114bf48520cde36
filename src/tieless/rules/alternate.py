"""Alternating rules: some steps of training under one rule, the next steps under another."""

from __future__ import annotations

from dataclasses import dataclass

from tieless.errors import RuleValueError
from tieless.grammar import Call, format_call
from tieless.registry import loadable, whole_number
from tieless.rules.base import Rule, RuleLike, rule as rule_of
from tieless.rules.schedule import RuleSchedule, register_schedule


@loadable
@dataclass(frozen=True, slots=True)
class Alternate(RuleSchedule):
    """Schedule that ``alternate`` makes. ``str`` of it is a spec that a study takes.

    Args:
        rules: Rules that take turns, the first one first.
        every: Number of steps of a turn.
    Example:
        >>> turns = tl.alternate("tied", "full_jam", every=2)
        >>> turns.rules
        (Tied(), FullJam(minimum=0, maximum=1, replace='slope'))
        >>> str(turns)
        'alternate("tied", "full_jam", every=2)'
    """

    rules: tuple[Rule, ...]
    every: int = 1

    def at(self, step: int) -> Rule:
        """Rule of a step.

        Example:
            >>> turns = tl.alternate("tied", "full_jam", every=2)
            >>> [str(turns.at(step)) for step in range(5)]
            ['tied', 'tied', 'full_jam', 'full_jam', 'tied']
        """
        return self.rules[max(step, 0) // self.every % len(self.rules)]

    def belongs_to(self, rule: Rule) -> bool:
        """True if a rule is the first of the rules."""
        return rule == self.rules[0]

    def kinds(self) -> tuple[Rule, ...]:
        return self.rules

    def whose(self) -> str:
        return str(self.rules[0])

    def __str__(self) -> str:
        named = {} if self.every == 1 else {"every": self.every}
        return format_call(Call("alternate", tuple(map(str, self.rules)), named))


@register_schedule("alternate")
def alternate(*rules: RuleLike, every: int = 1) -> Alternate:
    """Schedule in which rules take turns: step ``t`` has rule ``floor(t / every) mod n`` of ``n``.

    ``tieless.nn.RuleScheduler`` gives the rules to the activations of a model that have the first one. In a study the
    schedule is written like a rule: ``backward: alternate("tied", "full_jam")``. A compiled model has a graph for each
    rule, and keeps these graphs.

    Args:
        rules: Specs or ``Rule`` values, at least two.
        every: Number of steps of a turn, at least 1.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a rule cannot be read, there are too few, or ``every`` is no such
            number.
    Example:
        >>> turns = tl.alternate("full_jam", "tied")
        >>> turns.at(0), turns.at(1), str(turns)
        (FullJam(minimum=0, maximum=1, replace='slope'), Tied(), 'alternate("full_jam", "tied")')
    """
    if len(rules) < 2:
        raise RuleValueError(f"alternate needs at least two rules, got {len(rules)}. One alone is a rule: give that.")
    return Alternate(tuple(map(rule_of, rules)), whole_number("alternate: every", every, 1))
