"""Display of a running study: in a log one line a trial, in a terminal a bar and the latest results."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.study.fakes import make_result, make_study, make_trial
from tieless.cli.progress import outcome, show_progress
from tieless.report.words import Labels
from tieless.study import Epoch, Finished, Retried, Started

STUDY = make_study("learning_rate=0.1", "backward=[tied, full_jam]", "seeds=[0, 1]")


def console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, height=20, color_system=None)


def play(where, events):
    with show_progress(where, STUDY.trials) as listen:
        for event in events:
            listen(event)
    return where.file.getvalue()


def test_a_label_has_only_what_differs():
    labels = Labels(STUDY.trials)
    assert [labels(trial) for trial in STUDY.trials] == [
        "tied, seed 0",
        "full_jam, seed 0",
        "tied, seed 1",
        "full_jam, seed 1",
    ]
    assert Labels([make_trial()])(make_trial()) == "tied"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (make_result(make_trial(), "failed"), "failed: ValueError: it broke"),
        (make_result(make_trial(), "diverged"), "diverged in epoch 2"),
        (replace(make_result(make_trial()), predicted_classes=1), " % single class"),
    ],
)
def test_an_outcome_says_how_it_ended(result, text):
    assert outcome(result).plain.endswith(text)


def test_an_outcome_of_a_trial_is_its_last_test_accuracy():
    result = make_result(make_trial())
    assert outcome(result).plain.strip() == f"{100 * result.epochs[-1].test_accuracy:.2f} %"


def test_a_log_has_one_line_for_each_trial_that_ends():
    first, second = STUDY.trials[2:]
    events = [
        Started(4, 2, (first, second)),
        Epoch(first, make_result(first).epochs[0]),
        Retried(first, "killed by SIGKILL"),
        Finished(make_result(first)),
        Finished(make_result(second, "failed")),
    ]
    accuracy = f"{100 * make_result(first).epochs[-1].test_accuracy:.2f} %"
    assert play(console(terminal=False), events).splitlines() == [
        "tied, seed 1: worker killed by SIGKILL, starting it again",
        f"[3/4] tied, seed 1: {accuracy}",
        "[4/4] full_jam, seed 1: failed: ValueError: it broke",
    ]


def test_a_terminal_shows_the_bar_the_time_left_and_the_latest_results():
    trials = STUDY.trials
    events = [Started(4, 0, trials)]
    for trial in trials[:3]:
        events += [Epoch(trial, record) for record in make_result(trial).epochs]
        events += [Finished(make_result(trial))]
    shown = play(console(terminal=True), events)
    last = shown[shown.rindex("tied, seed 0") :]
    assert "full_jam, seed 0" in last
    assert "tied, seed 1" in last
    assert "3/4 trials" in last
    assert "75 %" in last
    assert "left" in last


def bar_after(events):
    where = console(terminal=True)
    with show_progress(where, STUDY.trials) as board:
        for event in events:
            board(event)
        return board._bar.tasks[0]


def test_the_bar_counts_epochs_and_gives_back_those_of_a_trial_that_starts_again():
    first, second = STUDY.trials[:2]
    record = make_result(first).epochs[0]
    start = Started(4, 0, STUDY.trials)
    assert bar_after([start, Epoch(first, record), Epoch(second, record)]).completed == 2
    assert bar_after([start, Epoch(first, record), Retried(first, "killed")]).completed == 0


def test_a_trial_that_ends_early_fills_the_bar_as_a_whole_one():
    diverged = make_result(STUDY.trials[0], "diverged")
    events = [Started(4, 0, STUDY.trials), Epoch(diverged.trial, diverged.epochs[0]), Finished(diverged)]
    assert bar_after(events).completed == diverged.trial.epochs


def test_nothing_to_run_is_shown_as_complete():
    task = bar_after([Started(4, 4, ())])
    assert task.fields["ended"] == 4
    assert task.percentage == 100
