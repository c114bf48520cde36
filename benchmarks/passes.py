"""Where the time of a window and of a jam goes: each pass over memory by itself, beside the call of both that a user makes.

Nanoseconds an element, medians of interleaved runs in this process. What is left of a call without its passes is Python, the
autograd engine and the room for results.

    python benchmarks/passes.py [--rounds 25] [--threads 1] [--sizes 14 16 18 20 22]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from activations import both_ways
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from tieless import untie
from tieless.kernels import numba_cpu

WINDOW = (-0.5, 0.5, False, False)
CALLS = {
    "native relu": ("relu, forward", "relu, backward"),
    "relu + rectangular": ("values and bits", "gate"),
    "relu + full_jam": ("values", "jam"),
}
"""The passes of each call."""


def cases(size: int) -> dict[str, Callable[[], object]]:
    """Each pass, and each call."""
    z, feedback = torch.randn(size).requires_grad_(), torch.randn(size)
    plain = z.detach()
    y, bits = numba_cpu.activate(plain, "relu", (), WINDOW)
    assert bits is not None
    return {
        "relu, forward": lambda: torch.relu(plain),
        "relu, backward": lambda: torch.ops.aten.threshold_backward(feedback, y, 0),
        "values": lambda: numba_cpu.activate(plain, "relu", (), None),
        "values and bits": lambda: numba_cpu.activate(plain, "relu", (), WINDOW),
        "gate": lambda: numba_cpu.gate(feedback, bits, 1.0, 0.0),
        "jam": lambda: numba_cpu.jam(feedback, 12345, 0, 0.0, 1.0, False, None),
        "native relu": both_ways(F.relu, z, feedback),
        "relu + rectangular": both_ways(lambda z: untie(z, "relu", "rectangular"), z, feedback),
        "relu + full_jam": both_ways(lambda z: untie(z, "relu", "full_jam"), z, feedback),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[14, 16, 18, 20, 22], help="exponents of 2")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    columns = [2**exponent for exponent in options.sizes]
    taken = {size: medians(cases(size), rounds=options.rounds) for size in columns}
    table = Table(*["", *(f"2^{exponent}" for exponent in options.sizes)], title="Nanoseconds an element, float32")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in taken[columns[0]]:
        if name in CALLS:
            table.add_section()
        table.add_row(name, *(f"{taken[size][name] / size * 1e9:.2f}" for size in columns))
        if name in CALLS:
            left = [taken[size][name] - sum(taken[size][one] for one in CALLS[name]) for size in columns]
            table.add_row(
                "  without its passes",
                *(f"{seconds / size * 1e9:.2f}" for seconds, size in zip(left, columns, strict=True)),
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
