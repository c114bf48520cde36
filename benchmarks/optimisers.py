"""What does a step of ``DirectionFirst`` take? Against Adam, against PyTorch's Muon, and beside the passes that it follows.

Each number is the time of the optimiser's step alone; the passes are a forward and a backward pass on one batch. Muon takes
no kernels and no biases: in its column the matrices are Muon's and the rest is Adam's. Medians of interleaved runs, one
thread, float32.

    python benchmarks/optimisers.py [--rounds 15]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from tieless.models import MLP, LeNet5
from tieless.optim import DirectionFirst

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "LeNet-5, batch 64": (LeNet5, 64),
    "MLP 2 x 256, batch 128": (lambda: MLP(784, [256] * 2, 10), 128),
    "MLP 20 x 128, batch 128": (lambda: MLP(784, [128] * 20, 10), 128),
    "MLP 50 x 128, batch 128": (lambda: MLP(784, [128] * 50, 10), 128),
}


def passes(network: nn.Module, batch: int) -> Callable[[], object]:
    """A forward and a backward pass on random images."""
    images, labels = torch.randn(batch, 1, 28, 28), torch.randint(0, 10, (batch,))

    def both() -> None:
        network.zero_grad()
        F.cross_entropy(network(images), labels).backward()

    return both


def muon(network: nn.Module) -> Callable[[], object]:
    """The step of PyTorch's Muon for matrices, and Adam's for everything else."""
    matrices = [weight for weight in network.parameters() if weight.dim() == 2]
    others = [weight for weight in network.parameters() if weight.dim() != 2]
    optimisers = torch.optim.Muon(matrices, lr=1e-6), torch.optim.Adam(others, lr=1e-6)
    return lambda: [optimiser.step() for optimiser in optimisers]


def measure(build: Callable[[], nn.Module], batch: int, rounds: int) -> dict[str, float]:
    """Seconds of the passes and of each optimiser's step."""
    network = build()
    both = passes(network, batch)
    both()
    cases: dict[str, Callable[[], object]] = {
        "passes": both,
        "Adam": torch.optim.Adam(network.parameters(), lr=1e-6).step,
        "DirectionFirst": DirectionFirst(network.parameters(), lr=1e-6).step,
    }
    if hasattr(torch.optim, "Muon"):
        cases["Muon and Adam"] = muon(network)
    return medians(cases, rounds=rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("", "passes", "Adam", "Muon and Adam", "DirectionFirst", "over Adam", "over passes")
    for name, (build, batch) in NETWORKS.items():
        taken = measure(build, batch, options.rounds)
        times = [taken.get(case) for case in ("passes", "Adam", "Muon and Adam", "DirectionFirst")]
        ours = taken["DirectionFirst"]
        table.add_row(
            name,
            *("-" if seconds is None else f"{seconds * 1e3:.2f} ms" for seconds in times),
            f"{ours / taken['Adam']:.1f}",
            f"{ours / taken['passes']:.2f}",
        )
    console = Console(width=120)
    console.print(machine())
    console.print(table)


if __name__ == "__main__":
    main()
