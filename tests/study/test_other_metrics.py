"""Studies that are judged by another metric than the accuracy: from the file to the verdict, the page and the table."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.study.fakes import Inline, make_trial
from tieless.errors import StudyError
from tieless.report import chart, claim_words, words
from tieless.report.collect import assemble
from tieless.report.html import render
from tieless.study import (
    Choose,
    EpochRecord,
    Result,
    Store,
    Study,
    choices,
    export_table,
    judge,
    load_study,
    load_table,
    parse_claim,
    parse_study,
    register_metric,
    run,
)
from tieless.study.judging.verdicts import more_seeds
from tieless.study.running import runner
from tieless.study.running.training import run_trial
from tieless.study.settings.metrics import METRICS
from tieless.study.trial import Trial, outcome

STUDY = """\
title: Regression
question: Does it learn?
core_hours: 0.01
grid: {data: ./reg.npz, model: mlp(16), forward: relu, backward: [tied, full_jam, frozen], loss: mse, metric: mse,
       optimiser: adam, learning_rate: 0.01, batch: 20, epochs: 4, seeds: 0..9}
claims: [frozen is inferior to tied by 0.02 mse]
"""


@pytest.fixture(autouse=True)
def _data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 5)).astype("float32")
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
    np.savez("reg.npz", train_x=x[:300], train_y=y[:300], test_x=x[300:], test_y=y[300:])
    np.savez("classes.npz", train_x=x[:300], train_y=(y[:300] > 0).astype(int))
    (tmp_path / "reg.yaml").write_text(STUDY, encoding="utf-8")


def judged(values, sentence, metric="mse", status=lambda rule, seed: "done", seeds=30):
    """Verdict on runs whose value is given by rule and seed."""
    trials = [
        make_trial(backward=rule, seed=seed, metric=metric, forward="relu")
        for rule in ("tied", "frozen")
        for seed in range(seeds)
    ]
    results = [
        Result(
            trial=trial,
            status=status(trial.backward, trial.seed),
            epochs=(EpochRecord(0.5, math.nan, 0.5, None, 0.0, test_metric=values[trial.backward] + trial.seed / 32),),
            test_samples=100,
            chance=0.0 if metric == "r2" else 9.0,
        )
        for trial in trials
    ]
    study = Study(name="s", run_as="s", title="t", question="q", settings={}, trials=tuple(trials))
    return judge([parse_claim(sentence)], study, results)[0], study, results


@pytest.mark.parametrize(
    ("sentence", "lower", "higher"),
    [
        ("frozen is inferior to tied by 0.1 UNIT", "holds", "does not hold"),
        ("tied is superior to frozen by 0.1 UNIT", "holds", "does not hold"),
        ("frozen is superior to tied by 0.1 UNIT", "does not hold", "holds"),
        ("tied is non-inferior to frozen by 0 UNIT", "holds", "does not hold"),
        ("frozen is non-inferior to tied by 0.9 UNIT", "does not hold", "holds"),
        ("frozen is equivalent to tied by 1.2 UNIT", "holds", "holds"),
    ],
)
def test_a_claim_is_turned_the_way_that_is_better(sentence, lower, higher):
    values = {"tied": 1.0, "frozen": 2.0}  # frozen has the larger error, or the larger score
    for metric, verdict in (("mse", lower), ("r2", higher)):
        found, _, _ = judged(values, sentence.replace("UNIT", metric), metric)
        assert found.verdict == verdict
        # The side that is claimed to be better may not collapse more often.
        (cell,) = found.cells
        frozen_first = sentence.startswith("frozen")
        assert (cell.wins, cell.losses) == ((0, 30) if (metric == "mse") == frozen_first else (30, 0))
        assert cell.differences.median == pytest.approx(1.0 if frozen_first else -1.0)
        # The drawing's margin lies on the side of the threshold that was tested.
        drawn = chart.forest(cell, found.claim)
        if found.claim.relation == "superior to":
            assert (drawn.margins[0] > drawn.zero) == (metric == "r2")


def test_a_line_has_the_unit_of_the_metric_and_the_method_its_direction():
    found, _, _ = judged({"tied": 1.0, "frozen": 2.0}, "frozen is inferior to tied by 0.5 mse")
    assert str(found.claim) == "frozen is inferior to tied by 0.5 mse"
    line = claim_words.cell_line(found.cells[0], found)
    assert line.startswith("+1 (+1 to +1) mse, 2.453 mse against 1.453 mse")
    assert "the difference is +1 mse in every seed" in line
    assert "test mse (lower is better) paired by seed, in the unit of the claim" in claim_words.method([found])


def test_differences_of_rounding_decide_nothing():
    _, study, results = judged({"tied": 1.0, "frozen": 1.0}, "frozen is inferior to tied by 0 mse")
    results = [
        replace(one, epochs=(replace(one.epochs[0], test_metric=1 + 1e-9 * (one.trial.backward == "frozen")),))
        for one in results
    ]
    (found,) = judge([parse_claim("frozen is inferior to tied by 0 mse")], study, results)
    assert (found.verdict, found.cells[0].losses) == ("undecided", 0)


def test_a_run_that_diverged_counts_as_the_chance_level():
    found, _, results = judged(
        {"tied": 1.0, "frozen": 2.0},
        "frozen is inferior to tied by 0.1 mse",
        status=lambda rule, seed: "diverged" if (rule, seed) == ("frozen", 0) else "done",
        seeds=4,
    )
    assert found.cells[0].candidate.mean == pytest.approx((9.0 + sum(2 + seed / 32 for seed in range(1, 4))) / 4)
    assert [outcome(result) for result in results][4] == 9.0
    assert Result.from_dict(json.loads(json.dumps(results[4].to_dict()))).chance == 9.0


def test_a_claim_in_a_unit_in_which_nothing_is_judged_is_refused_with_what_to_write():
    for unit in ("point", "mae"):
        with pytest.raises(StudyError, match=r"judges its runs by mse: write the margin as 'by NUMBER mse'") as caught:
            judged({"tied": 1.0, "frozen": 2.0}, f"frozen is inferior to tied by 1 {unit}")
        assert "\n" not in str(caught.value)
    with pytest.raises(StudyError, match="expected 'points', got 'furlong'"):
        parse_claim("frozen is inferior to tied by 1 furlong")
    with pytest.raises(StudyError, match="equivalent by 0 mse"):
        parse_claim("frozen is equivalent to tied by 0 mse")


def test_a_rate_is_chosen_by_the_better_metric():
    choose = Choose(0.2, (7,))
    for metric, best in (("mse", 0.1), ("r2", 0.3)):
        trials = [
            make_trial(learning_rate=rate, seed=7, validation=0.2, test="never", metric=metric) for rate in (0.1, 0.3)
        ]
        results = [
            Result(
                trial=trial,
                status="done",
                epochs=(EpochRecord(0.5, math.nan, None, None, 0.0, validation_metric=trial.learning_rate),),
            )
            for trial in trials
        ]
        assert choices(trials, results, choose)[0].learning_rate == best


def test_a_study_is_judged_by_its_metric_from_the_file_to_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "ProcessPool", Inline)
    study = load_study("reg.yaml")
    run(study, tmp_path / "out")
    with Store.open(tmp_path / "out") as store:
        known, results = store.study(), store.results()
    archive = np.load("reg.npz")
    targets = archive["train_y"].astype("float32").astype(float)
    for result in results:
        last = result.epochs[-1]
        assert result.status == "done"
        assert last.test_metric == pytest.approx(last.test_loss, rel=1e-5)  # both are mse
        assert (last.test_accuracy, result.classes, result.predicted_classes) == (None, None, None)
        assert result.chance == pytest.approx(targets.var())
    tied, frozen = (
        np.mean([outcome(result) for result in results if result.trial.backward == rule]) for rule in ("tied", "frozen")
    )
    assert tied < frozen
    (found,) = judge(known.claims, known, results)
    assert (found.verdict, str(found.claim)) == ("holds", "frozen is inferior to tied by 0.02 mse")
    report = assemble(known, results)
    page = render(report)
    assert "test mse (lower is better)</caption>" in page
    assert f"<b>{words.value(tied, 'mse')}</b>" in page
    assert "accuracy" not in words.reading(report.metrics)
    assert "Tint" not in page, "the steps of the tint are points of accuracy"
    for form in ("csv", "json"):
        export_table(results, tmp_path / f"t.{form}", form=form, study=known)
        table, again = load_table(tmp_path / f"t.{form}", known)
        assert [outcome(one) for one in again] == [outcome(one) for one in results]
        assert [one.chance for one in again] == [one.chance for one in results]
        assert judge(table.claims, table, again)[0].verdict == "holds"
    assert parse_study(known.yaml, name="again").trials == known.trials


def test_an_undecided_claim_about_an_error_gets_seeds():
    _, study, results = judged({"tied": 1.0, "frozen": 1.0}, "frozen is inferior to tied by 0.1 mse", seeds=5)
    noise = [0.0, 0.5, -0.4, 0.1, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]
    results = [
        replace(one, epochs=(replace(one.epochs[0], test_metric=1 + shift),))
        for one, shift in zip(results, noise, strict=True)
    ]
    claim = parse_claim("frozen is inferior to tied by 0.1 mse")
    wanted = more_seeds(replace(study, claims=(claim,), most_seeds=12), results)
    assert {(trial.seed, trial.metric) for trial in wanted} == {(seed, "mse") for seed in range(5, 10)}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("loss=cross_entropy", "has numbers to predict, and the loss cross_entropy takes classes: write 'loss: mse'"),
        ("metric=accuracy", "has numbers to predict, and the metric accuracy takes classes: write 'metric: mse'"),
        ("data=./classes.npz", "has classes, and the metric mse takes numbers: write 'metric: accuracy'"),
        ("metric=msa", "Unknown metric 'msa'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(override, problem):
    with pytest.raises(StudyError, match=problem) as caught:
        load_study("reg.yaml", [override])
    assert "\n" not in str(caught.value)


def trial(**changes):
    values = {"data": "./reg.npz", "model": "mlp(8)", "forward": "relu", "backward": "tied", "loss": "mse"}
    values |= {"metric": "mse", "optimiser": "adam", "learning_rate": 0.01, "batch": 50, "epochs": 1, "seed": 0}
    return Trial(**{**values, **changes})


def test_a_metric_of_nan_fails_its_run_and_one_of_several_numbers_is_refused_at_once():
    @register_metric(better="lower", chance=1.0)
    def nothing(outputs, targets):
        return math.nan

    @register_metric(better="lower", chance=1.0)
    def several(outputs, targets):
        return (outputs - targets).abs()

    result = run_trial(trial(metric="nothing"))
    assert (result.status, result.error) == (
        "failed",
        "StudyError: The metric nothing is nan: expected a finite number.",
    )
    with pytest.raises(StudyError, match=r"The metric several is values of shape \(32,\): expected one number"):
        load_study("reg.yaml", ["metric=several"])


def test_a_run_that_is_interrupted_goes_on_with_its_metric():
    states = []
    whole = run_trial(trial(epochs=3), on_checkpoint=lambda state: states.append(state) or True)
    again = run_trial(trial(epochs=3), resume=states[0], on_checkpoint=lambda state: True)
    assert [one.test_metric for one in again.epochs] == [one.test_metric for one in whole.epochs]
    assert again.chance == whole.chance


def test_a_run_that_diverges_keeps_its_chance_level():
    result = run_trial(trial(optimiser="sgd", learning_rate=1e30, epochs=3))
    assert result.status == "diverged"
    assert (
        outcome(result)
        == result.chance
        == METRICS["mse"].chance_of(torch.tensor(np.load("reg.npz")["train_y"]).float())
    )


def test_a_stored_study_is_judged_where_nobody_has_its_metric(tmp_path):
    @register_metric(better="lower", chance=1.0, unit="cent", step=0.01)
    def own(outputs, targets):
        return (outputs - targets).abs().mean()

    _, study, results = judged({"tied": 1.0, "frozen": 2.0}, "frozen is inferior to tied by 50 cent", "own")
    study = replace(study, claims=(parse_claim("frozen is inferior to tied by 50 cent"),))
    record = json.loads(json.dumps(study.to_dict()))
    del METRICS["own"]
    again = Study.from_dict(record, study.trials)
    (found,) = judge(again.claims, again, results)
    assert found.verdict == "holds"
    assert claim_words.cell_line(found.cells[0], found).startswith("+100 (+100 to +100) cent, 245.3 cent against")


def test_the_width_of_the_targets_gives_the_network_its_outputs():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(200, 4)).astype("float32"), random.normal(size=(200, 3)) * (1.0, 2.0, 3.0)
    np.savez("wide.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    result = run_trial(trial(data="./wide.npz", metric="mae", loss="huber"))
    given = y.astype("float32").astype(float)
    assert result.status == "done"
    assert result.chance == pytest.approx(abs(given - given.mean(0)).mean())
