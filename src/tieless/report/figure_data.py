"""Data behind the figures of a page, for its script: axes to filter by, cells, and the tables to download."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from tieless.report import words
from tieless.report.printable import printable
from tieless.report.records import Block, Dose, Estimate, Report, Section, Settings, TableCell
from tieless.study.settings.metrics import scale_of
from tieless.study.trial import BackwardPass

RULE, FORWARD, RATE = "backward rule", "forward", "learning rate"
"""Names of the axes within a section."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Axis with two values or more, by which a page is filtered."""

    name: str
    values: tuple[str, ...]


class FigureData:
    """Data behind the figures of a page.

    Args:
        report: Records of the page.
        titles: Title of each section.
    """

    def __init__(self, report: Report, titles: dict[Settings, str]) -> None:
        self._report, self._titles = report, titles
        self._numbers: dict[tuple[Settings, BackwardPass, str, float], int] = {}
        self._cells: list[tuple[Section, Block, str, TableCell]] = []
        for number, section in enumerate(report.sections, start=1):
            for place, block in enumerate(section.blocks, start=1):
                for column, forward in enumerate(block.grid.forwards, start=1):
                    for cell in (row[column - 1] for row in block.grid.rows):
                        if cell is not None:
                            key = section.settings, cell.backward, forward, cell.learning_rate
                            self._numbers[key] = len(self._cells)
                            self._cells.append((section, block, f"s{number}-{place}-p{column}", cell))

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """Axes by which the page is filtered, those of its tables first."""
        rates = any(len(section.blocks) > 1 for section in self._report.sections)
        tried = sorted({rate for section in self._report.sections for rate in section.learning_rates})
        by_rate = {RATE: dict.fromkeys(map(words.rate, tried))} if rates else {}
        found: dict[str, dict[str, None]] = {RULE: {}, FORWARD: {}, **by_rate}
        spoken = [words.settings_words(section.settings) for section in self._report.sections]
        found |= {name.replace("_", " "): {} for name in dict.fromkeys(name for each in spoken for name in each)}
        for section, _, _, cell in self._cells:
            for name, value in self._place(section, cell).items():
                found.setdefault(name, {})[value] = None
        return tuple(Filter(name, tuple(values)) for name, values in found.items() if len(values) > 1)

    def _place(self, section: Section, cell: TableCell) -> dict[str, str]:
        rate = {} if section.chosen else {RATE: words.rate(cell.learning_rate)}
        return {RULE: str(cell.backward), FORWARD: cell.forward, **rate, **_settings(section)}

    def key(self, name: str, value: object) -> str:
        """Key of elements that belong to a value of an axis; empty if the page is not filtered by it."""
        for place, axis in enumerate(self.filters):
            if axis.name == name and str(value) in axis.values:
                return f"{place}-{axis.values.index(str(value))}"
        return ""

    def rule(self, backward: BackwardPass) -> str:
        """Key of a rule."""
        return self.key(RULE, backward)

    def forward(self, forward: str) -> str:
        """Key of a forward."""
        return self.key(FORWARD, forward)

    def rate(self, block: Block) -> str:
        """Key of a block's learning rate."""
        rate = block.settings.learning_rate
        return "" if rate is None else self.key(RATE, words.rate(rate))

    def number(self, section: Section, cell: TableCell) -> int:
        """Number of a cell in the data."""
        return self._numbers[section.settings, cell.backward, cell.forward, cell.learning_rate]

    def json(self, styles: dict[BackwardPass, str]) -> str:
        """All data, as JSON that may stand in an element of the page.

        Args:
            styles: CSS class of each rule's curve.
        """
        sections = {section.settings: place for place, section in enumerate(self._report.sections)}
        best = {self.number(section, cell) for section in self._report.sections for cell in section.table.cells}
        drawn = {
            (block.settings, panel.forward, curve.backward): curve.points
            for section in self._report.sections
            for block in section.blocks
            for panel in block.panels
            for curve in panel.curves
        }
        cells: list[dict[str, Any]] = []
        numbers: list[dict[str, list[Any]]] = []
        for number, (section, block, panel, cell) in enumerate(self._cells):
            place = self._place(section, cell)
            points = drawn.get((block.settings, cell.forward, cell.backward), ())
            units = scale_of(cell.metric).in_units
            cells.append(
                {
                    "at": [axis.values.index(place[axis.name]) if axis.name in place else -1 for axis in self.filters],
                    "section": sections[section.settings],
                    "best": number in best,
                    "told": [words.heading(cell), *words.estimates(cell)],
                    "mean": None if cell.value is None else _short(units(cell.value.mean)),
                    "rule": str(cell.backward),
                    "forward": cell.forward,
                    "rate": cell.learning_rate,
                    "again": self._sets(
                        {
                            "forward": cell.forward,
                            "backward": cell.backward.rule,
                            "feedback": cell.backward.feedback,
                            "learning_rate": None if section.chosen else cell.learning_rate,
                        }
                    ),
                    "metric": cell.metric,
                    "panel": panel,
                    "style": styles[cell.backward],
                }
            )
            numbers.append(
                {
                    "runs": [
                        [run.seed, run.status, None if run.counted is None else _short(units(run.counted))]
                        for run in cell.runs
                    ],
                    "epochs": [
                        _short(units(value)) for point in points for value in (point.mean, point.low, point.high)
                    ],
                }
            )
        whole = {
            "filters": [{"name": axis.name, "values": axis.values} for axis in self.filters],
            "sections": [
                {
                    "title": self._titles[section.settings],
                    "settings": list(words.settings_words(section.settings).values()),
                    "again": f"{self._again()} {self._sets(asdict(section.settings))}".strip(),
                }
                for section in self._report.sections
            ],
            "lower": [not scale_of(section.settings.metric).higher for section in self._report.sections],
            "cells": cells,
            "tables": {
                "claims": _claims(self._report),
                **{f"dose{i}": self._dose(dose) for i, dose in enumerate(self._report.doses, start=1)},
            },
        }
        # No text of others may end the element that it stands in. Numbers are many, and printable as they are.
        whole = _printable(whole)
        whole["cells"] = [texts | found for texts, found in zip(whole["cells"], numbers, strict=True)]
        return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")

    def _varied(self) -> set[str]:
        """Fields that tell the cells of the study apart."""
        return {axis.name for axis in self._report.axes if len(axis.values) > 1} - {"seed", "sources"}

    def _again(self) -> str:
        """Start of the command that repeats a cell: that of the study, without what the cell overrides."""
        given = re.compile(rf"--set=(\w+\.)?({'|'.join(self._varied())})=")
        words_of = [word for word in shlex.split(self._report.header.command) if not given.match(word)]
        return shlex.join([*words_of, "--out", "runs/cell"])

    def _sets(self, fields: dict[str, Any]) -> str:
        """Options that restrict the study to these fields, where it has several values of them."""
        varied = self._varied()
        texts = {name: "null" if value is None else str(value) for name, value in fields.items() if name in varied}
        return shlex.join(
            f"--set={name}={text}" for name, text in texts.items() if (name, text) != ("learning_rate", "null")
        )

    def _dose(self, dose: Dose) -> list[list[Any]]:
        units = scale_of(dose.metric).in_units
        rows: list[list[Any]] = [["setting", "forward", dose.parameter, "mean", "low", "high", "n", "diverged"]]
        for line in dose.lines:
            for point in line.points:
                found = point.value or Estimate(0, math.nan, None)
                ends = [None if end is None else _short(units(end)) for end in (found.mean, found.low, found.high)]
                rows.append([self._titles[line.settings], line.forward, point.dose, *ends, found.n, point.diverged])
        return rows


def _settings(section: Section) -> dict[str, str]:
    spoken = words.settings_words(section.settings)
    return {name.replace("_", " "): value for name, value in spoken.items()}


def _claims(report: Report) -> list[list[Any]]:
    head = ["claim", "verdict", "cell", "verdict in the cell", "difference", "low", "high"]
    rows: list[list[Any]] = [[*head, "collapsed", "baseline collapsed", "excess low", "excess high", "pairs"]]
    for verdict in report.claims:
        for cell in verdict.cells:
            units = scale_of(cell.metric).in_units
            found = cell.differences
            ends = [] if found is None else [_short(units(end)) for end in (found.median, *found.interval)]
            rows.append(
                [
                    *(str(verdict.claim), verdict.verdict, cell.settings, cell.verdict),
                    *(ends or [None] * 3),
                    *(cell.candidate.collapsed, cell.baseline.collapsed),
                    *((_short(cell.excess.low), _short(cell.excess.high)) if cell.excess else (None, None)),
                    cell.pairs,
                ]
            )
    return rows


def _short(value: float) -> float | None:
    """Number with six digits, which JSON can have."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _printable(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [_printable(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value
