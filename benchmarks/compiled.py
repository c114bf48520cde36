"""Is a compiled training step as fast untied as with PyTorch's own ReLU, and as with the same rule of a peer?

Network and loss are compiled as one graph by Inductor; a step is a forward and a backward pass. Every ratio is over the
same network, compiled, with ``nn.ReLU``: the median over rounds in which the networks take turns, of processor time, so
that other programs disturb it less. `graphs` is how many Dynamo has made after two steps: one, where nothing was
compiled anew. With ``--compiling`` the first step is measured, in an empty cache, the compilers of C++ included. With
``--choices`` it measures what ``tieless.ops.fusing`` has to choose between: steps with each operation fused, over steps
with its operator, in every dtype.

    python benchmarks/compiled.py [--networks mlp lenet5 vit snn] [--only atan jam] [--rounds 30] [--threads 1] [--path build/peers]
    python benchmarks/compiled.py --networks mlp --only rectangular --compiling
    python benchmarks/compiled.py --choices
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from interleaved import machine, results_in_turns
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from vit_memory import WIDTH, Block

from tieless import Activation, ATan, Sigmoid
from tieless.models import LeNet5
from tieless.nn import LIF

CLASSES = 10
NATIVE = "native ReLU"
Make = Callable[[], nn.Module]


class Called(nn.Module):
    """A peer's function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        """Result of the function."""
        return self.function(z)


def of_peer(peer: str, make: Callable[[Any], Callable[[Tensor], Tensor]]) -> Make:
    """An activation of a peer, imported when it is made."""
    return lambda: Called(make(importlib.import_module(f"{peer}.surrogate")))


SNNTORCH, SPIKINGJELLY = "snntorch", "spikingjelly.activation_based"
ACTIVATIONS: dict[str, Make] = {
    NATIVE: nn.ReLU,
    **{
        f"{forward} + {rule}": partial(Activation, forward, rule)
        for forward, rule in (
            ("relu", "tied"),
            ("relu", "rectangular"),
            ("heaviside", "rectangular"),
            ("sign", "rectangular(-1, 1)"),
            ("heaviside", "constant"),
            ("heaviside", "triangular"),
        )
    },
    "heaviside + atan": partial(Activation, "heaviside", ATan.from_alpha(2)),
    "  snnTorch": of_peer(SNNTORCH, lambda module: module.atan(alpha=2.0)),
    "  SpikingJelly": of_peer(SPIKINGJELLY, lambda module: module.ATan(alpha=2.0)),
    "heaviside + sigmoid": partial(Activation, "heaviside", Sigmoid.from_alpha(4)),
    "  snnTorch's sigmoid": of_peer(SNNTORCH, lambda module: module.sigmoid(slope=4)),
    "  SpikingJelly's sigmoid": of_peer(SPIKINGJELLY, lambda module: module.Sigmoid(alpha=4.0)),
    "relu + full_jam": partial(Activation, "relu", "full_jam"),
    "relu + positive_jam": partial(Activation, "relu", "positive_jam"),
}
TARGETS = {name: 1.02 if "jam" in name else 1.0 for name in ACTIVATIONS}
COMPILE = 1.2


class Spiking(nn.Module):
    """Two layers of leaky neurons over time, whose spikes are the activation; scores are sums over time."""

    def __init__(self, make: Make, steps: int, width: int = 128) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.cells = nn.ModuleList(LIF(0.9) for _ in range(2))
        for cell in self.cells:
            cell.spike = make()
        self.scores = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of an input that is the same at each step."""
        states: list[Tensor | None] = [None, None]
        total = torch.zeros(len(x), CLASSES)
        for _ in range(self.steps):
            spikes = x
            for i, (layer, cell) in enumerate(zip(self.layers, self.cells, strict=True)):
                spikes, states[i] = cell(layer(spikes), states[i])
            total = total + self.scores(spikes)
        return total


def mlp(make: Make, depth: int = 8, width: int = 256) -> nn.Module:
    """A deep, plain network."""
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), make())]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def lenet5(make: Make) -> nn.Module:
    """Batch norm before each activation and a pool behind most."""
    net = LeNet5(norm="batch")
    for name, module in list(net.named_children()):
        if isinstance(module, Activation):
            setattr(net, name, make())
    return net


def vit(make: Make) -> nn.Module:
    """One block of a vision transformer."""
    return nn.Sequential(Block(make()), nn.Flatten(), nn.Linear(64 * WIDTH, CLASSES))


NETWORKS: dict[str, tuple[str, Callable[[Make], nn.Module], tuple[int, ...]]] = {
    "mlp": ("MLP, 8 x 256, batch 512", mlp, (512, 256)),
    "lenet5": ("LeNet-5 with batch norm, batch 64", lenet5, (64, 1, 28, 28)),
    "vit": ("block of a ViT, width 384, 64 tokens, batch 8", vit, (8, 64, WIDTH)),
    "snn": ("SNN, 2 x 128, 25 steps, batch 128", partial(Spiking, steps=25), (128, 128)),
    "short": ("MLP, 2 x 256, batch 512", partial(mlp, depth=2), (512, 256)),
    "small": ("MLP, 1 x 16, batch 8", partial(mlp, depth=1, width=16), (8, 16)),
}


def processor_time() -> float:
    """Seconds of this process and of the compilers that it has started."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class Step:
    """One training step of a fresh network, compiled."""

    def __init__(
        self, network: Callable[[Make], nn.Module], make: Make, shape: tuple[int, ...], backend: str, dtype: torch.dtype
    ) -> None:
        torch.manual_seed(0)
        x, target = torch.randn(shape, dtype=dtype), torch.randint(0, CLASSES, shape[:1])
        net = network(make).to(dtype)
        self._parameters = list(net.parameters())

        def loss() -> Tensor:
            return F.cross_entropy(net(x).float(), target)

        # Networks that are alike, of the same rule in two forms, would share what was compiled of one code object.
        loss.__code__ = loss.__code__.replace(co_name=f"loss_{id(self)}")
        self._loss = torch.compile(loss, backend=backend, fullgraph=True, dynamic=False)
        counters = importlib.import_module("torch._dynamo.utils").counters
        counters.clear()
        start = processor_time()
        self()
        self.compiling = processor_time() - start
        self()
        self.graphs = counters["stats"]["unique_graphs"]

    def __call__(self) -> float:
        """Processor time of a step."""
        for parameter in self._parameters:
            parameter.grad = None
        start = time.process_time()
        self._loss().backward()
        return time.process_time() - start


def ratios(steps: dict[str, Step], over: str, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each step, and its ratio over another: medians, over rounds."""
    gc.collect()
    taken = results_in_turns(steps, rounds=rounds)
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    pairs = {name: zip(times, taken[over], strict=True) for name, times in taken.items()}
    return seconds, {name: statistics.median(one / other for one, other in both) for name, both in pairs.items()}


def colour(number: float, target: float) -> str:
    """The number, green if it is within its target as it is printed."""
    return f"[{'green' if round(number, 2) <= target else 'red'}]{number:.2f}[/]"


def one_network(name: str, options: argparse.Namespace) -> Table:
    """The table of a network."""
    title, network, shape = NETWORKS[name]
    makes = {}
    for activation, make in ACTIVATIONS.items():
        try:
            make()
        except ImportError:
            continue
        if activation == NATIVE or any(part in activation for part in options.only):
            makes[activation] = make
    steps = {one: Step(network, make, shape, options.backend, torch.float32) for one, make in makes.items()}
    seconds, over = ratios(steps, NATIVE, options.rounds)
    table = Table(title=f"{title}, {options.backend}")
    table.add_column("activation")
    headings = ["ms", "over native", "target", "graphs", *(["compile, s", "over native"] if options.compiling else [])]
    for heading in headings:
        table.add_column(heading, justify="right")
    for one, step in steps.items():
        ours = not one.startswith(" ") and one != NATIVE
        row = [one, f"{1000 * seconds[one]:.2f}"]
        row += [colour(over[one], TARGETS[one]), f"{TARGETS[one]:.2f}"] if ours else [f"{over[one]:.2f}", ""]
        row.append(str(step.graphs))
        if options.compiling:
            longer = step.compiling / steps[NATIVE].compiling
            row += [f"{step.compiling:.1f}", colour(longer, COMPILE) if ours else f"{longer:.2f}"]
        table.add_row(*row)
    return table


CHOICES = {
    "windows": ("relu", "rectangular"),
    "codes": ("relu", "few_bit(3)"),
    "gelu": ("gelu", "constant"),
    "silu": ("silu", "constant"),
    "jam": ("relu", "full_jam"),
}


def choices(options: argparse.Namespace) -> Table:
    """Steps with an operation fused over steps with its operator."""
    fusing = importlib.import_module("tieless.ops.fusing")
    dtypes = [getattr(torch, name) for name in options.dtypes]
    table = Table(title="Fused over operator, a training step")
    table.add_column("operation")
    columns = [(network, dtype) for network in ("short", "lenet5") for dtype in dtypes]
    for network, dtype in columns:
        table.add_column(f"{network}, {str(dtype).removeprefix('torch.')}", justify="right")
    for name, pair in CHOICES.items():
        if not any(part in name for part in options.only):
            continue
        cells = []
        for network, dtype in columns:
            _, make, shape = NETWORKS[network]
            steps = {}
            for form in fusing.FORMS:
                fusing.forced.cache_clear()
                os.environ["TIELESS_COMPILED"] = form
                steps[form] = Step(make, partial(Activation, *pair), shape, options.backend, dtype)
            cells.append(colour(ratios(steps, "operators", options.rounds)[1]["fused"], 1.0))
        table.add_row(name, *cells)
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["mlp", "lenet5", "vit", "snn"])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="those with one of these in their names, and native ReLU"
    )
    parser.add_argument("--rounds", type=int, default=30, help="turns of each [30]")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch [1]")
    parser.add_argument("--path", default="build/peers", help="where the peers were installed [build/peers]")
    parser.add_argument("--backend", default="inductor", help="of torch.compile [inductor]")
    parser.add_argument("--compiling", action="store_true", help="measure the first step too, in an empty cache")
    parser.add_argument("--choices", action="store_true", help="measure both forms of each operation")
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32", "float64", "bfloat16", "float16"], help="of --choices"
    )
    options = parser.parse_args()
    sys.path.append(options.path)
    console = Console(width=120)
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if options.backend == "inductor" and not any(map(shutil.which, compilers)):
        console.print(f"No C++ compiler ({' or '.join(compilers)}) is here, which inductor needs: nothing measured.")
        return
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as cache:
        if options.compiling:
            _from_scratch(cache)
        _print(options, console)


def compile_here() -> None:
    """Let all that is compiled be compiled anew, in this process, whose time is taken."""
    settings = importlib.import_module("torch._inductor.config")
    settings.compile_threads, settings.cpp_cache_precompile_headers, settings.force_disable_caches = 1, False, True


def _from_scratch(cache: str) -> None:
    """Compile everything anew, in an empty folder. The first network loads the compiler."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    compile_here()
    _, network, shape = NETWORKS["small"]
    Step(network, nn.Tanh, shape, "inductor", torch.float32)


def _print(options: argparse.Namespace, console: Console) -> None:
    console.print(machine(), soft_wrap=True)
    if options.choices:
        console.print(choices(options))
        return
    for name in options.networks:
        console.print(one_network(name, options))


if __name__ == "__main__":
    main()
