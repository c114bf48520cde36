from __future__ import annotations

import pytest

from tieless.report import words
from tieless.report.records import Estimate


@pytest.mark.parametrize(
    ("mean", "text"),
    [(0.268, "+26.8"), (-0.021, "\N{MINUS SIGN}2.1"), (0.0, "0.0"), (-0.0004, "0.0"), (0.0004, "0.0")],
)
def test_a_difference_has_a_sign_unless_it_is_nothing(mean, text):
    assert words.difference(Estimate(2, mean, 0.1)) == text


def test_an_interval_is_a_half_width_or_says_that_there_is_none():
    assert words.interval(Estimate(3, 0.5, 0.0123)) == "±1.2"
    assert words.interval(Estimate(1, 0.5, None, (0.5,))) == "n=1"
    assert words.interval(Estimate(2, 0.5, None, (0.4, 0.6))) == "40.0, 60.0"


def test_a_rate_says_at_which_edge_it_lies():
    assert [words.rate(0.001, edge) for edge in (-1, 0, 1)] == ["0.001↓", "0.001", "0.001↑"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (18240.2, "5 h 4 min")]
)
def test_durations(seconds, text):
    assert words.duration(seconds) == text


def test_a_trace_gives_each_seed_and_how_the_numbers_came_about(typical, report_of):
    cell = report_of(typical).sections[0].blocks[0].grid.cell("full_jam", "relu")
    assert [words.heading(cell), *words.seeds(cell), *words.estimates(cell)] == [
        "relu under full_jam, learning rate 0.1",
        "seed 0: diverged in epoch 2, 20.00 % before, counts as 10.00 %",
        "seed 1: 66.00 %",
        "seed 2: 64.00 %",
        "mean 46.67 % (n = 3, 95 % interval −32.25 to 125.59)",  # noqa: RUF001 - the sign is meant
        "to tied −17.00 points (n = 3: no interval)",  # noqa: RUF001
        "to frozen +10.00 points (n = 3: no interval)",
    ]


def test_marks_say_what_the_mean_hides(typical, trial, result, study, report_of):
    grid = report_of(typical).sections[0].blocks[0].grid
    assert [mark.text for mark in words.marks(grid.cell("tied", "relu"))] == []
    assert [mark.text for mark in words.marks(grid.cell("full_jam", "relu"))] == ["1/3 diverged"]
    assert [mark.text for mark in words.marks(grid.cell("constant(1)", "logistic"))] == ["3/3 single class"]


def test_a_mark_counts_the_seeds_that_it_is_of(trial, result, report_of):
    results = [result(trial(seed=seed), 0.1, 0.1, predicted_classes=1 + seed) for seed in range(3)]
    results.append(result(trial(seed=3), status="diverged"))
    cell = report_of(results).sections[0].blocks[0].grid.cell("tied", "relu")
    assert [mark.text for mark in words.marks(cell)] == ["1/4 diverged", "1/4 single class"]


def test_marks_of_what_failed_or_has_not_run(trial, result, study):
    from tieless.report.collect import assemble

    trials = [trial(seed=seed) for seed in range(3)] + [trial(backward="constant")]
    report = assemble(study(trials), [result(trials[1], status="failed", error="no room")])
    grid = report.sections[0].blocks[0].grid
    assert [mark.text for mark in words.marks(grid.cell("tied", "relu"))] == ["1/3 failed", "1/3 run"]
    assert [mark.text for mark in words.marks(grid.cell("constant(1)", "relu"))] == ["not run yet"]
    assert words.state(report) == "1 of 4 trials have run"


def test_settings_are_said_as_a_reader_says_them(trial, report_of, result):
    settings = report_of([result(trial(subset=5000, epochs=1), 0.5)]).sections[0].blocks[0].settings
    said = words.settings_words(settings)
    assert (said["subset"], said["learning_rate"], said["epochs"]) == (
        "5,000 training samples",
        "learning rate 0.1",
        "1 epoch",
    )
    assert "learning_rate" not in words.settings_words(settings.without_rate())
    assert not {"weights", "schedule", "augment"} & set(said)
    changed = trial(weights="k_bit(4)", schedule="cosine", augment="shift(2) >> flip")
    said = words.settings_words(report_of([result(changed, 0.5, 0.5)]).sections[0].blocks[0].settings)
    assert [said[name] for name in ("weights", "schedule", "augment")] == [
        "k_bit(4) weights",
        "cosine schedule",
        "shift(2) >> flip",
    ]
