"""Seeds added until claims are decided: which, how many, what stops it, and what is found again afterwards."""

import sqlite3
from dataclasses import replace

import pytest

from tests.study import fakes
from tests.study.fakes import Inline, choosing, claiming, make_result, make_study, noisy, noisy_and_marked
from tieless.errors import StudyError
from tieless.report import claim_words
from tieless.study import export_table, load_table
from tieless.study.file.reading import parse_study
from tieless.study.judging.verdicts import judge, more_seeds
from tieless.study.results.plan import planned
from tieless.study.results.store import FILE, Store
from tieless.study.running import runner
from tieless.study.running.events import Finished
from tieless.study.running.runner import run


@pytest.fixture
def inline(monkeypatch):
    """Trials run in this process: what is tested is which, and in which rounds."""
    monkeypatch.setattr(runner, "ProcessPool", Inline)


def stored(folder):
    with Store.open(folder) as store:
        return store.study(), store.results()


def verdicts(folder):
    study, results = stored(folder)
    return [found.verdict for found in judge(study.claims, study, results)]


def test_only_what_is_undecided_gets_seeds_and_both_rules_get_them():
    study = planned(claiming(), [], (), 12)
    results = [noisy(trial) for trial in study.trials]
    before = [found.verdict for found in judge(study.claims, study, results)]
    more = more_seeds(study, results)
    wanted = {"tied"} | {
        str(found.candidate) for found, verdict in zip(study.claims, before, strict=True) if verdict == "undecided"
    }
    assert "undecided" in before
    assert {(trial.backward, trial.seed) for trial in more} == {(rule, seed) for rule in wanted for seed in (3, 4, 5)}
    assert [trial.seed for trial in more] == sorted(trial.seed for trial in more)


def apart(trial, *, on_epoch=None):
    """As ``noisy``, but with ReLU a constant is far below, and with Logistic its seeds lie far apart."""
    lower = {"relu": 0.2, "logistic": 0.1 * trial.seed}[trial.forward] if trial.backward == "constant(1)" else 0
    found = noisy(trial)
    record = replace(found.epochs[-1], test_accuracy=found.epochs[-1].test_accuracy - lower)
    return replace(found, epochs=(record,) * trial.epochs)


@pytest.mark.parametrize(("every_cell", "seeds"), [(False, 6), (True, 12)])
def test_undecided_cells_of_a_settled_claim_get_seeds_where_every_cell_is_asked_for(
    tmp_path, inline, every_cell, seeds
):
    run(claiming("forward=[relu,logistic]"), tmp_path, most_seeds=12, every_cell=every_cell, run_trial=apart)
    study, results = stored(tmp_path)
    settled = judge(study.claims, study, results)[0]
    assert settled.verdict == "does not hold"
    assert settled.cells[0].verdict == "does not hold", "ReLU settles it"
    for forward, most in (("relu", 6), ("logistic", seeds)):
        ran = {trial.seed for trial in study.trials if (trial.forward, trial.backward) == (forward, "constant(1)")}
        assert ran == set(range(most))


def test_a_run_until_decided_decides_and_remembers(tmp_path, monkeypatch):
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    told = []
    out = tmp_path / "out"
    summary = run(claiming(), out, most_seeds=48, run_trial=noisy_and_marked, listen=told.append)
    assert verdicts(out) == ["holds", "does not hold", "holds"]
    study, results = stored(out)
    assert summary.added == study.added == len(study.trials) - 12 > 0
    assert summary.done == len(results) == sum(isinstance(event, Finished) for event in told)
    assert (summary.left, summary.spent, summary.interrupted) == (0, False, False)
    ran = (tmp_path / "mark").read_text().split()
    assert len(ran) == len(set(ran))
    again = run(claiming(), out, most_seeds=48, run_trial=noisy_and_marked)
    assert (again.done, again.added, again.skipped) == (0, 0, len(study.trials))
    plain = run(claiming(), out, run_trial=noisy_and_marked)
    assert (plain.done, plain.skipped) == (0, len(study.trials)), "added seeds belong to the store"
    assert verdicts(out) == ["holds", "does not hold", "holds"]


def test_it_stops_at_the_most_seeds(tmp_path, inline):
    run(claiming("backward=[tied, constant]"), tmp_path, most_seeds=7, run_trial=noisy)
    study, _ = stored(tmp_path)
    assert {trial.seed for trial in study.trials} == set(range(6)), "the last look at seven or less"


def test_another_number_of_most_seeds_goes_on_from_there(tmp_path, inline):
    run(claiming(), tmp_path, most_seeds=6, run_trial=noisy)
    run(claiming(), tmp_path, most_seeds=12, run_trial=noisy)
    assert max(trial.seed for trial in stored(tmp_path)[0].trials) == 11


def test_a_spent_budget_begins_nothing_and_can_be_continued(tmp_path, inline):
    nothing = run(claiming(), tmp_path, most_seeds=48, budget=1e-9, run_trial=noisy)
    assert (nothing.done, nothing.spent, nothing.left) == (0, True, 12)
    assert verdicts(tmp_path) == ["undecided"] * 3
    rest = run(claiming(), tmp_path, most_seeds=48, budget=3600, run_trial=noisy)
    assert not rest.spent
    assert verdicts(tmp_path) == ["holds", "does not hold", "holds"]


def test_a_run_that_was_cut_off_goes_on_with_its_added_seeds(tmp_path, inline):
    run(claiming(), tmp_path, run_trial=noisy)
    with Store.create(tmp_path, claiming()) as store:
        store.allow_seeds(48)
        plan = store.plan(claiming())
        store.add_seeds(more_seeds(plan, store.results()))
        added = store.plan(claiming()).added
    assert added > 0
    summary = run(claiming(), tmp_path, run_trial=noisy)
    assert (summary.done, summary.skipped, summary.left) == (added, 12, 0)


def test_a_table_carries_its_added_seeds_and_their_looks_to_another_folder(tmp_path, inline):
    run(claiming(), tmp_path / "one", most_seeds=48, run_trial=noisy)
    study, results = stored(tmp_path / "one")
    export_table(results, tmp_path / "t.csv", form="csv", study=study)
    taken = [load_table(tmp_path / "t.csv", check_ids=True)]
    summary = run(claiming(), tmp_path / "two", taken=taken, run_trial=noisy)
    assert (summary.done, summary.skipped) == (0, len(study.trials))
    assert stored(tmp_path / "two")[0] == study
    assert verdicts(tmp_path / "two") == ["holds", "does not hold", "holds"]


def test_a_run_of_a_table_that_failed_is_made_again(tmp_path, inline):
    trials = claiming().trials
    taken = [(claiming(), [make_result(trials[0], "failed"), *(noisy(trial) for trial in trials[1:])])]
    summary = run(claiming(), tmp_path, taken=taken, run_trial=noisy)
    assert (summary.done, summary.failed, summary.skipped) == (1, 0, len(trials) - 1)


def test_seeds_that_choose_rates_are_never_added(tmp_path, inline):
    run(choosing(), tmp_path, most_seeds=12, run_trial=noisy)
    study, _ = stored(tmp_path)
    late = [trial for trial in study.trials if trial.seed > 2 and trial.test == "once"]
    assert late
    assert {3, 100}.isdisjoint(trial.seed for trial in late)
    assert {trial.seed for trial in late} >= {4, 5, 6}


def test_other_settings_leave_added_seeds_of_other_cells_aside(tmp_path, inline):
    run(claiming(), tmp_path, most_seeds=6, run_trial=noisy)
    with Store.create(tmp_path, claiming("batch=64")) as store:
        assert store.study().added == 0
    with Store.create(tmp_path, claiming()) as store:
        assert store.study().added > 0


def test_a_study_without_claims_has_nothing_to_decide(tmp_path, inline):
    with pytest.raises(StudyError, match="nothing has no claims to decide"):
        run(make_study(), tmp_path / "out", most_seeds=8, run_trial=noisy)
    assert not (tmp_path / "out").exists()
    with pytest.raises(StudyError, match="At most 2 seeds decide nothing"):
        run(claiming(), tmp_path / "out", most_seeds=2, run_trial=noisy)


def test_a_store_of_the_first_format_is_read_and_goes_on(tmp_path, inline):
    run(claiming(), tmp_path, run_trial=noisy)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.executescript("DROP TABLE added; DROP TABLE looks; PRAGMA user_version = 1;")
    connection.execute("UPDATE study SET json = json_remove(json, '$.claims', '$.choose', '$.added', '$.most_seeds')")
    connection.commit()
    connection.close()
    study, results = stored(tmp_path)
    assert (study.claims, study.choose, study.added, len(results)) == ((), None, 0, 12)
    summary = run(claiming(), tmp_path, most_seeds=48, run_trial=noisy)
    assert (summary.skipped, verdicts(tmp_path)) == (12, ["holds", "does not hold", "holds"])


def test_rules_that_share_added_seeds_only_have_looks_too():
    study = planned(claiming("backward=[tied, constant]"), [], (), None)
    apart = [t for t in study.trials if (t.seed == 0) == (t.backward == "tied")]
    shared = [replace(t, seed=seed) for seed in range(10, 16) for t in (study.trials[0], study.trials[1])]
    both = replace(study, trials=(*apart, *shared), added=len(shared), most_seeds=8)
    (found,) = judge(study.claims, both, [noisy(trial) for trial in both.trials])
    assert (found.looks, found.cells[0].pairs) == (1, 5)


def test_seeds_that_the_file_gets_after_the_first_results_are_a_look(tmp_path, inline):
    """The look is at twice as many seeds as were planned, whichever the file has, and has a smaller part of the level."""
    for seeds, looks, pairs in ((5, 1, 5), (9, 1, 5), (10, 2, 10), (12, 2, 10)):
        wider = claiming(f"seeds=0..{seeds - 1}")
        run(wider, tmp_path, run_trial=noisy)
        study, results = stored(tmp_path)
        assert {trial.seed for trial in study.trials} == set(range(seeds))
        assert study.added == 4 * (seeds - 5)
        found = judge(study.claims, study, results)[0]
        assert (found.looks, found.cells[0].pairs) == (looks, pairs)
    export_table(results, tmp_path / "t.csv", form="csv", study=study)
    table, again = load_table(tmp_path / "t.csv", study)
    assert judge(study.claims, table, again)[0].looks == 2
    run(claiming("seeds=0..11"), tmp_path / "planned", run_trial=noisy)
    assert judge(study.claims, *stored(tmp_path / "planned"))[0].cells[0].pairs == 12


def test_a_plan_too_small_for_any_verdict_may_grow_before_the_first_look(tmp_path, inline):
    run(claiming("seeds=0"), tmp_path, run_trial=noisy)
    run(claiming("seeds=0..9"), tmp_path, run_trial=noisy)
    study, results = stored(tmp_path)
    assert (study.added, judge(study.claims, study, results)[0].cells[0].pairs) == (0, 10)


def test_claims_that_the_file_gets_after_the_first_results_are_marked(tmp_path, inline):
    first, later = claiming().claims[:1], claiming().claims
    run(replace(claiming(), claims=first), tmp_path, budget=1e-9, run_trial=noisy)
    run(replace(claiming(), claims=later[:2]), tmp_path, run_trial=noisy)
    assert [len(batch.claims) for batch in stored(tmp_path)[0].batches] == [2], "nothing had run before the second came"
    run(replace(claiming(), claims=later[1:]), tmp_path, run_trial=noisy)
    study, results = stored(tmp_path)
    assert [(len(batch.claims), batch.comparisons) for batch in study.batches] == [(2, 2), (1, 1)]
    found = judge(study.claims, study, results)
    # The claim that was dropped still counts in its family.
    assert [(verdict.batch, verdict.family) for verdict in found] == [(0, 2), (1, 1)]
    assert "added after the first results" in claim_words.notes(found[1].cells[0], found[1])
    assert "and by" not in claim_words.method(found[:1])
    with Store.open(tmp_path) as store:
        assert store.study().batches == study.batches


def test_a_claim_about_runs_that_are_never_tested_is_refused():
    text = fakes.CLAIMING.replace("  epochs: 1", "  epochs: 1\n  validation: 0.1\n  test: never")
    with pytest.raises(StudyError, match=r"claims\[0\]: .*no run of this study is ever tested"):
        parse_study(text, name="untested")
