"""Runs on a Dask cluster of separate processes: nothing is lost, and nothing is run twice to another number."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.study import cluster as clusters, fakes
from tieless.data import is_available, locate
from tieless.errors import StudyError
from tieless.study import DaskPool, Epoch, Finished, Notice, Retried, Store, load_study, run
from tieless.study.running.training import run_trial

pytest.importorskip("distributed")
dask = pytest.importorskip("dask")


@pytest.fixture
def cluster(tmp_path):
    """Cluster with a scheduler and no worker yet."""
    made = clusters.Cluster(tmp_path / "cluster.log", {"TIELESS_TEST_MARK": str(tmp_path / "mark")})
    made.start_scheduler()
    yield made
    made.close()


def stored(folder):
    with Store.open(folder) as store:
        return store.results()


def plain(result):
    """Result without the name of its machine."""
    return replace(result, hardware={name: value for name, value in result.hardware.items() if name != "host"})


def test_a_study_on_a_cluster_gives_what_it_gives_here_and_a_killed_worker_changes_nothing(cluster, tmp_path):
    workers = [cluster.start_worker(), cluster.start_worker()]
    study = fakes.make_study("learning_rate=[0.1, 8, 9]")
    events = []

    def listen(event):
        events.append(event)
        if isinstance(event, Finished) and workers:
            # The other one has a trial by now, and half a second to go.
            clusters.end(workers.pop())
            cluster.start_worker()

    pool = DaskPool(cluster.address, run_trial=fakes.slow)
    summary = run(study, tmp_path / "out", pool=pool, listen=listen)
    assert (summary.done, summary.diverged, summary.failed, summary.left) == (12, 12, 12, 0)
    ends = {9: "diverged", 8: "failed"}
    assert [plain(result) for result in stored(tmp_path / "out")] == [
        fakes.make_result(trial, ends.get(trial.learning_rate, "done")) for trial in study.trials
    ]
    assert sum(isinstance(event, Finished) for event in events) == 36
    assert {event.trial.epochs for event in events if isinstance(event, Epoch)} == {2}
    retried = [event for event in events if isinstance(event, Retried)]
    assert retried
    assert all(event.reason.endswith(("has left the cluster", "was lost")) for event in retried)


def test_a_worker_of_another_version_is_refused_in_one_line_and_ends_the_run_if_there_is_no_other(
    cluster, tmp_path, monkeypatch
):
    # Each wait is followed by a look: the end comes with the very answer that is the reason for it.
    monkeypatch.setattr("tieless.study.running.cluster._ALL_REFUSED", 0.0)
    monkeypatch.setattr("tieless.study.running.cluster._LOOK", 0.0)
    monkeypatch.setattr("torch.__version__", "1.0")
    told = []

    def listen(event):
        if isinstance(event, Notice):
            told.append(event.text)
            if "has no workers" in event.text:
                cluster.start_worker()

    with pytest.raises(
        StudyError, match=r"^No worker of tcp://.* can run this study; .* it has torch .*, here it is 1\.0\.$"
    ):
        run(fakes.make_study(), tmp_path, pool=DaskPool(cluster.address, run_trial=fakes.quick), listen=listen)
    waited, refused = told
    assert waited.startswith(f"{cluster.address} has no workers: waiting for one")
    assert " is refused: it has torch " in refused
    assert stored(tmp_path) == []


def test_an_address_without_a_scheduler_is_one_line(monkeypatch):
    monkeypatch.setattr("tieless.study.running.cluster._ANSWER", 1.0)
    with pytest.raises(StudyError, match=r"^No Dask scheduler answers at tcp://127\.0\.0\.1:1: [^\n]*\.$"):
        DaskPool("tcp://127.0.0.1:1")


@pytest.mark.parametrize("address", ["foo", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://127.0.0.1:x"])
def test_what_is_no_address_is_one_line_and_makes_no_client(monkeypatch, address):
    monkeypatch.setattr("distributed.Client", None)
    with pytest.raises(StudyError, match=rf"^No Dask scheduler answers at {address}: [^\n]*\.$"):
        DaskPool(address)


def openssl(*words, folder):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)  # noqa: S607  wherever it is


@pytest.fixture
def certificates(tmp_path):
    """Settings of Dask for certificates that were made as the page on clusters makes them."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on this machine")
    folder = tmp_path / "tls"
    folder.mkdir()
    new = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *new, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", folder=folder)
    openssl("req", *new, "-keyout", "node.key", "-out", "node.csr", "-subj", "/CN=node", folder=folder)
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", "node.csr", *signed, "-out", "node.pem", folder=folder)
    keys = {"ca-file": str(folder / "ca.pem")}
    for role in ("scheduler", "worker", "client"):
        keys |= {f"{role}.cert": str(folder / "node.pem"), f"{role}.key": str(folder / "node.key")}
    return {f"distributed.comm.tls.{name}": value for name, value in keys.items()}


def test_a_study_runs_on_a_cluster_with_certificates(certificates, tmp_path):
    variables = {
        f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": value for name, value in certificates.items()
    }
    cluster = clusters.Cluster(tmp_path / "cluster.log", variables, protocol="tls")
    study = fakes.make_study("learning_rate=0.1", "seeds=0", "backward=tied")
    try:
        cluster.start_scheduler()
        cluster.start_worker()
        with dask.config.set(certificates):
            assert run(study, tmp_path / "out", pool=DaskPool(cluster.address, run_trial=fakes.quick)).done == 1
    finally:
        cluster.close()


@pytest.mark.parametrize(
    ("setting", "name", "problem"),
    [
        ("ca-file", None, "distributed.comm.tls.ca-file of Dask is not set"),
        ("client.cert", None, "distributed.comm.tls.client.cert of Dask is not set"),
        ("client.cert", "absent.pem", "client.cert of Dask names absent.pem, and there is no such file"),
        ("client.key", "ca.key", "cannot be used: .*KEY_VALUES_MISMATCH"),
    ],
    ids=str,
)
def test_what_is_wrong_with_certificates_is_one_line_and_makes_no_client(
    certificates, monkeypatch, tmp_path, setting, name, problem
):
    monkeypatch.setattr("distributed.Client", None)
    value = str(tmp_path / "tls" / name) if name == "ca.key" else name
    with (
        dask.config.set(certificates | {f"distributed.comm.tls.{setting}": value}),
        pytest.raises(StudyError, match=rf"^tls://127\.0\.0\.1:1 needs certificates[^\n]*{problem}[^\n]*\.$"),
    ):
        DaskPool("tls://127.0.0.1:1")


def test_stages_of_a_trial_on_a_cluster_lose_no_epoch_but_the_one_that_died(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    cluster.start_worker()
    study = fakes.make_study("learning_rate=0.1", "seeds=0", "epochs=4", "backward=[tied, constant]")
    summary = run(study, tmp_path / "out", pool=DaskPool(cluster.address, run_trial=fakes.long), checkpoint="epochs")
    assert (summary.done, summary.failed) == (2, 0)
    lines = (tmp_path / "mark").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{trial.id} {epoch}" for trial in study.trials for epoch in (0, 1, 2, 2, 3)]
    assert [plain(result) for result in stored(tmp_path / "out")] == list(map(fakes.make_result, study.trials))
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.skipif(not is_available("brown"), reason="Brown is not on this machine")
def test_files_that_a_worker_lacks_are_sent_and_checked(cluster, tmp_path):
    cluster.start_worker(XDG_CACHE_HOME=str(tmp_path / "cache"), TIELESS_DATA="")
    study = fakes.make_study("learning_rate=0.1", "seeds=0")
    study = replace(study, trials=tuple(replace(trial, data="brown(16)") for trial in study.trials))
    summary = run(study, tmp_path / "out", pool=DaskPool(cluster.address, run_trial=fakes.quick))
    assert summary.done == 4
    (here,), (there,) = locate("brown").iterdir(), (tmp_path / "cache/tieless/data/brown").iterdir()
    assert here.read_bytes() == there.read_bytes()


STUDY_OF_OWN_DATA = """
title: Own data
question: Do they reach a worker?
core_hours: 0.01
grid:
  data: {data}
  model: mlp(4, 1)
  forward: relu
  backward: [tied, constant]
  optimiser: sgd
  learning_rate: 0.1
  batch: 16
  epochs: 1
  seeds: [0]
"""


def test_own_data_that_a_worker_lacks_are_sent_and_checked(cluster, tmp_path, monkeypatch):
    cluster.start_worker(XDG_CACHE_HOME=str(tmp_path / "cache"))
    here = tmp_path / "here"
    (here / "arrays").mkdir(parents=True)
    monkeypatch.chdir(here)
    drawn = np.random.default_rng(0)
    arrays = {"train_x": drawn.random((64, 3)).astype("float32"), "train_y": drawn.integers(0, 2, 64)}
    np.savez("my data.npz", **arrays)
    np.save("x.npy", arrays["train_x"])
    np.save("y.npy", arrays["train_y"])
    for name, values in arrays.items():
        np.save(f"arrays/{name}.npy", values)
    Path("own.yaml").write_text(STUDY_OF_OWN_DATA.format(data='["./my data.npz", ./x.npy, ./arrays]'))
    study = load_study("own.yaml")
    assert run(study, tmp_path / "out", pool=DaskPool(cluster.address)).done == 6
    for result in stored(tmp_path / "out")[::2]:
        assert result.epochs[-1].test_accuracy == run_trial(result.trial).epochs[-1].test_accuracy
    kept = {folder.name for folder in (tmp_path / "cache/tieless/data/own").iterdir()}
    assert kept == {trial.sources.rpartition(" ")[2] for trial in study.trials}
    more = load_study("own.yaml", ["seeds=[2]", "data=./x.npy"])
    np.save("x.npy", arrays["train_x"] + 1)
    shutil.rmtree(tmp_path / "cache/tieless/data/own")
    assert run(more, tmp_path / "more", pool=DaskPool(cluster.address)).failed == 2
    assert "x.npy has changed since the study was read" in stored(tmp_path / "more")[0].error
