"""Cosine that remains under random multipliers, in closed form, from the moments of the random factors."""

from __future__ import annotations

import math
from typing import NamedTuple

from tieless.errors import RuleTypeError, RuleValueError
from tieless.rules import (
    Constant,
    Drop,
    Flip,
    FullJam,
    PositiveJam,
    RectangularJam,
    Rule,
    RuleLike,
    Scale,
    rule as rule_of,
)


class Moments(NamedTuple):
    """Moments ``E[U]`` and ``E[U^2]`` of a random factor."""

    mean: float
    square: float


def expected_cosine(rule: RuleLike, *, depth: int = 1, gate_cosine: float = 1.0) -> float:
    """Cosine of randomly scaled feedback with the tied one: ``gate_cosine (E[U] / sqrt(E[U^2]))^depth``.

    The feedback is the gradient that an activation passes down. For one activation, let ``t`` be the tied feedback,
    ``v`` the feedback that passes the rule with 1 in place of ``U``, and ``U`` independent of both. Then
    ``E[U v . t] = E[U] v . t`` and ``E|U v|^2 = E[U^2] |v|^2``, so the cosine tends to
    ``cos(v, t) E[U] / sqrt(E[U^2])`` as the elements become many. For ``U`` uniform on [0, 1) the quotient is
    ``sqrt(3) / 2``. With ``depth`` such activations between wide random linear maps, each multiplies the cosine of the
    feedback by its factor; the documentation says under which conditions.

    Args:
        rule: Jam (random multiplier); or ``drop``, ``flip``, ``scale``, ``constant``, alone or chained with one: a rule
            that multiplies each element with a factor that does not depend on it.
        depth: Number of activations that the feedback has passed.
        gate_cosine: Cosine that the same rule has without its randomness, ``cos(v, t)``, over all of the depth. It is 1
            if the gate passes the same elements as the tied rule: ``full_jam`` on a linear layer, ``positive_jam`` on
            ReLU. For ``replace="magnitude"`` it is ``sqrt(2 / pi)`` if the feedback is normal.
    Raises:
        SpecError, RuleTypeError, RuleValueError: the rule cannot be read or is no such rule, or a number is out of
            range.
    Example:
        >>> from tieless.diagnose import expected_cosine
        >>> round(expected_cosine("full_jam"), 4), round(expected_cosine("full_jam", depth=4), 4)
        (0.866, 0.5625)
        >>> round(expected_cosine("full_jam(0.5, 1.5)"), 4), round(expected_cosine("drop(0.75)"), 4)
        (0.9608, 0.5)
    """
    if isinstance(depth, bool) or not isinstance(depth, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"depth must be an integer of 1 or more, got {depth!r}.")
    if depth < 1:
        raise RuleValueError(f"depth must be 1 or more, got {depth}.")
    if not -1 <= gate_cosine <= 1:
        raise RuleValueError(f"gate_cosine must lie between -1 and 1, got {gate_cosine!r}.")
    mean, square = moments_of(rule)
    factor = mean / math.sqrt(square) if square else 0.0
    return gate_cosine * factor**depth


def moments_of(rule: RuleLike) -> Moments:
    """Moments of the factor by which a rule multiplies each element, where its gate is open; of a chain, their product.

    Example:
        >>> from tieless.diagnose.gradients.expected import moments_of
        >>> moments_of("full_jam(-1, 2)")
        Moments(mean=0.5, square=1.0)
    """
    mean, square = 1.0, 1.0
    for part in rule_of(rule).parts():
        own = _moments(part)
        mean, square = mean * own.mean, square * own.square
    return Moments(mean, square)


def _moments(part: Rule) -> Moments:
    if isinstance(part, (FullJam, PositiveJam, RectangularJam)):
        low, high = float(part.minimum), float(part.maximum)
        return Moments((low + high) / 2, (low * low + low * high + high * high) / 3)
    if isinstance(part, Drop):
        return Moments(1.0, 1 / (1 - part.p))
    if isinstance(part, Flip):
        return Moments(1 - 2 * part.p, 1.0)
    if isinstance(part, Scale):
        return Moments(float(part.factor), float(part.factor) ** 2)
    if isinstance(part, Constant):
        return Moments(float(part.value), float(part.value) ** 2)
    raise RuleTypeError(
        f"expected_cosine knows full_jam, positive_jam, rectangular_jam, drop, flip, scale and constant, got {part}: what it "
        "does depends on the feedback or on z. Measure it with alignment."
    )
