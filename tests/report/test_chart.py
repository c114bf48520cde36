from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from tieless.report import chart
from tieless.report.records import Curve, Panel, Point, Stop
from tieless.study.trial import BackwardPass

AXES = chart.Frame(epochs=3, low=20, high=80, step=20, chance=0.1)
INSIDE_X = (chart.LEFT, chart.WIDTH - chart.RIGHT)
INSIDE_Y = (chart.TOP, chart.HEIGHT - chart.BOTTOM)


def ends(path: str) -> list[tuple[float, float]]:
    """The points of a path of relative steps."""
    numbers = [float(text) for text in re.findall(r"-?[\d.]+", path)]
    x, y, points = 0.0, 0.0, []
    for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
        x, y = x + dx, y + dy
        points.append((x, y))
    return points


def draw(*points: Point, stops: tuple[Stop, ...] = (), axes: chart.Frame = AXES) -> chart.Stroke:
    (stroke,) = chart.draw(Panel("relu", (Curve(BackwardPass("constant(1)"), points, stops),)), axes).strokes
    return stroke


def test_the_axes_run_from_the_first_epoch_to_the_last_and_from_low_to_high():
    stroke = draw(Point(1, 0.2, 0.2, 0.2), Point(3, 0.8, 0.8, 0.8))
    assert ends(stroke.line) == [(INSIDE_X[0], INSIDE_Y[1]), (INSIDE_X[1], INSIDE_Y[0])]
    assert stroke.end == (INSIDE_X[1], INSIDE_Y[0])


def test_the_band_goes_along_the_highest_and_back_along_the_lowest():
    stroke = draw(Point(1, 0.5, 0.2, 0.8), Point(3, 0.5, 0.2, 0.8))
    left, right, bottom, top = *INSIDE_X, INSIDE_Y[1], INSIDE_Y[0]
    assert ends(stroke.band.removesuffix("z")) == [(left, top), (right, top), (right, bottom), (left, bottom)]


def test_one_seed_has_no_band():
    assert draw(Point(1, 0.5, 0.5, 0.5), Point(2, 0.6, 0.6, 0.6)).band == ""


def test_a_single_epoch_stands_in_the_middle():
    axes = chart.Frame(epochs=1, low=20, high=80, step=20, chance=None)
    assert draw(Point(1, 0.5, 0.5, 0.5), axes=axes).end == (sum(INSIDE_X) / 2, sum(INSIDE_Y) / 2)
    assert [tick.label for tick in axes.x_ticks] == ["1"]


def test_a_run_that_diverged_ends_in_a_cross():
    stroke = draw(stops=(Stop(0, (0.2, 0.8)), Stop(1, ())))
    middle = sum(INSIDE_X) / 2
    assert (stroke.line, stroke.end) == ("", None)
    assert [ends(path) for path in stroke.stops] == [[(INSIDE_X[0], INSIDE_Y[1]), (middle, INSIDE_Y[0])]]
    assert stroke.crosses == ((middle, INSIDE_Y[0]), (INSIDE_X[0], INSIDE_Y[1]))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=200))
def test_rounding_does_not_add_up_along_a_path(accuracies):
    axes = chart.Frame(epochs=len(accuracies), low=0, high=100, step=20, chance=None)
    stroke = draw(*(Point(i, a, a, a) for i, a in enumerate(accuracies, start=1)), axes=axes)
    drawn = ends(stroke.line)
    assert len(drawn) == min(len(accuracies), chart.MOST_POINTS)
    assert drawn[-1] == pytest.approx((axes.x(len(accuracies)), axes.y(accuracies[-1])), abs=0.051)


def test_a_long_curve_is_drawn_at_distinct_epochs_with_the_first_and_the_last():
    for length in range(1, 2000):
        kept = chart._thin(range(length))
        assert len(kept) == len(set(kept)) == min(length, chart.MOST_POINTS)
        assert (kept[0], kept[-1]) == (0, length - 1)


@pytest.mark.parametrize(
    ("lowest", "highest", "edges"),
    [(0.1, 0.75, (0, 80)), (0.91, 0.97, (80, 100)), (0.99, 1.0, (90, 100)), (0.0, 0.0, (0, 10)), (0.55, 0.6, (50, 60))],
)
def test_the_frame_holds_every_curve_and_little_else(trial, result, report_of, lowest, highest, edges):
    (section,) = report_of([result(trial(), lowest, highest)]).sections
    frame = chart.frame(section)
    assert (frame.low, frame.high) == edges
    assert all(INSIDE_Y[0] <= frame.y(value) <= INSIDE_Y[1] for value in (lowest, highest))
    assert [frame.y_ticks[0].label, frame.y_ticks[-1].label] == [str(edge) for edge in edges]


def test_chance_is_shown_where_it_can_be_seen():
    assert AXES.chance_y is None
    assert chart.Frame(epochs=3, low=0, high=80, step=20, chance=0.1).chance_y == pytest.approx(
        INSIDE_Y[1] - (INSIDE_Y[1] - INSIDE_Y[0]) / 8
    )


def test_a_section_without_results_has_axes_too(trial, study):
    from tieless.report.collect import assemble

    (section,) = assemble(study([trial()]), []).sections
    assert (chart.frame(section).low, chart.frame(section).high) == (0, 100)
