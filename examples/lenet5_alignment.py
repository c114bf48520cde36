"""How far is untied feedback from tied feedback in LeNet-5, at its start and after some training?

Prints the cosine of each layer's weight gradient with the tied one, means and 95 % intervals over batches of 64 images of
Fashion-MNIST, before the first step and after ``--steps`` of Adam by the network's own rule. Heaviside, which has no
derivative, is compared with its smoothed twin. Images that were generated take the place of Fashion-MNIST where it is not
there, and the title says so.

    python examples/lenet5_alignment.py [--steps 300]
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

import tieless as tl
from tieless.data import is_available, load
from tieless.models import LeNet5

BATCH = 64
BATCHES = 8
LAYERS = {"0": "conv1", "3": "conv2", "7": "fc1", "9": "fc2", "11": "fc3"}
CASES = [
    ("linear", "full_jam"),
    ("relu", "constant"),
    ("relu", "full_jam"),
    ("relu", "positive_jam"),
    ("logistic", "constant"),
    ("logistic", "full_jam"),
    ("heaviside", "constant"),
    ("heaviside", "rectangular"),
]


def images() -> tuple[str, Tensor, Tensor]:
    if is_available("fashion-mnist"):
        data = load("fashion-mnist", seed=0)
        return "Fashion-MNIST", data.train_x, data.train_y
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (20_000,), generator=generator)
    patterns = torch.rand(10, 1, 28, 28, generator=generator)
    return "generated images", patterns[labels] * torch.rand(len(labels), 1, 28, 28, generator=generator), labels


def train(net: torch.nn.Module, x: Tensor, labels: Tensor, steps: int) -> None:
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(steps):
        chosen = torch.randint(0, len(x), (BATCH,))
        optimiser.zero_grad()
        F.cross_entropy(net(x[chosen]), labels[chosen]).backward()
        optimiser.step()


def row(net: torch.nn.Module, batches: list[tuple[Tensor, Tensor]]) -> list[str]:
    cells: list[str] = []
    found = tl.alignment(net, F.cross_entropy, batches).layers
    for name in LAYERS:
        low, high = found[name].cosine_interval or (0.0, 0.0)
        cells.append(f"{found[name].cosine:5.2f} +- {(high - low) / 2:.2f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of training before the second look [300]")
    steps = parser.parse_args().steps
    name, x, labels = images()
    batches = [(x[i : i + BATCH], labels[i : i + BATCH]) for i in range(0, BATCHES * BATCH, BATCH)]
    table = Table("forward, rule", "steps", *LAYERS.values(), title=f"Cosine of LeNet-5's weight gradients, {name}")
    for forward, backward in CASES:
        torch.manual_seed(0)
        net = LeNet5(forward, backward)
        table.add_row(f"{forward}, {backward}", "0", *row(net, batches))
        train(net, x, labels, steps)
        table.add_row("", str(steps), *row(net, batches), end_section=True)
    Console().print(table)


if __name__ == "__main__":
    main()
