"""What do the faults of a cluster cost? Trials lost, repeated, and wrong.

A study runs on a Dask cluster of separate processes of this machine while faults are injected into it. It has to end with
the numbers that it has alone::

    python benchmarks/cluster_faults.py [--trials 24] [--times 3] [--only "a worker is killed"]

A trial is *lost* if it has no result at the end, *repeated* if it began more than once, and *wrong* if a number of its result
is not that of the study alone. Needs root for the full disk (a small tmpfs) and the network of its own (a namespace).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tieless.study import DaskPool, EpochRecord, Result, Store, Study, Trial, parse_study, run
from tieless.study.running.training import run_trial as train

NAME = Path(__file__).stem
MARK = "TIELESS_FAULTS_MARK"
STUDY = """
title: A study under faults
question: Is anything lost?
core_hours: 0.01
grid:
  data: digits
  model: mlp(16, 1)
  forward: relu
  backward: full_jam
  optimiser: adam
  learning_rate: 0.01
  batch: 64
  epochs: 2
  seeds: [0, 1, 2]
"""
PROGRAM = """
import sys
import {name}
if __name__ == "__main__":
    {name}.drive(sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""
HANG, CRASH = 1, 2
"""Seeds of the trials that hang their worker once, and that crash it always, where that is the fault."""


def run_trial(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """Real training, which notes that it began, takes a moment more, and has the faults of its environment."""
    mark = Path(os.environ[MARK])
    begun = mark.read_text(encoding="utf-8").split() if mark.exists() else []
    with mark.open("a", encoding="utf-8") as file:
        file.write(f"{trial.id}\n")
    fault = os.environ.get("TIELESS_FAULTS", "")
    if fault == "hang" and trial.seed == HANG and trial.id not in begun:
        time.sleep(3600)
    if fault == "crash" and trial.seed == CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)
    return train(trial, on_epoch=on_epoch)


def drive(address: str, folder: str, trials: int) -> None:
    """Run the study on a cluster: the program of the driver."""
    run(study(trials), Path(folder), pool=DaskPool(address, run_trial=run_trial, trial_timeout=20))


def study(trials: int) -> Study:
    """Study of so many trials."""
    return parse_study(STUDY, name="faults", overrides=[f"seeds={list(range(trials))}"])


class Cluster:
    """Scheduler, two workers and a driver, each a process of its own."""

    def __init__(self, folder: Path, trials: int, fault: str = "", inside: dict[str, list[str]] | None = None) -> None:
        self.out, self.trials = folder / "out", trials
        self.mark = folder / "mark"
        self._log = (folder / "log").open("ab")
        self._inside = inside or {}
        self._host = "10.77.0.1" if inside else "127.0.0.1"
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.seen_from_workers = f"tcp://{self._host}:{self.port}"
        paths = [str(Path(__file__).parent), *sys.path]
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            MARK: str(self.mark),
            "TIELESS_FAULTS": fault,
        }
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()
        self.start_workers()
        self.driver = self.start_driver()

    def _start(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        command = [*self._inside.get(kind, []), sys.executable, *words]
        return subprocess.Popen(
            command, env=self._environment, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler at the port that it always has."""
        words = ["scheduler", "--host", self._host, "--port", str(self.port), "--no-dashboard"]
        return self._start("scheduler", "-m", "dask", *words)

    def start_workers(self) -> None:
        """Start workers until there are two."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < 2:
            words = ["worker", self.seen_from_workers, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            self.workers.append(self._start("worker", "-m", "dask", *words))

    def start_driver(self) -> subprocess.Popen[bytes]:
        """Start the study, or go on with it."""
        program = PROGRAM.format(name=NAME)
        address = f"tcp://{self._host}:{self.port}"
        return self._start("driver", "-c", program, address, str(self.out), str(self.trials))

    def begun(self) -> int:
        """Number of trials that have begun, repeated ones included."""
        return len(self.mark.read_text(encoding="utf-8").split()) if self.mark.exists() else 0

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for something to happen in the run."""
        give_up = time.monotonic() + 600
        while not condition():
            if time.monotonic() > give_up:
                raise TimeoutError(f"The run hangs after {self.begun()} trials began.")
            time.sleep(0.05)

    def end(self) -> None:
        """End everything."""
        for process in (self.driver, *self.workers, self.scheduler):
            end(process)
        self._log.close()


def end(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """Send a signal to a process and its children, and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    if number == signal.SIGKILL:
        process.wait()


def kill_worker(cluster: Cluster) -> None:
    """Kill a worker, and start another."""
    end(cluster.workers[0])
    cluster.start_workers()


def kill_driver(cluster: Cluster) -> None:
    """Kill the driver, and start it again."""
    end(cluster.driver)
    cluster.driver = cluster.start_driver()


def kill_scheduler(cluster: Cluster) -> None:
    """Kill the scheduler, whose workers then end, and start all of them again."""
    end(cluster.scheduler)
    cluster.scheduler = cluster.start_scheduler()
    for worker in cluster.workers:
        worker.wait(timeout=300)
    cluster.start_workers()


def stop_worker(cluster: Cluster) -> None:
    """Stop a whole worker, which goes on to be connected and answers nothing, and start another."""
    end(cluster.workers[0], signal.SIGSTOP)
    cluster.workers.append(cluster.workers.pop(0))
    words = ["worker", cluster.seen_from_workers, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    cluster.workers.append(cluster._start("worker", "-m", "dask", *words))  # noqa: SLF001


@dataclass(frozen=True)
class Fault:
    """Fault by its name: what is done to the run, or what its trials do themselves."""

    name: str
    inject: Callable[[Cluster], None] | None = None
    own: str = ""
    needs_root: bool = False


FAULTS = (
    Fault("none"),
    Fault("a worker is killed", kill_worker),
    Fault("the driver is killed", kill_driver),
    Fault("the scheduler is killed", kill_scheduler),
    Fault("a worker is stopped", stop_worker),
    Fault("a trial hangs", own="hang"),
    Fault("a trial always crashes", own="crash"),
    Fault("the disk of the store is full", needs_root=True),
    Fault("a slow link", needs_root=True),
)


@contextlib.contextmanager
def small_disk(folder: Path) -> Generator[Path]:
    """Folder on a disk of one megabyte; its content is gone afterwards."""
    folder.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def slow_network() -> Generator[dict[str, list[str]]]:
    """Network namespaces of workers and of scheduler and driver, with 1 megabit a second between them."""
    inside, outside = "tieless-a", "tieless-b"

    def do(*words: str, may_fail: bool = False) -> None:
        subprocess.run([*words], check=not may_fail, capture_output=may_fail)

    try:
        for name in (inside, outside):
            do("ip", "netns", "add", name)
        do("ip", "link", "add", "tl-a", "netns", inside, "type", "veth", "peer", "name", "tl-b", "netns", outside)
        for name, link, address in ((inside, "tl-a", "10.77.0.1/24"), (outside, "tl-b", "10.77.0.2/24")):
            within = ["ip", "netns", "exec", name]
            do(*within, "ip", "addr", "add", address, "dev", link)
            do(*within, "ip", "link", "set", link, "up")
            do(*within, "ip", "link", "set", "lo", "up")
            do(
                *within,
                "tc",
                "qdisc",
                "add",
                "dev",
                link,
                "root",
                "tbf",
                *["rate", "1mbit", "burst", "16kb", "latency", "400ms"],
            )
        here, there = ["ip", "netns", "exec", inside], ["ip", "netns", "exec", outside]
        yield {"scheduler": here, "driver": here, "worker": there}
    finally:
        for name in (inside, outside):
            do("ip", "netns", "del", name, may_fail=True)


def plain(result: Result) -> Result:
    """Result without times and the name of the machine."""
    epochs = tuple(replace(record, seconds=0.0) for record in result.epochs)
    return replace(result, epochs=epochs, seconds=0.0, started="", hardware={})


def stored(folder: Path) -> dict[str, Result]:
    """Results of a folder by the ids of their trials."""
    with Store.open(folder) as store:
        return {result.trial.id: plain(result) for result in store.results()}


def undergo(fault: Fault, times: int, trials: int, alone: dict[str, Result]) -> tuple[int, int, int, int, int]:
    """Number of injections; of trials that were lost, repeated and wrong; and of those that failed as they had to."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tieless-")))
        inside = stack.enter_context(slow_network()) if fault.name == "a slow link" else None
        if fault.name == "the disk of the store is full":
            return full_disk(folder, stack, trials, alone)
        cluster = Cluster(folder, trials, fault.own, inside)
        stack.callback(cluster.end)
        injected = 0
        for turn in range(times if fault.inject else 0):
            due = (turn + 1) * trials // (times + 1)
            cluster.wait(lambda due=due: cluster.begun() >= due or cluster.driver.poll() is not None)
            if cluster.driver.poll() is None:
                fault.inject(cluster)
                injected += 1
        cluster.wait(lambda: cluster.driver.poll() is not None)
        return (injected or int(bool(fault.own or inside)), *count(cluster, alone))


def count(cluster: Cluster, alone: dict[str, Result]) -> tuple[int, int, int, int]:
    """Number of trials that were lost, repeated and wrong, and of failed ones."""
    found = stored(cluster.out)
    begun = Counter(cluster.mark.read_text(encoding="utf-8").split())
    failed = {name for name, result in found.items() if result.status == "failed"}
    wrong = sum(found[name] != alone[name] for name in found if name not in failed)
    return len(alone) - len(found), sum(number > 1 for number in begun.values()), wrong, len(failed)


def full_disk(
    folder: Path, stack: contextlib.ExitStack, trials: int, alone: dict[str, Result]
) -> tuple[int, int, int, int, int]:
    """Fill the disk of the store when the run is half done; empty it when the run has ended, and start it again."""
    disk = stack.enter_context(small_disk(folder / "disk"))
    cluster = Cluster(folder, trials)
    end(cluster.driver)
    cluster.out = disk / "out"
    cluster.driver = cluster.start_driver()
    stack.callback(cluster.end)
    cluster.wait(lambda: cluster.begun() >= trials // 2)
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    cluster.wait(lambda: cluster.driver.poll() is not None)
    ballast.unlink()
    cluster.driver = cluster.start_driver()
    cluster.wait(lambda: cluster.driver.poll() is not None)
    return (1, *count(cluster, alone))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only")
    options = parser.parse_args()
    table = Table()
    for title in ("fault", "times injected", "trials", "lost", "repeated", "wrong", "failed"):
        table.add_column(title, justify="left" if title == "fault" else "right")
    torch.set_num_threads(1)
    alone = {trial.id: plain(train(trial)) for trial in study(options.trials).trials}
    for fault in FAULTS:
        if fault.needs_root and os.geteuid() != 0:
            print(f"{fault.name}: left out, for it needs root")
        elif options.only in {None, fault.name}:
            injected, *found = undergo(fault, options.times, options.trials, alone)
            table.add_row(fault.name, str(injected), str(options.trials), *map(str, found))
    Console().print(table)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
