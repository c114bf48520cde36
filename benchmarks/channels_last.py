"""What does an untied activation cost where the channels of images lie side by side? Against native ReLU there.

Each number is the time of a forward and a backward pass over that of native ReLU on the same images, channels last; beside
it what the same case takes over it with channels first. Medians of interleaved runs, one thread, float32.

    python benchmarks/channels_last.py [--rounds 15] [--images 64]
"""

from __future__ import annotations

import argparse

import torch
from activations import both_ways
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from tieless import untie

SHAPES = [(6, 28, 28), (16, 10, 10), (64, 14, 14), (128, 7, 7)]
RULES = ["tied", "rectangular", "full_jam", "positive_jam"]
LAYOUTS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}


def measure(shape: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Seconds of native ReLU and of each rule, in each layout: ``rule, layout``."""
    cases = {}
    for layout, memory_format in LAYOUTS.items():
        z, feedback = (torch.randn(shape).contiguous(memory_format=memory_format) for _ in range(2))
        z.requires_grad_()
        cases[f"native relu, {layout}"] = both_ways(F.relu, z, feedback)
        for rule in RULES:
            cases[f"{rule}, {layout}"] = both_ways(lambda z, rule=rule: untie(z, "relu", rule), z, feedback)
    return medians(cases, rounds=rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    taken = {shape: measure((options.images, *shape), options.rounds) for shape in SHAPES}
    names = ["x".join(map(str, shape)) for shape in SHAPES]
    table = Table("relu +", *names, title=f"{options.images} images, channels last (channels first)")
    table.add_row("native", *(f"{seconds['native relu, channels last'] * 1e6:.0f} us" for seconds in taken.values()))
    for rule in RULES:
        ratios = [
            [seconds[f"{rule}, {x}"] / seconds[f"native relu, {x}"] for x in LAYOUTS] for seconds in taken.values()
        ]
        table.add_row(rule, *(f"{last:.2f} ({first:.2f})" for last, first in ratios))
    console = Console(width=120)
    console.print(machine())
    console.print(table)


if __name__ == "__main__":
    main()
