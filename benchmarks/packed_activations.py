"""How much of a step network's activation memory do `untie` and `packed_activations` save, and at what price in time?

Each network is trained three ways: with a Heaviside whose surrogate is written by hand and saves its float input, as
surrogates are usually written; with `untie`; and with `untie` under `packed_activations`. Memory is what the forward
pass makes and something still keeps when the backward pass is about to start: each storage once, parameters and input
batch not counted. The three take turns at training steps, so that what else the machine does falls on all alike.

    python benchmarks/packed_activations.py [--rounds 30] [--threads 1]
"""

from __future__ import annotations

import argparse
import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tieless import Activation
from tieless.packing import packed_activations

CLASSES = 10


class SavedInput(torch.autograd.Function):
    """Heaviside with a rectangular surrogate by hand: ``z`` is saved in float."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        """The step."""
        ctx.save_for_backward(z)
        return (z > 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        """The window."""
        (z,) = ctx.saved_tensors
        return grad_output * (z.abs() <= 0.5).to(z.dtype)


class ByHand(nn.Module):
    """``SavedInput`` as a layer."""

    def forward(self, z: Tensor) -> Tensor:
        """The step."""
        return SavedInput.apply(z)


def rectangular() -> nn.Module:
    """The same by ``untie``."""
    return Activation("heaviside", "rectangular")


WAYS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "by hand, saves z": (ByHand, contextlib.nullcontext),
    "untie": (rectangular, contextlib.nullcontext),
    "untie, packed": (rectangular, packed_activations),
}


def mlp(activation: Callable[[], nn.Module], norm: bool) -> tuple[nn.Module, Tensor]:
    """8 x (Linear 256 + activation), then scores; a batch of 512."""
    layers: list[nn.Module] = []
    for _ in range(8):
        layers += [nn.Linear(256, 256), *([nn.BatchNorm1d(256)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(256, CLASSES)), torch.randn(512, 256)


def cnn(activation: Callable[[], nn.Module], norm: bool) -> tuple[nn.Module, Tensor]:
    """Six 3 x 3 convolutions, two of them with stride 2, then scores; a batch of 32 images of 3 x 32 x 32."""
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in [(32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1)]:
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1), *([nn.BatchNorm2d(width)] if norm else [])]
        layers += [activation()]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 64, CLASSES)), torch.randn(32, 3, 32, 32)


WHY = (
    "Without batch norm the floats are the log softmax of the scores; the rest is two bits an activation.",
    "With it they are its inputs too. Its backward pass needs them in full: only to compute them again would save them.",
    "The gradients of the three ways were equal bit for bit.",
)

NETWORKS = {
    "MLP": lambda activation: mlp(activation, norm=False),
    "CNN": lambda activation: cnn(activation, norm=False),
    "MLP, batch norm": lambda activation: mlp(activation, norm=True),
    "CNN, batch norm": lambda activation: cnn(activation, norm=True),
}


class Made(TorchDispatchMode):
    """Follows every storage that is made inside, weakly."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[weakref.ref[torch.UntypedStorage], tuple[int, torch.dtype]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, and note what is new."""
        out = func(*args, **(kwargs or {}))
        given = [value.untyped_storage() for value in args if isinstance(value, Tensor)]
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in given:
                storage = tensor.untyped_storage()
                self.storages[weakref.ref(storage)] = storage.nbytes(), tensor.dtype
        return out

    def kept(self) -> dict[torch.dtype, int]:
        """Bytes of those that are still there."""
        totals: dict[torch.dtype, int] = {}
        for storage, (nbytes, dtype) in self.storages.items():
            if storage() is not None:
                totals[dtype] = totals.get(dtype, 0) + nbytes
        return totals


class Runner:
    """One network, trained one way."""

    def __init__(self, make: Callable[..., tuple[nn.Module, Tensor]], way: str) -> None:
        torch.manual_seed(0)
        activation, self.context = WAYS[way]
        self.net, self.x = make(activation)
        self.target = torch.randint(0, CLASSES, (len(self.x),))
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=0.01)

    def loss(self) -> Tensor:
        """The forward pass. The context is around it alone, as it is enough."""
        with self.context():
            return F.cross_entropy(self.net(self.x), self.target)

    def step(self) -> None:
        """One training step."""
        self.optimiser.zero_grad()
        self.loss().backward()
        self.optimiser.step()

    def gradients(self) -> list[Tensor]:
        """Of the first step."""
        self.optimiser.zero_grad()
        self.loss().backward()
        return [parameter.grad for parameter in self.net.parameters()]

    def memory(self) -> dict[torch.dtype, int]:
        """Bytes kept between the two passes."""
        with Made() as made:
            loss = self.loss()
        kept = made.kept()
        loss.backward()
        return kept


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="turns of each [30]")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch [1]")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table("network", "activations", "KiB kept", "less", "ms a step", "ratio")
    notes: list[str] = []
    for network, make in NETWORKS.items():
        runners = {way: Runner(make, way) for way in WAYS}
        reference, *others = [runner.gradients() for runner in runners.values()]
        for gradients in others:
            assert all(torch.equal(one, other) for one, other in zip(reference, gradients, strict=True))
        memory = {way: runner.memory() for way, runner in runners.items()}
        seconds = medians({way: runner.step for way, runner in runners.items()}, rounds=options.rounds)
        first, *_, last = WAYS
        for way in WAYS:
            kept = sum(memory[way].values())
            table.add_row(
                network if way == first else "",
                way,
                f"{kept / 1024:.0f}",
                f"{sum(memory[first].values()) / kept:.1f}x",
                f"{1000 * seconds[way]:.2f}",
                f"{seconds[way] / seconds[first]:.2f}",
                end_section=way == last,
            )
        left, floats = sum(memory[last].values()), memory[last].get(torch.float32, 0)
        batch, before = runners[last].x.nbytes, sum(memory[first].values())
        notes.append(
            f"{network}: of the last {left / 1024:.0f} KiB, {floats / 1024:.0f} are floats. "
            f"With the batch of inputs, {batch / 1024:.0f} KiB: {(before + batch) / (left + batch):.1f}x less."
        )
    console = Console()
    console.print(machine(), soft_wrap=True)
    console.print(table)
    console.print(*notes, *WHY, sep="\n", soft_wrap=True)


if __name__ == "__main__":
    main()
