"""Result of a check of a rule: records, to print or to inspect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """Result for one property.

    Args:
        name: Name of the property: ``"dtype"``, ``"layout"`` ...
        wrong: Fault, in one line; ``None`` if the rule has the property.
        skipped: Reason why it was not checked, if it was not.
    """

    name: str
    wrong: str | None = None
    skipped: str | None = None

    def __str__(self) -> str:
        if self.wrong is not None:
            return f"{self.name}: {self.wrong}"
        return f"{self.name}: {'ok' if self.skipped is None else f'not checked: {self.skipped}'}"


@dataclass(frozen=True, slots=True)
class RuleReport:
    """Results for every property of one rule.

    Args:
        rule, forward: Specs of the rule and of the forward that it was joined with.
        checks: Results in the order of checking.
    Example:
        >>> from tieless.testing import check_rule
        >>> report = check_rule("rectangular(-0.5, 0.5)")
        >>> report.rule, report.checks[0].name
        ('rectangular(-0.5, 0.5)', 'spec')
    """

    rule: str
    forward: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """Properties that the rule lacks."""
        return tuple(check for check in self.checks if check.wrong is not None)

    def __str__(self) -> str:
        """Report with a line for each property."""
        return "\n".join([f"{self.rule} with {self.forward}", *(f"  {check}" for check in self.checks)])
