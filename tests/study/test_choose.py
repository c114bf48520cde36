"""Learning rates chosen on validation samples: what is held out, what is chosen, and that the test set is seen once."""

from dataclasses import replace

import pytest
import torch

from tests.study.fakes import CHOOSING, SHORT, Inline, choosing, make_result, make_trial, noisy, noisy_and_marked
from tieless.data import load
from tieless.errors import StudyError
from tieless.report.collect import assemble
from tieless.study import runner, training
from tieless.study.choose import choices, finals, pilots
from tieless.study.claims import parse_claim
from tieless.study.runner import run
from tieless.study.spec import parse_study
from tieless.study.store import Store
from tieless.study.training import run_trial
from tieless.study.trial import EpochRecord
from tieless.study.validation import hold_out
from tieless.study.verdicts import judge


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


def judged(rate, seed, accuracy, status="done"):
    trial = make_trial(learning_rate=rate, seed=seed, validation=0.1, test="never")
    record = EpochRecord(0.5, 0.5, None, None, 0.0, 0.5, accuracy)
    return replace(make_result(trial), status=status, epochs=() if status == "diverged" else (record,))


def chosen(*results):
    return choices([result.trial for result in results], results)


def test_the_best_mean_is_chosen_then_the_lowest_rate():
    (choice,) = chosen(*(judged(r, s, a) for r, s, a in [(0.1, 0, 0.7), (0.1, 1, 0.9), (1, 0, 0.79), (1, 1, 0.79)]))
    assert choice.learning_rate == 0.1
    assert [(one.learning_rate, one.accuracy) for one in choice.tried] == [(0.1, pytest.approx(0.8)), (1, 0.79)]
    (tie,) = chosen(judged(1, 0, 0.8), judged(0.1, 0, 0.8), judged(0.3, 0, 0.8))
    assert (tie.learning_rate, tie.edge) == (0.1, 0)


def test_a_rate_at_which_seeds_diverge_is_worse_than_one_that_learns_little():
    (choice,) = chosen(judged(0.1, 0, 0.3), judged(0.1, 1, 0.3), judged(1, 0, 0.9), judged(1, 1, 0, "diverged"))
    assert choice.learning_rate == 0.1
    assert choice.tried[1].diverged == 1
    (lost,) = chosen(judged(0.1, 0, 0, "diverged"), judged(1, 0, 0, "diverged"))
    assert lost.learning_rate == 0.1


def test_the_edge_of_the_grid_is_marked():
    (up,) = chosen(*(judged(rate, 0, rate) for rate in (0.1, 0.2, 0.3)))
    (down,) = chosen(*(judged(rate, 0, 1 - rate) for rate in (0.1, 0.2, 0.3)))
    (two,) = chosen(judged(0.1, 0, 0.1), judged(0.2, 0, 0.2))
    assert (up.edge, down.edge, two.edge) == (1, -1, 0)


def test_a_cell_waits_for_all_of_its_runs():
    done, failed = judged(0.1, 0, 0.5), judged(1, 0, 0, "failed")
    assert chosen(done, failed) == []
    assert choices([done.trial, failed.trial], [done]) == []


def test_a_study_plans_the_runs_that_choose_and_then_the_others():
    study = choosing()
    assert (len(study.trials), study.waiting) == (24, 12)
    assert {(trial.seed, trial.validation, trial.test) for trial in study.trials} == {
        (100, 0.1, "never"),
        (3, 0.1, "never"),
    }
    assert study.trials == tuple(pilots(study.asked, study.choose))
    made = choices(study.trials, [noisy(trial) for trial in study.trials])
    following = finals(study.asked, study.choose, made)
    assert {(t.learning_rate, t.test, t.validation) for t in following} == {(0.1, "once", None)}
    assert [(t.backward, t.seed) for t in following] == [
        (t.backward, t.seed) for t in study.asked if t.learning_rate == 0.1
    ]


def test_a_run_goes_through_both_stages_and_no_trial_runs_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    monkeypatch.setattr(runner, "_Run", Inline)
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
    monkeypatch.setattr(runner, "_Run", Inline)
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


def test_a_claim_about_the_length_of_the_runs_is_about_those_that_are_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_Run", Inline)
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
