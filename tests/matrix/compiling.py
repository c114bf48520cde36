"""``torch.compile``: what a compiled graph sends back is what runs eagerly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tests.matrix.asking import EQUAL, Check, Outcomes, compared, gradient, in_graphs, input_of, layers
from tests.pairs import Pair

__all__ = ["CHECKS", "stores_a_mask"]


def _together(pairs: Sequence[Pair]) -> Callable[[Tensor], Tensor]:
    """One function of all pairs, each with its own slice, so that one graph holds them."""
    return lambda z: torch.stack([layers(*pair)(z[i]) for i, pair in enumerate(pairs)])


def _inputs(pairs: Sequence[Pair], *shape: int) -> Tensor:
    return torch.stack([input_of(*shape)] * len(pairs))


def _compiled(
    function: Callable[[Tensor], Tensor], backend: str, *, dynamic: bool | None = None
) -> Callable[..., Tensor]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return torch.compile(function, fullgraph=True, backend=backend, dynamic=dynamic)


def _eager_backend(pairs: Sequence[Pair]) -> Outcomes:
    function, z = _together(pairs), _inputs(pairs)
    got, expected = gradient(_compiled(function, "aot_eager"), z), gradient(function, z)
    return {pair: compared(got[i], expected[i]) for i, pair in enumerate(pairs)}


def _inductor(pairs: Sequence[Pair]) -> Outcomes:
    """Its CPU kernels take 8 to 25 times as long where they store or convert a bool mask."""
    from torch._inductor.utils import run_and_get_code  # loads the compiler

    function, z = _together(pairs), _inputs(pairs)
    compiled = _compiled(function, "inductor")
    got, sources = run_and_get_code(lambda: gradient(compiled, z))
    if stores_a_mask(sources):
        raise AssertionError("a kernel stores a bool mask")
    expected = gradient(function, z)
    return {pair: compared(got[i], expected[i]) for i, pair in enumerate(pairs)}


def stores_a_mask(sources: Sequence[str]) -> bool:
    """True if a kernel in what Inductor wrote has a tensor of bools among its arguments."""
    assert sources, "Inductor wrote nothing: its caches should be off"
    return any("bool*" in source for source in sources)


def _dynamic(backend: str) -> Callable[[Sequence[Pair]], Outcomes]:
    def ask(pairs: Sequence[Pair]) -> Outcomes:
        function = _together(pairs)
        compiled = _compiled(function, backend, dynamic=True)
        outcomes = dict.fromkeys(pairs, EQUAL)
        for rows in (4, 5, 9):
            z = _inputs(pairs, rows, 11)
            got, expected = gradient(compiled, z), gradient(function, z)
            for i, pair in enumerate(pairs):
                answer = compared(got[i], expected[i])
                outcomes[pair] = answer if outcomes[pair] == EQUAL else outcomes[pair]
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        return outcomes if graphs == 1 else dict.fromkeys(pairs, f"{graphs} graphs for three shapes")

    return in_graphs(ask)


def _checkpointed(pairs: Sequence[Pair]) -> Outcomes:
    function, z = _together(pairs), _inputs(pairs)
    compiled = _compiled(lambda x: checkpoint(function, x, use_reentrant=False), "aot_eager")
    got, expected = gradient(compiled, z), gradient(function, z)
    return {pair: compared(got[i], expected[i]) for i, pair in enumerate(pairs)}


CHECKS = (
    Check(
        "compile (aot_eager)",
        "`torch.compile(fullgraph=True, backend='aot_eager')`",
        in_graphs(_eager_backend),
        most=40,
    ),
    Check(
        "compile (inductor)",
        "`torch.compile(fullgraph=True)`; no kernel that it writes stores a bool mask",
        in_graphs(_inductor),
        most=20,
    ),
    Check(
        "compile (dynamic shapes)",
        "`torch.compile(fullgraph=True, dynamic=True, backend='aot_eager')`: one graph for three shapes",
        _dynamic("aot_eager"),
        most=40,
        inputs="4, 5 and 9 x 11 elements",
        times=3,
    ),
    Check(
        "compile (checkpoint)",
        "a checkpoint inside a compiled graph, which computes the forward pass again",
        in_graphs(_checkpointed),
        most=40,
    ),
)
