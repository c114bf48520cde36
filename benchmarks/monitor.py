"""What does watching a training cost? A step of LeNet-5, and a measurement of its monitor, on one core.

A monitor measures once in ``every`` steps, so its share of the training is the time of a measurement over that of so many
steps. Steps and measurements of all networks take turns. Images are random, which changes no time.

    python benchmarks/monitor.py [--rounds 15] [--every 50]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch import nn

from tieless.diagnose import AlignmentMonitor
from tieless.models import LeNet5

BATCH = 64
MOST = 0.10
"""Of the training's time: the target."""

NETWORKS = {
    "relu, tied": ("relu", "tied"),
    "relu, full_jam": ("relu", "full_jam"),
    "logistic, constant": ("logistic", "constant"),
    "heaviside, rectangular": ("heaviside", "rectangular"),
}


def pair(forward: str, backward: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """A step of a training without a monitor, and a measurement."""
    torch.manual_seed(0)
    net = LeNet5(forward, backward)
    x, labels = torch.rand(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimiser.step()

    def measurement() -> None:
        AlignmentMonitor(net, nn.functional.cross_entropy).step((x, labels))

    return step, measurement


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each [15]")
    parser.add_argument("--every", type=int, default=50, help="steps from one measurement to the next [50]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    cases: dict[str, Callable[[], object]] = {}
    for name, halves in NETWORKS.items():
        cases[f"{name}: step"], cases[f"{name}: measurement"] = pair(*halves)
    seconds = medians(cases, rounds=options.rounds, seconds=0.05)
    table = Table(
        "LeNet-5, batch 64, Adam",
        "step",
        "measurement",
        "in steps",
        "share",
        "target",
        title=f"A monitor that measures every {options.every} steps, one thread",
    )
    for name in NETWORKS:
        step, measurement = seconds[f"{name}: step"], seconds[f"{name}: measurement"]
        share = measurement / step / options.every
        table.add_row(
            name,
            f"{1e3 * step:.1f} ms",
            f"{1e3 * measurement:.1f} ms",
            f"{measurement / step:.2f}",
            f"{100 * share:.1f} %",
            f"{100 * MOST:.0f} %",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
