"""Geometry of dose and response: from a dose's records to the numbers of an SVG element."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tieless.report.chart import Tick, axis, stroke_path, ticks
from tieless.report.records import Dose, DoseLine
from tieless.study.settings.metrics import ACCURACY, Scale, scale_of

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 30, 14, 10, 36
_INSET = 12
"""Distance from the axis to the first dose and from the last to the edge, so that no mark lies on either."""
_ASIDE = 3.0
"""Distance from line to line at one dose, so that intervals do not hide each other; less where there are many."""
_WIDE = 50
"""Ratio of the largest to the smallest dose above which doses are spread by their logarithm."""


@dataclass(frozen=True, slots=True)
class DoseStroke:
    """Geometry of one line.

    Args:
        line: Path through the means of the doses that have one; empty if there is none.
        bars: Intervals from the lower to the upper end: x, top, bottom.
        marks: Positions of the means.
        crosses: Positions on the floor, at doses at which a seed diverged.
        without: Height of the mean of the rule without the part; ``None`` if the study does not have it.
    """

    line: str
    bars: tuple[tuple[float, float, float], ...]
    marks: tuple[tuple[float, float], ...]
    crosses: tuple[tuple[float, float], ...]
    without: float | None


@dataclass(frozen=True, slots=True)
class DoseDrawing:
    """Geometry of a dose: its axes and a stroke for each line.

    Args:
        x_ticks, y_ticks: Labels of the axes.
        strokes: Strokes in the order of the lines.
        logarithmic: True if doses are spread by their logarithm.
    """

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    strokes: tuple[DoseStroke, ...]
    logarithmic: bool


@dataclass(frozen=True, slots=True)
class _Axes:
    first: float
    last: float
    low: float
    high: float
    logarithmic: bool
    scale: Scale

    def x(self, dose: float) -> float:
        first, value, last = (
            (math.log(one) for one in (self.first, dose, self.last))
            if self.logarithmic
            else (self.first, dose, self.last)
        )
        return round(LEFT + _INSET + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT - 2 * _INSET), 1)

    def y(self, value: float) -> float:
        share = (self.high - self.scale.in_units(value)) / (self.high - self.low)
        return round(TOP + share * (HEIGHT - TOP - BOTTOM), 1)


def draw_dose(dose: Dose) -> DoseDrawing:
    """Draw the lines of a dose within axes that hold all of them with their intervals."""
    at = sorted({point.dose for line in dose.lines for point in line.points})
    low, high, step = axis(
        [value for line in dose.lines for value in _values(line, dose.metric)] or [0.0, 1.0], dose.metric
    )
    axes = _Axes(at[0], at[-1], low, high, at[0] > 0 and at[-1] > _WIDE * at[0], scale_of(dose.metric))
    return DoseDrawing(
        _x_ticks(at, axes),
        tuple(Tick(axes.y(axes.scale.of_units(tick)), f"{tick:.6g}") for tick in ticks(low, high, step)),
        tuple(_stroke(line, axes, aside) for line, aside in zip(dose.lines, _asides(len(dose.lines)), strict=True)),
        axes.logarithmic,
    )


def _values(line: DoseLine, metric: str) -> list[float]:
    found = [point.value for point in line.points] + [line.without]
    ends = [edge for one in found if one is not None for edge in (one.mean, one.low, one.high) if edge is not None]
    return [_possible(end, metric) for end in ends]


def _possible(end: float, metric: str) -> float:
    """End of an interval: Student's, of few seeds, may reach beyond what an accuracy can be."""
    return min(1.0, max(0.0, end)) if metric == ACCURACY else end


def _asides(lines: int) -> list[float]:
    step = min(_ASIDE, 2 * (_INSET - 4) / lines)
    return [step * (line - (lines - 1) / 2) for line in range(lines)]


def _stroke(line: DoseLine, axes: _Axes, aside: float) -> DoseStroke:
    told = [(round(axes.x(point.dose) + aside, 1), point.value) for point in line.points if point.value is not None]
    marks = tuple((x, axes.y(one.mean)) for x, one in told)
    return DoseStroke(
        line=stroke_path(marks) if len(marks) > 1 else "",
        bars=tuple(
            (x, axes.y(_possible(one.high, axes.scale.name)), axes.y(_possible(one.low, axes.scale.name)))
            for x, one in told
            if one.low is not None and one.high is not None
        ),
        marks=marks,
        crosses=tuple(
            (round(axes.x(point.dose) + aside, 1), axes.y(axes.scale.of_units(axes.low)))
            for point in line.points
            if point.diverged
        ),
        without=None if line.without is None else axes.y(line.without.mean),
    )


def _x_ticks(at: list[float], axes: _Axes) -> tuple[Tick, ...]:
    """Label at each dose, except those that would overlap another; the first and the last have one."""
    ticks = [Tick(axes.x(dose), f"{dose:g}") for dose in at]
    kept = [ticks[0]]
    for tick in ticks[1:-1]:
        if _apart(kept[-1], tick) and _apart(tick, ticks[-1]):
            kept.append(tick)
    return (*kept, ticks[-1])


def _apart(left: Tick, right: Tick) -> bool:
    return right.at - left.at > 3 * (len(left.label) + len(right.label)) + 6
