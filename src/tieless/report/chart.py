"""Geometry of learning curves and of the strips of comparisons: from records to the numbers of an SVG element.

A drawing is ``WIDTH`` by ``HEIGHT`` units, y pointing down. Paths hold one decimal, relative to the point before:
a page of a thousand runs stays small, and rounding does not add up because each step starts where the last ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from tieless.report.records import Curve, Panel, Section
from tieless.study import Claim, ClaimCell
from tieless.study.settings.metrics import ACCURACY, scale_of
from tieless.study.trial import BackwardPass

WIDTH, HEIGHT = 300, 220
LEFT, RIGHT, TOP, BOTTOM = 26, 8, 30, 22
_MOST_TICKS = 5
MOST_POINTS = 60
"""Largest number of points of a curve. A longer one has as many epochs, evenly spread, first and last among them."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Label on an axis and its position, in units of the drawing."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Axes that the panels of one section share.

    Args:
        epochs: Number of the last epoch.
        low, high: Edges of the metric's axis, in its unit: of the accuracy in per cent.
        step: Distance between its ticks, in the unit.
        chance: Accuracy of a guess, as a fraction; ``None`` if the number of classes is not known.
        metric: Name of the metric.
    """

    epochs: int
    low: float
    high: float
    step: float
    chance: float | None
    metric: str = ACCURACY

    def x(self, epoch: float) -> float:
        # One epoch alone stands in the middle.
        share = 0.5 if self.epochs == 1 else (epoch - 1) / (self.epochs - 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (self.high - scale_of(self.metric).in_units(value)) / (self.high - self.low)
        return TOP + share * (HEIGHT - TOP - BOTTOM)

    @property
    def x_ticks(self) -> tuple[Tick, ...]:
        epochs = sorted({1, (1 + self.epochs) // 2, self.epochs})
        return tuple(Tick(round(self.x(epoch), 1), str(epoch)) for epoch in epochs)

    @property
    def y_ticks(self) -> tuple[Tick, ...]:
        scale = scale_of(self.metric)
        found = ticks(self.low, self.high, self.step)
        return tuple(Tick(round(self.y(scale.of_units(tick)), 1), f"{tick:.6g}") for tick in found)

    @property
    def chance_y(self) -> float | None:
        if self.chance is None or not self.low < 100 * self.chance < self.high:
            return None
        return round(self.y(self.chance), 1)


@dataclass(frozen=True, slots=True)
class Stroke:
    """Geometry of one curve.

    Args:
        backward: Rule and feedback weights.
        line, band: Paths of the mean, and around lowest to highest; empty if no seed finished.
        end: Position of its marker; ``None`` if no seed finished.
        stops: Paths of the runs that diverged, up to that point.
        crosses: Positions at which those paths end.
    """

    backward: BackwardPass
    line: str
    band: str
    end: tuple[float, float] | None
    stops: tuple[str, ...]
    crosses: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Geometry of one panel."""

    forward: str
    strokes: tuple[Stroke, ...]


def frame(section: Section) -> Frame:
    """Axes that hold every curve of a section: from tick to tick."""
    values = [
        value
        for block in section.blocks
        for panel in block.panels
        for curve in panel.curves
        for value in (
            *(edge for point in curve.points for edge in (point.low, point.high)),
            *(value for stop in curve.stops for value in stop.history if value is not None),
        )
    ] or [0.0, 1.0]
    metric = section.settings.metric
    guess = 1 / section.classes if section.classes and metric == ACCURACY else None
    return Frame(section.settings.epochs, *axis(values, metric), guess, metric)


def axis(values: Sequence[float], metric: str) -> tuple[float, float, float]:
    """Low, high and the distance between ticks of an axis, in the metric's unit, that holds values: from tick to tick."""
    scale = scale_of(metric)
    if scale.in_points:
        return _per_cent_axis(values)
    low, high = scale.in_units(min(values)), scale.in_units(max(values))
    least = (high - low or abs(high) or 1.0) / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    low = step * math.floor(low / step)
    return low, max(step * math.ceil(high / step), low + step), step


def ticks(low: float, high: float, step: float) -> list[float]:
    """Ticks of an axis."""
    return [low + i * step for i in range(round((high - low) / step) + 1)]


def _per_cent_axis(values: Sequence[float]) -> tuple[int, int, int]:
    # A curve at the level of chance must not lie on the axis, hence the margin below.
    low, high = max(100 * min(values) - 2, 0), 100 * max(values)
    step = 20 if high - low > 40 else 10
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    return min(low, 100 - step), max(high, low + step), step


def draw(panel: Panel, axes: Frame) -> Drawing:
    """Draw the curves of a panel within its axes."""
    return Drawing(panel.forward, tuple(_stroke(curve, axes) for curve in panel.curves))


def _stroke(curve: Curve, axes: Frame) -> Stroke:
    points = _thin(curve.points)
    mean = [(axes.x(p.epoch), axes.y(p.mean)) for p in points]
    high = [(axes.x(p.epoch), axes.y(p.high)) for p in points]
    low = [(axes.x(p.epoch), axes.y(p.low)) for p in points]
    stops = [_stop(stop.history, axes) for stop in curve.stops]
    return Stroke(
        backward=curve.backward,
        line=stroke_path(mean),
        band=stroke_path([*high, *reversed(low)]) + "z" if points and high != low else "",
        end=_rounded(mean[-1]) if mean else None,
        stops=tuple(stroke_path(stop) for stop in stops if len(stop) > 1),
        crosses=tuple(_rounded(stop[-1]) for stop in stops),
    )


def _stop(history: Sequence[float | None], axes: Frame) -> list[tuple[float, float]]:
    # A run that diverged before it was tested has no value at all: its cross stands on the floor.
    return [(axes.x(epoch), axes.y(value)) for epoch, value in enumerate(history, start=1) if value is not None] or [
        (axes.x(max(1, len(history))), axes.y(scale_of(axes.metric).of_units(axes.low)))
    ]


def _rounded(point: tuple[float, float]) -> tuple[float, float]:
    return round(point[0], 1), round(point[1], 1)


ItemT = TypeVar("ItemT")


def _thin(items: Sequence[ItemT]) -> Sequence[ItemT]:
    if len(items) <= MOST_POINTS:
        return items
    step = (len(items) - 1) / (MOST_POINTS - 1)
    return [items[round(step * i)] for i in range(MOST_POINTS)]


def stroke_path(points: Sequence[tuple[float, float]]) -> str:
    """SVG path along points."""
    tenths = [(round(10 * x), round(10 * y)) for x, y in points]
    if not tenths:
        return ""
    steps = [(x - x0, y - y0) for (x0, y0), (x, y) in pairwise(tenths)]
    start = f"M{tenths[0][0] / 10:g} {tenths[0][1] / 10:g}"
    return start + "".join(f"l{x / 10:g} {y / 10:g}" for x, y in steps)


STRIP_WIDTH, STRIP_HEIGHT = 180, 20
_STRIP_EDGE = 8


@dataclass(frozen=True, slots=True)
class Forest:
    """Positions, in units of a drawing of ``STRIP_WIDTH`` by ``STRIP_HEIGHT``.

    Args:
        low, median, high: Ends of the interval, and the median.
        zero: Position of no difference.
        margins: Positions with which the interval is compared.
    """

    low: float
    median: float
    high: float
    zero: float
    margins: tuple[float, ...]


def margins(claim: Claim, metric: str) -> tuple[float, ...]:
    """Differences of the metric with which a claim's interval is compared."""
    scale = scale_of(metric)
    margin = scale.of_units(claim.margin)
    better = margin if scale.higher else -margin
    return {
        "non-inferior to": (-better,),
        "superior to": (better,),
        "inferior to": (-better,),
        "equivalent to": (-margin, margin),
    }[claim.relation]


def forest(cell: ClaimCell, claim: Claim) -> Forest | None:
    """Drawing of a comparison, zero in the middle; ``None`` if there is no interval."""
    if cell.differences is None or not math.isfinite(cell.differences.high - cell.differences.low):
        return None
    low, high = cell.differences.interval
    thresholds = margins(claim, cell.metric)
    # Twice the margin at least, so that a narrow interval is not blown up.
    reach = max(abs(low), abs(high), 2 * abs(thresholds[0])) or 1.0

    def x(value: float) -> float:
        return round(STRIP_WIDTH / 2 + value / reach * (STRIP_WIDTH / 2 - _STRIP_EDGE), 1)

    return Forest(x(low), x(cell.differences.median), x(high), x(0), tuple(map(x, thresholds)))
