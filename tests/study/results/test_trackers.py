"""Runs in the files of experiment trackers, read back by the trackers themselves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.study.fakes import make_result, make_study
from tieless.errors import MissingExtraError, StudyError
from tieless.study import export_runs

ROOT = Path(__file__).parents[3]


@pytest.fixture
def results():
    trials = make_study("learning_rate=[0.1, 9]", "backward=[tied]", "seeds=[0]").trials
    found = [make_result(trial, "diverged" if trial.learning_rate == 9 else "done") for trial in trials]
    return [*found, make_result(make_study("backward=[full_jam]", "seeds=[5]").trials[0], "failed")]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """The export sets variables of these packages, which another test must not meet."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_tensorboard_reads_the_figures_of_each_epoch(tmp_path, results):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert export_runs(results, tmp_path / "board", "tensorboard", "a/study") == len(results)
    for result in results:
        found = events.EventAccumulator(str(tmp_path / "board" / "a-study" / result.trial.id)).Reload()
        scalars = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
        expected = [(step, pytest.approx(epoch.test_accuracy)) for step, epoch in enumerate(result.epochs, start=1)]
        assert scalars.get("test_accuracy", []) == expected
        assert ("final_accuracy" in scalars) == (result.status != "failed")
        (content,) = [found.SummaryMetadata(tag).plugin_data.content for tag in ("_hparams_/session_start_info",)]
        assert result.trial.backward.encode() in content


def test_mlflow_reads_settings_and_figures(tmp_path, results):
    program = """
import sys
from pathlib import Path
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=Path(sys.argv[1]).as_uri())
(experiment,) = [e for e in client.search_experiments() if e.name == "a/study"]
for run in client.search_runs([experiment.experiment_id]):
    steps = client.get_metric_history(run.info.run_id, "test_accuracy") if "test_accuracy" in run.data.metrics else []
    print(run.data.tags["tieless.id"], run.info.status, run.data.params["backward"], [(m.step, round(m.value, 6)) for m in steps])
"""
    pytest.importorskip("mlflow")
    export_runs(results, tmp_path / "mlruns", "mlflow", "a/study")
    printed = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "mlruns"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    ).stdout
    assert sorted(printed.splitlines()) == sorted(
        f"{result.trial.id} {'FAILED' if result.status == 'failed' else 'FINISHED'} {result.trial.backward} "
        f"{[(step, round(epoch.test_accuracy, 6)) for step, epoch in enumerate(result.epochs, start=1)]}"
        for result in results
    )


def test_wandb_has_an_offline_run_for_each(tmp_path, results):
    pytest.importorskip("wandb")
    export_runs(results, tmp_path / "runs", "wandb", "a/study")
    folders = sorted((tmp_path / "runs" / "wandb").glob("offline-run-*"))
    assert {re.search(r"-([0-9a-f]{16})$", folder.name)[1] for folder in folders} == {r.trial.id for r in results}
    for folder in folders:
        (file,) = folder.glob("*.wandb")
        content = file.read_bytes()
        assert b"batch" in content
        (result,) = [each for each in results if each.trial.id in folder.name]
        assert (b"test_accuracy" in content) == bool(result.epochs)


def test_a_folder_with_files_is_left_as_it_is(tmp_path, results):
    (tmp_path / "old").write_text("here before", encoding="utf-8")
    with pytest.raises(StudyError, match="has files already, and a tracker would show both: name a new folder"):
        export_runs(results, tmp_path, "tensorboard", "study")
    with pytest.raises(StudyError, match=r"Cannot write .*: Not a directory"):
        export_runs(results, tmp_path / "old", "tensorboard", "study")


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_one_line_that_names_its_extra(tmp_path, results, tracker, monkeypatch):
    for name in ("torch.utils.tensorboard", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install '\.\[{tracker}\]'"):
        export_runs(results, tmp_path / "out", tracker, "study")
