"""Learning rates chosen on validation samples: what is held out, what is chosen, and that the test set is seen once."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, strategies as st

from tests.study.fakes import (
    CHOOSING,
    CONFIRMED,
    SHORT,
    Inline,
    choosing,
    make_result,
    make_trial,
    noisy,
    noisy_and_marked,
)
from tieless.data import load
from tieless.errors import StudyError
from tieless.report import html
from tieless.report.collect import assemble
from tieless.study.choose import Choose, choices, confirmations, extensions, finals, pilots, summary
from tieless.study.claims import parse_claim
from tieless.study.file.reading import parse_study
from tieless.study.judging.verdicts import judge
from tieless.study.results.store import Store
from tieless.study.running import runner, training
from tieless.study.running.runner import run
from tieless.study.running.training import hold_out, run_trial
from tieless.study.trial import EpochRecord


def test_what_is_held_out_is_the_rest_of_what_is_trained_on():
    data = load("digits", seed=0)
    rest, (x, y) = hold_out(data, 0.1, seed=0)
    assert (len(y), len(rest.train_y)) == (144, 1437 - 144)
    parts = torch.cat([rest.train_x, x])
    assert sorted(map(tuple, parts.tolist())) == sorted(map(tuple, data.train_x.tolist()))
    assert rest.test_x is data.test_x
    labels = dict(zip(map(tuple, data.train_x.tolist()), data.train_y.tolist(), strict=True))
    assert [labels[tuple(row)] for row in x.tolist()] == y.tolist()


def test_it_is_drawn_by_the_seed():
    data = load("digits", seed=0)
    first, again, other = (hold_out(data, 0.1, seed=seed)[1][0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_left_to_train_on_is_refused():
    with pytest.raises(StudyError, match=r"validation 0\.9 of 4 training samples leaves none"):
        hold_out(load("ones", seed=0, subset=4), 0.9, seed=0)


@pytest.mark.parametrize(("test", "looks"), [("each-epoch", 3), ("once", 1), ("never", 0)])
def test_the_test_samples_are_looked_at_as_often_as_the_trial_says(monkeypatch, test, looks):
    seen = []
    original = training._Run._evaluate

    def counted(self, inputs, targets):
        seen.append("test" if inputs is self.data.test_x else "validation")
        return original(self, inputs, targets)

    monkeypatch.setattr(training._Run, "_evaluate", counted)
    result = run_trial(make_trial(epochs=3, validation=0.25, test=test))
    assert result.status == "done", result.error
    assert (seen.count("test"), seen.count("validation")) == (looks, 3)
    assert [record.test_accuracy is not None for record in result.epochs] == [test == "each-epoch"] * 2 + [looks > 0]
    assert all(0 <= record.validation_accuracy <= 1 for record in result.epochs)
    assert result.predicted_classes == 2


def test_looking_changes_nothing_in_training():
    often, once = (run_trial(make_trial(epochs=3, test=test)) for test in ("each-epoch", "once"))
    assert [r.train_loss for r in often.epochs] == [r.train_loss for r in once.epochs]
    assert often.epochs[-1].test_accuracy == once.epochs[-1].test_accuracy


def test_the_validation_accuracy_is_that_of_the_samples_held_out():
    """Trained on nothing but them, the same network would be judged by what it has learnt: here a rule of its own."""
    trial = make_trial(epochs=40, learning_rate=0.5, validation=0.25, test="never", data="ones(d=10, tau=0.5)")
    record = run_trial(trial).epochs[-1]
    assert record.validation_accuracy > 0.95
    assert record.test_accuracy is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"validation": 0.0}, "above 0 to below 1"),
        ({"validation": 1.0}, "above 0 to below 1"),
        ({"validation": 1}, "above 0 to below 1"),
        ({"test": "never"}, "needs a validation part"),
        ({"test": "twice"}, "Unknown time to test 'twice'"),
    ],
)
def test_a_trial_that_cannot_be_judged_is_refused(changes, problem):
    with pytest.raises(StudyError, match=problem):
        make_trial(**changes)


PLAIN = Choose(0.1, (0, 1))
CONFIRM = Choose(0.1, (0,), epochs=1, confirm=True)


def judged(rate, seed, accuracy, status="done", epochs=1):
    trial = make_trial(learning_rate=rate, seed=seed, validation=0.1, test="never", epochs=epochs)
    record = EpochRecord(0.5, 0.5, None, None, 0.0, 0.5, accuracy)
    return replace(make_result(trial), status=status, epochs=() if status == "diverged" else (record,))


def chosen(*results):
    return choices([result.trial for result in results], results, PLAIN)


def test_the_mean_and_the_worst_seed_choose_together_then_the_lowest_rate():
    """By hand: 0.1 has the mean 0.8 and the worst seed 0.7, middle 0.75; 1 has 0.79 and 0.79. A mean alone takes 0.1."""
    (choice,) = chosen(*(judged(r, s, a) for r, s, a in [(0.1, 0, 0.7), (0.1, 1, 0.9), (1, 0, 0.79), (1, 1, 0.79)]))
    assert choice.learning_rate == 1
    assert [(one.learning_rate, one.value) for one in choice.tried] == [(0.1, pytest.approx(0.8)), (1, 0.79)]
    # The worst seed alone would take 1: 0.55, against middles of 0.7 and 0.575.
    (mean,) = chosen(*(judged(r, s, a) for r, s, a in [(0.1, 0, 0.5), (0.1, 1, 0.9), (1, 0, 0.55), (1, 1, 0.65)]))
    assert mean.learning_rate == 0.1
    (tie,) = chosen(judged(1, 0, 0.8), judged(0.1, 0, 0.8), judged(0.3, 0, 0.8))
    assert (tie.learning_rate, tie.edge) == (0.1, 0)


def test_a_rate_at_which_seeds_diverge_is_worse_than_one_that_learns_little():
    (choice,) = chosen(judged(0.1, 0, 0.3), judged(0.1, 1, 0.3), judged(1, 0, 0.9), judged(1, 1, 0, "diverged"))
    assert choice.learning_rate == 0.1
    assert (choice.tried[1].diverged, choice.tried[1].value) == (1, pytest.approx((0.9 + 1 / 2) / 2)), "as claims count"
    (lost,) = chosen(judged(0.1, 0, 0, "diverged"), judged(1, 0, 0, "diverged"))
    assert lost.learning_rate == 0.1


def test_the_edge_of_the_grid_is_marked():
    (up,) = chosen(*(judged(rate, 0, rate) for rate in (0.1, 0.2, 0.3)))
    (down,) = chosen(*(judged(rate, 0, 1 - rate) for rate in (0.1, 0.2, 0.3)))
    (two,) = chosen(judged(0.1, 0, 0.1), judged(0.2, 0, 0.2))
    assert (up.edge, down.edge, two.edge) == (1, -1, 0)


def three(rate, *values):
    return [judged(rate, seed, value) for seed, value in enumerate(values)]


def test_a_runner_up_within_two_standard_errors_is_told():
    """By hand: differences 0.01, 0.02, 0.03 have the mean 0.02 and the error 0.01 / sqrt(3) = 0.0058; 0.04 > 0.0115."""
    (apart,) = chosen(*three(0.1, 0.8, 0.8, 0.8), *three(1, 0.79, 0.78, 0.77))
    (near,) = chosen(*three(0.1, 0.8, 0.8, 0.8), *three(1, 0.79, 0.75, 0.80))
    assert (apart.runner_up.learning_rate, apart.within_noise) == (1, False)
    assert (near.runner_up.learning_rate, near.within_noise) == (1, True)
    (alone,) = chosen(judged(0.1, 0, 0.8), judged(1, 0, 0.7))
    assert (alone.runner_up.learning_rate, alone.within_noise) == (1, None), "one seed has no error"
    (single,) = chosen(*three(0.1, 0.8, 0.8, 0.8))
    assert (single.runner_up, single.within_noise) == (None, None)
    (lost,) = chosen(*three(0.1, 0.8, 0.8, 0.8), *three(1, 0.8, 0.8), judged(1, 2, 0, "diverged"))
    assert lost.within_noise is False, "a rate that diverges is no equal"
    assert summary([apart, near, alone, single]) == (
        "4 learning rates chosen: 1 with a runner-up within two standard errors, 1 by too few seeds to tell."
    )
    (end,) = chosen(*(judged(rate, 0, rate) for rate in (0.1, 0.2, 0.3)))
    assert summary([end]) == "1 learning rate chosen: 1 at an end of their grid, 1 by too few seeds to tell."


def test_a_cell_waits_for_all_of_its_runs():
    done, failed = judged(0.1, 0, 0.5), judged(1, 0, 0, "failed")
    assert chosen(done, failed) == []
    assert choices([done.trial, failed.trial], [done], PLAIN) == []


def test_a_study_plans_the_runs_that_choose_and_then_the_others():
    study = choosing()
    assert (len(study.trials), study.waiting) == (24, 12)
    assert {(trial.seed, trial.validation, trial.test) for trial in study.trials} == {
        (100, 0.1, "never"),
        (3, 0.1, "never"),
    }
    assert study.trials == tuple(pilots(study.asked, study.choose))
    made = choices(study.trials, [noisy(trial) for trial in study.trials], study.choose)
    following = finals(study.asked, study.choose, made)
    assert {(t.learning_rate, t.test, t.validation) for t in following} == {(0.1, "once", None)}
    assert [(t.backward, t.seed) for t in following] == [
        (t.backward, t.seed) for t in study.asked if t.learning_rate == 0.1
    ]


def test_a_run_goes_through_both_stages_and_no_trial_runs_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    monkeypatch.setattr(runner, "ProcessPool", Inline)
    first = run(choosing(), tmp_path / "out", run_trial=noisy_and_marked)
    assert (first.done, first.skipped, first.left) == (36, 0, 0)
    ran = (tmp_path / "mark").read_text().split()
    assert len(ran) == len(set(ran)) == 36
    again = run(choosing(), tmp_path / "out", run_trial=noisy_and_marked)
    assert (again.done, again.skipped, again.left) == (0, 36, 0)
    wider = run(choosing("learning_rate=[0.01, 0.1, 1, 0.5]"), tmp_path / "out", run_trial=noisy_and_marked)
    assert (wider.done, wider.skipped) == (8, 36), "only the new rate is tried, and the choice stays"
    with Store.open(tmp_path / "out") as store:
        study = store.study()
    assert study.choose == choosing().choose
    assert study.waiting == 0
    assert [trial.test for trial in study.trials] == ["never"] * 32 + ["once"] * 12


def test_the_runs_that_choose_can_be_shorter_than_those_that_are_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "ProcessPool", Inline)
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    study = parse_study(SHORT, name="choosing", overrides=["epochs=2"])
    assert {trial.epochs for trial in study.trials} == {1}
    assert (len(study.trials), study.waiting) == (24, 12)
    run(study, tmp_path / "out", run_trial=noisy_and_marked)
    with Store.open(tmp_path / "out") as store:
        kept, report = store.study(), assemble(store.study(), store.results())
    assert (kept.choose, kept.waiting) == (study.choose, 0)
    assert [(trial.test, trial.epochs) for trial in kept.trials] == [("never", 1)] * 24 + [("once", 2)] * 12
    assert [len(one.cells) for one in report.claims] == [1, 1, 1], "each final run was found beside its choice"
    again = parse_study(study.yaml, name="choosing")
    assert (again.trials, again.asked, again.choose) == (study.trials, study.asked, study.choose)


RATES = (0.01, 0.1, 1.0)
ASKED = tuple(make_trial(learning_rate=rate, seed=7, epochs=5) for rate in RATES)


def confirmed(short, long):
    """The rates that are to be confirmed, and what is chosen, where the runs at ``long`` have come to an end."""
    first = [judged(rate, 0, accuracy) for rate, accuracy in zip(RATES, short, strict=True)]
    results = first + [
        judged(rate, 0, accuracy, "diverged" if accuracy is None else "done", epochs=5)
        for rate, accuracy in long.items()
    ]
    planned = confirmations(ASKED, CONFIRM, [result.trial for result in first], results)
    assert {(trial.epochs, trial.seed, trial.validation, trial.test) for trial in planned} == {(5, 0, 0.1, "never")}
    made = choices([*(result.trial for result in first), *planned], results, CONFIRM)
    return {trial.learning_rate for trial in planned}, made[0] if made else None


def test_a_choice_of_short_runs_is_confirmed_at_full_length():
    short = (0.5, 0.6, 0.7)
    assert confirmed(short, {}) == ({1, 0.1}, None)
    assert confirmed(short, {1: 0.6}) == ({1, 0.1}, None), "one that runs says nothing yet"
    rates, choice = confirmed(short, {1: 0.8, 0.1: 0.7})
    assert (rates, choice.learning_rate, choice.edge) == ({1, 0.1}, 1, 1)
    assert [one.value for one in choice.confirmed] == [0.7, 0.8]
    assert [one.value for one in choice.tried] == list(short)
    assert (choice.trial.epochs, choice.confirming) == (1, 5)


def test_confirming_goes_down_for_as_long_as_the_smaller_rate_is_no_worse():
    short = (0.5, 0.6, 0.7)
    assert confirmed(short, {1: 0.6, 0.1: 0.7}) == ({1, 0.1, 0.01}, None)
    _, back = confirmed(short, {1: 0.6, 0.1: 0.7, 0.01: 0.65})
    assert (back.learning_rate, back.edge) == (0.1, 0)
    _, lowest = confirmed(short, {1: 0.6, 0.1: 0.7, 0.01: 0.8})
    assert (lowest.learning_rate, lowest.edge) == (0.01, -1)
    assert confirmed(short, {1: None, 0.1: None}) == ({1, 0.1, 0.01}, None), "neither says that a smaller one fails"
    assert confirmed(short, {1: 0.1, 0.1: 0.1}) == ({1, 0.1, 0.01}, None)
    assert confirmed(short, {1: None, 0.1: 0.2})[0] == {1, 0.1, 0.01}
    assert confirmed((0.7, 0.6, 0.5), {})[0] == {0.01}, "there is none below it"


@given(
    short=st.tuples(*[st.sampled_from([0.1, 0.2, 0.3])] * 3),
    long=st.tuples(*[st.none() | st.sampled_from([0.1, 0.2, 0.3])] * 3),
)
def test_what_is_confirmed_is_no_worse_than_the_rate_below_it(short, long):
    known, ran = dict(zip(RATES, long, strict=True)), {}
    while (found := confirmed(short, ran))[1] is None:
        assert found[0] - ran.keys(), "while nothing is chosen there is something to run"
        ran = {rate: known[rate] for rate in found[0]}
    choice = found[1]
    worth = {one.learning_rate: one.worth for one in choice.confirmed}
    assert worth.keys() == ran.keys()
    assert worth[choice.learning_rate] == max(worth.values())
    below = [rate for rate in RATES if rate < choice.learning_rate]
    assert not below or worth[below[-1]] <= worth[choice.learning_rate], "it was tried"


EXTEND = Choose(0.1, (0, 1), extend=(1e-4, 30))


def extended(value, rates=RATES, choose=EXTEND, confirm=None):
    """Rates tried beyond the grid, by rounds, and the choice, where a run at a rate gets the value of a function."""
    asked = [make_trial(learning_rate=rate, seed=7, epochs=5) for rate in rates]
    first, results, rounds = pilots(asked, choose), [], []
    while True:
        choosing = [*first, *extensions(asked, choose, results)]
        choosing += confirmations(asked, choose, choosing, results)
        ended = {result.trial for result in results}
        if not (missing := [trial for trial in choosing if trial not in ended]):
            (choice,) = choices(choosing, results, choose)
            return rounds[1:], choice, finals(asked, choose, [choice])
        assert choices(choosing, results, choose) == [], "nothing is chosen before the grid has ended"
        rounds.append(sorted({trial.learning_rate for trial in missing}))
        results += [judged(t.learning_rate, t.seed, value(t.learning_rate, t.epochs), epochs=t.epochs) for t in missing]


def test_a_grid_goes_on_while_its_best_rate_lies_at_an_end():
    rounds, choice, final = extended(lambda rate, epochs: 1 - abs(math.log10(rate / 10)) / 10)
    assert (rounds, choice.learning_rate, choice.edge) == ([[10]], 10, 1), "30 is as far as it may, 100 is beyond"
    assert [(t.learning_rate, t.seed, t.epochs, t.test) for t in final] == [(10, 7, 5, "once")]
    rounds, choice, _ = extended(lambda rate, epochs: 1 - abs(math.log10(rate / 1e-3)) / 10)
    assert (rounds, choice.learning_rate, choice.edge) == ([[1e-3], [1e-4]], 1e-3, 0)
    rounds, choice, _ = extended(lambda rate, epochs: 1 - abs(math.log10(rate / 1e-9)) / 10)
    assert (rounds, choice.learning_rate, choice.edge) == ([[1e-3], [1e-4]], 1e-4, -1), "the limit, which is marked"
    rounds, choice, _ = extended(lambda rate, epochs: 1 - abs(math.log10(rate / 0.1)) / 10)
    assert (rounds, choice.learning_rate) == ([], 0.1)
    rounds, choice, _ = extended(lambda rate, epochs: 0.1)
    assert (rounds, choice.learning_rate) == ([], 0.01), "where all are equal, none lies beyond the best"
    rounds, choice, _ = extended(lambda rate, epochs: rate, choose=PLAIN)
    assert (rounds, choice.learning_rate, choice.edge) == ([], 1, 1)


def test_a_grid_goes_on_by_its_own_ratio():
    rising = [one for (one,) in extended(lambda rate, epochs: rate, rates=(1e-3, 3e-3, 1e-2))[0]]
    assert rising == [0.03, 0.1, 0.3, 1, 3, 10, 30]
    falling = [one for (one,) in extended(lambda rate, epochs: -rate, rates=(1e-3, 3e-3, 1e-2))[0]]
    assert falling == [3e-4, 1e-4]
    assert [one for (one,) in extended(lambda rate, epochs: rate, rates=(1, 2))[0]] == [4, 8, 16]
    assert extended(lambda rate, epochs: rate, rates=(1,))[0] == [], "one rate has no ratio"


def test_confirming_goes_down_beyond_the_grid_too():
    choose = replace(EXTEND, epochs=1, confirm=True)
    best = {1: 0.01, 5: 1e-3}  # short runs flatter large rates
    rounds, choice, final = extended(
        lambda rate, epochs: 1 - abs(math.log10(rate / best[epochs])) / 10, rates=(0.01, 0.03, 0.1), choose=choose
    )
    assert rounds == [[0.003], [0.003, 0.01], [0.001], [0.0003]]
    assert (choice.learning_rate, choice.edge, choice.confirming) == (0.001, 0, 5)
    assert [trial.learning_rate for trial in final] == [0.001]


def test_a_study_extends_its_grid_in_one_run_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "ProcessPool", Inline)
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    text = CHOOSING.replace("learning_rate: [0.01, 0.1, 1]", "learning_rate: [1, 10, 100]")
    study = parse_study(text.replace("seeds: [100, 3]}", "seeds: [100, 3], extend: [0.05, 1000]}"), name="choosing")
    plain = parse_study(text, name="choosing")
    assert study.trials == plain.trials, "no trial has another id"
    run(study, tmp_path / "out", run_trial=noisy_and_marked)
    with Store.open(tmp_path / "out") as store:
        kept, report = store.study(), assemble(store.study(), store.results())
    ran = (tmp_path / "mark").read_text().split()
    assert len(ran) == len(set(ran)) == len(kept.trials)
    assert (kept.choose, kept.waiting) == (study.choose, 0)
    assert {tuple(one.learning_rate for one in choice.tried) for choice in report.choices} == {(0.1, 1, 10, 100)}
    assert {(choice.learning_rate, choice.edge) for choice in report.choices} == {(0.1, -1)}
    assert "4 at an end of their grid" in html.render(report)
    again = parse_study(study.yaml, name="choosing")
    assert (again.trials, again.asked, again.choose) == (study.trials, study.asked, study.choose)


def test_a_study_confirms_in_one_run_and_shows_what_it_confirmed(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "ProcessPool", Inline)
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    study = parse_study(CONFIRMED, name="choosing")
    assert (len(study.trials), study.waiting) == (24, 12)
    run(study, tmp_path / "out", run_trial=noisy_and_marked)
    ran = (tmp_path / "mark").read_text().split()
    with Store.open(tmp_path / "out") as store:
        kept, report = store.study(), assemble(store.study(), store.results())
    # Four cells, two seeds: the rate chosen and the one below it, which is worse.
    assert [(t.test, t.epochs) for t in kept.trials] == [("never", 1)] * 24 + [("never", 2)] * 16 + [("once", 2)] * 12
    assert len(ran) == len(set(ran)) == 52
    assert (kept.choose, kept.waiting) == (study.choose, 0)
    assert {tuple(one.learning_rate for one in choice.confirmed) for choice in report.choices} == {(0.01, 0.1)}
    assert [len(one.cells) for one in report.claims] == [1, 1, 1], "each final run was found beside its choice"
    page = html.render(report)
    assert "The rate that they chose ran again over 2 epochs" in page
    assert page.count("over 2 epochs: <span>0.01: ") == 4
    again = parse_study(study.yaml, name="choosing")
    assert (again.trials, again.asked, again.choose) == (study.trials, study.asked, study.choose)


def test_where_overrides_leave_no_shorter_runs_nothing_is_confirmed():
    assert parse_study(CONFIRMED, name="choosing").choose.confirm
    assert not parse_study(CONFIRMED, name="choosing", overrides=["epochs=1"]).choose.confirm


def test_a_claim_about_the_length_of_the_runs_is_about_those_that_are_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "ProcessPool", Inline)
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    run(parse_study(SHORT, name="choosing", overrides=["epochs=2"]), tmp_path / "out", run_trial=noisy_and_marked)
    with Store.open(tmp_path / "out") as store:
        study, results = store.study(), store.results()
    sentence = "constant is non-inferior to tied by 1 point at the chosen rate"
    plain, said = judge([parse_claim(sentence), parse_claim(f"{sentence} where epochs=2")], study, results)
    assert plain.cells[0].differences == said.cells[0].differences
    with pytest.raises(StudyError, match="no run has the epochs 1; there are 2"):
        judge([parse_claim(f"{sentence} where epochs=1")], study, results)


def test_runs_of_one_length_do_not_choose_for_several():
    with pytest.raises(StudyError, match=r"choose.epochs: the grid has 2 epochs and 3; .* one length only"):
        parse_study(SHORT.replace("epochs: 1\n", "epochs: [2, 3]\n"), name="choosing")


@pytest.mark.parametrize(
    ("line", "replacement", "problem"),
    [
        ("seeds: [100, 3]", "seeds: [100, 0]", r"choosing.yaml:\d+: choose.seeds: 0 is a seed of the grid too"),
        ("validation: 0.1", "validation: 1.5", "choose.validation: expected a number above 0 to below 1, got 1.5"),
        ("validation: 0.1", "validation: 0.1, epochs: 0", "choose.epochs: expected an integer >= 1, got 0"),
        ("validation: 0.1", "validation: 0.1, epochs: true", "choose.epochs: expected an integer >= 1, got true"),
        ("validation: 0.1", "validation: 0.1, confirm: true", "choose.confirm: takes choose.epochs below the grid's 1"),
        ("validation: 0.1", "validation: 0.1, epochs: 1, confirm: true", "choose.confirm: takes choose.epochs below"),
        ("validation: 0.1", "validation: 0.1, confirm: 1", "choose.confirm: expected true or false, got 1"),
        ("validation: 0.1", "validation: 0.1, extend: [1, 0.1]", r"choose.extend: expected two rates, the lower first"),
        ("validation: 0.1", "validation: 0.1, extend: 1", r"choose.extend: expected two rates, the lower first"),
        (
            "validation: 0.1",
            "validation: 0.1, extend: [0, 1]",
            r"choose.extend\[0\]: expected the lowest and the highest",
        ),
        ("validation: 0.1", "validatin: 0.1", "choose.validatin: unknown key; did you mean 'validation'"),
        ("tied by 1 point at the chosen rate", "tied by 1 point", r"claims\[0\]: .*say 'at the chosen rate'"),
        ("tied by 1 point at the chosen rate", "tied for relu at the chosen rate", r"claims\[0\]: .*no run has the fo"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(line, replacement, problem):
    with pytest.raises(StudyError, match=problem):
        parse_study(CHOOSING.replace(line, replacement), name="choosing")


def test_the_study_is_written_as_it_is_read():
    study = choosing()
    again = parse_study(study.yaml, name="choosing")
    assert (again.trials, again.asked, again.choose) == (study.trials, study.asked, study.choose)
    assert list(map(str, again.claims)) == list(map(str, study.claims))
    assert again.claims[2].label == "The baseline"
