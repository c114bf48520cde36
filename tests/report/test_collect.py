from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import example, given, settings, strategies as st
from scipy import stats

from tests.report.conftest import _result, _study, _trial
from tieless.errors import StudyError
from tieless.report import collect
from tieless.report.collect import assemble
from tieless.study import judge, parse_claim
from tieless.study.results.store import Store
from tieless.study.trial import BackwardPass


def test_a_cell_holds_the_mean_and_both_differences(typical, report_of):
    (block,) = report_of(typical).sections[0].blocks
    cell = block.grid.cell("constant(1)", "relu")
    assert cell.value.mean == pytest.approx(0.75)
    assert cell.value.n == 3
    # Pairs: 0.7 - 0.8, 0.78 - 0.82, 0.77 - 0.81.
    assert cell.to_tied.mean == pytest.approx(-0.04)
    assert (cell.to_tied.low, cell.to_tied.high) == (None, None), "three pairs have no interval"
    assert cell.to_frozen.mean == pytest.approx(0.23)


def test_a_baseline_is_not_held_against_itself_but_against_the_other(typical, report_of):
    grid = report_of(typical).sections[0].blocks[0].grid
    tied, frozen = grid.cell("tied", "relu"), grid.cell("frozen", "relu")
    assert tied.to_tied is None
    assert tied.to_frozen.mean == pytest.approx(0.3)
    assert frozen.to_frozen is None
    assert frozen.to_tied.mean == pytest.approx(-0.3)


def test_baselines_stand_on_top_and_the_rest_in_the_order_of_the_study(typical, report_of):
    backwards = report_of(list(reversed(typical)))
    assert tuple(map(str, backwards.sections[0].blocks[0].grid.rules)) == ("tied", "frozen", "full_jam", "constant(1)")
    assert backwards.sections[0].blocks[0].grid.forwards == ("heaviside", "logistic", "relu")


def test_diverged_seeds_are_counted_and_count_as_chance(typical, report_of):
    report = report_of(typical)
    grid = report.sections[0].blocks[0].grid
    partly, wholly = grid.cell("full_jam", "relu"), grid.cell("full_jam", "logistic")
    assert (partly.diverged, partly.value.n, partly.to_tied.n) == (1, 3, 3)
    assert partly.value.mean == pytest.approx((0.1 + 0.66 + 0.64) / 3)
    assert partly.to_tied.mean == pytest.approx(0.64 - 0.81)
    assert (wholly.diverged, wholly.value.mean, wholly.to_tied.mean) == pytest.approx((3, 0.1, 0.1 - 0.71))
    assert [run.value for run in wholly.runs] == [None] * 3
    assert (report.done, report.diverged, report.run) == (29, 4, 33)


def test_one_class_seeds_are_counted_and_count(typical, report_of):
    report = report_of(typical)
    collapsed = report.sections[0].blocks[0].grid.cell("constant(1)", "logistic")
    assert (collapsed.one_class, collapsed.value.mean) == (3, 0.1)
    # Three runs of 10,000 test samples each: the exact binomial limit for none of 30,000.
    assert collapsed.value.half == pytest.approx(1 - 0.025 ** (1 / 30_000))
    assert report.one_class == 3


def test_a_seed_that_diverged_has_not_collapsed_to_one_class(trial, result, report_of):
    report = report_of([result(trial(), 0.1, status="diverged", predicted_classes=1)])
    assert (report.diverged, report.one_class) == (1, 0)


def test_a_flat_forward_is_known_as_one(typical, report_of):
    grid = report_of(typical).sections[0].blocks[0].grid
    assert grid.flat == {"heaviside"}
    assert grid.cell("tied", "heaviside") is None
    assert grid.cell("constant(1)", "heaviside").to_tied is None
    assert grid.cell("constant(1)", "heaviside").to_frozen.mean == pytest.approx(0.12)


def test_curves_are_means_of_the_seeds_that_finished_and_end_where_one_diverged(typical, report_of):
    panels = {panel.forward: panel for panel in report_of(typical).sections[0].blocks[0].panels}
    curve = next(curve for curve in panels["relu"].curves if curve.backward.rule == "full_jam")
    assert [point.epoch for point in curve.points] == [1, 2]
    last = curve.points[-1]
    assert (last.mean, last.low, last.high) == pytest.approx((0.65, 0.64, 0.66))
    assert [(stop.seed, stop.history) for stop in curve.stops] == [(0, (0.2,))]


def test_each_cell_is_taken_at_its_own_best_learning_rate(trial, result, report_of):
    levels = {
        "tied": {0.01: (0.6, 0.62), 0.1: (0.8, 0.82), 1.0: (0.7, 0.7)},
        "constant": {0.01: (0.5, 0.52), 0.1: (0.4, 0.4), 1.0: (0.1, 0.1)},
    }
    results = [
        result(trial(backward=backward, learning_rate=rate, seed=seed), 0.1, level)
        for rate in (1.0, 0.01, 0.1)
        for backward in levels
        for seed, level in enumerate(levels[backward][rate])
    ]
    (section,) = report_of(results).sections
    assert section.learning_rates == (0.01, 0.1, 1.0)
    assert [block.settings.learning_rate for block in section.blocks] == [0.01, 0.1, 1.0]
    tied, constant = section.best.cell("tied", "relu"), section.best.cell("constant(1)", "relu")
    assert (tied.learning_rate, tied.edge) == (0.1, 0)
    assert (constant.learning_rate, constant.edge) == (0.01, -1)
    # Against the tied baseline at the best rate of the baseline, not at that of the cell.
    assert constant.to_tied.mean == pytest.approx(-0.3)


def test_a_rate_at_which_a_seed_diverged_is_not_the_best_one(trial, result, report_of):
    results = [
        result(trial(learning_rate=0.01, seed=0), 0.5, 0.5),
        result(trial(learning_rate=0.01, seed=1), 0.5, 0.5),
        result(trial(learning_rate=0.1, seed=0), 0.9, 0.9),
        result(trial(learning_rate=0.1, seed=1), status="diverged"),
    ]
    assert report_of(results).sections[0].best.cell("tied", "relu").learning_rate == 0.01


@pytest.mark.parametrize(("rates", "edge"), [((0.1, 0.2), 0), ((0.1, 0.2, 0.3), 1)])
def test_of_two_rates_neither_is_an_edge(trial, result, report_of, rates, edge):
    results = [result(trial(learning_rate=rate), 0.1, rate) for rate in rates]
    best = report_of(results).sections[0].best.cell("tied", "relu")
    assert (best.learning_rate, best.edge) == (rates[-1], edge)


def test_equally_good_rates_have_no_edge(trial, result, report_of):
    results = [result(trial(learning_rate=rate), 0.1, 0.1) for rate in (0.01, 0.1, 1.0)]
    assert report_of(results).sections[0].best.cell("tied", "relu").edge == 0


def test_a_single_learning_rate_has_no_best(typical, report_of):
    assert report_of(typical).sections[0].best is None


def test_results_of_different_settings_never_share_a_table(trial, result, report_of):
    changes = [
        {},
        {"data": "fashion-mnist"},
        {"subset": 100},
        {"model": "lenet5"},
        {"loss": "mse"},
        {"optimiser": "adam"},
        {"batch": 64},
        {"epochs": 3},
        {"device": "cuda"},
        {"weights": "binary"},
        {"schedule": "cosine"},
        {"augment": "flip"},
    ]
    results = [result(trial(**change), *[0.5] * change.get("epochs", 2)) for change in changes]
    report = report_of(results)
    assert len(report.sections) == len(changes)
    assert all(cell.value.n == 1 for s in report.sections for b in s.blocks for cell in b.grid.cells)


def test_a_block_has_only_the_rows_and_columns_that_it_runs(trial, result, report_of):
    results = [
        result(trial(forward="relu", learning_rate=0.1), 0.5, 0.5),
        result(trial(forward="logistic", learning_rate=0.1), 0.5, 0.5),
        result(trial(forward="logistic", backward="frozen", learning_rate=1.0), 0.5, 0.5),
    ]
    first, second = report_of(results).sections[0].blocks
    assert (first.grid.forwards, first.grid.rules) == (("relu", "logistic"), (BackwardPass("tied"),))
    assert (second.grid.forwards, second.grid.rules) == (("logistic",), (BackwardPass("frozen"),))


def test_what_has_not_run_is_planned_and_not_counted(trial, result, study):
    trials = [trial(seed=0), trial(seed=1), trial(backward="constant", seed=0)]
    report = assemble(study(trials), [result(trials[0], 0.5, 0.6), result(trial(seed=7), 0.1, 0.1)])
    grid = report.sections[0].blocks[0].grid
    assert (report.planned, report.run) == (3, 1)
    assert (grid.cell("tied", "relu").planned, len(grid.cell("tied", "relu").runs)) == (2, 1)
    assert grid.cell("constant(1)", "relu").value is None


def test_a_study_that_has_not_started_is_a_report_too(trial, study):
    report = assemble(study([trial()]), [])
    assert (report.run, report.seconds, report.started, report.ended) == (0, 0, "", "")
    assert report.sections[0].classes is None


def test_failures_keep_their_line(trial, result, report_of):
    failed = result(trial(seed=3), status="failed", error="MemoryError: no room")
    report = report_of([failed, result(trial(seed=4), 0.5, 0.5)])
    assert [(failure.trial.seed, failure.error) for failure in report.failures] == [(3, "MemoryError: no room")]
    assert report.sections[0].blocks[0].grid.cell("tied", "relu").failed == 1
    assert (report.run, report.done) == (2, 1)


def test_what_was_run_is_said_with_its_counts(trial, result, report_of):
    report = report_of(
        [
            result(trial(seed=0), 0.5, 0.5, versions={"torch": "2.13.0"}, seconds=60.0),
            result(trial(seed=1), 0.5, 0.5, versions={"torch": "2.14.0"}, started="2026-11-23T21:00:00+00:00"),
        ]
    )
    assert [(fact.name, fact.value, fact.trials) for fact in report.versions] == [
        ("torch", "2.13.0", 1),
        ("torch", "2.14.0", 1),
    ]
    assert (report.started, report.ended) == ("2026-11-23T20:00:00+00:00", "2026-11-23T21:00:03+00:00")
    assert report.seconds == 63.0
    assert {axis.name: axis.values for axis in report.axes}["seed"] == ("0", "1")


def test_the_order_in_which_results_arrived_does_not_matter(typical, study):
    plan = study(result.trial for result in typical)
    shuffled = random.Random(0).sample(typical, len(typical))
    assert assemble(plan, shuffled) == assemble(plan, typical)


def test_collect_reads_the_store(typical, study, tmp_path):
    plan = study(result.trial for result in typical)
    with Store.create(tmp_path, plan) as store:
        for each in typical:
            store.add(each)
    assert collect(tmp_path) == assemble(plan, typical)


def test_a_folder_without_a_study_is_one_clear_line(tmp_path):
    with pytest.raises(StudyError, match=r"^No study in .*: there is no study\.db\."):
        collect(tmp_path)


ENDS = st.one_of(st.integers(0, 400).map(lambda right: right / 400), st.sampled_from(["diverged", "failed"]))


def ended(backward, ends):
    """Runs of one cell: accuracies on 400 test samples, or how they ended without one."""
    for seed, end in enumerate(ends):
        trial = _trial(backward=backward, seed=seed)
        made = _result(trial, 0.5, end) if isinstance(end, float) else _result(trial, 0.5, status=end)
        yield replace(made, test_samples=400)


@settings(deadline=None, max_examples=60)
@given(ends=st.lists(st.tuples(ENDS, ENDS), min_size=3, max_size=8))
@example(ends=[(0.0, 0.19)] * 4 + [(0.0, 0.9575)])  # the interval of the values alone goes beyond -1
def test_a_table_and_a_claim_of_the_same_runs_say_the_same_numbers(ends):
    ours, theirs = zip(*ends, strict=True)
    results = [*ended("tied", theirs), *ended("constant", ours)]
    plan = _study(result.trial for result in results)
    cell = assemble(plan, results).sections[0].blocks[0].grid.cell("constant(1)", "relu")
    (claimed,) = judge([parse_claim("constant is non-inferior to tied by 1 point")], plan, results)[0].cells
    assert (cell.diverged, cell.failed) == (claimed.candidate.diverged, claimed.candidate.failed)
    if claimed.candidate.mean is not None:
        assert cell.value.mean == pytest.approx(claimed.candidate.mean)
    if claimed.differences is None:
        assert cell.to_tied is None
        return
    assert (cell.to_tied.n, cell.to_tied.mean) == (claimed.differences.n, claimed.differences.median)
    # Of one comparison with one threshold at each end.
    if cell.to_tied.low is not None:
        assert claimed.differences.low <= cell.to_tied.low <= cell.to_tied.high <= claimed.differences.high


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(0, 360), min_size=3, max_size=8).filter(lambda counts: max(counts) - min(counts) > 9)
)
def test_the_interval_of_a_mean_is_that_of_scipy(counts):
    values = [count / 360 for count in counts]
    results = [replace(_result(_trial(seed=seed), 0.5, value), test_samples=360) for seed, value in enumerate(values)]
    found = (
        assemble(_study(result.trial for result in results), results).sections[0].blocks[0].grid.cell("tied", "relu")
    )
    low, high = stats.t.interval(0.95, len(values) - 1, loc=math.fsum(values) / len(values), scale=stats.sem(values))
    assert (found.value.low, found.value.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)


def test_one_value_has_no_interval_and_a_pair_needs_both_seeds(trial, result, report_of):
    made = [result(trial(seed=0), 0.5, 0.75), result(trial(seed=1, backward="constant"), 0.5, 0.5)]
    grid = report_of(made).sections[0].blocks[0].grid
    one = grid.cell("tied", "relu").value
    assert (one.n, one.mean, one.half, one.low, one.high, one.clear) == (1, 0.75, None, None, None, False)
    assert grid.cell("constant(1)", "relu").to_tied is None


def test_two_values_are_both_kept_and_have_no_interval(trial, result, report_of):
    made = [
        result(trial(seed=seed, backward=rule), 0.5, end)
        for rule, ends in (("tied", (0.5, 0.7)), ("constant", (0.75, 0.76)))
        for seed, end in enumerate(ends)
    ]
    cell = report_of(made).sections[0].blocks[0].grid.cell("constant(1)", "relu")
    assert (cell.value.n, cell.value.half, cell.value.values) == (2, None, (0.75, 0.76))
    assert cell.value.mean == pytest.approx(0.755)
    assert (cell.to_tied.n, cell.to_tied.half, cell.to_tied.clear) == (2, None, False)


def test_a_difference_is_clear_where_its_interval_leaves_out_zero(trial, result, report_of):
    def to_tied(*values):
        made = [result(trial(seed=seed), 0.5, 0.5) for seed in range(len(values))]
        made += [result(trial(seed=s, backward="constant"), 0.5, 0.5 + value) for s, value in enumerate(values)]
        return report_of(made).sections[0].blocks[0].grid.cell("constant(1)", "relu").to_tied

    assert to_tied(0.1, 0.11, 0.12, 0.13, 0.14, 0.15).clear
    assert not to_tied(-0.1, 0.11, 0.12, 0.13, 0.14, 0.15).clear
    assert not to_tied(0.1, 0.11, 0.12, 0.13).clear
    assert not to_tied(*[0.0] * 6).clear
