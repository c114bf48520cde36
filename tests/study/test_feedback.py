"""A study asks what carries the feedback: trials train by it, tables and claims tell it apart."""

import dataclasses

import pytest

from tests.study.fakes import make_result, make_trial
from tieless.errors import StudyError
from tieless.nn import feedback_of
from tieless.report.collect import assemble
from tieless.study import parse_study
from tieless.study.claims import parse_claim
from tieless.study.judging.pairing import pairings
from tieless.study.network import start_of
from tieless.study.running.training import run_trial

STUDY = """
title: Signs
question: Are they enough?
core_hours: 0.01
grid:
  data: digits
  model: mlp(16, 1)
  forward: relu
  backward: [tied, constant]
  feedback: [tied, fa, usf(gain=1.0)]
  optimiser: sgd
  learning_rate: 0.1
  batch: 64
  epochs: 1
  seeds: [0, 1, 2]
claims:
  - tied through usf is non-inferior to tied by 1 point
  - constant is non-inferior to tied where feedback=fa
"""
TRIAL = make_trial(data="digits", model="mlp(16, 2)", forward="relu", loss="cross_entropy", epochs=1)


def numbers(result):
    assert result.error is None
    return [(epoch.train_loss, epoch.test_accuracy) for epoch in result.epochs]


def test_feedback_weights_follow_from_the_seed_and_initial_weights_do_not_notice():
    networks = {
        (feedback, seed): start_of(dataclasses.replace(TRIAL, feedback=feedback, seed=seed))[0]
        for feedback in ("tied", "fa")
        for seed in (0, 1)
    }
    assert not feedback_of(networks["tied", 0])
    assert len(feedback_of(networks["fa", 0])) == 3
    for seed in (0, 1):
        tied, other = (networks[feedback, seed].state_dict() for feedback in ("tied", "fa"))
        assert all(tied[name].equal(other[name]) for name in tied)
    keys = {vars(networks["fa", seed][1])["_tieless_carrier"].key for seed in (0, 1)}
    assert len(keys) == 2


def test_with_one_hidden_layer_direct_feedback_is_feedback_alignment():
    shallow, deep = (dataclasses.replace(TRIAL, model=f"mlp(16, {depth})", epochs=2) for depth in (1, 2))
    runs = {
        (trial.model, kind): numbers(run_trial(dataclasses.replace(trial, feedback=kind)))
        for trial in (shallow, deep)
        for kind in ("fa", "dfa")
    }
    assert runs["mlp(16, 1)", "fa"] == runs["mlp(16, 1)", "dfa"]
    assert runs["mlp(16, 2)", "fa"] != runs["mlp(16, 2)", "dfa"]


@pytest.mark.parametrize("feedback", ["dfa", "brsf"])  # the others are parts of these two
def test_each_kind_trains_and_runs_twice_to_the_same_numbers(feedback):
    trial = dataclasses.replace(TRIAL, model='mlp(32, 2, norm="batch")', feedback=feedback, epochs=5)
    result = run_trial(trial)
    assert result.epochs[-1].test_accuracy > 0.6
    assert numbers(run_trial(trial)) == numbers(result)


def accuracy(trial):
    return 0.5 + 0.01 * len(str(trial.backward_pass))


def test_a_table_has_a_row_for_each_way_back():
    study = parse_study(STUDY, name="signs")
    assert len(study.trials) == 18
    results = [make_result(trial) for trial in study.trials]
    results = [
        dataclasses.replace(one, epochs=(dataclasses.replace(one.epochs[0], test_accuracy=accuracy(one.trial)),))
        for one in results
    ]
    (section,) = assemble(study, results).sections
    grid = section.blocks[0].grid
    assert tuple(map(str, grid.rules)) == (
        *("tied", "tied through fa", "tied through usf"),
        *("constant(1)", "constant(1) through fa", "constant(1) through usf"),
    )
    cell = grid.cell("tied", "relu", "fa")
    assert cell.to_tied.mean == pytest.approx(0.01 * len(" through fa"))
    assert (cell.to_tied.n, cell.planned) == (3, 3)


def test_claims_compare_ways_back_or_rules_under_the_same_feedback_weights():
    study = parse_study(STUDY, name="signs")
    ways, rules = study.claims
    assert str(ways) == "tied through usf is non-inferior to tied by 1 point"
    assert parse_claim(str(ways)) == ways
    assert str(parse_claim("tied through usf(gain=1) is equivalent to tied through tied by 1 point")).endswith(
        "tied through usf is equivalent to tied by 1 point"
    )
    (pair,) = pairings(ways, study.trials)
    assert {trial.feedback for trial in pair.candidate.values()} == {"usf"}
    assert {(trial.backward, trial.feedback) for trial in pair.baseline.values()} == {("tied", "tied")}
    (pair,) = pairings(rules, study.trials)
    assert pair.settings["feedback"] == "fa"
    everywhere = pairings(parse_claim("constant is non-inferior to tied"), study.trials)
    assert [one.settings["feedback"] for one in everywhere] == ["tied", "fa", "usf"]


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (
            "tied through dfa is non-inferior to tied",
            "no run has the feedback dfa; there are tied, fa, usf",
        ),
        ("tied through is non-inferior to tied", "expected feedback weights, got 'is'"),
        ("tied through xx is non-inferior to tied", "Unknown feedback 'xx'"),
        ("tied through tied is non-inferior to tied", "compared with itself"),
    ],
)
def test_a_claim_about_what_is_not_there_is_refused(claim, says):
    text = STUDY.replace("tied through usf is non-inferior to tied by 1 point", claim)
    with pytest.raises(StudyError, match=says):
        parse_study(text, name="signs")
