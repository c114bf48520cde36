"""How many times faster than the same rule in freegrad, snnTorch and SpikingJelly? Forward and backward pass, float32.

Every number is a peer's time over ours, medians of interleaved runs in this process: 2 is twice as fast as the peer.
First the gradients are compared: windows and surrogates have to be the peer's, jams to pass the same elements with the
same mean. freegrad's rule is chosen once, outside of what is measured; all parameters are the peer's own defaults.
The peers are wanted in the versions below; none needs more than PyTorch and NumPy for this.

    pip install --no-deps --target build/peers freegrad==1.0.1 snntorch==1.0.0 spikingjelly==2.0.0
    python benchmarks/peers.py [--path build/peers] [--rounds 25] [--threads 1] [--sizes 14 18 22]
"""

from __future__ import annotations

import argparse
import contextvars
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tieless import Activation, ATan, FastSigmoid, Sigmoid

Function = Callable[[Tensor], Tensor]
MODULES = {
    "freegrad": ("freegrad", "1.0.1"),
    "snntorch": ("snntorch.surrogate", "1.0.0"),
    "spikingjelly": ("spikingjelly.activation_based.surrogate", "2.0.0"),
}


@dataclass(frozen=True)
class Case:
    """One rule in a peer and here, and how many times faster it should be at 2^14 and from 2^18 up."""

    peer: str
    name: str
    theirs: Callable[[Any], Function]
    ours: Activation
    small: float | None
    large: float
    random: bool = False


def freegrad(forward: str, rule: str) -> Callable[[Any], Function]:
    """A peer's forward with its rule. The rule is kept in a context: enter it once, and run every call inside."""

    def make(module: Any) -> Function:
        activation = module.Activation(forward)
        context = contextvars.copy_context()
        context.run(module.use(rule=rule).__enter__)
        return lambda z: context.run(activation, z)

    return make


def jam(name: str, target: float) -> Case:
    """Relu with one of the jams of freegrad."""
    return Case(
        "freegrad", f"relu + {name}", freegrad("ReLU", name), Activation("relu", name), 1.8, target, random=True
    )


def window(theirs: str, ours: str) -> Case:
    """A forward with the window of freegrad."""
    case = Activation(ours, "rectangular")
    return Case("freegrad", f"{ours} + rectangular", freegrad(theirs, "rectangular"), case, 1.8, 3)


def bump(peer: str, name: str, theirs: Callable[[Any], Function], rule: ATan | Sigmoid | FastSigmoid) -> Case:
    """A step with a surrogate."""
    return Case(peer, f"heaviside + {name}", theirs, Activation("heaviside", rule), None, 3)


CASES = [
    jam("full_jam", 3.5),
    jam("positive_jam", 6),
    jam("rectangular_jam", 6),
    window("ReLU", "relu"),
    window("Heaviside", "heaviside"),
    bump("snntorch", "atan", lambda s: s.atan(alpha=2.0), ATan.from_alpha(2)),
    bump("snntorch", "fast_sigmoid", lambda s: s.fast_sigmoid(slope=25), FastSigmoid.from_slope(25)),
    bump("snntorch", "sigmoid", lambda s: s.sigmoid(slope=25), Sigmoid.from_alpha(25)),
    bump("spikingjelly", "atan", lambda s: s.ATan(alpha=2.0), ATan.from_alpha(2)),
    bump("spikingjelly", "sigmoid", lambda s: s.Sigmoid(alpha=4.0), Sigmoid.from_alpha(4)),
]


def load(peer: str) -> tuple[Any, str]:
    """The module of a peer that has the rules, or None; and one line that says what was found."""
    name, wanted = MODULES[peer]
    try:
        module, found = importlib.import_module(name), importlib.metadata.version(peer)
    except ImportError as error:
        return None, f"{peer} {wanted} is not installed ({error}): its rows are left out."
    return module, f"{peer} {found}" + ("" if found == wanted else f", not the {wanted} that the targets are for")


def compare(case: Case, theirs: Function) -> str:
    """Raise if the gradients are not the same rule's; else say what is worth knowing."""
    z = torch.randn(2**16).requires_grad_()
    peer, mine = (torch.autograd.grad(function(z).sum(), z)[0] for function in (theirs, case.ours))
    wrong = peer.isnan()
    if case.random:
        # A slope that is exactly 0 looks blocked: one in 2^24.
        same = ((peer == 0) != (mine == 0)).sum() < 3 and abs(peer.mean() - mine.mean()) < 0.01
    else:
        # In float32 1 - s is rounded to 6e-8, and snnTorch's exponential overflows.
        same = torch.allclose(peer[~wrong], mine[~wrong], rtol=1e-4, atol=1e-6)
    if not same:
        raise SystemExit(f"{case.name}: the gradient is not that of {case.peer}.")
    return (
        f"{case.peer}, {case.name}: NaN in {wrong.sum()} of {len(z)} gradients; ours has none." if wrong.any() else ""
    )


def both_ways(function: Function, z: Tensor, feedback: Tensor) -> Callable[[], object]:
    """One forward and one backward pass."""
    return lambda: torch.autograd.grad(function(z), z, feedback)


def measure(cases: dict[Case, Function], size: int, rounds: int) -> dict[Case, float]:
    """The peer's time over ours."""
    z, feedback = torch.randn(size).requires_grad_(), torch.randn(size)
    calls = {}
    for case, theirs in cases.items():
        calls[f"{case.peer} {case.name}"] = both_ways(theirs, z, feedback)
        calls[f"ours {case.peer} {case.name}"] = both_ways(case.ours, z, feedback)
    taken = medians(calls, rounds=rounds)
    return {case: taken[f"{case.peer} {case.name}"] / taken[f"ours {case.peer} {case.name}"] for case in cases}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--path", default="build/peers", help="where the peers were installed [build/peers]")
    parser.add_argument("--rounds", type=int, default=25, help="turns of each [25]")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch [1]")
    parser.add_argument("--sizes", type=int, nargs="+", default=[14, 18, 22], help="powers of 2 [14 18 22]")
    options = parser.parse_args()
    sys.path.append(options.path)
    torch.set_num_threads(options.threads)
    console = Console(width=120, highlight=False)
    console.print(machine(), soft_wrap=True)
    cases: dict[Case, Function] = {}
    for peer in MODULES:
        module, line = load(peer)
        console.print(line, soft_wrap=True)
        cases |= {case: case.theirs(module) for case in CASES if case.peer == peer and module is not None}
    if not cases:
        return
    notes = [note for case, theirs in cases.items() if (note := compare(case, theirs))]
    table = Table(title=f"Times faster than the peer, float32, {options.threads} thread(s)")
    for name in ("peer", "case"):
        table.add_column(name)
    for name in (*(f"2^{size}" for size in options.sizes), "targets"):
        table.add_column(name, justify="right")
    results = [measure(cases, 2**size, options.rounds) for size in options.sizes]
    for case in cases:
        row = [case.peer, case.name]
        for size, faster in zip(options.sizes, results, strict=True):
            target = case.small if size < 18 else case.large
            colour = "dim" if target is None else "green" if faster[case] >= target else "red"
            row.append(f"[{colour}]{faster[case]:.1f}[/]")
        table.add_row(*row, f"{case.small or '-'} / {case.large}")
    console.print(table)
    console.print(*notes, "The gradients were compared first and are those of the peers.", sep="\n", soft_wrap=True)


if __name__ == "__main__":
    main()
