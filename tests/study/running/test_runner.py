"""Running: what is skipped, what is retried, what stops a run, and that nothing finished is lost.

Real processes throughout, which are killed as in a study. Where it is not asked how they begin, they are forked from one
that has imported PyTorch.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from filelock import FileLock

from tests.study import fakes
from tieless.errors import LostResultError, StudyError
from tieless.study.results.store import FILE, Store
from tieless.study.running.events import Epoch, Finished, Retried, Started, Waiting
from tieless.study.running.runner import run
from tieless.study.running.workers import set_workers

ROOT = Path(__file__).parents[3]


def stored(folder):
    with Store.open(folder) as store:
        return store.results()


@pytest.fixture
def mark(tmp_path, monkeypatch):
    monkeypatch.setenv("TIELESS_TEST_MARK", str(tmp_path / "mark"))
    return tmp_path / "mark"


def test_every_trial_is_run_once_and_told_in_order(tmp_path):
    study = fakes.make_study()
    events = []
    summary = run(study, tmp_path / "out", workers=2, run_trial=fakes.quick, listen=events.append)
    assert (summary.done, summary.diverged, summary.failed) == (12, 12, 0)
    assert (summary.skipped, summary.left, summary.interrupted) == (0, 0, False)
    assert stored(tmp_path / "out") == [
        fakes.make_result(trial, "diverged" if trial.learning_rate == 9 else "done") for trial in study.trials
    ]
    assert events[0] == Started(24, 0, study.trials)
    assert sum(isinstance(event, Finished) for event in events) == 24
    assert sum(isinstance(event, Epoch) for event in events) == 12 * 2 + 12 * 1
    seeds = [event.result.trial.seed for event in events if isinstance(event, Finished)]
    # Two workers can be one trial ahead of each other, no more: seed 0 is done before seed 2 begins.
    assert max(i for i, seed in enumerate(seeds) if seed == 0) < min(i for i, seed in enumerate(seeds) if seed == 2)


@pytest.mark.usefixtures("forked")
def test_what_the_store_has_is_not_run_again_and_a_failure_is(tmp_path):
    study = fakes.make_study("learning_rate=[0.1, 8, 9]", "seeds=0")
    first = run(study, tmp_path, run_trial=fakes.quick)
    assert (first.done, first.failed, first.diverged, first.skipped) == (4, 4, 4, 0)
    wider = fakes.make_study("learning_rate=[0.1, 8, 9]", "seeds=[0, 1]")
    again = run(wider, tmp_path, run_trial=fakes.quick)
    assert (again.done, again.failed, again.diverged, again.skipped) == (4, 8, 4, 8)
    assert len(stored(tmp_path)) == 24


@pytest.mark.usefixtures("forked")
def test_a_worker_that_dies_has_its_trial_run_again_in_another(tmp_path, mark):
    study = fakes.make_study("batch=[2, 32]", "learning_rate=0.1", "seeds=0")
    events = []
    summary = run(study, tmp_path / "out", workers=1, run_trial=fakes.deadly, listen=events.append)
    assert mark.exists()
    assert (summary.done, summary.failed) == (8, 0)
    (retried,) = [event for event in events if isinstance(event, Retried)]
    assert retried.trial.batch == 2
    assert retried.reason == "killed by SIGKILL (out of memory?)"


@pytest.mark.usefixtures("forked", "mark")
def test_a_trial_that_kills_every_worker_fails_with_the_reason_and_the_study_goes_on(tmp_path):
    study = fakes.make_study("batch=[1, 32]", "learning_rate=0.1", "seeds=0", "backward=tied")
    summary = run(study, tmp_path / "out", workers=2, run_trial=fakes.deadly)
    assert (summary.done, summary.failed) == (1, 1)
    (failed,) = [result for result in stored(tmp_path / "out") if result.status == "failed"]
    assert failed.trial.batch == 1
    assert failed.error == "Its worker died 2 times, the last time killed by SIGKILL (out of memory?)."


def test_workers_that_cannot_start_end_the_run_instead_of_failing_every_trial(tmp_path, capfd):
    with pytest.raises(StudyError, match=r"^No worker could be started: 3 in a row died first \(exit code 1\)\.$"):
        run(fakes.make_study(), tmp_path, run_trial=fakes.BrokenImport())
    assert stored(tmp_path) == []
    assert "this cannot be imported" in capfd.readouterr().err


def test_each_worker_has_the_threads_asked_for_and_memory_to_keep_and_the_parent_has_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "7")
    study = fakes.make_study("learning_rate=0.1", "seeds=0", "backward=tied")
    for count in (1, 2):
        run(study, tmp_path / str(count), threads=count, run_trial=fakes.threads)
        (result,) = stored(tmp_path / str(count))
        memory = {name: result.hardware.pop(name) for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")}
        assert memory == {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "7"}
        assert set(result.hardware.values()) == {str(count)}
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.environ["MKL_NUM_THREADS"] == "7"


@pytest.mark.parametrize("option", ["workers", "threads"])
def test_no_workers_or_threads_are_refused_before_anything_is_made(tmp_path, option):
    with pytest.raises(StudyError, match=f"^{option} must be an integer >= 1, got 0"):
        run(fakes.make_study(), tmp_path / "out", run_trial=fakes.quick, **{option: 0})
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_in_one_folder_is_refused(tmp_path):
    with FileLock(tmp_path / "study.lock"), pytest.raises(StudyError, match=r"^Another run is writing to"):
        run(fakes.make_study(), tmp_path, run_trial=fakes.quick)
    assert not (tmp_path / FILE).exists()


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("text", encoding="utf-8")
    with pytest.raises(StudyError, match=r"^Cannot write to .*: Not a directory\. Choose another folder with --out\.$"):
        run(fakes.make_study(), tmp_path / "file" / "out", run_trial=fakes.quick)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "text"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the next test asks the kernel instead")
def test_a_folder_without_the_permission_to_write_is_refused(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(StudyError, match=r"^Cannot write to"):
            run(fakes.make_study(), tmp_path, run_trial=fakes.quick)
        assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(stat.S_IRWXU)


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system that nobody can write to")
def test_a_read_only_file_system_is_refused():
    for folder in (Path("/sys/kernel"), Path("/sys/kernel/out")):
        with pytest.raises(StudyError, match=r"^Cannot write to /sys/kernel"):
            run(fakes.make_study(), folder, run_trial=fakes.quick)


@pytest.mark.usefixtures("forked")
def test_a_run_outside_the_main_thread_works(tmp_path):
    ended = []
    thread = threading.Thread(
        target=lambda: ended.append(run(fakes.make_study("seeds=0"), tmp_path, run_trial=fakes.quick))
    )
    thread.start()
    thread.join()
    assert ended[0].left == 0


@pytest.mark.usefixtures("forked")
def test_the_handler_of_ctrl_c_is_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    run(fakes.make_study("seeds=0"), tmp_path, run_trial=fakes.quick)
    assert signal.getsignal(signal.SIGINT) is before


SCRIPT = """
import os, sys
from pathlib import Path
from tests.study import fakes
from tieless.study import Notice
from tieless.study.running.runner import run

if __name__ == "__main__":
    grace = os.environ.get("GRACE")
    summary = run(
        fakes.make_study(),
        Path(sys.argv[2]),
        workers=int(sys.argv[3]),
        run_trial=getattr(fakes, sys.argv[1]),
        grace=None if grace is None else float(grace),
        listen=lambda event: print(event.text, flush=True) if isinstance(event, Notice) else None,
    )
    print(summary.interrupted, summary.done + summary.diverged, summary.left)
"""


@pytest.fixture
def start(tmp_path):
    """Start a run of a fake in a process group of its own, as a terminal does."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    started = []

    def start(fake, folder, workers=1, **environment):
        process = subprocess.Popen(
            [sys.executable, str(script), fake, str(folder), str(workers)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        # The group, for orphans would hold the pipes open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition, process):
    """Wait until ``condition()`` is true; give up where the process has ended or minutes have passed."""
    give_up = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.01)


def begun(process, mark, workers=1):
    """Processes of the workers, when each of them is in a trial that never ends."""
    wait_for(lambda: mark.exists() and len(mark.read_text(encoding="utf-8").split()) == workers, process)
    return [int(pid) for pid in mark.read_text(encoding="utf-8").split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_scheduler_and_a_closed_terminal_stop_a_run_as_ctrl_c_does(tmp_path, start, mark, number):
    process = start("endless", tmp_path / "out")
    workers = begun(process, mark)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out.split(), err) == (0, ["True", "8", "16"], "")
    assert not any(alive(pid) for pid in workers)
    assert len(stored(tmp_path / "out")) == 8


@pytest.mark.usefixtures("forked")
def test_what_ends_while_another_program_holds_the_store_is_kept_and_the_wait_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tieless.study.results.database._PATIENCE", 0.01)
    events, other = [], sqlite3.connect(tmp_path / FILE, isolation_level=None)

    def listen(event):
        events.append(event)
        if isinstance(event, Started):
            other.execute("BEGIN IMMEDIATE")
        elif isinstance(event, Waiting):
            other.execute("ROLLBACK")

    with contextlib.closing(other):
        summary = run(fakes.make_study("seeds=0"), tmp_path, run_trial=fakes.quick, listen=listen)
    assert (summary.done + summary.diverged, summary.left) == (8, 0)
    assert [event for event in events if isinstance(event, Waiting)] == [Waiting(tmp_path / FILE)]
    assert len(stored(tmp_path)) == 8


@pytest.mark.usefixtures("forked")
def test_ctrl_c_ends_a_wait_and_the_loss_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tieless.study.results.database._PATIENCE", 0.01)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)

    def listen(event):
        if isinstance(event, Started):
            other.execute("BEGIN IMMEDIATE")
        elif isinstance(event, Waiting):
            os.kill(os.getpid(), signal.SIGINT)

    with contextlib.closing(other), pytest.raises(LostResultError, match=r"latest result is lost\. .*another program"):
        run(fakes.make_study("seeds=0"), tmp_path, run_trial=fakes.quick, listen=listen)


@pytest.mark.usefixtures("forked")
def test_a_folder_that_is_deleted_while_its_study_runs_ends_the_run(tmp_path):
    def listen(event):
        if isinstance(event, Finished):
            shutil.rmtree(tmp_path / "out")

    with pytest.raises(LostResultError, match=r"^The run ends, and its latest result is lost\. .*was deleted"):
        run(fakes.make_study(), tmp_path / "out", run_trial=fakes.quick, listen=listen)


@pytest.mark.usefixtures("forked")
def test_results_are_kept_although_nobody_listens_any_more(tmp_path, mark):
    def listen(event):
        if isinstance(event, Finished):
            # Long enough for the other worker's result to wait to be read.
            time.sleep(0.2)
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(fakes.make_study(), tmp_path / "out", workers=2, run_trial=fakes.marked, listen=listen)
    assert {result.trial.id for result in stored(tmp_path / "out")} == set(mark.read_text(encoding="utf-8").split())


WITHOUT_FLOCK = """
import errno, fcntl

def flock(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")

fcntl.flock = flock
"""


def test_a_file_system_without_flock_is_locked_otherwise(tmp_path, start, mark, monkeypatch):
    (tmp_path / "script.py").write_text(WITHOUT_FLOCK + SCRIPT, encoding="utf-8")
    process = start("endless", tmp_path / "out")
    begun(process, mark)
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOSYS, "Function not implemented")))
    another = pytest.raises(StudyError, match=f"^Another run is writing to {tmp_path / 'out'}")
    with pytest.warns(UserWarning, match="flock"), another:
        run(fakes.make_study(), tmp_path / "out", run_trial=fakes.quick)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=300)[0].split() == ["True", "8", "16"]


UNGUARDED = SCRIPT.replace('if __name__ == "__main__":', "if True:")


def test_a_script_that_calls_run_in_its_workers_too_is_told_of_the_guard(tmp_path, start):
    (tmp_path / "script.py").write_text(UNGUARDED, encoding="utf-8")
    process = start("quick", tmp_path / "out")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert err.count("Traceback") == 1
    assert err.splitlines()[-1].endswith("would call it again: put the call under if __name__ == '__main__':")
    assert stored(tmp_path / "out") == []


def test_ctrl_c_stops_at_once_and_keeps_what_was_finished(tmp_path, start, mark):
    process = start("endless", tmp_path / "out", workers=2)
    workers = begun(process, mark, workers=2)
    # To the whole group, as a terminal sends it: the workers must not answer with a traceback.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out.split(), err) == (0, ["True", "8", "16"], "")
    assert not any(alive(pid) for pid in workers)
    assert len(stored(tmp_path / "out")) == 8
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [FILE, "study.lock"]


@pytest.mark.usefixtures("forked")
def test_a_result_that_was_sent_when_ctrl_c_came_is_kept(tmp_path, mark):
    def begun():
        return set(mark.read_text(encoding="utf-8").split())

    told = set()

    def listen(event):
        if isinstance(event, Finished):
            told.add(event.result.trial.id)
            # Long enough for the other worker to end its trial too, if it has one: then its result waits to be read.
            time.sleep(0.2)
            if begun() > told:
                os.kill(os.getpid(), signal.SIGINT)

    study = fakes.make_study(f"seeds={list(range(100))}")
    summary = run(study, tmp_path / "out", workers=2, run_trial=fakes.marked, listen=listen)
    assert summary.interrupted
    assert {result.trial.id for result in stored(tmp_path / "out")} == begun()


def test_workers_do_not_outlive_a_killed_run(tmp_path, start, mark):
    process = start("endless", tmp_path / "out", workers=2)
    workers = begun(process, mark, workers=2)
    process.kill()
    process.wait()
    give_up = time.monotonic() + 300
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert len(stored(tmp_path / "out")) == 8


def test_a_trial_over_its_limit_is_ended_tried_again_and_fails_and_the_study_goes_on(tmp_path, mark):
    study = fakes.make_study("learning_rate=0.1", "seeds=[0, 1]", "backward=tied")
    events = []
    summary = run(study, tmp_path, run_trial=fakes.endless, trial_timeout=0.5, listen=events.append)
    assert (summary.done, summary.failed, summary.left) == (1, 1, 0)
    assert [event.reason for event in events if isinstance(event, Retried)] == [
        "ended after 0.5 s, the limit of a trial"
    ]
    assert (
        stored(tmp_path)[1].error == "Its worker died 2 times, the last time ended after 0.5 s, the limit of a trial."
    )
    assert not any(alive(int(pid)) for pid in mark.read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("grace", "done"), [("60", 2), ("0.01", 0)], ids=["long enough", "too short"])
def test_sigterm_with_grace_waits_for_running_trials_so_long_and_begins_no_other(tmp_path, start, mark, grace, done):
    process = start("waiting", tmp_path / "out", workers=2, GRACE=grace)
    # Each writes when it begins, and ends when it finds the word "on" there.
    wait_for(lambda: mark.exists() and len(mark.read_text(encoding="utf-8").split()) == 2, process)
    os.killpg(process.pid, signal.SIGTERM)  # the workers get it too, as from a scheduler that ends a job
    if done:
        assert process.stdout.readline() == "Stopping: 2 trials run and have 60 s to end.\n"
        with mark.open("a", encoding="utf-8") as file:
            file.write("on\n")
    out, err = process.communicate(timeout=300)
    # The word was there for the next ones too, had there been any.
    assert (out.split()[-3:], err) == (["True", str(done), str(24 - done)], "")


def test_a_second_signal_ends_the_grace(tmp_path, start, mark):
    process = start("waiting", tmp_path / "out", workers=2, GRACE="600")
    wait_for(lambda: mark.exists() and len(mark.read_text(encoding="utf-8").split()) == 2, process)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline().startswith("Stopping: 2 trials")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=300)[0].split() == ["True", "0", "24"]


def test_a_budget_with_grace_abandons_what_takes_longer(tmp_path, mark):
    study = fakes.make_study("learning_rate=0.1", "seeds=[1]", "backward=tied")
    summary = run(study, tmp_path, run_trial=fakes.endless, budget=20, grace=1)
    assert (summary.done, summary.left, summary.spent, summary.interrupted) == (0, 1, True, False)
    assert not any(alive(int(pid)) for pid in mark.read_text(encoding="utf-8").split())


def test_a_run_gives_up_after_so_many_failures(tmp_path):
    study = fakes.make_study("learning_rate=8")
    summary = run(study, tmp_path, run_trial=fakes.quick, most_failures=3)
    assert (summary.failed, summary.left, summary.gave_up, summary.interrupted) == (3, 9, True, False)
    assert len(stored(tmp_path)) == 3


def test_workers_are_added_and_taken_away_while_a_study_runs(tmp_path, mark):
    study = fakes.make_study("learning_rate=0.1", f"seeds={list(range(10))}")
    ended, at_a_time = [], []

    def listen(event):
        if isinstance(event, Finished):
            ended.append(event)
            at_a_time.append(len({int(pid) for pid in mark.read_text(encoding="utf-8").split() if alive(int(pid))}))
            if len(ended) in {5, 25}:
                set_workers(tmp_path / "out", 2 if len(ended) == 5 else 1)

    summary = run(study, tmp_path / "out", run_trial=fakes.told, listen=listen)
    assert (summary.done, summary.left) == (40, 0)
    assert set(at_a_time[:5]) == {1}
    assert max(at_a_time) == 2
    assert at_a_time[-1] == 1
    assert not (tmp_path / "out" / "study.workers").exists()
    with pytest.raises(StudyError, match=r"^No run is going on in"):
        set_workers(tmp_path / "out", 2)
    with FileLock(tmp_path / "out" / "study.lock"), pytest.raises(StudyError, match="is on a cluster"):
        set_workers(tmp_path / "out", 2)


@pytest.mark.parametrize("option", ["grace", "trial_timeout"])
def test_no_time_is_refused(tmp_path, option):
    with pytest.raises(StudyError, match=f"^{option} must be a number of seconds above 0, got 0"):
        run(fakes.make_study(), tmp_path / "out", run_trial=fakes.quick, **{option: 0})


def begun_epochs(mark, study):
    """Epochs of each trial in the order in which they began."""
    words = [line.split() for line in mark.read_text(encoding="utf-8").splitlines()]
    return [[int(epoch) for name, epoch in words if name == trial.id] for trial in study.trials]


def test_a_trial_with_checkpoints_loses_the_epoch_in_which_its_worker_dies_and_no_more(tmp_path, mark):
    study = fakes.make_study("learning_rate=0.1", "seeds=0", "epochs=4", "backward=[tied, constant]")
    summary = run(study, tmp_path / "out", run_trial=fakes.long, checkpoint="epochs")
    assert (summary.done, summary.failed) == (2, 0)
    assert begun_epochs(mark, study) == [[0, 1, 2, 2, 3]] * 2
    assert stored(tmp_path / "out") == [fakes.make_result(trial) for trial in study.trials]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [FILE, "study.lock"]


def test_a_study_whose_file_asks_for_checkpoints_has_them(tmp_path, mark):
    study = fakes.make_study("learning_rate=0.1", "seeds=0", "epochs=4", "backward=tied")
    assert run(replace(study, checkpoint="epochs"), tmp_path, run_trial=fakes.long).done == 1
    assert begun_epochs(mark, study) == [[0, 1, 2, 2, 3]]


def test_a_run_goes_on_from_the_checkpoints_of_one_that_was_interrupted(tmp_path, mark):
    study = fakes.make_study("learning_rate=0.1", "seeds=0", "epochs=4", "backward=tied")

    def listen(event):
        if isinstance(event, Retried):
            os.kill(os.getpid(), signal.SIGINT)

    assert run(study, tmp_path, run_trial=fakes.long, checkpoint="epochs", listen=listen).interrupted
    assert [file.read_bytes() for file in (tmp_path / "checkpoints").iterdir()] == [b"2"]
    run(study, tmp_path, run_trial=fakes.long, checkpoint="epochs")
    assert begun_epochs(mark, study) == [[0, 1, 2, 2, 3]]
    assert not (tmp_path / "checkpoints").exists()


def test_checkpoints_on_a_gpu_are_refused(tmp_path):
    with pytest.raises(StudyError, match=r"^checkpoint: a step that a GPU has captured"):
        run(fakes.make_study("device=cuda"), tmp_path / "out", run_trial=fakes.long, checkpoint="epochs")
    assert list(tmp_path.iterdir()) == []
