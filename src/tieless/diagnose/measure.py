"""A model's forward pass, watched: as it is, and as it would be with PyTorch's own activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tieless.diagnose.gate import gate_of
from tieless.diagnose.memory import Kept, Watch, storages_in, unseen
from tieless.diagnose.native import native
from tieless.diagnose.records import ActivationRun, ModelRun
from tieless.diagnose.untouched import untouched
from tieless.nn import Activation

__all__ = ["Seen", "bits_of", "measure"]

PROBE = (1024, 2048)
"""Elements of two calls: what the second keeps more is kept for each element, the rest for each call."""

Forward = Callable[..., Tensor]
Call = tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass(slots=True)
class Seen:
    """What is seen of an activation while the model runs, over all calls; dtype and device of the last one."""

    calls: int = 0
    elements: int = 0
    fired: int = 0
    dtype: torch.dtype | None = None
    device: torch.device | None = None


def measure(
    model: nn.Module, activations: Sequence[Activation], call: Call
) -> tuple[ModelRun, list[tuple[ActivationRun, Seen]]]:
    """Run a model as it is and as the native one, and count what each keeps when its forward pass has ended.

    Args:
        model: It is left as it was.
        activations: Those in it, in the order of the results.
        call: The arguments to call it with, by position and by name.
    """
    watch, seen = Watch(), [Seen() for _ in activations]
    forwards = [_watched(n, activation, watch, seen[n]) for n, activation in enumerate(activations)]
    kept, total = _run(model, activations, forwards, call, watch)
    natives = [_by_z(native(activation.forward_fn)) for activation in activations]
    _, native_total = _run(model, activations, natives, call, Watch())
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


def bits_of(activation: Activation, dtype: torch.dtype, device: torch.device) -> tuple[float, int]:
    """Bits that an activation keeps for each element, and bytes that it keeps however many there are."""
    few, many = (_bytes_of(activation, torch.linspace(-4, 4, n, device=device).to(dtype)) for n in PROBE)
    each = (many - few) / (PROBE[1] - PROBE[0])
    return 8 * each, round(few - each * PROBE[0])


def _bytes_of(activation: Activation, z: Tensor) -> int:
    watch = Watch()
    with untouched(activation), watch.watching():
        y = activation.forward(z.requires_grad_())
        kept = watch.kept(()).total
        del y
    return kept


def _run(
    model: nn.Module, activations: Sequence[Activation], forwards: Sequence[Forward], call: Call, watch: Watch
) -> tuple[Kept, int]:
    """What the model keeps with these forwards in its activations, and how many bytes, inputs left out."""
    with untouched(model, *activations):  # untied calls in the code of modules are no children of it
        for activation, forward in zip(activations, forwards, strict=True):
            # In the instance it hides the method of the class; `untouched` takes it out again.
            vars(activation)["forward"] = forward
        state = storages_in([*model.parameters(), *model.buffers()])
        with watch.watching():
            output = model(*call[0], **call[1])
        kept = watch.kept(without=state)
        del output  # until here it has held the graph
    return kept, kept.total - kept.among(storages_in(call))


def _watched(number: int, activation: Activation, watch: Watch, seen: Seen) -> Forward:
    original = activation.forward

    def forward(*args: Any, **keywords: Any) -> Tensor:
        with watch.owned(number):
            y = original(*args, **keywords)
        z: Tensor = args[0] if args else keywords["z"]
        seen.calls += 1
        seen.elements += z.numel()
        with unseen():
            gate = gate_of(activation.forward_fn, activation.rule, z.device)
            seen.fired += int(gate.passes(z.detach()).sum())
        seen.dtype, seen.device = z.dtype, z.device
        return y

    return forward


def _by_z(function: Callable[[Tensor], Tensor]) -> Forward:
    def forward(z: Tensor, *_: Any, **__: Any) -> Tensor:
        return function(z)

    return forward
