"""Verdicts over results made by hand, judged by SciPy's intervals and by what must be so."""

import math
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from tests.study.fakes import choosing, claiming, make_result, make_trial, noisy
from tieless.errors import StudyError
from tieless.study.claims import parse_claim
from tieless.study.judging.comparison import Ended
from tieless.study.judging.statistics import Differences, Excess
from tieless.study.judging.verdicts import judge
from tieless.study.results.plan import planned
from tieless.study.study import Batch, Study
from tieless.study.trial import EpochRecord

BETTER = [0.830, 0.842, 0.835, 0.851, 0.839, 0.828, 0.846, 0.833, 0.840, 0.837]
WORSE = [0.822, 0.829, 0.837, 0.834, 0.831, 0.823, 0.830, 0.835, 0.829, 0.832]
MANY = 20
"""Number of seeds without a collapse that leave less than 20 % possible."""


def made(trial, accuracy, *, status="done", predicted=10):
    records = () if accuracy is None else (EpochRecord(0.5, 0.5, 0.5, accuracy, 0.0),)
    return replace(make_result(trial), status=status, epochs=records, classes=10, predicted_classes=predicted)


def settle(sentence, tied, constant, *, added=0, **changes):
    """The verdict on one claim over runs with these accuracies; ``None`` is a run that diverged."""
    results = []
    for seed in range(max(len(tied), len(constant))):
        for rule, values in (("tied", tied), ("constant", constant)):
            if seed < len(values):
                trial = make_trial(backward=rule, seed=seed, **changes)
                status = "diverged" if values[seed] is None else "done"
                results.append(made(trial, values[seed], status=status, predicted=1 if values[seed] == 0.1 else 10))
    trials = [result.trial for result in results]
    return settle_study([sentence], trials, results, added=2 * added)[0]


def settle_study(sentences, trials, results, **changes):
    study = Study(name="s", run_as="s", title="t", question="q", settings={}, trials=tuple(trials), **changes)
    return judge([parse_claim(sentence) for sentence in sentences], study, results)


def median_of(differences, below, above):
    """Interval of the median by SciPy, one level for each end."""
    low = stats.quantile_test(differences, p=0.5, alternative="greater").confidence_interval(1 - below).low
    return low, stats.quantile_test(differences, p=0.5, alternative="less").confidence_interval(1 - above).high


@pytest.mark.parametrize("relation", ["non-inferior", "superior", "inferior", "equivalent"])
@pytest.mark.parametrize("points", [-8, -1.5, -0.5, 0.5, 1.5, 8])
def test_a_verdict_is_what_its_two_intervals_say(relation, points):
    """30 pairs, no collapse: each question of SciPy's intervals, its statements of what holds and of what does not."""
    tied = [0.8 + 0.001 * (7 * seed % 30) for seed in range(30)]
    ours = [value + points / 100 + 0.0003 * (11 * seed % 30 - 15) for seed, value in enumerate(tied)]
    (cell,) = settle(f"constant is {relation} to tied by 1 point", tied, ours).cells
    level = 0.025 * 0.8 * 0.8
    part = level / (4 if relation == "equivalent" else 2)
    levels = {"inferior": (part, level), "equivalent": (part, part)}.get(relation, (level, part))
    low, high = median_of([round(a - b, 12) for a, b in zip(ours, tied, strict=True)], *levels)
    assert cell.differences.interval == (low, high)
    holds, fails = {
        "non-inferior": (low > -0.01, high < -0.01),
        "superior": (low > 0.01, high < 0.01),
        "inferior": (high < -0.01, low > -0.01),
        "equivalent": (low > -0.01 and high < 0.01, low > 0.01 or high < -0.01),
    }[relation]
    assert cell.of_collapses == "holds"
    assert cell.verdict == "holds" if holds else "does not hold" if fails else "undecided"


def test_a_claim_needs_both_answers():
    """Ten pairs show the difference, and leave more than 20 % of collapses possible; so many as show both decide."""
    ten = settle(
        "constant is non-inferior to tied by 1 point", BETTER, [value + 0.02 for value in BETTER[1:] + BETTER[:1]]
    )
    (cell,) = ten.cells
    assert (cell.of_differences, cell.of_collapses, ten.verdict) == ("holds", "undecided", "undecided")
    limit = stats.binomtest(0, 10, alternative="less").proportion_ci(1 - 0.9 * 0.025 * 0.64).high
    assert cell.excess.high == pytest.approx(limit)
    assert limit > cell.tolerance == 0.2
    many = settle(
        "constant is non-inferior to tied by 1 point", BETTER * 2, [v + 0.02 for v in BETTER[1:] + BETTER[:1]] * 2
    )
    assert many.verdict == "holds"
    allowing = settle(
        "constant is non-inferior to tied by 1 point allowing 40 % collapses",
        BETTER,
        [value + 0.02 for value in BETTER[1:] + BETTER[:1]],
    )
    assert allowing.verdict == "holds"


def test_a_rule_that_collapses_more_often_is_refuted_however_good_its_other_runs_are():
    good = [value + 0.02 for value in BETTER[1:] + BETTER[:1]] * 2
    often = [0.1 if seed % 4 else value for seed, value in enumerate(good)]
    (cell,) = settle("constant is non-inferior to tied by 1 point allowing 10 % collapses", BETTER * 2, often).cells
    assert (cell.excess.candidate, cell.excess.baseline, cell.candidate.collapsed) == (15, 0, 15)
    assert cell.excess.low > 0.1
    assert (cell.of_collapses, cell.verdict) == ("does not hold", "does not hold")


@pytest.mark.parametrize("rare", [None, 0.1, 0.15], ids=["diverged", "one class", "near chance"])
def test_a_rare_collapse_moves_no_difference_and_is_counted(rare):
    good = [value + 0.02 for value in BETTER[1:] + BETTER[:1]] * 2
    whole = settle("constant is non-inferior to tied by 1 point", BETTER * 2, good).cells[0]
    lost = settle("constant is non-inferior to tied by 1 point", BETTER * 2, [rare, *good[1:]]).cells[0]
    assert (whole.verdict, lost.of_differences, lost.of_collapses) == ("holds", "holds", "undecided")
    assert (lost.candidate.collapsed, lost.excess.candidate) == (1, 1)
    theirs = settle("constant is non-inferior to tied by 1 point", [rare, *BETTER[1:], *BETTER], good).cells[0]
    assert (theirs.verdict, theirs.baseline.collapsed) == ("holds", 1)


@pytest.mark.parametrize(
    ("accuracy", "classes", "said"),
    [(0.18, 10, True), (0.2, 10, False), (0.54, 2, True), (0.56, 2, False), (0.019, 100, True), (0.021, 100, False)],
)
def test_near_chance_is_below_twice_its_accuracy_and_a_tenth_of_the_way_to_1(accuracy, classes, said):
    run = replace(made(make_trial(), accuracy), classes=classes, predicted_classes=classes)
    assert Ended.of(run).collapsed == said


def test_pairs_in_which_both_collapse_say_nothing_of_the_difference():
    tied = [0.1, 0.1, *BETTER[2:]]
    (cell,) = settle("constant is inferior to tied by 0 points", tied, [0.1, None, *WORSE[2:]]).cells
    assert (cell.pairs, cell.differences.n, cell.excess.n) == (10, 8, 10)
    assert (cell.excess.candidate, cell.excess.baseline) == (0, 0)
    assert cell.wins + cell.ties + cell.losses == 8


def test_an_undecided_claim_says_how_many_more_seeds():
    found = settle("constant is non-inferior to tied by 0.1 points", BETTER, WORSE)
    (cell,) = found.cells
    assert found.verdict == "undecided"
    assert found.text == f"undecided, needs about {cell.more} more seeds"
    # At a look, of which there is one at each doubling.
    assert cell.more + 10 in {20, 40, 80, 160, 320}


def test_equal_runs_are_an_identity_and_no_evidence():
    found = settle("constant is equivalent to tied by 1 point", BETTER * 2, BETTER * 2)
    (cell,) = found.cells
    assert (found.verdict, found.text) == ("identical", "identical runs, which are no evidence")
    assert (cell.wins, cell.ties, cell.losses, cell.differences.median) == (0, 20, 0, 0)


def test_runs_that_end_alike_with_other_losses_are_evidence():
    trials = [make_trial(backward=rule, seed=seed) for seed in range(MANY) for rule in ("tied", "constant")]
    results = [made(trial, BETTER[trial.seed % 10]) for trial in trials]
    sentence = "constant is equivalent to tied by 1 point"
    assert settle_study([sentence], trials, results)[0].verdict == "identical"
    results[-1] = replace(results[-1], epochs=(replace(results[-1].epochs[-1], train_loss=0.25),))
    (found,) = settle_study([f"{sentence} allowing 30 % collapses"], trials, results)
    assert (found.verdict, found.cells[0].reason) == ("holds", "the difference is 0 points in every seed")


def test_identities_leave_a_claim_to_its_other_cells():
    trials = [
        make_trial(backward=rule, learning_rate=rate, seed=seed)
        for rate in (0.1, 0.2)
        for rule in ("tied", "constant")
        for seed in range(30)
    ]
    lost = {"tied": {0.1: 0, 0.2: 0}, "constant(1)": {0.1: 0, 0.2: 0.3}}
    results = [made(t, BETTER[t.seed % 10] - lost[t.backward][t.learning_rate]) for t in trials]
    (found,) = settle_study(["constant is non-inferior to tied by 1 point"], trials, results)
    assert [cell.verdict for cell in found.cells] == ["identical", "does not hold"]
    assert found.verdict == "does not hold"


def test_runs_that_failed_are_the_reason_where_they_are():
    trials = [make_trial(backward=rule, seed=seed) for seed in range(5) for rule in ("tied", "constant")]
    ends = {"tied": "failed", "constant(1)": "diverged"}
    results = [made(trial, None, status=ends[trial.backward]) for trial in trials]
    (found,) = settle_study(["constant is non-inferior to tied by 1 point"], trials, results)
    assert found.text == "undecided: 5 of 5 runs failed and are left out, and a verdict needs 5 pairs"


@pytest.mark.parametrize("value", [None, 0.1], ids=["diverged", "one class"])
def test_where_neither_rule_trains_there_is_nothing_to_compare(value):
    found = settle("constant is non-inferior to tied by 1 point", [value] * 10, [value] * 10)
    assert (found.verdict, found.more) == ("undecided", None)
    assert found.text == "undecided: neither rule trains, so there is nothing to compare"


def test_a_run_that_diverged_counts_with_the_accuracy_of_chance():
    found = settle("constant is non-inferior to tied by 1 point", BETTER, [None] * 10)
    (cell,) = found.cells
    assert found.verdict == "does not hold"
    assert cell.candidate.mean == pytest.approx(0.1)
    assert (cell.candidate.diverged, cell.candidate.collapsed, cell.baseline.collapsed) == (10, 10, 0)
    rescued = settle("constant is superior to tied by 10 points", [None] * 10, BETTER)
    assert rescued.verdict == "holds"


def test_a_run_that_raised_says_nothing_and_is_counted():
    trials = [make_trial(backward=rule, seed=seed) for seed in range(5) for rule in ("tied", "constant")]
    results = [made(trial, 0.8 + trial.seed / 100) for trial in trials]
    results[-1] = made(trials[-1], None, status="failed")
    (found,) = settle_study(["constant is equivalent to tied by 1 point"], trials, results)
    (cell,) = found.cells
    assert (cell.pairs, cell.candidate.failed, cell.baseline.failed, cell.excess.n) == (4, 1, 0, 4)


@pytest.mark.parametrize("rule", ["tied", "frozen", "constant(1)"])
def test_a_claim_waits_for_the_learning_rates_of_both_sides(rule):
    study = choosing()
    results = [noisy(trial) for trial in study.trials if trial.backward == rule]
    plan = planned(study, results, (), None)
    assert {trial.backward for trial in plan.trials if trial.test != "never"} == {rule}
    told = {verdict.text for verdict in judge(plan.claims, plan, results)}
    assert told == {"undecided: the learning rates are not chosen yet"}


def test_what_is_not_finished_is_not_judged():
    sentence = "constant is superior to tied by 1 point"
    trials = [make_trial(backward=rule, seed=seed) for seed in range(10) for rule in ("tied", "constant")]
    results = [made(trial, BETTER[trial.seed] + (trial.backward != "tied") * trial.seed / 10) for trial in trials]
    assert settle_study([sentence], trials, results)[0].cells[0].differences.low > -1
    (early,) = settle_study([sentence], trials, results[:19])
    assert early.text == "undecided: 9 of 10 planned seeds have run"
    assert early.cells[0].pairs == 9
    assert early.cells[0].differences.interval == (-math.inf, math.inf)
    assert settle_study([sentence], trials, [])[0].text == "undecided: not run yet"
    (few,) = settle_study([sentence], trials[2:6], results[2:6])
    assert few.text == "undecided: 2 pairs, and a verdict needs 5"


def test_a_family_shares_its_error():
    """Two claims with three cells: each has a third of the level that one alone has, which its intervals show."""
    trials = [
        make_trial(backward=rule, learning_rate=rate, seed=seed)
        for rate in (0.1, 0.2)
        for rule in ("tied", "constant", "frozen")
        for seed in range(MANY)
    ]
    results = [made(t, 0.7 + (int(t.id[:6], 16) % 997) / 5000) for t in trials]
    sentences = ["constant is non-inferior to tied by 1 point", "frozen is inferior to tied by 1 point at 0.1"]
    together = settle_study(sentences, trials, results)
    assert [found.family for found in together] == [3, 3]
    cells = [cell for found in together for cell in found.cells]
    assert [cell.settings for cell in cells] == ["learning rate 0.1", "learning rate 0.2", ""]
    known = {(r.trial.backward, r.trial.learning_rate, r.trial.seed): r.epochs[0].test_accuracy for r in results}
    level = 0.025 * 0.64 / 3
    for cell, rule, rate, levels in zip(
        cells,
        ("constant(1)", "constant(1)", "frozen"),
        (0.1, 0.2, 0.1),
        ((level, level / 2), (level, level / 2), (level / 2, level)),
        strict=True,
    ):
        values = [round(known[rule, rate, seed] - known["tied", rate, seed], 12) for seed in range(MANY)]
        assert cell.differences.interval == median_of(values, *levels)
        assert cell.excess.high == pytest.approx(Excess.of(MANY, 0, 0, above=levels[0]).high)


def test_one_cell_that_fails_refutes_a_claim_and_all_must_hold():
    trials = [
        make_trial(backward=rule, learning_rate=rate, seed=seed)
        for rate in (0.1, 0.2)
        for rule in ("tied", "constant")
        for seed in range(30)
    ]

    def verdict(low, high):
        lost = {0.1: low, 0.2: high}
        results = [
            made(t, 0.8 - (t.backward != "tied") * lost[t.learning_rate] + (int(t.id[:4], 16) % 7) * 1e-4)
            for t in trials
        ]
        return settle_study(["constant is non-inferior to tied by 1 point"], trials, results)[0].verdict

    assert verdict(0.0, 0.0) == "holds"
    assert verdict(0.0, 0.1) == "does not hold"
    assert verdict(0.0, 0.01) == "undecided"


def test_sides_may_have_forwards_and_optimisers_of_their_own():
    """Each pair of sides is the comparison of two lists of accuracies, whatever trials lie around them."""
    accuracy = {("heaviside", "triangular(1)"): WORSE, ("relu", "tied"): BETTER, ("relu", "triangular(1)"): [0.5] * 5}
    trials = [
        make_trial(forward=forward, backward=rule, optimiser=optimiser, learning_rate=0.1, seed=seed)
        for forward, rule in accuracy
        for optimiser in ("sgd", "adam")
        for seed in range(5)
    ]
    results = [made(t, accuracy[t.forward, t.backward][t.seed] - (t.optimiser == "sgd") / 10) for t in trials]

    def differences(sentence):
        (found,) = settle_study([sentence], trials, results)
        return [(cell.settings, cell.differences.median) for cell in found.cells]

    step = pytest.approx(median(a - b for a, b in zip(WORSE[:5], BETTER[:5], strict=True)))
    assert differences("heaviside + triangular is non-inferior to relu + tied") == [("sgd", step), ("adam", step)]
    assert differences("relu + tied under sgd is inferior to relu + tied under adam") == [("", pytest.approx(-0.1))]
    assert differences("heaviside + triangular under sgd is inferior to relu + tied under adam") == [
        ("", pytest.approx(step.expected - 0.1))
    ]
    with pytest.raises(StudyError, match="no run has the forward sign; there are heaviside, relu"):
        differences("sign + triangular is superior to relu + tied")
    with pytest.raises(StudyError, match=r"no run has heaviside \+ tied"):
        differences("heaviside + tied is superior to relu + tied")


def test_sides_may_have_initial_weights_of_their_own():
    accuracy = {"default": 0.5, "orthogonal": 0.7, "gain_matched": 0.9}
    trials = [
        make_trial(backward=rule, init=init, seed=seed)
        for rule in ("tied", "constant")
        for init in accuracy
        for seed in range(5)
    ]
    results = [made(t, accuracy[t.init] + (t.backward != "tied") / 100) for t in trials]

    def differences(sentence):
        (found,) = settle_study([sentence], trials, results)
        return [cell.differences.median for cell in found.cells]

    assert differences("constant from orthogonal is inferior to tied from gain_matched") == [pytest.approx(-0.19)]
    assert differences("constant is superior to tied from default and orthogonal") == [pytest.approx(0.01)] * 2
    with pytest.raises(StudyError, match="Unknown"):
        differences("constant from lsuv is superior to tied from default")


def test_sides_may_have_rates_of_their_own():
    trials = [
        make_trial(backward=rule, optimiser=optimiser, learning_rate=rate, seed=seed)
        for rule in ("tied", "constant")
        for optimiser, rate in (("sgd", 0.1), ("sgd", 0.3), ("adam", 0.001))
        for seed in range(5)
    ]
    lost = {0.1: 0.0, 0.3: 0.25, 0.001: 0.0625}
    results = [made(t, BETTER[t.seed] - lost[t.learning_rate] - (t.backward != "tied") / 8) for t in trials]

    def differences(sentence):
        (found,) = settle_study([sentence], trials, results)
        return [(cell.settings, cell.differences.median) for cell in found.cells]

    assert differences("tied at 0.3 is inferior to tied at 0.1") == [("", pytest.approx(-0.25))]
    assert differences("constant at 0.1 is inferior to tied at 0.1") == [("", pytest.approx(-0.125))]
    assert differences("constant under adam at 0.001 is superior to tied under sgd at 0.3 by 5 points") == [
        ("", pytest.approx(0.0625))
    ]
    with pytest.raises(StudyError, match=r"no run has the learning rate 0\.2; there are 0\.1, 0\.3, 0\.001"):
        differences("constant at 0.2 is superior to tied at 0.1")
    with pytest.raises(StudyError, match=r"no run has tied under adam at 0\.3"):
        differences("constant under sgd at 0.1 is superior to tied under adam at 0.3")


def looked_at(tied, constant, planned):
    return settle("constant is non-inferior to tied by 1 point", tied, constant, added=len(constant) - planned)


def test_each_look_has_its_part_of_the_level_and_between_two_nothing_is_judged():
    constant = [value + 0.001 * (3 * seed % 10) for seed, value in enumerate(WORSE)] * 4
    tied = BETTER * 4
    values = [round(a - b, 12) for a, b in zip(constant, tied, strict=True)]
    for count, seen, part in ((10, 10, 0.8), (19, 10, 0.8), (20, 20, 0.1), (39, 20, 0.1), (40, 40, 0.05)):
        found = looked_at(tied[:count], constant[:count], 10)
        (cell,) = found.cells
        level = 0.025 * 0.8 * part
        assert cell.pairs == seen
        assert cell.differences == Differences.of(values[:seen], level, level / 2)
        assert found.looks == {10: 1, 20: 2, 40: 3}[seen]


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.tuples(st.integers(60, 100), st.integers(60, 100)), min_size=5, max_size=40),
    planned=st.integers(3, 12),
    relation=st.sampled_from(["non-inferior", "superior", "inferior", "equivalent"]),
    points=st.integers(1, 20),
)
def test_no_verdict_contradicts_its_intervals(counts, planned, relation, points):
    planned = min(planned, len(counts))
    tied, constant = ([count / 100 for count in side] for side in zip(*counts, strict=True))
    found = settle(f"constant is {relation} to tied by {points} points", tied, constant, added=len(tied) - planned)
    (cell,) = found.cells
    (low, high), margin = cell.differences.interval, points / 100
    shown = {
        "non-inferior": low > -margin,
        "superior": low > margin,
        "inferior": high < -margin,
        "equivalent": -margin < low <= high < margin,
    }[relation]
    refuted = {
        "non-inferior": high < -margin,
        "superior": high < margin,
        "inferior": low > -margin,
        "equivalent": low > margin or high < -margin,
    }[relation]
    if cell.verdict == "holds":
        assert shown
        assert (cell.excess.low > -cell.tolerance) if relation == "inferior" else (cell.excess.high < cell.tolerance)
    if refuted and cell.verdict != "identical":
        assert cell.verdict == "does not hold"
    if cell.verdict == "does not hold":
        assert refuted


def test_claims_that_came_later_share_what_the_first_ones_left():
    trials = [make_trial(backward=rule, seed=seed) for seed in range(MANY) for rule in ("tied", "constant", "frozen")]
    results = [made(t, 0.7 + (int(t.id[:6], 16) % 997) / 5000) for t in trials]
    first, later = "constant is non-inferior to tied by 1 point", "frozen is non-inferior to tied by 1 point"
    batches = (Batch((parse_claim(first),), 3), Batch((parse_claim(later),), 1))
    planned, added = settle_study([first, later], trials, results, batches=batches)
    assert (planned.batch, planned.family, added.batch, added.family) == (0, 3, 1, 1)
    assert (planned.level, added.level) == pytest.approx((0.025 * 0.8 / 3, 0.025 * 0.1))


def test_a_claim_about_nothing_is_refused():
    study = claiming()
    results = [noisy(trial) for trial in study.trials]
    for sentence, problem in (
        ("full_jam is superior to sign", "no run has the rule sign; there are tied, constant"),
        ("full_jam is superior to tied for relu", "no run has the forward relu; there are logistic"),
        ("full_jam is superior to tied at 0.2", "no run has the learning rate 0.2; there are 0.1"),
        ("full_jam is superior to tied at the chosen rate", "this study chooses none"),
        ("full_jam is superior to tied for logistic and relu", "no cell of both sides with the forward relu"),
    ):
        with pytest.raises(StudyError, match=problem):
            judge([parse_claim(sentence)], study, results)


def test_a_difference_at_the_margin_is_said_to_be_there():
    worse = [round(value - 0.01 + 0.0001 * (seed % 2 * 2 - 1), 6) for seed, value in enumerate(BETTER * 2)]
    found = settle("constant is non-inferior to tied by 1 point", BETTER * 2, worse)
    assert found.text == "undecided: the difference lies at the margin"
