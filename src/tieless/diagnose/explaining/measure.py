"""Measured forward passes of a model: as it is, and with PyTorch's own activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tieless.diagnose.explaining.memory import Kept, Watch, storages_in, unseen
from tieless.diagnose.explaining.native import native
from tieless.diagnose.explaining.records import ActivationRun, ModelRun
from tieless.diagnose.slopes.gate import gate_of
from tieless.diagnose.watching.passes import Run, Watcher, fresh, watched
from tieless.diagnose.watching.sites import Place
from tieless.diagnose.watching.untouched import leaving_unchanged
from tieless.functional import Pair, untie_pair

PROBE = (1024, 2048)
"""Elements of two calls: the additional memory of the second is per element, the rest is per call."""

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass(slots=True)
class Measured:
    """Measurements of an activation over all calls of a run; halves, dtype and device are those of the last call."""

    pair: Pair
    calls: int = 0
    elements: int = 0
    fired: int = 0
    dtype: torch.dtype | None = None
    device: torch.device | None = None


def measure(
    model: nn.Module, places: Sequence[Place], arguments: Arguments
) -> tuple[ModelRun, list[tuple[ActivationRun, Measured]]]:
    """Run a model as it is and as the native one, and count the memory that each stores after its forward pass.

    Args:
        model: Model, which is left as it was.
        places: Activations of the model, in the order of the results.
        arguments: Arguments for the call, by position and by name.
    """
    watch, seen = Watch(), [Measured(place.pair) for place in places]
    kept, total = _run(model, places, partial(_counted, watch, seen), arguments, watch)
    _, native_total = _run(model, places, _natively, arguments, Watch())
    model_run = ModelRun(
        training=model.training,
        kept_bytes=total,
        native_bytes=native_total,
        untie_bytes=kept.by("untie") if watch.calls_untie else None,
        uncounted=kept.uncounted,
    )
    runs = [
        ActivationRun(s.calls, s.elements, kept.by(n), kept.only_by(n), s.fired / s.elements if s.elements else None)
        for n, s in enumerate(seen)
    ]
    return model_run, list(zip(runs, seen, strict=True))


def bits_of(place: Place, pair: Pair, dtype: torch.dtype, device: torch.device) -> tuple[float, int]:
    """Bits that an activation stores for each element, and bytes that it stores however many elements there are."""
    own: Callable[[Tensor], Tensor] = place.module.forward
    forward = own if pair is place.pair else partial(untie_pair, pair=pair)
    without = storages_in(list(place.module.parameters()))
    few, many = (_bytes_of(place, forward, torch.linspace(-4, 4, n, device=device).to(dtype), without) for n in PROBE)
    each = (many - few) / (PROBE[1] - PROBE[0])
    return 8 * each, round(few - each * PROBE[0])


def _bytes_of(
    place: Place, forward: Callable[[Tensor], Tensor], z: Tensor, without: Sequence[torch.UntypedStorage]
) -> int:
    watch = Watch()
    with leaving_unchanged(place.module), watch.watching():
        y = forward(z.requires_grad_().clone())  # an activation in place may write to it
        kept = watch.kept(without).total
        del y
    return kept


def _run(
    model: nn.Module, places: Sequence[Place], watcher: Watcher, arguments: Arguments, watch: Watch
) -> tuple[Kept, int]:
    """Storages that the model keeps when a watcher runs its activations, and their bytes, inputs left out."""
    given, named = fresh(arguments)
    with watched(model, places, watcher):
        state = storages_in([*model.parameters(), *model.buffers()])
        with watch.watching():
            output = model(*given, **named)
        kept = watch.kept(without=state)
        del output  # the output has held the graph until here
    return kept, kept.total - kept.among(storages_in([*given, named]))


def _counted(watch: Watch, seen: Sequence[Measured], run: Run, z: Tensor) -> Tensor:
    here, pair = seen[run.place], run.pair
    with unseen():  # before the call, which may write to z
        here.fired += int(gate_of(pair.forward, pair.rule, z.device).passes(z.detach()).sum())
    here.calls += 1
    here.elements += z.numel()
    here.pair, here.dtype, here.device = pair, z.dtype, z.device
    with watch.owned(run.place):
        return run.own(z)


def _natively(run: Run, z: Tensor) -> Tensor:
    return native(run.pair.forward)(z)
