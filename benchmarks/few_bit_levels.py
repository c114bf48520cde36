"""How near does a slope of a few bits come to the derivative, and how long does it take to find it?

One line for each forward and number of bits, then the published 2-bit levels beside ours. Mean and root are over
-10 <= z <= 10. The third measure of the second table is what ReGELU2 and ReSiLU2 were searched for: the integral over
all z of the squared distance from the forward to the integral of the slope.

    python benchmarks/few_bit_levels.py [--outer mean]
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch
from rich.console import Console
from rich.table import Table

from tieless.forwards import forward as forward_of
from tieless.levels import REGELU2, RESILU2, Levels, error_of, optimal_levels

FORWARDS = ("gelu", "silu", "softplus", "elu", "tanh", "logistic")
PUBLISHED = {"gelu": ("ReGELU2", REGELU2), "silu": ("ReSiLU2", RESILU2)}


def row(levels: Levels) -> list[str]:
    """Columns of a step function that both tables have."""
    sides = "|z|" if levels.even else "z"
    values = " ".join(f"{value:.3f}" for value in levels.values)
    return [f"{len(levels.boundaries)} of {sides}", values, f"{levels.error:.5f}", f"{levels.relative_error:.4f}"]


def every_forward(outer: str) -> Table:
    """Forwards by bits."""
    title = f"Step functions nearest to the derivative; outer={outer}, torch {torch.__version__}, one thread"
    table = Table("forward", "bits", "boundaries", "values", "root mean square", "relative", "seconds", title=title)
    # Numpy's and PyTorch's own first calls are not the search's.
    optimal_levels("relu", 1)
    for name, bits in itertools.product(FORWARDS, (1, 2, 3, 4)):
        start = time.perf_counter()
        levels = optimal_levels(name, bits, outer)
        seconds = time.perf_counter() - start
        table.add_row(name, str(bits), *row(levels), f"{seconds:.3f}", end_section=bits == 4)
    return table


def distance_of_integrals(levels: Levels, name: str) -> float:
    """The integral of ``(phi(z) - h(z))^2`` over -40 <= z <= 40, where ``h`` is the slope's integral from the left."""
    z = torch.linspace(-40, 40, 800_001, dtype=torch.float64)
    corners = torch.tensor(levels.boundaries, dtype=torch.float64)
    steps = torch.tensor(levels.values, dtype=torch.float64).diff()
    h = (steps * (z[:, None] - corners).clamp(min=0)).sum(1)
    return torch.trapezoid((forward_of(name).value(z) - h) ** 2, z).item()


def published() -> Table:
    """The published levels, ours of as many bits, and the slope of relu."""
    table = Table("forward", "levels", "mean square", "relative", "integrals apart", title="Two published levels")
    for name, (title, levels) in PUBLISHED.items():
        for label, candidate in {
            title: levels,
            "ours, 2 bits": optimal_levels(name, 2),
            "relu, 1 bit": Levels((0.0,), (0.0, 1.0)),
        }.items():
            error, relative = error_of(candidate, name)
            apart = distance_of_integrals(candidate, name)
            table.add_row(name, label, f"{error**2:.6f}", f"{relative:.4f}", f"{apart:.6f}")
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outer", choices=("limit", "mean"), default="limit", help="the outer values [limit]")
    outer = parser.parse_args().outer
    torch.set_num_threads(1)
    console = Console()
    console.width = max(console.width, 170)  # 16 values on a line
    console.print(every_forward(outer))
    console.print(published())


if __name__ == "__main__":
    main()
