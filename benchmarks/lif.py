"""Leaky neurons over time: ``LIF.over_time`` beside the cells of snnTorch and SpikingJelly, with the same surrogate.

A layer of 128 x 256 neurons sees a sequence; a call is a forward and a backward pass. Ratios are a peer's processor time
over ours, medians over rounds in which all take turns: 2 is twice as fast as the peer. `kept` are the bytes that wait for
the backward pass, for each neuron and time step, of what is not the input. The gradients are compared first. `first` is
the processor time of the first call, of compiled code in an empty cache, with the compilers of C++.

    python benchmarks/lif.py [--steps 25 100] [--rounds 15] [--compiled] [--threads 1] [--path build/peers]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from compiled import compile_here, processor_time
from interleaved import machine, results_in_turns
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tieless import ATan
from tieless.nn import LIF

Run = Callable[[Tensor], Tensor]


def ours() -> Run:
    """Our cell, which resets at the next time step as snnTorch's does."""
    cell = LIF(0.9, backward=ATan.from_alpha(2), delay_reset=True)
    return lambda x: cell.over_time(x)[0]


def snntorch() -> Run:
    """The cell of snnTorch."""
    snn: Any = importlib.import_module("snntorch")
    surrogate: Any = importlib.import_module("snntorch.surrogate")
    cell = snn.Leaky(beta=0.9, spike_grad=surrogate.atan(alpha=2.0))

    def run(x: Tensor) -> Tensor:
        memory, spikes = torch.zeros_like(x[0]), []
        for step in x.unbind():
            fired, memory = cell(step, memory)
            spikes.append(fired)
        return torch.stack(spikes)

    return run


def ours_from_tau() -> Run:
    """Our cell with the time step of SpikingJelly."""
    cell = LIF.from_tau(2.0, reset="zero", forward="heaviside(at_zero=1)", backward=ATan.from_alpha(2))
    return lambda x: cell.over_time(x)[0]


def spikingjelly() -> Run:
    """The cell of SpikingJelly, over all steps, by PyTorch."""
    neuron: Any = importlib.import_module("spikingjelly.activation_based.neuron")
    surrogate: Any = importlib.import_module("spikingjelly.activation_based.surrogate")
    cell = neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(alpha=2.0), detach_reset=True, step_mode="m")

    def run(x: Tensor) -> Tensor:
        cell.reset()
        return cell(x)

    return run


PEERS = {"snnTorch": (snntorch, ours), "SpikingJelly": (spikingjelly, ours_from_tau)}


def call(run: Run, x: Tensor, feedback: Tensor) -> Callable[[], float]:
    """Processor time of both passes."""

    def timed() -> float:
        start = time.process_time()
        torch.autograd.grad(run(x), x, feedback)
        return time.process_time() - start

    return timed


def kept(run: Run, x: Tensor) -> float:
    """Bytes kept for each neuron and time step."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() != x.untyped_storage().data_ptr():
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = run(x)  # held, so that no two tensors have one place
    return sum(found.values()) / y.numel()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 100], help="lengths of the sequence [25 100]")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each [15]")
    parser.add_argument("--neurons", type=int, nargs=2, default=[128, 256], help="batch and width [128 256]")
    parser.add_argument(
        "--compiled", action="store_true", help="by torch.compile too, which takes minutes for 100 steps"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch [1]")
    parser.add_argument("--path", default="build/peers", help="where the peers were installed [build/peers]")
    options = parser.parse_args()
    sys.path.append(options.path)
    torch.set_num_threads(options.threads)
    if options.compiled:
        compile_here()
        torch.compile(torch.sin)(torch.zeros(8))  # loads the compiler
    console = Console(width=130)
    console.print(machine(), soft_wrap=True)
    table = Table(title=f"Times faster than the peer, {' x '.join(map(str, options.neurons))} neurons, target 2")
    table.add_column("peer")
    for heading in (
        "steps",
        "",
        "peer, ms",
        "ours, ms",
        "times faster",
        "peer keeps",
        "ours keeps",
        "peer, first s",
        "ours, first s",
    ):
        table.add_column(heading, justify="right")
    block = torch.empty(8_000_000)  # glibc then keeps what is freed
    del block
    for name, makes in PEERS.items():
        try:
            makes[0]()
        except ImportError as error:
            console.print(f"{name} is not installed ({error}): its rows are left out.", soft_wrap=True)
            continue
        for steps in options.steps:
            for how in ("eager", "compiled") if options.compiled else ("eager",):
                table.add_row(name, str(steps), how, *_row(makes, steps, how, options))
    console.print(table)


def _row(makes: tuple[Callable[[], Run], ...], steps: int, how: str, options: argparse.Namespace) -> list[str]:
    torch.manual_seed(0)
    x = torch.randn(steps, *options.neurons).requires_grad_()
    feedback = torch.randn_like(x)
    runs = [make() for make in makes]
    if how == "compiled":
        runs = [torch.compile(run, dynamic=False) for run in runs]
    first: list[float] = []
    gradients: list[Tensor] = []
    for run in runs:
        start = processor_time()
        gradients += torch.autograd.grad(run(x), x, feedback)
        first.append(processor_time() - start)
    theirs, mine = gradients
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    taken = results_in_turns({str(i): call(run, x, feedback) for i, run in enumerate(runs)}, rounds=options.rounds)
    faster = statistics.median(one / other for one, other in zip(taken["0"], taken["1"], strict=True))
    times = [f"{1000 * statistics.median(one):.1f}" for one in taken.values()]
    told = [f"{kept(run, x):.1f}" for run in runs] + [f"{seconds:.1f}" for seconds in first]
    return [*times, f"[{'green' if faster >= 2 else 'red'}]{faster:.2f}[/]", *told]


if __name__ == "__main__":
    main()
