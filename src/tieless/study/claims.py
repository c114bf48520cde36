"""Claims: sentences such as ``full_jam is non-inferior to tied by 1 point for relu under adam``, read by a grammar.

A claim is data. It is read by the grammar below and by nothing else::

    claim    = side "is" relation side [ "by" NUMBER ("point" | "points" | UNIT) ] { clause }
    side     = [ FORWARD "+" ] RULE [ "through" FEEDBACK ] [ "under" OPTIMISER ] [ "at" RATE ] [ "from" INIT ]
    relation = "non-inferior to" | "superior to" | "inferior to" | "equivalent to"
    clause   = "for" FORWARD { "and" FORWARD }
             | "under" OPTIMISER { "and" OPTIMISER }
             | "at" RATE { "and" RATE }  |  "at the chosen rate"
             | "from" INIT { "and" INIT }
             | "on" DATA { "and" DATA }
             | "with" MODEL { "and" MODEL }
             | "allowing" NUMBER "% collapses"
             | "where" FIELD "=" VALUE { "and" FIELD "=" VALUE }

Each clause at most once, in any order. Without ``by`` the margin is 1 point. UNIT is that of a metric, such as ``mse``,
and picks the cells that are judged by it. Both sides name a forward or neither, and
so for an optimiser, a rate and initial weights; where the first side names none, ``under``, ``at`` and ``from`` are clauses, of
both. Where one side
names feedback weights, those of the other are ``tied`` unless it names others; where none does, both have the same ones. RULE, FORWARD
and so on are specs as a study writes them; words count as the grammar's only outside of parentheses and quotes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tieless._yaml import read_value, write_value
from tieless.errors import StudyError, TielessError
from tieless.registry import unknown
from tieless.study.settings import spelling
from tieless.study.settings.metrics import POINT, units

Relation = Literal["non-inferior to", "superior to", "inferior to", "equivalent to"]

TOLERANCES: Mapping[Relation, float] = {
    "non-inferior to": 0.2,
    "equivalent to": 0.2,
    "superior to": 0.5,
    "inferior to": 0.5,
}
"""Excess of collapses that a claim allows its better side unless it says otherwise: one run in five where it says that
no harm is done, one in two where it says which side wins."""

MARGIN = 1.0
"""Margin in percentage points of a claim without ``by``: the smallest difference that matters."""

FORMS = (
    "RULE is non-inferior|superior|inferior|equivalent to RULE [by NUMBER points|UNIT] [for FORWARD] [under OPTIMISER]"
    " [at RATE | at the chosen rate] [from INIT] [on DATA] [with MODEL] [allowing NUMBER % collapses] [where FIELD=VALUE]; a"
    " side may also be FORWARD + RULE, RULE through FEEDBACK, RULE under OPTIMISER, RULE at RATE, or RULE from INIT"
)
"""Accepted forms of a claim, for messages."""

_CLAUSES = {
    "for": "forward",
    "under": "optimiser",
    "at": "learning_rate",
    "on": "data",
    "with": "model",
    "from": "init",
}
_BEHIND_SIDES = {word: _CLAUSES[word] for word in ("under", "at", "from")}
_APART = ("forward", "feedback", *_BEHIND_SIDES.values())
"""Fields in which the sides may differ, in one order."""
_IN_SIDES = frozenset({"+", "through"})
_KEYWORDS = frozenset({"is", "by", "where", "and", "allowing", *_IN_SIDES, *_CLAUSES})
# A quote that has no end belongs to its word, so that the reader of the word refuses it.
_WORD = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"']|["'])+""")
_SPECS: Mapping[str, Callable[[str], str]] = {
    "data": spelling.data,
    "model": spelling.model,
    "forward": spelling.forward,
    "init": spelling.init,
    "weights": spelling.weights,
    "feedback": spelling.feedback,
    "augment": spelling.augment,
    "optimiser": spelling.optimiser,
    "schedule": spelling.schedule,
    "loss": spelling.loss,
    "metric": spelling.metric,
    "device": spelling.device,
    "denormals": spelling.denormals,
    "compile": spelling.compiler,
}
_NUMBERS = ("learning_rate", "batch", "epochs", "subset", "validation")
_FIELDS = (*_SPECS, *_NUMBERS)
_TOO_LARGE = 10**300


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim about one rule compared with another, over seeds, in every cell of a study that ``where`` picks.

    Args:
        candidate, baseline: Specs of the two rules.
        apart: Field of a trial by which the sides differ besides the rule, and its values for candidate and baseline.
        relation: Relation that is claimed. With ``d`` the true median difference of the metric, candidate less
            baseline, and ``m`` the margin: ``non-inferior to`` is ``d > -m``, ``superior to`` is ``d > m``, ``inferior
            to`` is ``d < -m``, ``equivalent to`` is ``-m < d < m``; where lower is better, ``d`` is the baseline less
            the candidate.
        margin: Margin ``m``, in units of the metric, 0 or more.
        unit: Unit of the margin: ``"point"``, a percentage point, or that of another metric.
        allowing: Part of the runs by which its better side may collapse more often than the other; ``None`` for that of
            ``TOLERANCES``.
        where: Fields of a trial and the values that pick cells; an empty one picks all cells that have both sides.
        chosen: True to take each rule at the learning rate that the study chose for it on validation data.
        label: Name in a report, such as ``"Claim 4"``.
    Example:
        >>> claim = Claim(candidate="full_jam", relation="non-inferior to", baseline="tied", margin=1.0)
        >>> str(claim)
        'full_jam is non-inferior to tied by 1 point'
    """

    candidate: str
    relation: Relation
    baseline: str
    margin: float = MARGIN
    apart: tuple[tuple[str, Any, Any], ...] = ()
    where: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    chosen: bool = False
    label: str = ""
    unit: str = POINT
    allowing: float | None = None

    @property
    def tolerance(self) -> float:
        """Part of the runs by which its better side may collapse more often than the other."""
        return TOLERANCES[self.relation] if self.allowing is None else self.allowing

    @property
    def sides(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Fields by which the candidate's trials and the baseline's differ."""
        candidate: dict[str, Any] = {"backward": self.candidate}
        baseline: dict[str, Any] = {"backward": self.baseline}
        for field, ours, theirs in self.apart:
            candidate[field], baseline[field] = ours, theirs
        return candidate, baseline

    @property
    def names(self) -> tuple[str, str]:
        """Names of the two sides, such as ``heaviside + rectangular(-1, 1)``."""
        sides = self.sides
        # If neither side names feedback weights, both have those of the cell.
        tied = all(side.get("feedback") == "tied" for side in sides)
        candidate, baseline = (_side_in_words(side, tied=tied) for side in sides)
        return candidate, baseline

    def __str__(self) -> str:
        unit = "points" if self.unit == POINT and self.margin != 1 else self.unit
        candidate, baseline = self.names
        words = [candidate, "is", self.relation, baseline, "by", write_value(self.margin), unit]
        named = {field: word for word, field in _CLAUSES.items()}
        for field, values in self.where:
            if field in named:
                words += [named[field], " and ".join(map(write_value, values))]
        if self.chosen:
            words.append("at the chosen rate")
        if self.allowing is not None:
            words += ["allowing", f"{100 * self.allowing:g} % collapses"]
        others = [
            f"{field}={write_value(value)}" for field, values in self.where if field not in named for value in values
        ]
        words += ["where", " and ".join(others)] if others else []
        return " ".join(words)

    def to_dict(self) -> dict[str, Any]:
        return {
            "candidate": self.candidate,
            "relation": self.relation,
            "baseline": self.baseline,
            "margin": self.margin,
            "apart": [list(one) for one in self.apart],
            "where": {field: list(values) for field, values in self.where},
            "chosen": self.chosen,
            "label": self.label,
            "unit": self.unit,
            "allowing": self.allowing,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Claim:
        """Claim from a dictionary that ``to_dict`` wrote. Nothing is checked, as in ``Trial.from_dict``."""
        values = dict(record)
        values["apart"] = tuple(tuple(one) for one in record.get("apart", []))
        values["where"] = tuple((field, tuple(picked)) for field, picked in record["where"].items())
        return cls(**values)


def parse_claim(text: str, label: str = "") -> Claim:
    """Read a claim.

    Args:
        text: Text of the claim, a sentence.
        label: Name in a report.
    Raises:
        StudyError: the grammar does not accept the sentence, or a name in it does not exist. The message names the word
            and shows the accepted forms.
    Example:
        >>> claim = parse_claim("full_jam is non-inferior to tied by 1 point for relu under adam")
        >>> claim.relation, claim.margin, claim.where
        ('non-inferior to', 1.0, (('forward', ('relu',)), ('optimiser', ('adam',))))
        >>> str(parse_claim("constant is superior to frozen at 0.1 where batch=64"))
        'constant(1) is superior to frozen by 1 point at 0.1 where batch=64'
        >>> parse_claim("heaviside + triangular is non-inferior to relu + tied by 1 point").apart
        (('forward', 'heaviside', 'relu'),)
        >>> parse_claim("constant is non-inferior to tied allowing 30 % collapses").tolerance
        0.3
        >>> str(parse_claim("constant at 0.01 is inferior to tied at 0.1 by 2 points under sgd"))
        'constant(1) at 0.01 is inferior to tied at 0.1 by 2 points under sgd'
        >>> str(parse_claim("tied from orthogonal is superior to tied from default"))
        'tied from orthogonal is superior to tied from default by 1 point'
    """
    return _Sentence(text).claim(label)


def _side_in_words(side: Mapping[str, Any], *, tied: bool) -> str:
    forward = f"{side['forward']} + " if "forward" in side else ""
    feedback = f" through {side['feedback']}" if tied or side.get("feedback", "tied") != "tied" else ""
    behind = [f" {word} {write_value(side[field])}" for word, field in _BEHIND_SIDES.items() if field in side]
    return f"{forward}{side['backward']}{feedback}{''.join(behind)}"


def _words(text: str) -> list[str]:
    """Words of a sentence; text in parentheses or quotes belongs to the word around it."""
    words: list[str] = []
    depth = 0
    for word in _WORD.findall(text):
        if depth:
            words[-1] += f" {word}"
        else:
            words.append(word)
        bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", word)
        depth = max(0, depth + bare.count("(") - bare.count(")"))
    return words


class _Sentence:
    def __init__(self, text: str) -> None:
        self._text = " ".join(text.split())
        self._words = _words(text)
        self._next = 0

    def _error(self, problem: str) -> StudyError:
        return StudyError(f"Cannot read the claim {self._text!r}: {problem.rstrip('.')}. A claim reads: {FORMS}.")

    def _peek(self) -> str:
        return self._words[self._next] if self._next < len(self._words) else ""

    def _take(self) -> str:
        word = self._peek()
        self._next += 1
        return word

    def _expect(self, expected: str, *words: str) -> str:
        word = self._take()
        if word not in words:
            raise self._error(f"expected {expected}, got {repr(word) if word else 'the end'}")
        return word

    def _spec(self, what: str, read: Callable[[str], str]) -> str:
        """Words up to the next keyword, as one spec."""
        words: list[str] = []
        while self._peek() and self._peek() not in _KEYWORDS:
            words.append(self._take())
        if not words:
            raise self._error(f"expected {what}, got {repr(self._peek()) if self._peek() else 'the end'}")
        try:
            return read(" ".join(words))
        except TielessError as error:
            raise self._error(str(error)) from None

    def claim(self, label: str) -> Claim:
        ours = self._side()
        for word, field in _BEHIND_SIDES.items():
            if self._peek() == word:
                self._take()
                ours[field] = self._value(field)
        relation = self._relation()
        theirs = self._baseline(ours)
        margin, unit, where, chosen, allowing = self._clauses()
        if doubled := [field for field in where if field in ours]:
            raise self._error(f"each side has its {doubled[0].replace('_', ' ')}, and a clause gives another")
        if relation == "equivalent to" and margin == 0:
            what = "points" if unit == POINT else unit
            raise self._error(f"no two rules are equivalent by 0 {what}; give a margin")
        if chosen and "learning_rate" in {*where, *ours}:
            raise self._error("the rate is either chosen or given")
        return Claim(
            candidate=ours["backward"],
            relation=relation,
            baseline=theirs["backward"],
            margin=margin,
            apart=tuple((field, ours[field], theirs[field]) for field in _APART if field in ours),
            where=tuple((field, where[field]) for field in sorted(where, key=_order)),
            chosen=chosen,
            label=label,
            unit=unit,
            allowing=allowing,
        )

    def _relation(self) -> Any:
        self._expect("'is'", "is")
        relations = [relation.removesuffix(" to") for relation in get_args(Relation)]
        kind = self._expect(f"one of {', '.join(relations)}", *relations)
        return f"{kind} {self._expect('the word to', 'to')}"

    def _baseline(self, ours: dict[str, Any]) -> dict[str, Any]:
        """Second side, with the fields of the first; feedback weights that only one names are ``tied`` in the other."""
        theirs = self._side()
        for word, field in _BEHIND_SIDES.items():
            if field in ours:
                name = field.replace("_", " ")
                self._expect(f"{word!r} and the baseline's {name}, as the candidate has its own", word)
                theirs[field] = self._value(field)
        if "feedback" in {*ours, *theirs}:
            ours.setdefault("feedback", "tied")
            theirs.setdefault("feedback", "tied")
        if ours == theirs:
            raise self._error(f"{_side_in_words(ours, tied=False)} is compared with itself")
        if ours.keys() != theirs.keys():
            raise self._error("one side names a forward and the other none; write FORWARD + RULE on both")
        return theirs

    def _clauses(self) -> tuple[float, str, dict[str, tuple[Any, ...]], bool, float | None]:
        """Margin and its unit, fields that pick cells, True if learning rates are chosen, and collapses allowed."""
        margin, unit, chosen, allowing = MARGIN, POINT, False, None
        where: dict[str, tuple[Any, ...]] = {}
        seen: set[str] = set()
        while word := self._take():
            if word in seen:
                raise self._error(f"{word!r} stands there twice")
            seen.add(word)
            if word == "by":
                margin, unit = self._margin()
            elif word == "where":
                self._conditions(where)
            elif word == "allowing":
                allowing = self._allowing()
            elif word == "at" and self._peek() == "the":
                chosen = self._chosen()
            elif word in _CLAUSES:
                self._put(where, _CLAUSES[word], [self._value(_CLAUSES[word])])
            else:
                raise self._error(
                    f"expected one of {', '.join(sorted(_KEYWORDS - _IN_SIDES - {'is', 'and'}))}, got {word!r}"
                )
        return margin, unit, where, chosen, allowing

    def _side(self) -> dict[str, Any]:
        """Rule, with its forward and its feedback weights if they are named."""
        side: dict[str, Any] = {}
        if "+" in self._words[self._next : self._end_of_side()]:
            side["forward"] = self._spec("a forward", spelling.forward)
            self._expect("'+'", "+")
        side["backward"] = self._spec("a rule", spelling.rule)
        if self._peek() == "through":
            self._take()
            side["feedback"] = self._spec("feedback weights", spelling.feedback)
        return side

    def _end_of_side(self) -> int:
        """Index of the next keyword that can follow a side."""
        places = range(self._next, len(self._words))
        return next((place for place in places if self._words[place] in _KEYWORDS - _IN_SIDES), len(self._words))

    def _margin(self) -> tuple[float, str]:
        word = self._take()
        try:
            margin = float(word)
        except ValueError:
            margin = math.nan
        if not 0 <= margin < _TOO_LARGE:
            raise self._error(f"expected a margin of 0 to below 100 points behind 'by', got {word!r}")
        others = [unit for unit in units() if unit != POINT]
        if (unit := self._peek()) in others and unit not in _KEYWORDS:
            return margin, self._take()
        self._expect("'points'", "point", "points")
        if margin >= 100:
            raise self._error(f"expected a margin of 0 to below 100 points behind 'by', got {word!r}")
        return margin, POINT

    def _allowing(self) -> float:
        word = self._take()
        try:
            part = float(word) / 100
        except ValueError:
            part = math.nan
        if not 0 < part < 1:
            raise self._error(f"expected a number above 0 to below 100 behind 'allowing', got {word!r}")
        for following in ("%", "collapses"):
            self._expect("'% collapses'", following)
        return part

    def _chosen(self) -> bool:
        for word in ("the", "chosen", "rate"):
            self._expect("'the chosen rate'", word)
        return True

    def _value(self, field: str) -> Any:
        if field in _SPECS:
            return self._spec(f"{'an' if field[0] in 'aeiou' else 'a'} {field}", _SPECS[field])
        return self._number(field, self._take())

    def _number(self, field: str, word: str) -> Any:
        value = read_value(word, f"the claim {self._text!r}")
        whole = field in ("batch", "epochs", "subset")
        if value is None and field in ("subset", "validation"):
            return None
        kinds = int if whole else (int, float)
        # From more digits than a float can hold Python makes an integer, and from 1e999 infinity.
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < _TOO_LARGE:
            raise self._error(f"expected {'an integer' if whole else 'a number'} > 0 for {field}, got {word!r}")
        return value if whole else float(value)

    def _put(self, where: dict[str, tuple[Any, ...]], field: str, values: list[Any]) -> None:
        """Add a field and its values, further ones after ``and``."""
        if field in where:
            raise self._error(f"{field} is given twice")
        while self._peek() == "and":
            self._take()
            values.append(self._value(field))
        where[field] = tuple(values)

    def _conditions(self, where: dict[str, tuple[Any, ...]]) -> None:
        found: dict[str, list[Any]] = {}
        while True:
            field, equals, text = self._take().partition("=")
            while equals and self._peek() and self._peek() not in _KEYWORDS:
                text += f" {self._take()}"
            if not (field and equals and text):
                raise self._error("expected FIELD=VALUE, without spaces, behind 'where'")
            if field not in _FIELDS:
                raise self._error(unknown("field", field, _FIELDS))
            if field in where:
                raise self._error(f"{field} is given twice")
            found.setdefault(field, []).append(self._condition(field, text))
            if self._peek() != "and":
                break
            self._take()
        where.update({field: tuple(values) for field, values in found.items()})

    def _condition(self, field: str, text: str) -> Any:
        if field not in _SPECS:
            return self._number(field, text)
        try:
            return _SPECS[field](text)
        except TielessError as error:
            raise self._error(str(error)) from None


def _order(field: str) -> int:
    fields: Sequence[str] = [*_CLAUSES.values(), *_FIELDS]
    return fields.index(field)
