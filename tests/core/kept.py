"""Bytes that eager and compiled calls keep for the backward pass, for every pair: ``python -m tests.core.kept``."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition

from tests.pairs import EVERY_PAIR, Pair
from tieless import untie
from tieless.ops import inductor

SHAPE = (16, 24)


def kept_eager(pair: Pair) -> int:
    """Bytes that an eager call keeps beside its input and its output, and those two if it keeps them."""
    z, kept = torch.randn(SHAPE, requires_grad=True), {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.update({t.data_ptr(): t.nbytes}), t)[1], lambda t: t):
        untie(z, *pair)
    return sum(kept.values())


def kept_compiled(pair: Pair) -> int:
    """Bytes that the graph of the forward pass gives to that of the backward pass, of an input that is not kept anyway."""
    kept: list[int] = []

    def look(module: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        (outputs,) = module.graph.find_nodes(op="output")
        values = [node.meta["val"] for node in outputs.args[0][1:] if isinstance(node, torch.fx.Node)]
        kept.extend(value.nbytes for value in values if value.dim())  # without the key, and numbers that follow from it
        return module.forward

    backend = aot_autograd(fw_compiler=look, partition_fn=min_cut_rematerialization_partition)
    # The product with a matrix is not computed again, and to keep what it is made of costs the same with any rule.
    x, weight = torch.randn(SHAPE), torch.randn(SHAPE[1], SHAPE[1], requires_grad=True)
    torch._dynamo.reset()
    torch.compile(lambda: untie(x @ weight, *pair), backend=backend, fullgraph=True, dynamic=False)()
    return sum(kept) - x.nbytes


def table(found: Mapping[Pair, tuple[int, int]]) -> Table:
    """Summary of all pairs: bytes an element, eager and compiled."""
    elements = SHAPE[0] * SHAPE[1]
    rows: dict[tuple[float, float], list[str]] = {}
    for (_, rule), (eager, compiled) in found.items():
        rows.setdefault((eager / elements, compiled / elements), []).append(rule.partition("(")[0])
    printed = Table(title=f"Bytes kept for each element, float32, {len(found)} pairs")
    for heading in ("eager", "compiled", "pairs"):
        printed.add_column(heading, justify="right")
    printed.add_column("rules, the most frequent first")
    for (eager, compiled), rules in sorted(rows.items()):
        names = sorted(set(rules), key=lambda name: (-rules.count(name), name))
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        printed.add_row(f"{eager:.3f}", f"{compiled:.3f}", str(len(rules)), shown)
    return printed


def main() -> None:
    """Ask every pair, with all fused, and print the table."""
    warnings.simplefilter("ignore")
    os.environ["TIELESS_COMPILED"] = "fused"
    importlib.import_module("torch._inductor.compile_fx")
    assert inductor.is_loaded()
    found = {pair: (kept_eager(pair), kept_compiled(pair)) for pair in EVERY_PAIR}
    console = Console(width=120)
    console.print(table(found))
    console.print(f"Compiled more than eager: {sum(compiled > eager for eager, compiled in found.values())} pairs.")


if __name__ == "__main__":
    main()
