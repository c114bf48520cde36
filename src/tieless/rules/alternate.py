"""Rules in turn: some steps of training under one, the next under another."""

from __future__ import annotations

from dataclasses import dataclass

from tieless.errors import RuleValueError, SpecError
from tieless.registry import loadable, whole_number
from tieless.rules.base import Rule, RuleLike, rule as rule_of
from tieless.rules.schedule import RuleSchedule
from tieless.spec import Call, format_call, parse_chain, shown


@loadable
@dataclass(frozen=True, slots=True)
class Alternate(RuleSchedule):
    """What ``alternate`` makes. ``str`` of it is a spec that a study takes.

    Args:
        rules: Those that take turns, the first one first.
        every: Steps of a turn.
    """

    rules: tuple[Rule, ...]
    every: int = 1

    def at(self, step: int) -> Rule:
        """The rule of a step.

        Example:
            >>> turns = tl.alternate("tied", "full_jam", every=2)
            >>> [str(turns.at(step)) for step in range(5)]
            ['tied', 'tied', 'full_jam', 'full_jam', 'tied']
        """
        return self.rules[max(step, 0) // self.every % len(self.rules)]

    def belongs_to(self, rule: Rule) -> bool:
        """Whether it is the first of the rules."""
        return rule == self.rules[0]

    def whose(self) -> str:
        return str(self.rules[0])

    def __str__(self) -> str:
        named = {} if self.every == 1 else {"every": self.every}
        return format_call(Call("alternate", tuple(map(str, self.rules)), named))


def alternate(*rules: RuleLike, every: int = 1) -> Alternate:
    """A schedule in which rules take turns: at step ``t`` it is rule ``floor(t / every) mod n`` of ``n``.

    ``tieless.optim.Annealing`` gives its rules to the activations of a model that have the first one. In a study it is a rule
    like any other: ``backward: alternate("tied", "full_jam")``. A compiled model has a graph for each rule, and keeps them.

    Args:
        rules: Specs or ``Rule`` values, at least two.
        every: Steps of a turn, at least 1.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a rule cannot be read, there are too few, or ``every`` is no such number.
    Example:
        >>> turns = tl.alternate("full_jam", "tied")
        >>> turns.at(0), turns.at(1), str(turns)
        (FullJam(minimum=0, maximum=1, replace='slope'), Tied(), 'alternate("full_jam", "tied")')
    """
    if len(rules) < 2:
        raise RuleValueError(f"alternate needs at least two rules, got {len(rules)}. One alone is a rule: give that.")
    return Alternate(tuple(map(rule_of, rules)), whole_number("alternate: every", every, 1))


def alternation(spec: str) -> Alternate | None:
    """The schedule that a spec writes; ``None`` where it writes none, as that of a rule.

    Raises:
        SpecError: it cannot be read, or is a part of a chain: rules in turn are chains themselves.
        RuleTypeError, RuleValueError: as ``alternate`` raises them.
    Example:
        >>> from tieless.rules import alternation
        >>> alternation("alternate('constant', 'tied', every=5)").at(5)
        Tied()
        >>> alternation("constant") is None
        True
    """
    calls = parse_chain(spec)
    if all(call.name != "alternate" for call in calls):
        return None
    if len(calls) != 1:
        raise SpecError(f"alternate(...) stands alone: put what follows it into its rules, in {shown(spec)}.")
    (call,) = calls
    if unknown := sorted(set(call.kwargs) - {"every"}):
        raise SpecError(f"alternate has no parameter {shown(unknown[0])}. It takes rules, quoted, and every.")
    if wrong := [one for one in call.args if not isinstance(one, str)]:
        raise SpecError(f"alternate takes rules as quoted specs, got {shown(wrong[0])} in {shown(spec)}.")
    return alternate(*map(str, call.args), **call.kwargs)  # pyright: ignore[reportArgumentType]  alternate checks it
