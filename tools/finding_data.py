"""The committed tables that the findings are judged by: what each is of, and claims judged cell by cell."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from math import cos, radians
from pathlib import Path
from typing import Any

from tieless.diagnose import expected_cosine
from tieless.errors import StudyError
from tieless.spec import parse_chain
from tieless.study import Claim, ClaimVerdict, Result, Study, judge, load_study, load_table
from tieless.study.judging.pairing import pairings

__all__ = ["RESULTS", "SAID", "STUDIES", "Row", "cosine", "dose", "judged", "measurements", "runs", "there"]

RESULTS = Path(__file__).parents[1] / "docs" / "results"
"""Where the tables are."""

STUDIES = {
    "suc-ones": "paper/suc-ones",
    "mlp-digits": "paper/mlp-digits",
    "mlp-digits-again": "paper/mlp-digits",
    "bnn-suc": "paper/bnn-suc",
    "heaviside": "paper/heaviside",
    "bnn": "paper/bnn",
    "lenet5-jamming": "paper/lenet5-jamming",
    "lenet5-claims": "paper/lenet5-claims",
    "lenet5-rectangular": "paper/lenet5-rectangular",
    "zoo-heaviside-lenet": "zoo/heaviside-lenet",
    "zoo-heaviside-cnn": "zoo/heaviside-cnn",
    "mechanism-explosion": "mechanism/explosion",
    "mechanism-saturation": "mechanism/saturation",
    "mechanism-dead-units": "mechanism/dead-units",
    "mechanism-signs": "mechanism/signs",
    "which-forwards": "beyond/which-forwards",
    "feedback-alignment": "beyond/feedback-alignment",
    "feedback-direction-first": "beyond/feedback-direction-first",
    "flip": "beyond/flip",
    "rotate": "beyond/rotate",
    "drop": "beyond/drop",
    "noise": "beyond/noise",
    "quantize": "beyond/quantize",
    "size": "beyond/size",
    "architectures": "beyond/architectures",
    "direction-first": "beyond/direction-first",
    "direction-first-untuned": "beyond/direction-first-untuned",
    "deep-mlp": "beyond/deep-mlp",
}
"""The study of each table, by the table's name."""

SAID = ("forward", "optimiser", "learning_rate", "data", "model")
"""What sets a comparison apart from others, as far as it does."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison of a claim.

    Args:
        data: Name of the table.
        claim: The claim, which may be about other cells too.
        settings: Of this cell, by the names of ``SAID``; the learning rate is ``None`` where each rule has its own.
        verdict: The claim about this cell alone, judged in the family of all.
    """

    data: str
    claim: Claim
    settings: dict[str, Any]
    verdict: ClaimVerdict


def there(name: str) -> bool:
    """Is the table of this name committed?"""
    if name not in STUDIES:
        raise StudyError(f"Unknown table {name!r}. There are: {', '.join(STUDIES)}.")
    return (RESULTS / f"{name}.csv").is_file()


@cache
def runs(name: str) -> tuple[Study, list[Result]]:
    """A study as its table has it, and its results."""
    there(name)
    return load_table(RESULTS / f"{name}.csv", load_study(STUDIES[name], check=False))


def judged(name: str, claims: Iterable[Claim]) -> list[Row]:
    """Judge claims as one family, each comparison by itself.

    A claim about several cells is taken apart into one for each; the family of comparisons stays what it was.
    """
    study, results = runs(name)
    trials = [trial for trial in study.trials if trial.test != "never"]
    single: list[tuple[Claim, dict[str, Any], Claim]] = []
    for claim in claims:
        for pairing in pairings(claim, trials):
            # The runs that choose a rate hold samples out and are never tested; those that are judged are not so.
            aside = {"backward", "seed", *(["learning_rate", "validation", "test"] if claim.chosen else [])}
            where = tuple((field, (value,)) for field, value in pairing.settings.items() if field not in aside)
            settings = {field: pairing.settings.get(field) for field in SAID}
            single.append((claim, settings, replace(claim, where=where)))
    verdicts = judge([one for _, _, one in single], study, results)
    return [Row(name, claim, settings, verdict) for (claim, settings, _), verdict in zip(single, verdicts, strict=True)]


def dose(claim: Claim) -> tuple[str, float]:
    """What disturbs the feedback in a claim such as ``tied >> flip(0.05) is ...``, and how strongly: ``"flip", 0.05``."""
    call = parse_chain(claim.candidate)[-1]
    (strength,) = call.args
    return call.name, float(strength)


def cosine(claim: Claim) -> float:
    """What a turn of the signs, an angle or dropped elements leave of the feedback's direction, behind one activation."""
    name, strength = dose(claim)
    return cos(radians(strength)) if name == "rotate" else expected_cosine(f"{name}({strength:g})")


@cache
def measurements(name: str) -> list[dict[str, Any]]:
    """A table of ``tools/mechanisms.py``; every value that is a number is one."""
    file = RESULTS / f"{name}.csv"
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"Cannot read {file}: {error}. Write it with 'python tools/mechanisms.py'.") from None


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
