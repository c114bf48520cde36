"""How long do numbers below 1.2e-38 take? A step of training with them, and with them flushed to 0.

Each row is a trial as a study runs it, in the two settings of ``denormals``, on images of Fashion-MNIST. The median of the
second half of the steps; the runs take turns, one thread, float32.

    python benchmarks/denormals.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from interleaved import machine, results_in_turns
from rich.console import Console
from rich.table import Table

from tieless.study.running.training import run_trial
from tieless.study.trial import Trial

DEEP = Trial(
    data="fashion-mnist",
    subset=2560,
    model="mlp(width=128, depth=50)",
    forward="logistic",
    backward="tied",
    optimiser="sgd",
    learning_rate=0.01,
    batch=128,
    epochs=1,
    seed=0,
    test="once",
)
LENET = replace(
    DEEP,
    subset=20_000,
    model="lenet5",
    forward="relu",
    optimiser="direction_first",
    learning_rate=0.01,
    batch=64,
    # What an average remembers of a unit that is off would be denormal after some 830 steps.
    epochs=4,
)
TRIALS = {
    "MLP 20 x 128, logistic, tied, SGD": replace(DEEP, model="mlp(width=128, depth=20)"),
    "MLP 50 x 128, logistic, tied, SGD": DEEP,
    "MLP 50 x 128, logistic, tied, DirectionFirst": replace(DEEP, optimiser="direction_first"),
    "LeNet-5, relu, tied, DirectionFirst, 4 epochs": LENET,
    "LeNet-5, relu, through fa, DirectionFirst, 4 epochs": replace(LENET, feedback="fa"),
}


def step_time(trial: Trial) -> float:
    """Seconds of a step, in the median."""
    times: list[float] = []
    result = run_trial(trial, on_step=lambda *_: times.append(time.perf_counter()))
    if result.status != "done":
        raise SystemExit(f"denormals.py: a run ended as {result.status}: {result.error}.")
    steps = [later - earlier for earlier, later in pairwise(times)]
    return statistics.median(steps[len(steps) // 2 :])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("", "kept", "flushed", "kept over flushed")
    for name, trial in TRIALS.items():
        cases = {
            denormals: partial(step_time, replace(trial, denormals=denormals)) for denormals in ("kept", "flushed")
        }
        taken = {
            setting: statistics.median(times)
            for setting, times in results_in_turns(cases, rounds=options.rounds).items()
        }
        table.add_row(
            name, *(f"{seconds * 1e3:.1f} ms" for seconds in taken.values()), f"{taken['kept'] / taken['flushed']:.2f}"
        )
    console = Console(width=120)
    console.print(machine())
    console.print(table)


if __name__ == "__main__":
    main()
