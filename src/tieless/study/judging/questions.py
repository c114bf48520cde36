"""Two questions that a claim consists of, and what an interval answers to each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tieless.study.claims import Claim, Relation
from tieless.study.settings.metrics import scale_of

Verdict = Literal["holds", "does not hold", "undecided", "identical"]


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Verdict on all of several: they hold if each does, and do not if one does not. Identities say nothing."""
    found = set(verdicts)
    if len(found) > 1:
        found.discard("identical")
    if len(found) == 1:
        return found.pop()
    return "does not hold" if "does not hold" in found else "undecided"


@dataclass(frozen=True, slots=True)
class Tests:
    """One-sided statements of which a relation consists: the thresholds that a number is ``above`` and ``below``."""

    above: tuple[float, ...] = ()
    below: tuple[float, ...] = ()

    def met(self, low: float, high: float) -> list[bool]:
        """For each statement, True if an interval shows it."""
        return [*(low > t for t in self.above), *(high < t for t in self.below)]


@dataclass(frozen=True, slots=True)
class Question:
    """Question that an interval answers: it holds if all statements ``for_`` are shown, and not if one ``against`` is."""

    for_: Tests
    against: Tests

    def answer(self, low: float, high: float) -> Verdict:
        if all(self.for_.met(low, high)):
            return "holds"
        return "does not hold" if any(self.against.met(low, high)) else "undecided"

    @property
    def refutations(self) -> int:
        """Number of statements that are each enough against it."""
        return len(self.against.above) + len(self.against.below)

    def levels(self, level: float, refutations: int) -> tuple[float, float]:
        """Levels of the lower and the upper end of its interval.

        Statements for a claim must all be shown, so that each has the whole level; any against it is enough, so that these
        share it.
        """
        part = level / refutations
        return part if self.against.above else level, part if self.against.below else level


def relation_question(relation: Relation, margin: float, *, higher: bool) -> Question:
    """Question of a relation.

    Args:
        relation: Relation that is claimed.
        margin: Margin, in units of the values.
        higher: True if higher values are better.
    """
    # Where lower values are better, superior is what inferior is elsewhere.
    superior = Question(Tests(above=(margin,)), Tests(below=(margin,)))
    inferior = Question(Tests(below=(-margin,)), Tests(above=(-margin,)))
    no_less = inferior if higher else superior
    return {
        "non-inferior to": Question(no_less.against, no_less.for_),
        "superior to": superior if higher else inferior,
        "inferior to": inferior if higher else superior,
        "equivalent to": Question(Tests(above=(-margin,), below=(margin,)), Tests(above=(margin,), below=(-margin,))),
    }[relation]


class Questions(NamedTuple):
    """Two questions of a claim."""

    differences: Question
    collapses: Question

    @classmethod
    def of(cls, claim: Claim, metric: str) -> Questions:
        scale = scale_of(metric)
        # The better side may not collapse more often than the other, by more than the tolerance.
        same = claim.relation == "equivalent to"
        collapses = relation_question(
            claim.relation if same else "non-inferior to", claim.tolerance, higher=claim.relation == "inferior to"
        )
        margin = scale.of_units(claim.margin)
        return cls(relation_question(claim.relation, margin, higher=scale.higher), collapses)

    def levels(self, level: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Levels of the ends of both intervals: of the differences, and of the excess of collapses."""
        refutations = sum(question.refutations for question in self)
        ours, theirs = (question.levels(level, refutations) for question in self)
        return ours, theirs
