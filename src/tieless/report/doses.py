"""Rules of a report that differ in one number only, and the result of each: dose and response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

from tieless.grammar import Call, Value, format_call, parse_chain
from tieless.report.records import Dose, DoseLine, DosePoint, Grid, Section, TableCell
from tieless.rules import rules
from tieless.study.trial import BackwardPass

LEAST_DOSES = 3
"""Smallest number of doses: two are a comparison, which the table shows."""


@dataclass(frozen=True, slots=True)
class _Family:
    """Rule with one number left open.

    Args:
        rule: Rule with the parameter's name in the place of the number.
        parameter: Name of the parameter.
        without: Rule without the call that has the number; ``tied`` if it was the only one.
    """

    rule: BackwardPass
    parameter: str
    without: BackwardPass


def doses(sections: Sequence[Section]) -> tuple[Dose, ...]:
    """Families of three rules or more that differ in one number, over all sections.

    A rule with two numbers may belong to two families. Each metric has its own.
    """
    metrics = dict.fromkeys(section.settings.metric for section in sections)
    alike = ([section for section in sections if section.settings.metric == metric] for metric in metrics)
    return tuple(dose for group in alike for dose in _doses(group))


def _doses(sections: Sequence[Section]) -> tuple[Dose, ...]:
    found: dict[_Family, dict[BackwardPass, float]] = {}
    grids = [(section, section.table) for section in sections]
    for row in dict.fromkeys(row for _, grid in grids for row in grid.rules):
        for family, dose in _families(row):
            found.setdefault(family, {})[row] = dose
    return tuple(
        Dose(
            str(family.rule),
            family.parameter,
            str(family.without) if any(family.without in grid.rules for _, grid in grids) else None,
            _lines(family, rows, grids),
            sections[0].settings.metric,
        )
        for family, rows in found.items()
        if len(set(rows.values())) >= LEAST_DOSES
    )


def _families(backward: BackwardPass) -> Iterator[tuple[_Family, float]]:
    """Numbers in a rule, each with the rule around it."""
    chain = parse_chain(backward.rule)
    for place, call in enumerate(chain):
        without = _written([*chain[:place], *chain[place + 1 :]]) or "tied"
        for name, value, opened in _opened(call):
            rule = _written([*chain[:place], opened, *chain[place + 1 :]])
            rule = rule.replace(f'{name}="{_OPEN}{name}"', name).replace(f'"{_OPEN}{name}"', name)
            yield _Family(backward._replace(rule=rule), name, backward._replace(rule=without)), float(value)


_OPEN = "open "


def _opened(call: Call) -> Iterator[tuple[str, float, Call]]:
    cls = rules().get(call.name)
    names = [field.name for field in fields(cls)] if cls is not None else []
    for i, value in enumerate(call.args):
        if _number(value):
            name = names[i] if i < len(names) else "x"
            yield name, float(value), replace(call, args=(*call.args[:i], _OPEN + name, *call.args[i + 1 :]))
    for name, value in call.kwargs.items():
        if _number(value):
            yield name, float(value), replace(call, kwargs={**call.kwargs, name: _OPEN + name})


def _number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _written(calls: Iterable[Call]) -> str:
    return " >> ".join(map(format_call, calls))


def _lines(
    family: _Family, rows: dict[BackwardPass, float], grids: Sequence[tuple[Section, Grid]]
) -> tuple[DoseLine, ...]:
    lines: list[DoseLine] = []
    for section, grid in grids:
        for forward in grid.forwards:
            cells = sorted(
                (
                    (dose, cell)
                    for row, dose in rows.items()
                    if (cell := grid.cell(row.rule, forward, row.feedback)) is not None
                ),
                key=lambda pair: pair[0],
            )
            if cells:
                base = grid.cell(family.without.rule, forward, family.without.feedback)
                points = tuple(_point(dose, cell) for dose, cell in cells)
                lines.append(DoseLine(section.settings, forward, points, None if base is None else base.value))
    return tuple(lines)


def _point(dose: float, cell: TableCell) -> DosePoint:
    return DosePoint(dose, cell.value, cell.diverged)
