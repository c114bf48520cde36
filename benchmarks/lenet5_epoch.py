"""What does untying cost a training run? Epochs of LeNet-5 on 60,000 images, on one core, against native ReLU.

The networks take turns, 100 steps at a time, so that what else the machine does falls on all of them alike. An epoch's
time is the sum over its turns of the median over the rounds. Without Fashion-MNIST the images are random, which
changes no time.

    python benchmarks/lenet5_epoch.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from tieless import Activation
from tieless.data import is_available, load
from tieless.models import LeNet5

BATCH = 64
TURN = 100


def native(backward: str = "tied") -> nn.Module:
    """LeNet-5 with PyTorch's own ReLU."""
    net = LeNet5("relu", backward)
    for i, layer in enumerate(net):
        if isinstance(layer, Activation):
            net[i] = nn.ReLU()
    return net


NETWORKS = {
    "native ReLU": native,
    "relu, tied": lambda: LeNet5("relu", "tied"),
    "relu, constant": lambda: LeNet5("relu", "constant"),
    "relu, full_jam": lambda: LeNet5("relu", "full_jam"),
    "relu, positive_jam": lambda: LeNet5("relu", "positive_jam"),
    "heaviside, rectangular": lambda: LeNet5("heaviside", "rectangular"),
}


def images() -> tuple[Tensor, Tensor]:
    """60,000 images and their labels."""
    if is_available("fashion-mnist"):
        data = load("fashion-mnist", seed=0)
        return data.train_x, data.train_y
    return torch.rand(60_000, 1, 28, 28), torch.randint(0, 10, (60_000,))


class Runner:
    """One network's endless training, taken a turn at a time."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor) -> None:
        self.net = net
        self.optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
        self.batches = self._endless(x, y)

    def _endless(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            order = torch.randperm(len(y))
            for chosen in order.split(BATCH):
                yield x[chosen], y[chosen]

    def turn(self, steps: int) -> float:
        """Seconds for some steps."""
        start = time.perf_counter()
        for _ in range(steps):
            x, y = next(self.batches)
            self.optimiser.zero_grad()
            nn.functional.cross_entropy(self.net(x), y).backward()
            self.optimiser.step()
        return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each network [3]")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    x, y = images()
    runners = {name: Runner(make(), x, y) for name, make in NETWORKS.items()}
    steps = -(-len(y) // BATCH)
    turns = [TURN] * (steps // TURN) + [steps % TURN]
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in turns] for name in runners}
    for runner in runners.values():
        runner.turn(10)
    for _ in range(rounds):
        for place, length in enumerate(turns):
            for name, runner in runners.items():
                seconds[name][place].append(runner.turn(length))
    table = Table("LeNet-5, batch 64, Adam", "seconds an epoch", "over native", title="60,000 images, one thread")
    epochs = {name: sum(map(statistics.median, places)) for name, places in seconds.items()}
    for name, epoch in epochs.items():
        table.add_row(name, f"{epoch:.2f}", f"{epoch / epochs['native ReLU']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
