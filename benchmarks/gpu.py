"""What does an untied activation cost on a GPU? Forward and backward pass against PyTorch's own, and the copy limit.

Every number is a ratio of medians of interleaved runs in this process, timed by events on the GPU, over native ReLU (the
last row: over native GELU). `limit` is the time that moving the case's bytes takes at the rate of a copy of the same
size, over the same native time: the floor that no implementation can go below. At 2^24 elements of two bytes the kernels
are so short that Python, which starts them, can be what is measured. `vit_memory.py --device cuda` has a network's memory.

    python benchmarks/gpu.py [--rounds 15] [--sizes 24 27] [--dtypes bfloat16 float32] [--device cuda]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from activations import CASES, RELU_MOVES, Case, both_ways
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

import tieless
from tieless.ops.dispatch import choose

# Bytes: forward and backward read one operand and write one each, and the codes of two bits once each.
GELU = Case("gelu", "regelu2", 16.5, 1.3, 0.8)
GELU_MOVES = 20  # z, y; z, feedback, result
TURN = 0.01
"""Seconds that a turn lasts, about."""


def machine(device: str) -> str:
    """The GPU, and the versions that matter."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return f"{name}, CUDA {torch.version.cuda}, torch {torch.__version__}, tieless {tieless.__version__}"


def seconds(call: Callable[[], object], repeats: int, device: str) -> float:
    """Of one call among several in a row."""
    if device != "cuda":
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(repeats):
        call()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1000 / repeats


def medians(cases: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, float]:
    """Seconds of one call of each case: the median over rounds in which they take turns."""
    repeats: dict[str, int] = {}
    for name, call in cases.items():
        seconds(call, 1, device)  # compiles its kernels
        repeats[name] = max(1, int(TURN / seconds(call, 1, device)))
    times = [{name: seconds(call, repeats[name], device) for name, call in cases.items()} for _ in range(rounds)]
    return {name: statistics.median(taken[name] for taken in times) for name in cases}


def measure(size: int, dtype: torch.dtype, rounds: int, device: str) -> dict[str, float]:
    """Seconds of each case, of the native ones, and of a copy."""
    z = torch.randn(size, device=device).to(dtype).requires_grad_()
    feedback = torch.randn(size, device=device).to(dtype)
    target = torch.empty_like(feedback)
    cases = {"native relu": both_ways(F.relu, z, feedback), "native gelu": both_ways(F.gelu, z, feedback)}
    cases |= {case.name: both_ways(case.function(), z, feedback) for case in [*CASES, GELU]}
    return medians(cases | {"copy": lambda: target.copy_(feedback)}, rounds, device)


def limit(moved: float, dtype: torch.dtype, taken: Mapping[str, float], native: str) -> float:
    """The time of moving so many bytes an element of float32, over the native one's; bits are as many in any dtype."""
    operands, bits = divmod(moved, 4)
    return (operands + bits / dtype.itemsize) / 2 * taken["copy"] / taken[native]


def table(dtype: torch.dtype, sizes: list[int], rounds: int, device: str) -> Table:
    """Cases by sizes."""
    kernels = choose(torch.empty(0, dtype=dtype, device=device)).__name__.rpartition(".")[2]
    result = Table(title=f"Forward + backward over the native activation, {str(dtype)[6:]}, kernels: {kernels}")
    result.add_column("case")
    for size in sizes:
        result.add_column(f"2^{size}", justify="right")
        result.add_column("limit", justify="right", style="dim")
    result.add_column("target", justify="right")
    measured = [measure(2**size, dtype, rounds, device) for size in sizes]
    for native, moves in (("native relu", RELU_MOVES), ("native gelu", GELU_MOVES)):
        cells = [(f"{taken[native] * 1e6:.0f} us", f"{limit(moves, dtype, taken, native):.2f}") for taken in measured]
        result.add_row(native, *[cell for pair in cells for cell in pair], "")
    for case in [*CASES, GELU]:
        native = "native gelu" if case is GELU else "native relu"
        row = [case.name]
        for taken in measured:
            ratio = taken[case.name] / taken[native]
            row.append(f"[{'green' if ratio <= case.large else 'red'}]{ratio:.2f}[/]")
            row.append(f"{limit(case.moved, dtype, taken, native):.2f}")
        result.add_row(*row, f"{case.large}")
    return result


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each [15]")
    parser.add_argument("--sizes", type=int, nargs="+", default=[24, 27], help="powers of 2 [24 27]")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], help="[bfloat16 float32]")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu only tries the script [cuda]")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device: nothing to measure.")
        return
    console = Console(width=120)
    console.print(machine(options.device), soft_wrap=True)
    for dtype in options.dtypes:
        console.print(table(getattr(torch, dtype), options.sizes, options.rounds, options.device))


if __name__ == "__main__":
    main()
