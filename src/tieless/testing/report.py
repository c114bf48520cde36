"""What a check of a rule found: records, to print or to look into."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One property.

    Args:
        name: Its name: ``"dtype"``, ``"layout"`` ...
        wrong: What is wrong, in one line; ``None`` where the rule has it.
        skipped: Why it was not looked at, if it was not.
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
    """Every property of one rule.

    Args:
        rule, forward: The specs of the rule and of the forward that it was joined with.
        checks: The properties, in the order of looking.
    """

    rule: str
    forward: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The properties that the rule lacks."""
        return tuple(check for check in self.checks if check.wrong is not None)

    def __str__(self) -> str:
        """A line for each property."""
        return "\n".join([f"{self.rule} with {self.forward}", *(f"  {check}" for check in self.checks)])
