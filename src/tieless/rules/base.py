"""What a backward rule is, how rules are chained, and the registry of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor

from tieless import ops
from tieless.errors import RuleTypeError
from tieless.forwards import Forward
from tieless.registry import Named, Registry
from tieless.slopes import Need, SlopeForm
from tieless.spec import parse_chain

__all__ = ["Chain", "Family", "Random", "Rule", "RuleLike", "register_rule", "rule", "rules"]

Family = Literal["slope", "jam", "transform"]


class Random(NamedTuple):
    """The random numbers of one rule in one call: a function of the call's key and the rule's place in its chain.

    Attributes:
        key: int64, 0-dim; a number where nothing traces.
        stream: The rule's place, 0 for the first.
    """

    key: Tensor | int
    stream: int

    def uniform(self, like: Tensor, draw: int = 0) -> Tensor:
        """Numbers on [0, 1) shaped like ``like``, in float32 or float64; another ``draw`` gives independent ones."""
        return ops.uniform(like, self.key, self.stream, draw)


class Rule(Named):
    """The map (grad_output, z) -> grad_input. A frozen value: it holds parameters, no tensors and no state.

    Subclasses are frozen dataclasses. One that multiplies the feedback has ``slope``, which says what it keeps; any
    other has ``feedback`` and, where it looks at the forward pass, ``needs``. ``a >> b`` sends the feedback through
    ``a``, then ``b``; ``str`` gives the spec.
    """

    __slots__ = ()
    family: ClassVar[Family] = "slope"
    draws: ClassVar[bool] = False
    """Whether it draws random numbers, so that the call needs a key."""

    def slope(self, forward: Forward) -> SlopeForm | None:
        """What the feedback is multiplied with, beside ``forward``; ``None`` where the rule does something else."""
        return None

    def needs(self, forward: Forward) -> Need:
        """What must be kept of the forward pass; nothing unless a rule says so."""
        slope = self.slope(forward)
        return None if slope is None else slope.needs

    def feedback(self, grad_output: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
        """What is sent on, by a rule that has no ``slope``.

        Args:
            grad_output: dL/dy, ``(...)``.
            kept: What ``needs`` asked for: packed bits (uint8), ``z`` or ``y``; ``None`` if nothing.
            random: The call's random numbers, if the rule ``draws``.
        """
        raise NotImplementedError

    def parts(self) -> tuple[Rule, ...]:
        """The rules that the feedback passes, in order: itself, unless it is a chain."""
        return (self,)

    def __rshift__(self, other: object) -> Chain:
        if not isinstance(other, Rule):
            raise RuleTypeError(f"'>>' joins two rules, got {other!r} on its right.")
        return Chain(self.parts() + other.parts())


@dataclass(frozen=True, slots=True)
class Chain(Rule):
    """Rules in a row, written ``a >> b``: the feedback passes ``a``, then ``b``.

    Args:
        rules: At least two, none of them a chain.
    """

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if len(self.rules) < 2 or any(isinstance(part, Chain) for part in self.rules):
            raise RuleTypeError(f"A chain holds two or more single rules, got {self.rules!r}. Join rules with '>>'.")

    def parts(self) -> tuple[Rule, ...]:
        return self.rules

    def __str__(self) -> str:
        return " >> ".join(str(part) for part in self.rules)


RuleLike = str | Rule

_REGISTRY: Registry[Rule] = Registry("rule")


def register_rule(cls: type[Rule]) -> type[Rule]:
    """Make a rule known by its name, so that specs can use it.

    Args:
        cls: A frozen dataclass derived from ``Rule``. Its name is its class name in snake case.
    Raises:
        SpecError: the name is taken.
    """
    _read.cache_clear()
    return _REGISTRY.register(cls)


def rules() -> Mapping[str, type[Rule]]:
    """All rules by name, sorted.

    Example:
        >>> "rectangular" in rules()
        True
    """
    return _REGISTRY.catalogue()


def rule(spec: RuleLike) -> Rule:
    """The rule that a spec stands for; a rule stands for itself. ``str`` of it gives the spec back.

    Args:
        spec: ``"rectangular(-1, 1) >> noise(0.1)"``, or a ``Rule``.
    Raises:
        SpecError: the spec cannot be read, or names what does not exist.
        RuleTypeError, RuleValueError: a parameter has the wrong type or is out of range.
    Example:
        >>> rule("rectangular(-1, 1) >> clip_norm(max_norm=1.0)")
        Chain(rules=(Rectangular(low=-1, high=1, height=1), ClipNorm(max_norm=1.0)))
        >>> str(rule("rectangular(-1, 1) >> clip_norm(max_norm=1.0)"))
        'rectangular(-1, 1) >> clip_norm(1.0)'
    """
    if isinstance(spec, Rule):
        return spec
    if not isinstance(spec, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"A backward rule is a spec or a Rule, got {spec!r}. For example 'full_jam'.")
    return _read(spec)


@lru_cache
def _read(spec: str) -> Rule:
    parts = tuple(_REGISTRY.build(call) for call in parse_chain(spec))
    return parts[0] if len(parts) == 1 else Chain(parts)
