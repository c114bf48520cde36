"""A trial with a monitor: the same training, with what was measured kept beside it."""

import json
from dataclasses import replace

import pytest
import torch

import tieless as tl
from tests.study.fakes import make_result, make_trial
from tieless.errors import StudyError
from tieless.report.records import Settings
from tieless.report.words import settings_words
from tieless.study import Store, alignment_rows, export_table, parse_study
from tieless.study.network import start_of
from tieless.study.running.training import run_trial
from tieless.study.settings.losses import LOSSES
from tieless.study.trial import Result, Trial

TRIAL = make_trial(
    data="digits",
    model='mlp(16, 2, norm="batch")',
    forward="relu",
    backward="full_jam",
    loss="cross_entropy",
    batch=100,
    subset=300,
)


def test_training_gives_the_same_numbers_and_the_id_says_that_more_was_kept():
    watched = replace(TRIAL, monitor=2)
    plain, more = run_trial(TRIAL), run_trial(watched)
    assert [replace(epoch, seconds=0) for epoch in plain.epochs] == [replace(epoch, seconds=0) for epoch in more.epochs]
    assert sorted({row.step for row in more.alignments}) == [0, 2, 4]  # two epochs of three steps
    assert plain.alignments == ()
    assert watched.id != TRIAL.id
    assert replace(watched, monitor=0).id == TRIAL.id


def test_what_is_kept_is_what_alignment_finds():
    result = run_trial(replace(TRIAL, monitor=100))
    with torch.random.fork_rng():
        model, data = start_of(TRIAL)
        order = torch.Generator().manual_seed(2**32 + TRIAL.seed)
        x, labels = next(iter(data.batches(order, TRIAL.batch)))
        found = tl.alignment(model, LOSSES["cross_entropy"].mean, (x, labels), seed=TRIAL.seed)
    kept = {(row.kind, row.layer): row.cosine for row in result.alignments}
    assert kept["weights", ""] == found.whole.cosine
    assert kept["weights", "1"] == found.layers["1"].cosine
    assert kept["feedback", ""] == found.feedback.whole.cosine


def test_the_store_keeps_it_and_older_results_are_read(tmp_path):
    study = parse_study(
        "title: t\nquestion: q\ncore_hours: 0\n"
        "grid: {data: digits, model: mlp(4), forward: relu, backward: tied, optimiser: sgd, learning_rate: 0.1,"
        " batch: 32, epochs: 1, seeds: 0, monitor: 10, subset: 64}",
        name="s",
    )
    (trial,) = study.trials
    assert trial.monitor == 10
    result = run_trial(trial)
    with Store.create(tmp_path, study) as store:
        store.add(result)
        assert store.results() == [result]
        assert store.results()[0].alignments
    old = json.loads(json.dumps(make_result(make_trial()).to_dict()))
    del old["alignments"], old["trial"]["monitor"]
    assert Result.from_dict(old) == make_result(make_trial())


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_it_is_exported(tmp_path, form):
    result = run_trial(replace(TRIAL, monitor=100, epochs=1))
    rows = alignment_rows([result])
    assert [(row["step"], row["kind"], row["layer"]) for row in rows[:2]] == [(0, "weights", ""), (0, "weights", "1")]
    export_table([result], tmp_path / f"t.{form}", form=form, alignments=True)
    export_table([], tmp_path / f"empty.{form}", form=form, alignments=True)
    if form == "json":
        assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8")) == rows
    assert (tmp_path / f"t.{form}").stat().st_size > (tmp_path / f"empty.{form}").stat().st_size


def test_a_report_tells_watched_trials_from_others():
    assert settings_words(Settings.of(replace(TRIAL, monitor=50)))["monitor"] == "alignment every 50 steps"
    assert "monitor" not in settings_words(Settings.of(TRIAL))


@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_it_is_a_count(value):
    with pytest.raises(StudyError, match="monitor must be an integer >= 0"):
        replace(TRIAL, monitor=value)


def test_a_trial_that_cannot_be_measured_says_so():
    result = run_trial(Trial(**{**TRIAL.to_dict(), "model": "mlp(16, 0)", "monitor": 1}))
    assert result.status == "failed"
    assert "AlignmentMonitor found no activation" in result.error
