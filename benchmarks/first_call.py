"""How long until the first activation of a fresh process? What the imports take, and the first forward and backward pass.

Every number is from a fresh interpreter, one thread; the cases take turns, and a number is the median over the rounds.
`import tieless` is what it adds once torch is imported. A first call imports Numba and loads the compiled kernels from
disk, or compiles them where there are none: `warm cache` and `empty cache`. The last row is native ReLU's first call,
which no untied one can be faster than.

    python benchmarks/first_call.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from interleaved import machine, results_in_turns
from rich.console import Console
from rich.table import Table

IMPORT = "import torch"
BOTH = f"{IMPORT}, tieless"
READY = f"{BOTH}; z = torch.randn(2 ** 14, requires_grad=True); torch.set_num_threads(1)"


@dataclass(frozen=True)
class Case:
    """Statements, what is done before the clock starts, and what they may take; in an empty cache or a filled one."""

    name: str
    statement: str
    before: str = "pass"
    target: float | None = None
    empty: bool = False


def call(forward: str, backward: str, *, empty: bool = False) -> Case:
    """A first call."""
    name = f"{forward} + {backward}, {'empty' if empty else 'warm'} cache"
    statement = f"tieless.untie(z, {forward!r}, {backward!r}).sum().backward()"
    return Case(name, statement, READY, None if empty else 0.5, empty)


CASES = [
    Case("import torch", IMPORT),
    Case("import tieless", "import tieless", IMPORT, 0.2),
    *(call(*pair) for pair in [("relu", "full_jam"), ("heaviside", "rectangular"), ("heaviside", "atan")]),
    call("heaviside", "rectangular", empty=True),
    Case("native relu", "torch.relu(z).sum().backward()", READY),
]


def seconds(case: Case, filled: str) -> float:
    """Of the statements, in an interpreter of their own."""
    lines = ["import time", case.before, "start = time.perf_counter()", case.statement]
    program = "\n".join([*lines, "print(time.perf_counter() - start)"])
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"NUMBA_CACHE_DIR": empty if case.empty else filled}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="fresh interpreters of each [9]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as filled:
        runs: dict[str, Callable[[], float]] = {case.name: partial(seconds, case, filled) for case in CASES}
        for run in runs.values():
            run()  # brings the files into memory, and fills the cache
        taken = results_in_turns(runs, rounds=options.rounds)
    table = Table("first of a fresh process", title="Seconds, one thread")
    for heading in ("median", "fastest", "target"):
        table.add_column(heading, justify="right")
    for case in CASES:
        median, target = statistics.median(taken[case.name]), case.target
        colour = "none" if target is None else "green" if median < target else "red"
        fastest = f"{min(taken[case.name]):.3f}"
        table.add_row(case.name, f"[{colour}]{median:.3f}[/]", fastest, "" if target is None else f"{target}")
    console = Console(width=120)
    console.print(machine(), soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()
