"""Verdicts over results made by hand, judged by SciPy's tests and by what must be so."""

from dataclasses import replace

import pytest
from scipy import stats

from tests.study.fakes import claiming, make_result, make_trial, noisy
from tieless.errors import StudyError
from tieless.study.claims import parse_claim
from tieless.study.judging.verdicts import judge
from tieless.study.study import Study
from tieless.study.trial import EpochRecord

BETTER, WORSE = [0.830, 0.842, 0.835, 0.851, 0.839], [0.822, 0.829, 0.837, 0.834, 0.831]


def made(trial, accuracy, *, status="done", predicted=10):
    records = () if accuracy is None else (EpochRecord(0.5, 0.5, 0.5, accuracy, 0.0),)
    return replace(make_result(trial), status=status, epochs=records, classes=10, predicted_classes=predicted)


def settle(sentence, tied, constant, *, most_seeds=None, added=0, **changes):
    """The verdict on one claim over runs with these accuracies; ``None`` is a run that diverged."""
    results = []
    for seed in range(max(len(tied), len(constant))):
        for rule, values in (("tied", tied), ("constant", constant)):
            if seed < len(values):
                trial = make_trial(backward=rule, seed=seed, **changes)
                status = "diverged" if values[seed] is None else "done"
                results.append(made(trial, values[seed], status=status, predicted=1 if values[seed] == 0.1 else 10))
    trials = [result.trial for result in results]
    return settle_study([sentence], trials, results, most_seeds=most_seeds, added=2 * added)[0]


def settle_study(sentences, trials, results, **changes):
    study = Study(name="s", run_as="s", title="t", question="q", settings={}, trials=tuple(trials), **changes)
    return judge([parse_claim(sentence) for sentence in sentences], study, results)


@pytest.mark.parametrize(
    ("relation", "threshold", "side"),
    [("non-inferior", -0.01, "greater"), ("superior", 0.01, "greater"), ("inferior", -0.01, "less")],
)
@pytest.mark.parametrize("accuracies", [(BETTER, WORSE), (WORSE, BETTER)], ids=["worse", "better"])
def test_a_verdict_follows_scipys_paired_test(relation, threshold, side, accuracies):
    tied, constant = accuracies
    (cell,) = settle(f"constant is {relation} to tied by 1 point", tied, constant).cells
    shifted = [value + threshold for value in tied]
    other = {"greater": "less", "less": "greater"}[side]
    assert cell.p_holds == pytest.approx(stats.ttest_rel(constant, shifted, alternative=side).pvalue)
    assert cell.p_fails == pytest.approx(stats.ttest_rel(constant, shifted, alternative=other).pvalue)
    low, high = stats.ttest_rel(constant, tied).confidence_interval(0.95)
    assert cell.differences.interval == pytest.approx((low, high))
    expected = "holds" if cell.p_holds <= 0.025 else "does not hold" if cell.p_fails <= 0.025 else "undecided"
    assert cell.verdict == expected


def test_equivalence_takes_both_tests_and_is_refuted_by_one():
    near = settle("constant is equivalent to tied by 3 points", BETTER, WORSE).cells[0]
    both = [
        stats.ttest_rel(WORSE, [value + edge for value in BETTER], alternative=side).pvalue
        for edge, side in ((-0.03, "greater"), (0.03, "less"))
    ]
    assert near.p_holds == pytest.approx(max(both))
    assert near.verdict == "holds"
    far = settle("constant is equivalent to tied by 1 point", BETTER, [value - 0.1 for value in WORSE]).cells[0]
    below = stats.ttest_rel([value - 0.1 for value in WORSE], [v - 0.01 for v in BETTER], alternative="less").pvalue
    assert far.p_fails == pytest.approx(2 * below)
    assert far.verdict == "does not hold"


def test_an_undecided_claim_says_how_many_more_seeds():
    found = settle("constant is non-inferior to tied by 1 point", BETTER, WORSE)
    (cell,) = found.cells
    assert found.verdict == "undecided"
    assert found.text == f"undecided, needs about {cell.more} more seeds"
    # Statistics of the pilot as if they were true: so many pairs give a power of 80 %, and one less does not.
    size = (cell.differences.mean + 0.01) / cell.differences.sd
    powers = [stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, size * n**0.5) for n in (5 + cell.more, 5 + cell.more - 1)]
    assert powers[0] >= 0.8 > powers[1]


def test_a_rule_that_equals_tied_to_the_last_digit_is_equivalent():
    found = settle("constant is equivalent to tied by 1 point", BETTER[:3], BETTER[:3])
    (cell,) = found.cells
    assert found.verdict == "holds"
    assert cell.reason == "the difference is 0 points in every seed"
    assert (cell.wins, cell.ties, cell.losses, cell.differences.mean) == (0, 3, 0, 0)
    coarse = settle("constant is equivalent to tied by 1 point", [0.75, 0.5, 0.25], [0.75, 0.5, 0.25])
    assert coarse.verdict == "undecided", "with four test samples equal accuracies say little"


def saturated(samples, seeds=5):
    trials = [make_trial(backward=rule, seed=seed) for seed in range(seeds) for rule in ("tied", "constant")]
    results = [replace(made(trial, 1.0), test_samples=samples) for trial in trials]
    return settle_study(["constant is non-inferior to tied by 1 point"], trials, results)[0]


def test_two_perfect_rules_are_decided_by_the_number_of_test_samples():
    found = saturated(400)
    assert found.verdict == "holds"
    limit = stats.binomtest(0, 5 * 400).proportion_ci(0.95, method="exact").high
    assert found.cells[0].differences.interval == pytest.approx((-limit, limit))
    few = saturated(40)
    assert few.text.startswith("undecided, needs about ")
    assert few.cells[0].reason == "40 test samples show no smaller difference"
    # A point of 40 samples is less than one of them: seeds alone can tell it, and so many do.
    assert saturated(40, seeds=5 + few.cells[0].more).verdict == "holds"
    old = saturated(None)
    assert old.text == "undecided: the number of test samples is not stored with these runs"


def test_runs_that_failed_are_the_reason_where_they_are():
    trials = [make_trial(backward=rule, seed=seed) for seed in range(5) for rule in ("tied", "constant")]
    ends = {"tied": "failed", "constant(1)": "diverged"}
    results = [made(trial, None, status=ends[trial.backward]) for trial in trials]
    (found,) = settle_study(["constant is non-inferior to tied by 1 point"], trials, results)
    assert found.text == "undecided: 5 of 5 runs failed and are left out, and a test needs 3 pairs"


@pytest.mark.parametrize("value", [None, 0.1], ids=["diverged", "one class"])
def test_where_neither_rule_trains_there_is_nothing_to_compare(value):
    found = settle("constant is non-inferior to tied by 1 point", [value] * 5, [value] * 5)
    assert (found.verdict, found.more) == ("undecided", None)
    assert found.text == "undecided: neither rule trains, so there is nothing to compare"


def test_a_run_that_diverged_counts_with_the_accuracy_of_chance():
    found = settle("constant is non-inferior to tied by 1 point", BETTER, [None] * 5)
    (cell,) = found.cells
    assert found.verdict == "does not hold"
    assert cell.candidate.mean == pytest.approx(0.1)
    assert (cell.candidate.diverged, cell.baseline.diverged, cell.unseen) == (5, 0, None)
    some = settle("constant is non-inferior to tied by 1 point", BETTER, [*BETTER[:4], None]).cells[0]
    assert some.differences.mean == pytest.approx((0.1 - BETTER[4]) / 5)
    assert (some.verdict, some.candidate.diverged, some.pairs) == ("undecided", 1, 5)
    rescued = settle("constant is superior to tied by 10 points", [None] * 5, BETTER)
    assert rescued.verdict == "holds"


def test_a_run_that_raised_says_nothing_and_is_counted():
    trials = [make_trial(backward=rule, seed=seed) for seed in range(5) for rule in ("tied", "constant")]
    results = [made(trial, 0.8 + trial.seed / 100) for trial in trials]
    results[-1] = made(trials[-1], None, status="failed")
    (found,) = settle_study(["constant is equivalent to tied by 1 point"], trials, results)
    (cell,) = found.cells
    assert (cell.pairs, cell.candidate.failed, cell.baseline.failed) == (4, 1, 0)


def test_what_is_not_finished_is_not_judged():
    sentence = "constant is non-inferior to tied by 1 point"
    trials = [make_trial(backward=rule, seed=seed) for seed in range(5) for rule in ("tied", "constant")]
    results = [made(trial, BETTER[trial.seed] + (trial.backward != "tied") / 10) for trial in trials]
    assert settle_study([sentence], trials, results)[0].verdict == "holds"
    (early,) = settle_study([sentence], trials, results[:9])
    assert early.text == "undecided: 4 of 5 planned seeds have run"
    assert early.cells[0].pairs == 4
    assert settle_study([sentence], trials, [])[0].text == "undecided: not run yet"
    (few,) = settle_study([sentence], trials[:4], results[:4])
    assert few.text == "undecided: 2 pairs, and a test needs 3"


def test_how_often_a_collapse_may_go_unseen_is_the_limit_of_clopper_and_pearson():
    (cell,) = settle("constant is non-inferior to tied by 1 point", BETTER, BETTER).cells
    assert cell.unseen == pytest.approx(stats.binomtest(0, 5, alternative="less").proportion_ci(0.95).high)


def test_a_family_shares_its_error():
    """The p-values of two claims with three cells are adjusted together, as Holm does, written out here."""
    trials = [
        make_trial(backward=rule, learning_rate=rate, seed=seed)
        for rate in (0.1, 0.2)
        for rule in ("tied", "constant", "frozen")
        for seed in range(5)
    ]
    shift = {"tied": 0.0, "constant(1)": -0.004, "frozen": -0.02}
    results = [
        made(t, BETTER[t.seed] + shift[t.backward] + (WORSE[(t.seed + len(t.backward)) % 5] - 0.83) * t.learning_rate)
        for t in trials
    ]
    sentences = ["constant is non-inferior to tied by 1 point", "frozen is inferior to tied by 1 point at 0.1"]
    together = [cell for found in settle_study(sentences, trials, results) for cell in found.cells]
    # One rate at a time, so that no claim has two cells, gives the p-values before any adjustment.
    alone = [
        settle_study([sentence], trials, results)[0].cells[0].p_holds
        for sentence in (f"{sentences[0]} at 0.1", f"{sentences[0]} at 0.2", sentences[1])
    ]
    order = sorted(range(3), key=alone.__getitem__)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (3 - rank) * alone[i]))
        assert together[i].p_holds == pytest.approx(largest)
    assert [cell.settings for cell in together] == ["learning rate 0.1", "learning rate 0.2", ""]


def test_one_cell_that_fails_refutes_a_claim_and_all_must_hold():
    trials = [
        make_trial(backward=rule, learning_rate=rate, seed=seed)
        for rate in (0.1, 0.2)
        for rule in ("tied", "constant")
        for seed in range(5)
    ]

    def verdict(low, high):
        lost = {0.1: low, 0.2: high}
        results = [
            made(t, BETTER[t.seed] - (t.backward != "tied") * lost[t.learning_rate] + (int(t.id[:4], 16) % 7) * 1e-4)
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
        return [(cell.settings, cell.differences.mean) for cell in found.cells]

    step = pytest.approx(sum(WORSE) / 5 - sum(BETTER) / 5)
    assert differences("heaviside + triangular is non-inferior to relu + tied") == [("sgd", step), ("adam", step)]
    assert differences("relu + tied under sgd is inferior to relu + tied under adam") == [("", pytest.approx(-0.1))]
    assert differences("heaviside + triangular under sgd is inferior to relu + tied under adam") == [
        ("", pytest.approx(step.expected - 0.1))
    ]
    with pytest.raises(StudyError, match="no run has the forward sign; there are heaviside, relu"):
        differences("sign + triangular is superior to relu + tied")
    with pytest.raises(StudyError, match=r"no run has heaviside \+ tied"):
        differences("heaviside + tied is superior to relu + tied")


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
        return [(cell.settings, cell.differences.mean) for cell in found.cells]

    assert differences("tied at 0.3 is inferior to tied at 0.1") == [("", pytest.approx(-0.25))]
    assert differences("constant at 0.1 is inferior to tied at 0.1") == [("", pytest.approx(-0.125))]
    assert differences("constant under adam at 0.001 is superior to tied under sgd at 0.3 by 5 points") == [
        ("", pytest.approx(0.0625))
    ]
    with pytest.raises(StudyError, match=r"no run has the learning rate 0\.2; there are 0\.1, 0\.3, 0\.001"):
        differences("constant at 0.2 is superior to tied at 0.1")
    with pytest.raises(StudyError, match=r"no run has tied under adam at 0\.3"):
        differences("constant under sgd at 0.1 is superior to tied under adam at 0.3")


def test_looks_share_the_level_and_a_verdict_stays():
    sentence = "constant is non-inferior to tied by 1 point"
    noise = [0.0012, -0.0007, 0.0003, -0.001, 0.0005]
    tied, constant = list(BETTER), [a - 0.0075 + b for a, b in zip(BETTER, noise, strict=True)]
    once = settle(sentence, tied, constant).cells[0]
    looked = settle(sentence, tied, constant, most_seeds=20).cells[0]
    assert looked.p_holds == pytest.approx(3 * once.p_holds)
    # Between two looks nothing is tested anew, however bad the runs in between are.
    bad = [0.5] * 4
    between = settle(sentence, tied + BETTER[:4], constant + bad, most_seeds=20, added=4).cells[0]
    assert (between.p_holds, between.pairs) == (pytest.approx(looked.p_holds), 5)
    after = settle(sentence, tied + BETTER, [*constant, *bad, 0.5], most_seeds=20, added=5).cells[0]
    assert after.p_holds == pytest.approx(looked.p_holds)
    assert after.pairs == 10


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
    worse = [value - 0.01 for value in BETTER]
    worse[0] += 0.001
    worse[1] -= 0.001
    found = settle("constant is non-inferior to tied by 1 point", BETTER, worse)
    assert found.text == "undecided: the difference lies at the margin"
