"""What does an untied activation cost? Forward and backward pass against PyTorch's own ReLU, by size and threads.

Every number is a ratio of medians of interleaved runs in this process; the target is in brackets. `bytes` are those that
must move between processor and memory for the case, over those of ReLU; `limit` is the time that moving them takes at
the rate measured for a copy, over the time of ReLU: the floor that no implementation can go below.

    python benchmarks/activations.py [--rounds 15] [--threads 1 2] [--sizes 14 18 22 24] [--dtype float32]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from tieless import untie

ITEM = 4


@dataclass(frozen=True)
class Case:
    """A forward and a rule, the bytes an element that they must read and write, and what they may cost."""

    forward: str
    backward: str
    moved: float
    small: float
    large: float

    def function(self) -> Callable[[Tensor], Tensor]:
        """``z -> y``, as a user writes it."""
        return lambda z: untie(z, self.forward, self.backward)

    @property
    def name(self) -> str:
        return f"{self.forward} + {self.backward}"


# Bytes: forward reads z and writes y (8) and what it keeps; backward reads feedback and what is kept and writes (8).
# A constant of 1 passes the feedback on as it is.
CASES = [
    Case("relu", "constant", 8, 1.3, 0.6),
    Case("linear", "constant", 8, 1.3, 0.6),
    Case("hard_tanh", "constant", 8, 1.3, 0.6),
    Case("heaviside", "constant", 8, 1.3, 0.6),
    Case("staircase(4)", "constant", 8, 1.3, 0.6),
    Case("relu", "constant(0.5)", 16, 1.3, 0.6),
    Case("relu", "tied", 16.25, 2, 0.9),
    Case("heaviside", "rectangular", 16.25, 2, 0.9),
    Case("sign", "rectangular(-1, 1)", 16.25, 2, 0.9),
    Case("relu", "rectangular", 16.25, 2, 0.9),
    Case("relu", "full_jam", 16, 2, 1.0),
    Case("heaviside", "full_jam", 16, 2, 1.0),
    Case("relu", "positive_jam", 16.25, 2, 1.0),
    Case("relu", "rectangular_jam", 16.25, 2, 1.0),
    Case("heaviside", "rectangular_jam", 16.25, 2, 1.0),
    Case("heaviside", "triangular", 20, 2, 1.4),
    Case("heaviside", "atan", 20, 2, 1.4),
    Case("heaviside", "fast_sigmoid", 20, 2, 1.4),
    Case("heaviside", "sigmoid", 20, 2, 1.4),
]
RELU_MOVES = 20  # z, y; y, feedback, result


def both_ways(function: Callable[[Tensor], Tensor], z: Tensor, feedback: Tensor) -> Callable[[], object]:
    """One forward and one backward pass."""
    return lambda: torch.autograd.grad(function(z), z, feedback)


def measure(size: int, dtype: torch.dtype, rounds: int) -> tuple[dict[str, float], float]:
    """Seconds of each case, and of moving a byte."""
    z = torch.randn(size).to(dtype).requires_grad_()
    feedback = torch.randn(size).to(dtype)
    cases = {"native relu": both_ways(F.relu, z, feedback)}
    cases |= {case.name: both_ways(case.function(), z, feedback) for case in CASES}
    target = torch.empty_like(feedback)
    cases["copy"] = lambda: target.copy_(feedback)
    taken = medians(cases, rounds=rounds)
    return taken, taken["copy"] / (2 * size * dtype.itemsize)


def main() -> None:
    """Print a table for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[14, 18, 22, 24], help="powers of 2")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16", "float64"], default="float32")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    console = Console(width=120)
    for threads in options.threads:
        torch.set_num_threads(threads)
        console.print(machine())
        table = Table(title=f"Forward + backward over native ReLU, {options.dtype}, {threads} thread(s)")
        table.add_column("case")
        for size in options.sizes:
            table.add_column(f"2^{size}", justify="right")
            table.add_column("limit", justify="right", style="dim")
        table.add_column("targets", justify="right")
        results = {size: measure(2**size, dtype, options.rounds) for size in options.sizes}
        cells = [f"{results[size][0]['native relu'] * 1e6:.0f} us" for size in options.sizes]
        limits = [f"{limit(results[size], RELU_MOVES, size, dtype):.2f}" for size in options.sizes]
        table.add_row("native relu", *[cell for pair in zip(cells, limits, strict=True) for cell in pair], "")
        for case in CASES:
            row = [case.name]
            for size in options.sizes:
                taken, _ = results[size]
                ratio = taken[case.name] / taken["native relu"]
                target = case.small if size < 18 else case.large
                row.append(f"[{'green' if ratio <= target else 'red'}]{ratio:.2f}[/]")
                row.append(f"{limit(results[size], case.moved, size, dtype):.2f}")
            table.add_row(*row, f"{case.small} / {case.large}")
        console.print(table)


def limit(result: tuple[dict[str, float], float], moved: float, size: int, dtype: torch.dtype) -> float:
    """The time of moving so many bytes an element, over ReLU's."""
    taken, a_byte = result
    return moved / ITEM * dtype.itemsize * 2**size * a_byte / taken["native relu"]


if __name__ == "__main__":
    main()
