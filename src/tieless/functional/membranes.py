"""Potentials of leaky neurons over all time steps at once, with their derivative."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from tieless import ops
from tieless._tracing import GraphNames, known_when_traced
from tieless.functional.pair import Pair, pair_called
from tieless.kernels import membranes
from tieless.ops import Membrane
from tieless.registry import remembered

Settings = tuple[float, float, float, str, bool]
"""Settings of a membrane beside the forward of a spike: ``beta``, ``gain``, ``threshold``, ``reset`` and ``delayed``."""


def potentials(x: Tensor, state: Tensor | None, pair: Pair, settings: Settings) -> tuple[Tensor, Tensor] | None:
    """Potentials without their threshold at each time step, and the state after the last; a reset has no derivative.

    Spikes are what the pair makes of the potentials, all time steps at once. ``None`` if that is not what it makes of each
    by itself, or if no kernel knows its forward.
    """
    if torch.compiler.is_compiling():
        name = _known(pair.name, x.dtype, settings)
        return _in_graph(x, state, name) if name else None
    membrane = _membrane(pair, x.dtype, settings)
    return None if membrane is None else _apply(x, state, membrane)


@remembered
def _membrane(pair: Pair, dtype: torch.dtype, settings: Settings) -> Membrane | None:
    by_element = all(part.slope is not None and not part.foreign for part in pair.parts)
    body = None if pair.foreign or pair.draws or not by_element else pair.forward.body(dtype)
    return None if body is None else Membrane(*body, *settings)


@known_when_traced
def _known(name: str, dtype: torch.dtype, settings: Settings) -> str:
    membrane = _membrane(pair_called(name), dtype, settings)
    return "" if membrane is None else MET.name(repr(membrane), membrane)


def _in_graph(x: Tensor, state: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
    return _apply(x, state, MET[name])


MET: GraphNames[Membrane] = GraphNames(_in_graph)
"""Membranes that compilers have met."""


def _apply(x: Tensor, state: Tensor | None, membrane: Membrane) -> tuple[Tensor, Tensor]:
    if ops.transformed() or ops.forward_mode():
        return membranes.potentials(x, state, membrane)
    return cast("tuple[Tensor, Tensor]", _Potentials.apply(x, state, membrane))


class _Potentials(torch.autograd.Function):
    """Potentials whose backward pass goes through all time steps at once too."""

    @staticmethod
    def forward(x: Tensor, state: Tensor | None, membrane: Membrane) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ops.potentials(x, state, membrane)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, state, ctx.membrane = inputs
        resets = ctx.membrane.reset == "zero"
        ctx.save_for_backward(output[0] if resets else None, state if resets and ctx.membrane.delayed else None)
        ctx.has_state = state is not None

    @staticmethod
    def backward(ctx: Any, grad_z: Tensor, grad_state: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        recorded = torch.is_grad_enabled() or ops.transformed()
        run = membranes.potentials_backward if recorded else ops.potentials_backward
        z, state = ctx.saved_tensors
        grad_x, grad_first = run(grad_z, grad_state, z, state, ctx.membrane)
        return grad_x, grad_first if ctx.has_state else None, None
