"""What do gelu and silu cost with slopes of a few bits? Forward and backward pass against the same native activation.

Every number is a ratio of medians of interleaved runs in this process.

    python benchmarks/low_memory.py [--rounds 15] [--threads 1 2] [--sizes 14 18 22 24] [--dtype float32]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from tieless import Activation

NATIVE: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "silu": F.silu}
RULES = {
    "gelu": ("regelu2", "few_bit(1)", "few_bit(2)", "few_bit(3)", "few_bit(4)"),
    "silu": ("resilu2", "few_bit(2)", "few_bit(3)"),
}
SMALL, LARGE = 1.3, 0.8


def both_ways(function: Callable[[Tensor], Tensor], z: Tensor, feedback: Tensor) -> Callable[[], object]:
    """One forward and one backward pass."""
    return lambda: torch.autograd.grad(function(z), z, feedback)


def measure(size: int, dtype: torch.dtype, rounds: int) -> dict[str, float]:
    """Seconds of each activation."""
    z, feedback = torch.randn(size).to(dtype).requires_grad_(), torch.randn(size).to(dtype)
    cases = {f"native {name}": both_ways(function, z, feedback) for name, function in NATIVE.items()}
    for name, rules in RULES.items():
        cases |= {f"{name} + {rule}": both_ways(Activation(name, rule), z, feedback) for rule in rules}
    return medians(cases, rounds=rounds)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each [15]")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of PyTorch [1 2]")
    parser.add_argument("--sizes", type=int, nargs="+", default=[14, 18, 22, 24], help="powers of 2 [14 18 22 24]")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16", "float64"], default="float32")
    options = parser.parse_args()
    console = Console(width=120)
    for threads in options.threads:
        torch.set_num_threads(threads)
        console.print(machine(), soft_wrap=True)
        table = Table(title=f"Forward + backward over the native activation, {options.dtype}, {threads} thread(s)")
        table.add_column("case")
        for heading in (*(f"2^{size}" for size in options.sizes), "targets"):
            table.add_column(heading, justify="right")
        results = {size: measure(2**size, getattr(torch, options.dtype), options.rounds) for size in options.sizes}
        for name, rules in RULES.items():
            native = f"native {name}"
            table.add_row(native, *(f"{results[size][native] * 1e6:.0f} us" for size in options.sizes), "")
            for rule in rules:
                ratios = {size: results[size][f"{name} + {rule}"] / results[size][native] for size in options.sizes}
                cells = [
                    f"[{'green' if ratio <= (SMALL if size < 18 else LARGE) else 'red'}]{ratio:.2f}[/]"
                    for size, ratio in ratios.items()
                ]
                table.add_row(f"{name} + {rule}", *cells, f"{SMALL} / {LARGE}", end_section=rule == rules[-1])
        console.print(table)


if __name__ == "__main__":
    main()
