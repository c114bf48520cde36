"""Is a compiled training step as fast untied as tied? An MLP of 8 x (Linear 256 + activation), batch 512.

Network and loss are compiled as one graph, the SGD step is PyTorch's own. The untied networks are measured against the
compiled network that is tied: once with PyTorch's own ReLU, once with `untie`'s `tied`. Medians of interleaved runs.

    python benchmarks/compiled_mlp.py [--rounds 30] [--threads 1] [--depth 8] [--width 256] [--batch 512]
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable

import torch
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from tieless import Activation

CLASSES = 10
TARGET = 1.05
NATIVE, TIED = "native ReLU", "relu + tied"
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    NATIVE: nn.ReLU,
    TIED: lambda: Activation("relu", "tied"),
    "relu + rectangular": lambda: Activation("relu", "rectangular"),
    "relu + full_jam": lambda: Activation("relu", "full_jam"),
    "heaviside + rectangular": lambda: Activation("heaviside", "rectangular"),
}


def step(make: Callable[[], nn.Module], options: argparse.Namespace, backend: str | None) -> Callable[[], object]:
    """One training step of a fresh network; eager without a backend."""
    torch.manual_seed(0)
    layers = [layer for _ in range(options.depth) for layer in (nn.Linear(options.width, options.width), make())]
    net = nn.Sequential(*layers, nn.Linear(options.width, CLASSES))
    x, target = torch.randn(options.batch, options.width), torch.randint(0, CLASSES, (options.batch,))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)

    def loss() -> Tensor:
        return F.cross_entropy(net(x), target)

    run = torch.compile(loss, backend=backend, fullgraph=True, dynamic=False) if backend else loss

    def whole() -> None:
        optimiser.zero_grad()
        run().backward()
        optimiser.step()

    return whole


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="turns of each [30]")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch [1]")
    parser.add_argument("--depth", type=int, default=8, help="hidden layers [8]")
    parser.add_argument("--width", type=int, default=256, help="their width [256]")
    parser.add_argument("--batch", type=int, default=512, help="rows in a batch [512]")
    parser.add_argument("--backend", default="inductor", help="of torch.compile [inductor]")
    options = parser.parse_args()
    console = Console(width=120)
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if options.backend == "inductor" and not any(map(shutil.which, compilers)):
        console.print(f"No C++ compiler ({' or '.join(compilers)}) is here, which inductor needs: nothing measured.")
        return
    torch.set_num_threads(options.threads)
    steps = {f"{name}, compiled": step(make, options, options.backend) for name, make in ACTIVATIONS.items()}
    steps |= {f"{name}, eager": step(make, options, None) for name, make in ACTIVATIONS.items()}
    seconds = medians(steps, rounds=options.rounds, seconds=0.1)
    title = f"A training step of {options.depth} x {options.width}, batch {options.batch}, {options.backend}"
    table = Table(title=title)
    table.add_column("activation")
    for heading in ("compiled, ms", f"over {NATIVE}", f"over {TIED}", "target", "eager, ms", f"over {NATIVE}"):
        table.add_column(heading, justify="right")
    for name in ACTIVATIONS:
        compiled, eager = seconds[f"{name}, compiled"], seconds[f"{name}, eager"]
        over = [compiled / seconds[f"{tied}, compiled"] for tied in (NATIVE, TIED)]
        table.add_row(
            name,
            f"{1000 * compiled:.2f}",
            *(f"[{'green' if ratio <= TARGET else 'red'}]{ratio:.2f}[/]" for ratio in over),
            f"{TARGET}",
            f"{1000 * eager:.2f}",
            f"{eager / seconds[f'{NATIVE}, eager']:.2f}",
        )
    console.print(machine(), soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()
