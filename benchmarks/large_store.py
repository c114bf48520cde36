"""How long does a large store take to open, to resume from, and to report? CPU seconds, each in a process of its own.

The results are those of networks that never ran; their numbers are drawn. Imports are not counted.

    python benchmarks/large_store.py [--trials 100000]
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from interleaved import machine
from rich.console import Console
from rich.table import Table

from tieless import report
from tieless.cli.study.group import collect_rarely
from tieless.study import EpochRecord, Result, Store, Study, Trial, judge, parse_study

GRID = """
title: A large store
question: Does a store of many trials stay quick?
core_hours: 0
grid: {data: digits, model: mlp, forward: [relu, logistic, heaviside, linear, hard_tanh],
       backward: [constant, rectangular, full_jam, positive_jam, rectangular_jam],
       optimiser: [sgd, momentum, adam, direction_first], learning_rate: 0.001, batch: 64, epochs: 2, seeds: [0]}
claims: [full_jam is non-inferior to rectangular by 1 point]
"""
CELLS = 100


def study(trials: int) -> Study:
    """Study of about so many trials."""
    return parse_study(GRID, name="large", overrides=[f"seeds=0..{max(0, trials // CELLS - 1)}"])


def result(trial: Trial, chance: random.Random) -> Result:
    """Result as training leaves it, with drawn numbers."""
    accuracies = [chance.uniform(0.8, 0.9) for _ in range(trial.epochs)]
    records = tuple(EpochRecord(0.3456789, accuracy, 0.4567891, accuracy, 1.2345678) for accuracy in accuracies)
    return Result(
        trial=trial,
        status="done",
        epochs=records,
        predicted_classes=10,
        classes=10,
        test_samples=360,
        seconds=2.5,
        started="2026-01-01T00:00:00+00:00",
        versions=dict.fromkeys(("python", "torch", "numba", "numpy", "tieless"), "10.11.12"),
        hardware={"device": "cpu", "processor": "a processor", "threads": "1"},
    )


def make(folder: Path, trials: int) -> None:
    """Store with a result of every trial but the last hundredth."""
    chance, planned = random.Random(0), study(trials)  # noqa: S311  a benchmark
    with Store.create(folder, planned) as store:
        store.add_all(result(trial, chance) for trial in planned.trials[: trials - trials // 100])


def count(folder: Path, trials: int) -> str:
    """Open, and count the results."""
    with Store.open(folder) as store:
        return f"{len(store.finished_ids())} results"


def resume(folder: Path, trials: int) -> str:
    """Read the study's file, open the store for writing, and find the missing trials, as a run does first."""
    planned = study(trials)
    with Store.create(folder, planned) as store:
        plan, finished = store.plan(planned), store.finished_ids()
        return f"{sum(trial.id not in finished for trial in plan.trials)} missing"


def status(folder: Path, trials: int) -> str:
    """Read plan and results, and judge the claim."""
    with Store.open(folder) as store:
        results, plan = store.results(), store.study()
    (verdict,) = judge(plan.claims, plan, results)
    return verdict.verdict


def write_report(folder: Path, trials: int) -> str:
    """Write the page."""
    return f"{report.write(folder).stat().st_size / 1e6:.1f} MB"


STEPS: dict[str, Callable[[Path, int], str]] = {
    "open and count": count,
    "resume": resume,
    "status": status,
    "report": write_report,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100_000, help="number of trials [100000]")
    parser.add_argument("--folder", type=Path, help="folder of a store that was made before; it stays")
    parser.add_argument("--step", choices=STEPS, help="one step, in this process")
    options = parser.parse_args()
    if options.step:
        # As the command line does.
        collect_rarely()
        clock = time.process_time()
        said = STEPS[options.step](options.folder, options.trials)
        print(f"{time.process_time() - clock:.2f}", said, sep="\t")
        return
    console = Console(width=100, highlight=False)
    console.print(machine(), soft_wrap=True)
    table = Table("step", "CPU seconds", "", title=f"A store of {options.trials:,} trials")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "study.db").exists():
            make(folder, options.trials)
        for step in STEPS:
            words = [sys.executable, __file__, "--trials", str(options.trials), "--folder", str(folder), "--step", step]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            table.add_row(step, *done.stdout.strip().split("\t"))
    console.print(table)


if __name__ == "__main__":
    main()
