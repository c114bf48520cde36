"""Foresight of a plan, compared with studies drawn as it assumes."""

from dataclasses import replace

import numpy as np
import pytest

from tests.study.fakes import choosing, claiming, make_result, noisy
from tieless.report import claim_words
from tieless.study import EpochRecord, foresee, judge, parse_claim


def drawn(study, distance, sd, rng):
    """Verdicts on the difference, of one study whose median lies so far from the margin, in points."""
    results = []
    for trial in study.trials:
        accuracy = 0.8 if trial.backward == "tied" else 0.8 + (distance - 1 + rng.normal(0, sd)) / 100
        record = EpochRecord(trial.seed + (trial.backward == "tied"), 0.5, 0.5, accuracy, 0.0)
        results.append(replace(make_result(trial), epochs=(record,), classes=10, predicted_classes=10))
    return [cell.of_differences for verdict in judge(study.claims, study, results) for cell in verdict.cells]


@pytest.mark.parametrize(("seeds", "sd"), [(10, 1.0), (20, 0.5)])
def test_a_claim_shows_what_was_foreseen_in_four_of_five_studies(seeds, sd):
    claim = parse_claim("constant is non-inferior to tied by 1 point")
    study = replace(claiming(f"seeds=0..{seeds - 1}", "backward=[tied, constant]"), claims=(claim,))
    (found,) = foresee(study, sd=sd)
    assert (found.sd, found.source, found.cells, found.seeds) == (pytest.approx(sd), "as given", 1, seeds)
    rng = np.random.default_rng(seeds)
    shown = np.mean([drawn(study, found.distance, sd, rng) == ["holds"] for _ in range(200)])
    assert shown == pytest.approx(0.8, abs=3 * (0.8 * 0.2 / 200) ** 0.5)


def test_so_many_seeds_as_are_foreseen_leave_the_collapses_that_a_claim_allows():
    claim = parse_claim("constant is non-inferior to tied by 1 point")
    for seeds in (10, foresee(replace(claiming(), claims=(claim,)))[0].needed):
        study = replace(claiming(f"seeds=0..{seeds - 1}", "backward=[tied, constant]"), claims=(claim,))
        (found,) = foresee(study, sd=0.1)
        (verdict,) = judge(study.claims, study, [noisy(trial) for trial in study.trials])
        assert found.can_hold == (verdict.cells[0].of_collapses == "holds")
        assert verdict.cells[0].excess.high == pytest.approx(found.excess)
    assert found.can_hold


def test_the_standard_deviation_is_that_of_the_folder_or_of_the_test_samples_and_says_so():
    study = claiming("seeds=0..9")
    results = [noisy(trial) for trial in study.trials]
    ran = foresee(study, results)[0]
    accuracy = {(r.trial.backward, r.trial.seed): r.epochs[-1].test_accuracy for r in results}
    expected = np.std([accuracy["constant(1)", s] - accuracy["tied", s] for s in range(10)], ddof=1)
    assert (ran.sd, ran.source) == (pytest.approx(100 * expected), "of the 10 pairs that have run")
    assumed = foresee(study, test_samples=lambda data: 400)[0]
    assert assumed.sd == pytest.approx(100 * (2 * 0.9 * 0.1 / 400) ** 0.5)
    assert "assumed: that of 400 test samples at 90 % alone" in claim_words.foresight(assumed)
    unknown = foresee(study)[0]
    assert (unknown.sd, unknown.distance) == (None, None)
    says = "1 cell of 10 seeds: what it can show is unknown, as the standard deviation is not known: say it with --sd"
    assert claim_words.foresight(unknown).startswith(says)


def test_few_seeds_and_rates_to_choose_are_foreseen_too():
    few = foresee(claiming(), sd=1.0)
    assert [one.distance for one in few] == [None] * 3
    assert claim_words.foresight(few[0]) == "1 cell of 3 seeds: no verdict, which needs 5 pairs"
    assert claim_words.foresight_line(few) == "A claim can show: 3 of 3 cannot hold with so few seeds."
    assert {one.seeds for one in foresee(choosing(), sd=1.0)} == {3}
