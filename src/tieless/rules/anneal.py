"""Annealed rule, whose parameters change during training: a value that gives the rule of each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from tieless.errors import RuleTypeError, RuleValueError
from tieless.grammar import Call, Value, format_call, shown
from tieless.registry import loadable, number, whole_number
from tieless.rules.base import Chain, Rule, RuleLike, rule as rule_of
from tieless.rules.schedule import RuleSchedule, register_schedule

Curve = Literal["linear", "geometric"]


@loadable
@dataclass(frozen=True, slots=True)
class Anneal(RuleSchedule):
    """Schedule that ``anneal`` makes. ``str`` of it is a spec that a study takes, with the first and the last rule.

    Args:
        rule: Rule with the parameters of step 0.
        ends: Parameters that change, each with its name, its first and its last value.
        steps, curve, stages: Arguments of ``anneal``.
    Example:
        >>> schedule = tl.anneal("atan", {"width": 1.0}, {"width": 0.5}, steps=10)
        >>> schedule.ends, schedule.steps
        ((('width', 1.0, 0.5),), 10)
    """

    rule: Rule
    ends: tuple[tuple[str, float, float], ...]
    steps: int
    curve: Curve = "linear"
    stages: int | None = None

    def at(self, step: int) -> Rule:
        """Rule of a step; from ``steps`` on, the last one.

        Example:
            >>> schedule = tl.anneal("rectangular", {"low": -2, "high": 2}, {"low": -1, "high": 1}, steps=10)
            >>> [str(schedule.at(step)) for step in (0, 5, 10, 99)]
            ['rectangular(-2.0, 2.0)', 'rectangular(-1.5, 1.5)', 'rectangular(-1.0, 1.0)', 'rectangular(-1.0, 1.0)']
        """
        done = min(max(step, 0), self.steps) / self.steps
        if self.stages is not None:
            done = min(int(done * self.stages), self.stages - 1) / (self.stages - 1)
        return self.after(done)

    def after(self, done: float) -> Rule:
        """Rule after a part of the way, 0 to 1."""
        return _with_parameters(self.rule, {name: self._between(first, last, done) for name, first, last in self.ends})

    def belongs_to(self, rule: Rule) -> bool:
        """True if a rule is this one, but for the parameters that change."""
        parts, others = self.rule.parts(), rule.parts()
        if [type(part) for part in parts] != [type(part) for part in others]:
            return False
        firsts = {name: first for name, first, _ in self.ends}
        return _with_parameters(rule, firsts) == self.rule

    def kinds(self) -> tuple[Rule, ...]:
        return self.at(0), self.after(1.0)

    def whose(self) -> str:
        return f"{self.rule}, whatever its {', '.join(name for name, _, _ in self.ends)}"

    def __str__(self) -> str:
        named: dict[str, Value] = {"steps": self.steps}
        if self.curve != "linear":
            named["curve"] = self.curve
        if self.stages is not None:
            named["stages"] = self.stages
        return format_call(Call("anneal", (str(self.after(0.0)), str(self.after(1.0))), named))

    def _between(self, first: float, last: float, done: float) -> float:
        if done in {0.0, 1.0}:
            return last if done else first
        if self.curve == "geometric":
            return first * (last / first) ** done
        return first + (last - first) * done


def anneal(
    rule: RuleLike,
    from_: Mapping[str, float],
    to: Mapping[str, float],
    steps: int,
    *,
    curve: Curve = "linear",
    stages: int | None = None,
) -> Anneal:
    """Schedule of a rule's parameters: ``from_`` at step 0, ``to`` at step ``steps`` and after it.

    With ``s = step / steps``::

        a + (b - a) s              curve="linear"
        a (b / a)^s                curve="geometric"

    Linear suits a parameter that is added, such as an edge or noise; geometric suits a scale, such as a width, which
    then shrinks by the same factor in each step. The schedule itself changes nothing; ``tieless.nn.RuleScheduler``
    gives its rules to the activations of a model. In a study the schedule is written like a rule, from the rule of the
    first step to that of the last: ``backward: anneal("atan(2)", "atan(0.2)", steps=1000)``.

    A compiled model holds a graph for each rule that it has met, and PyTorch compiles a function again 8 times at most
    (``torch._dynamo.config.recompile_limit``); after that it runs without the compiler, or is refused with
    ``fullgraph=True``. ``stages`` limits the number of rules, each for an equal part of the steps.

    Args:
        rule: Spec or ``Rule``; also a chain, if one of its rules alone has the parameters.
        from_, to: Values of parameters by name: numbers, with the same names in both.
        steps: Number of steps from the first value to the last; at least 1.
        curve: ``"linear"``; or ``"geometric"``, between two numbers of one sign, neither of them 0.
        stages: Number of rules, at least 2; ``None``: one for each step.
    Raises:
        SpecError, RuleTypeError, RuleValueError: the rule cannot be read, has no such parameter, or cannot take a value
            that the schedule would give it.
    Example:
        >>> schedule = tl.anneal("atan", {"width": 1.0}, {"width": 0.01}, steps=100, curve="geometric")
        >>> schedule.at(0), schedule.at(50), schedule.at(100)
        (ATan(width=1.0, height=1), ATan(width=0.1, height=1), ATan(width=0.01, height=1))
    """
    base = rule_of(rule)
    _numbers("from_", from_)
    _numbers("to", to)
    if set(from_) != set(to):
        raise RuleValueError(f"anneal needs the same parameters in from_ and to, got {sorted(from_)} and {sorted(to)}.")
    steps = whole_number("anneal: steps", steps, 1)
    if stages is not None:
        stages = whole_number("anneal: stages", stages, 2)
    if curve not in get_args(Curve):
        raise RuleValueError(f"anneal: curve must be one of {', '.join(get_args(Curve))}, got {shown(curve)}.")
    ends = tuple((name, float(from_[name]), float(to[name])) for name in sorted(from_))
    for name, first, last in ends:
        if curve == "geometric" and (first == 0 or last == 0 or (first > 0) != (last > 0)):
            raise RuleValueError(
                f"anneal: a geometric curve needs two numbers of one sign, got {name} from {first!r} to {last!r}. "
                "Take curve='linear'."
            )
    schedule = Anneal(_with_parameters(base, {name: first for name, first, _ in ends}), ends, steps, curve, stages)
    # A rule takes any value between two that it takes, for every domain here is an interval; unless it needs integers.
    for done in (0.5, 1.0):
        schedule.after(done)
    return schedule


@register_schedule("anneal")
def anneal_between(first: str, last: str, *, steps: int, curve: Curve = "linear", stages: int | None = None) -> Anneal:
    """Schedule like that of ``anneal``, from one rule to another of the same kind, as specs have it.

    Args:
        first, last: Specs of the rules of step 0 and of step ``steps``, which differ in parameters that are numbers.
        steps, curve, stages: Arguments of ``anneal``.
    Raises:
        SpecError, RuleTypeError, RuleValueError: as from ``anneal``; the rules are of different kinds, or equal.
    Example:
        >>> from tieless.rules.anneal import anneal_between
        >>> str(anneal_between("rectangular(-2, 2)", "rectangular(-1, 1)", steps=10).at(5))
        'rectangular(-1.5, 1.5)'
    """
    start, end = rule_of(first), rule_of(last)
    if [type(part) for part in start.parts()] != [type(part) for part in end.parts()]:
        raise RuleValueError(f"anneal goes from a rule to another one of its kind, got {start} and {end}.")
    from_: dict[str, float] = {}
    to: dict[str, float] = {}
    for one, other in zip(start.parts(), end.parts(), strict=True):
        for field in fields(one):
            if (value := getattr(one, field.name)) != getattr(other, field.name):
                from_[field.name], to[field.name] = value, getattr(other, field.name)
    if not to:
        raise RuleValueError(f"anneal goes from a rule to another one, got {start} twice.")
    return anneal(start, from_, to, steps, curve=curve, stages=stages)


def _numbers(name: str, values: Mapping[str, float]) -> None:
    if not isinstance(values, Mapping) or not values:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(
            f"anneal: {name} must map parameters to numbers, such as {{'width': 1}}, got {shown(values)}."
        )
    for parameter, value in values.items():
        number(f"anneal: {parameter} in {name}", value)


def _with_parameters(rule: Rule, values: Mapping[str, float]) -> Rule:
    """Rule with other values of some parameters; in a chain, of the rule that has them.

    Raises:
        RuleValueError: no rule has such a parameter, or two of a chain do.
        RuleTypeError, RuleValueError: a parameter cannot take its value.
    """
    parts = rule.parts()
    owners = [{field.name for field in fields(part)} for part in parts]
    for name in values:
        count = sum(name in names for names in owners)
        if count != 1:
            found = "has no parameter" if not count else f"has {count} rules with a parameter"
            has = ", ".join(sorted({field for names in owners for field in names})) or "none"
            raise RuleValueError(f"{rule} {found} {name!r}. Its parameters: {has}.")
    changed = [
        replace(part, **{name: value for name, value in values.items() if name in names})
        if names & set(values)
        else part
        for part, names in zip(parts, owners, strict=True)
    ]
    return changed[0] if len(changed) == 1 else Chain(tuple(changed))
