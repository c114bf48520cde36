"""Where do a driver, its store and its network saturate? The runner's own books against a simulated cluster.

The books that every run keeps, queue, second attempts and results, run on simulated time against a pool of simulated workers.
What the driver takes for a trial is measured here first: the books, results written to a store on this disk and synced, one
by one and many at a time, and the bytes of an order and a result. Those that have arrived at a look are written together.
What a round trip to a worker through Dask takes is given::

    python benchmarks/cluster_scale.py [--trials 1000000] [--nodes 1000] [--message 2.5]
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import pickle
import random
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from tieless.study import EpochRecord, Finished, Result, Store, Trial, parse_study
from tieless.study.running.books import Books
from tieless.study.running.pool import Left

SECONDS = (1, 10, 60, 600)
TOGETHER = 10
"""Number of results in a transaction of many."""
LOST = 1e-4
"""Share of trials whose machine is lost under them."""
STUDY = """
title: A study of cost
question: What does a trial cost the driver?
core_hours: 0
grid: {data: digits, model: mlp, forward: relu, backward: [tied, full_jam], optimiser: adam, learning_rate: 0.001,
       batch: 64, epochs: 20, seeds: [0]}
"""


@dataclass(frozen=True, slots=True)
class Simulated:
    """Trial of which the books know the id alone."""

    id: str


class SimulatedPool:
    """Workers on simulated time: each trial takes its time, and each message keeps the driver busy.

    Args:
        slots: Number of trials that run at a time.
        seconds: Mean duration of a trial; half of all differ from it by a quarter or more.
        message: Seconds that the driver takes for one trial, beside the books.
    """

    def __init__(self, slots: int, seconds: float, message: float) -> None:
        self._free, self._seconds, self._message = slots, seconds, message
        self._ends: list[tuple[float, int, Any]] = []
        self._chance = random.Random(0)  # noqa: S311  a simulation
        self._number = 0
        self.now = self.busy = self.worked = 0.0

    def clock(self) -> float:
        """Simulated time."""
        return self.now

    def room(self, wanted: int) -> int:
        return self._free

    def submit(self, trial: Any, state: bytes | None) -> None:
        self.spend(self._message / 2)
        self._free -= 1
        self._number += 1
        takes = self._seconds * self._chance.uniform(0.5, 1.5)
        self.worked += takes
        heapq.heappush(self._ends, (self.now + takes, self._number, trial))

    def spend(self, seconds: float) -> None:
        """Keep the driver busy."""
        self.now += seconds
        self.busy += seconds

    def events(self, interrupt: Any, timeout: float | None) -> Iterator[Finished | Left]:
        self.now = max(self.now, self._ends[0][0])
        ended = deque[Any]()
        while self._ends and self._ends[0][0] <= self.now:
            ended.append(heapq.heappop(self._ends)[2])
        for trial in ended:
            self.spend(self._message / 2)
            self._free += 1
            lost = self._chance.random() < LOST
            yield Left(trial, "has left the cluster") if lost else Finished(Result(trial=trial, status="done"))

    def close(self) -> list[Result]:
        return []


@dataclass(frozen=True, slots=True)
class StoreCost:
    """Wall seconds of a store.

    Args:
        alone: Seconds of a transaction of one result.
        together: Seconds of a result among many in one transaction.
        on_disk: Bytes of a result on the disk.
    """

    alone: float
    together: float
    on_disk: float

    def of(self, results: int) -> float:
        """Seconds of a transaction of so many results."""
        return self.alone + (results - 1) * self.together


def simulate(
    trials: int, nodes: int, seconds: float, message: float, store: StoreCost
) -> tuple[SimulatedPool, float, int, int]:
    """Run the books of so many trials.

    Returns:
        Pool, CPU seconds of the books, number of results and number of transactions.
    """
    pool = SimulatedPool(nodes, seconds, message)
    silent, _ = multiprocessing.Pipe(duplex=False)
    stored, transactions = set[str](), 0

    def write(results: Sequence[Result]) -> None:
        nonlocal transactions
        transactions += 1
        pool.spend(store.of(len(results)))
        stored.update(result.trial.id for result in results)

    books = Books(cast("Any", pool), write, lambda _: None, silent, clock=pool.clock)
    clock = time.process_time()
    books.loop(cast("Any", [Simulated(f"{number:016x}") for number in range(trials)]))
    return pool, time.process_time() - clock, len(stored), transactions


def a_result(trial: Trial) -> Result:
    """Result with as much in it as one of training has."""
    records = tuple(EpochRecord(0.1234567 + i, 0.9123456, 0.2345678, 0.8765432, 1.23456) for i in range(trial.epochs))
    versions = dict.fromkeys(("python", "torch", "numba", "numpy", "tieless"), "10.11.12")
    return Result(trial=trial, status="done", epochs=records, predicted_classes=10, classes=10, versions=versions)


def store_cost(folder: Path, count: int, together: int) -> StoreCost:
    """Measure a store with ``count`` transactions of one result, and as many results, ``together`` in a transaction."""
    study = parse_study(STUDY, name="cost", overrides=[f"seeds={list(range(count))}"])
    results = [a_result(trial) for trial in study.trials]
    with Store.create(folder, study) as store:
        before = (folder / "study.db").stat().st_size
        clock = time.perf_counter()
        for result in results[:count]:
            store.add(result)
        alone = (time.perf_counter() - clock) / count
        clock = time.perf_counter()
        for start in range(count, 2 * count, together):
            store.add_all(results[start : start + together])
        seconds = (time.perf_counter() - clock) / count
        bytes_each = ((folder / "study.db").stat().st_size - before) / len(results)
        return StoreCost(alone, max(0.0, (seconds - alone / together) / (1 - 1 / together)), bytes_each)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--message", type=float, default=2.5, help="milliseconds of a round trip through Dask")
    parser.add_argument("--stored", type=int, default=1_000, help="results that are written to measure the store")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = store_cost(Path(folder), options.stored, TOGETHER)
    (trial, *_) = parse_study(STUDY, name="cost").trials
    sent, back = len(pickle.dumps(trial.to_dict())), len(pickle.dumps(a_result(trial).to_dict()))
    message = options.message / 1000
    table = Table(title=f"{options.trials:,} trials on {options.nodes:,} workers")
    for title in (
        "a trial takes",
        "hours",
        "workers busy",
        "driver busy",
        "trials a second",
        "a transaction",
        "network",
        "results",
    ):
        table.add_column(title, justify="right")
    books = 0.0
    for seconds in SECONDS:
        pool, cpu, results, transactions = simulate(options.trials, options.nodes, seconds, message, store)
        books = max(books, cpu / options.trials)
        rate = options.trials / pool.now
        table.add_row(
            f"{seconds} s",
            f"{pool.now / 3600:.2f}",
            f"{100 * pool.worked / (options.nodes * pool.now):.0f} %",
            f"{100 * pool.busy / pool.now:.1f} %",
            f"{rate:.1f}",
            f"{results / transactions:.1f}",
            f"{rate * (sent + back) / 1000:.0f} kB/s",
            f"{results:,}",
        )
    console = Console(width=130)
    console.print(f"books: {1e6 * books:.0f} microseconds of CPU a trial")
    console.print(
        f"store: {1e3 * store.alone:.2f} ms a result, synced by itself; {1e3 * store.together:.2f} ms more for each with it"
    )
    console.print(
        f"an order has {sent} bytes, a result of 20 epochs {back}; it takes {store.on_disk:.0f} bytes of disk"
    )
    console.print(
        f"all results take {options.trials * store.on_disk / 1e9:.1f} GB; a message through Dask, as given, {options.message} ms"
    )
    console.print(table)


if __name__ == "__main__":
    main()
