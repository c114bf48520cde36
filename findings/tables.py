"""Committed tables: the study and the runs of each, claims judged cell by cell, and tables of measurements."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import cos, radians
from pathlib import Path
from typing import Any

from tieless.diagnose import expected_cosine
from tieless.errors import StudyError
from tieless.grammar import parse_chain
from tieless.report.collect import assemble
from tieless.report.records import Section
from tieless.study import Claim, ClaimVerdict, Result, Study, judge, load_study, load_table
from tieless.study.judging.pairing import pairings

RESULTS = Path(__file__).parents[1] / "docs" / "results"
"""Folder of the tables. The site has it as a part, and serves the tables."""

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
    "deep-mlp-init": "beyond/deep-mlp-init",
    "small-networks": "beyond/small-networks",
    "thesis-adam": "beyond/thesis-adam",
}
"""Study of each table, by the table's name."""

SAID = ("forward", "optimiser", "learning_rate", "data", "model")
"""Settings by which comparisons are told apart, as far as they differ."""


class NotRun(StudyError):  # noqa: N818 - it says how far the work is
    """Table of a study that does not exist yet."""


@dataclass(frozen=True, slots=True)
class Row:
    """Comparison of a claim.

    Args:
        data: Name of the table.
        claim: Claim, which may be about other cells too.
        settings: Settings of this cell, by the names of ``SAID``; the learning rate is ``None`` where each rule has its
            own.
        verdict: Verdict about this cell alone, judged in the family of all.
        asked: True if the claim is not in the study's file, but was asked after its runs.
    """

    data: str
    claim: Claim
    settings: dict[str, Any]
    verdict: ClaimVerdict
    asked: bool = False


def runs(name: str) -> tuple[Study, list[Result]]:
    """Study of a table as it was run, and its results.

    Raises:
        NotRun: the table is not there.
        StudyError: no table has this name, or it cannot be read.
    """
    if name not in STUDIES:
        raise StudyError(f"Unknown table {name!r}. There are: {', '.join(STUDIES)}.")
    if not (file := RESULTS / f"{name}.csv").is_file():
        raise NotRun(f"`{STUDIES[name]}` has no `docs/results/{name}.csv` yet.")
    return _loaded(file, STUDIES[name])


# Caches have the file as a key, so that another folder has other tables.
@cache
def _loaded(file: Path, study: str) -> tuple[Study, list[Result]]:
    return load_table(file, load_study(study, check=False))


def sections(name: str) -> Sequence[Section]:
    """Sections of the report on a table."""
    runs(name)
    return _assembled(RESULTS / f"{name}.csv", STUDIES[name])


@cache
def _assembled(file: Path, study: str) -> Sequence[Section]:
    asked, results = _loaded(file, study)
    return assemble(replace(asked, claims=()), results).sections


def judged(name: str, claims: Iterable[Claim] | None = None) -> Sequence[Row]:
    """Comparisons of claims that are judged as one family, each comparison by itself.

    A claim about several cells is split into one for each; the family of comparisons is unchanged.

    Args:
        name: Name of the table.
        claims: Claims, those of the study's file unless given.
    """
    study, _ = runs(name)
    return _judged(name, RESULTS / f"{name}.csv", study.claims if claims is None else tuple(claims))


@cache
def _judged(name: str, file: Path, claims: tuple[Claim, ...]) -> Sequence[Row]:
    study, results = _loaded(file, STUDIES[name])
    trials = [trial for trial in study.trials if trial.test != "never"]
    single: list[tuple[Claim, dict[str, Any], Claim]] = []
    for claim in claims:
        for pairing in pairings(claim, trials):
            # The runs that choose a rate hold samples out and are never tested; the judged runs do not.
            aside = {"backward", "seed", *(["learning_rate", "validation", "test"] if claim.chosen else [])}
            where = tuple((field, (value,)) for field, value in pairing.settings.items() if field not in aside)
            settings = {field: pairing.settings.get(field) for field in SAID}
            single.append((claim, settings, replace(claim, where=where)))
    verdicts = judge([one for _, _, one in single], study, results)
    planned = set(study.claims)
    return [
        Row(name, claim, settings, verdict, asked=claim not in planned)
        for (claim, settings, _), verdict in zip(single, verdicts, strict=True)
    ]


def varied(rows: Sequence[Row]) -> list[str]:
    """Settings in which some comparisons differ."""
    return [field for field in SAID if len({str(row.settings[field]) for row in rows}) > 1]


def dose(claim: Claim) -> tuple[str, float]:
    """Disturbing rule of a claim such as ``tied >> flip(0.05) is ...``, and its strength: ``"flip", 0.05``."""
    call = parse_chain(claim.candidate)[-1]
    (strength,) = call.args
    return call.name, float(strength)


def cosine(claim: Claim) -> float:
    """Expected cosine between disturbed and undisturbed gradient behind one activation.

    The rule flips signs, turns by an angle or drops elements.
    """
    name, strength = dose(claim)
    return cos(radians(strength)) if name == "rotate" else expected_cosine(f"{name}({strength:g})")


def measurements(name: str) -> list[dict[str, Any]]:
    """Rows of a table that ``python -m findings measure`` wrote; every value that is a number is one."""
    return _measurements(RESULTS / f"{name}.csv")


@cache
def _measurements(file: Path) -> list[dict[str, Any]]:
    return [{key: _number(value) for key, value in row.items()} for row in read(file)]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def read(file: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a table of measurements, unchanged.

    Args:
        file: Path of the table, a CSV.
        columns: Columns that it must have, if any are given.
    Raises:
        StudyError: the table cannot be read, or has other columns.
    """
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            if columns and list(table.fieldnames or ()) != list(columns):
                raise StudyError(
                    f"{file} is another table: it does not have the columns {', '.join(columns)}. Name another file."
                )
            return list(table)
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(
            f"Cannot read {file}: {error}. Write it with 'python -m findings measure', or name another file."
        ) from None


def write(file: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a table of measurements."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
