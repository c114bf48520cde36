"""Rules that differ in one number become lines over it: whose doses, which accuracies, and where they stand."""

from __future__ import annotations

import re

import pytest

from tieless.report import dose_chart
from tieless.report.html import render
from tieless.report.records import Dose, DoseLine, DosePoint, Estimate
from tieless.study.trial import Trial

DOSES = {
    "tied >> flip(0.4)": (0.4, 0.42, 0.44),
    "tied >> flip(0.1)": (0.8, 0.82, 0.84),
    "tied >> flip(0.2)": (0.7, 0.7, 0.7),
}


@pytest.fixture
def results(trial, result):
    made = []
    for optimiser in ("sgd", "adam"):
        for backward, levels in {"tied": (0.9, 0.9, 0.9), "full_jam": (0.5, 0.5, 0.5), **DOSES}.items():
            made += [
                result(trial(backward=backward, optimiser=optimiser, seed=seed), level)
                for seed, level in enumerate(levels)
            ]
    return made


def test_a_number_that_alone_differs_is_a_dose(report_of, results):
    (dose,) = report_of(results).doses
    assert (dose.rule, dose.parameter, dose.without) == ("tied >> flip(p)", "p", "tied")
    assert [(line.settings.optimiser, line.forward) for line in dose.lines] == [("sgd", "relu"), ("adam", "relu")]
    for line in dose.lines:
        assert [point.dose for point in line.points] == [0.1, 0.2, 0.4]
        assert [point.value.mean for point in line.points] == pytest.approx([0.82, 0.7, 0.42])
        assert line.points[0].value.half == pytest.approx(4.303 * 0.02 / 3**0.5, rel=1e-3)  # Student's, by a table
        assert line.without.mean == 0.9


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (["flip(0.1)", "flip(0.2)"], []),
        (["flip(0.1)", "drop(0.2)", "noise(0.3)"], []),
        (["quantize(2)", "quantize(4)", "quantize(8)"], ["quantize(bits)"]),
        (["rectangular(-1, 1)", "rectangular(-2, 1)", "rectangular(-3, 1)"], ["rectangular(low, 1)"]),
        (["rectangular(-1, 1)", "rectangular(-2, 2)", "rectangular(-3, 3)"], []),
        ([f"tied >> flip({p}) >> noise({s})" for p in (0.1, 0.2, 0.3) for s in (1, 2)], ["tied >> flip(p) >> noise(1)", "tied >> flip(p) >> noise(2)"]),
        (["full_jam(maximum=1.5)", "full_jam(maximum=2)", "full_jam(maximum=3)"], ["full_jam(maximum)"]),
    ],
)  # fmt: skip
def test_which_rules_are_a_family(report_of, trial, result, rules, found):
    report = report_of([result(trial(backward=rule), 0.5) for rule in rules])
    assert [dose.rule for dose in report.doses] == found


def test_feedback_weights_stand_behind_and_runs_that_diverged_are_counted(report_of, trial, result):
    rules = [f"constant({value})" for value in (0.5, 1, 100)]
    made = [result(trial(backward=rule, feedback="fa"), 0.5) for rule in rules[:2]]
    made.append(result(trial(backward=rules[2], feedback="fa"), status="diverged"))
    (dose,) = report_of(made).doses
    assert (dose.rule, dose.without) == ("constant(value) through fa", None)
    assert [(point.value.mean, point.diverged) for point in dose.lines[0].points] == [(0.5, 0), (0.5, 0), (0.1, 1)]
    (stroke,) = dose_chart.draw_dose(dose).strokes
    assert (len(stroke.marks), len(stroke.crosses), stroke.without) == (3, 1, None)


def test_a_rule_whose_text_says_through_is_not_taken_apart(report_of, trial, result):
    """A store may have rules that are not registered here: nothing of them but their spec is known."""
    made = [
        result(Trial.from_dict(trial(feedback="fa").to_dict() | {"backward": f'hat("a through b", {x})'}), 0.5)
        for x in (1, 2, 3)
    ]
    (dose,) = report_of([*made, result(trial(), 0.5)]).doses
    assert (dose.rule, dose.without) == ('hat("a through b", x) through fa', None)
    (dose,) = report_of([*made, result(trial(feedback="fa"), 0.5)]).doses
    assert dose.without == "tied through fa"
    assert [point.dose for point in dose.lines[0].points] == [1, 2, 3]


def line(settings, *points, without=None):
    return DoseLine(settings, "relu", tuple(DosePoint(x, Estimate(3, y, half), 0) for x, y, half in points), without)


def test_doses_stand_evenly_by_their_distance_or_their_ratio():
    for doses, logarithmic in (((1.0, 2.0, 3.0), False), ((1e-4, 1e-2, 1.0), True), ((0.0, 50.0, 100.0), False)):
        dose = Dose("noise(sigma)", "sigma", None, (line(None, *[(x, 0.5, 0.1) for x in doses]),))
        drawing = dose_chart.draw_dose(dose)
        x = [mark[0] for mark in drawing.strokes[0].marks]
        assert drawing.logarithmic is logarithmic
        assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
        assert x == sorted(x)
        assert [tick.at for tick in drawing.x_ticks] == x


def test_accuracy_goes_up_and_an_interval_reaches_from_low_to_high():
    dose = Dose("drop(p)", "p", "tied", (line(None, (0.1, 0.8, 0.05), (0.5, 0.6, 0.1), (0.9, 0.2, 0.5)),))
    drawing = dose_chart.draw_dose(dose)
    heights = {tick.label: tick.at for tick in drawing.y_ticks}
    (stroke,) = drawing.strokes
    assert [mark[1] for mark in stroke.marks] == [heights["80"], heights["60"], heights["20"]]
    assert stroke.bars[1][1:] == pytest.approx(
        ((heights["80"] + heights["60"]) / 2, (heights["60"] + heights["40"]) / 2)
    )
    assert stroke.bars[2][2] == heights["0"]  # no accuracy is negative


def test_labels_that_would_lie_on_others_are_left_out():
    dose = Dose("drop(p)", "p", None, (line(None, *[(x / 100, 0.5, 0.0) for x in range(1, 100)]),))
    ticks = dose_chart.draw_dose(dose).x_ticks
    assert (ticks[0].label, ticks[-1].label) == ("0.01", "0.99")
    assert 5 < len(ticks) < 30


def test_the_page_draws_one_line_for_each_section_and_says_the_same_in_words(report_of, results):
    page = render(report_of(results))
    figure = re.search(r'<svg class="panel dose".*?</svg>', page, re.DOTALL).group()
    assert figure.count("<use") == 6
    assert figure.count('class="l bar"') == 6
    assert figure.count('class="l without"') == 2
    assert "0.1 82.0 %, 0.2 70.0 %, 0.4 42.0 %." in figure
    assert 'href="#doses"' in page
    assert 'id="doses"' not in render(report_of(results[:6]))
