"""``check_rule``: a test of every property that a rule must have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tieless.errors import RuleCheckError, UntrainableError
from tieless.forwards import ForwardLike
from tieless.functional import pair_of
from tieless.rules import Rule, RuleLike, rule as rule_of
from tieless.testing.properties import PROPERTIES
from tieless.testing.report import Check, RuleReport
from tieless.testing.subject import Subject


def check_rule(
    rule: RuleLike,
    forward: ForwardLike | None = None,
    *,
    primitive: Callable[[Tensor], Tensor] | None = None,
    elementwise: bool | None = None,
) -> RuleReport:
    """Check that a rule has every property that ``untie`` promises of all rules.

    ``spec`` and ``pickling``: it comes back equal. ``purity``: it changes neither ``z`` nor the feedback. ``dtype``,
    ``precision`` and ``layout``: out as in, in four dtypes and six layouts, computed no narrower than they are.
    ``edges`` and ``nan``: no NaN at any finite or infinite ``z``, and one in ``z`` stays where it is. ``determinism``:
    the key alone decides. ``elementwise``: each element decides about its own slope, which multiplies the feedback.
    ``primitive``: the slope is the numeric slope of its primitive. ``checkpoint``, ``transforms`` and ``compile`` give
    the same gradient. It takes about a second, most of it for ``compile``. The state of torch's generator is what it
    was.

    Args:
        rule: Spec or ``Rule``.
        forward: Forward that it is joined with; ``"heaviside"``, or ``"leaky_relu"`` where that cannot be, unless
            given.
        primitive: Function of ``z`` whose derivative the slope is, in float64; the rule's own unless given.
        elementwise: True if the rule should be elementwise; if it is a slope, unless given.
    Raises:
        RuleCheckError: a property is missing; one line for each, and the report as ``error.report``.
    Example:
        >>> from tieless.testing import check_rule
        >>> report = check_rule("atan(0.5, 2)", primitive=lambda z: torch.atan(2 * z))
        >>> report.failures
        ()
        >>> @tl.register_rule
        ... def inverse(z):
        ...     return 1 / z
        >>> check_rule(inverse())
        Traceback (most recent call last):
        tieless.errors.RuleCheckError: inverse lacks 1 of 13 properties.
          edges: inf is sent at z=0 in torch.float64
    """
    chosen = rule_of(rule)
    partner = _partner(chosen) if forward is None else forward
    pair = pair_of(partner, chosen)
    subject = Subject(chosen, pair.forward, chosen.primitive if primitive is None else primitive, elementwise)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        report = RuleReport(str(chosen), str(pair.forward), tuple(_check(name, subject) for name in PROPERTIES))
    if report.failures:
        looked_at = sum(check.skipped is None for check in report.checks)
        lines = [f"{report.rule} lacks {len(report.failures)} of {looked_at} properties.", *map(str, report.failures)]
        error = RuleCheckError("\n  ".join(lines))
        error.report = report
        raise error
    return report


def _partner(rule: Rule) -> str:
    try:
        pair_of("heaviside", rule)
    except UntrainableError:
        return "leaky_relu"
    return "heaviside"


def _check(name: str, subject: Subject) -> Check:
    if name == "primitive" and subject.antiderivative(torch.zeros(1, dtype=torch.float64)) is None:
        return Check(name, skipped="the rule names none")
    if name == "elementwise" and not subject.is_elementwise:
        return Check(name, skipped="the rule is no slope, or is not meant to be")
    try:
        return Check(name, PROPERTIES[name](subject))
    except Exception as error:  # noqa: BLE001 - whatever a rule does wrong is what is looked for
        return Check(name, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
