"""Linear layers with feedback weights (``tieless.convert_feedback``): the gradient passes through other weights."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from tieless import ops
from tieless._tracing import no_script
from tieless.errors import ConversionError, RuleTypeError
from tieless.feedback import Carrier, Feedback, deliver, send, undelivered

CARRIER = "_tieless_carrier"
"""Attribute that holds the carrier of a layer: its feedback weights as a value."""

TAPS = "_tieless_taps"
"""Attribute that holds the taps to which a direct layer adds its input."""

_TIED = "_tieless_tied"


class FeedbackLayer(nn.Module):
    """Mixin that ``tieless.convert_feedback`` adds to a layer's class: the backward pass uses other weights.

    The forward is the same. ``feedback_of`` lists such layers.
    """

    __prepare_scriptable__ = no_script

    def forward(self, x: Tensor) -> Tensor:
        if vars(self).get(_TIED, False):
            return super().forward(x)
        carrier: Carrier = vars(self)[CARRIER]
        y = super().forward(x.detach())
        if ops.written_down():
            # As in untie: a cut-off gradient is visibly missing in the written program; another derivative would pass
            # unnoticed.
            return y
        if carrier.feedback.direct:
            taps: Taps = vars(self)[TAPS]
            if taps.inputs is None:
                return undelivered(y, x)
            taps.inputs.append(x)
            taps.carriers.append(carrier)
            return y
        geometry = carrier.geometry
        weight = geometry.outputs_first(cast("Tensor", self.weight)) if carrier.feedback.reads_weight else None
        return send(y, geometry.padded(x), weight, carrier)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, feedback={cast('Carrier', vars(self)[CARRIER]).feedback}"


class Taps:
    """Inputs of the direct layers of a model, collected while it runs, so that its output can be joined to them.

    Attributes:
        inputs, carriers: Inputs and carriers of the calls so far; ``inputs`` is ``None`` while the model does not run.
    """

    def __init__(self) -> None:
        self.inputs: list[Tensor] | None = None
        self.carriers: list[Carrier] = []
        self.thread = 0

    def begin(self) -> None:
        """Start the collection when the model starts to run.

        Raises:
            ConversionError: the model runs in another thread already.
        """
        if not torch.compiler.is_compiling():
            here = threading.get_ident()
            if self.inputs is not None and self.thread != here:
                raise ConversionError(
                    "A model with dfa runs in one thread at a time: it is running in another. Copy it."
                )
            self.thread = here
        # Inputs that an interrupted run has left are dropped.
        self.inputs = []
        self.carriers = []

    def end(self) -> tuple[list[Carrier], list[Tensor]]:
        """End the collection, and return the calls of the direct layers."""
        carriers, inputs = self.carriers, self.inputs or []
        self.inputs = None
        self.carriers = []
        return carriers, inputs

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()


class _Begin:
    """Hook before a model's forward."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps

    def __call__(self, module: nn.Module, given: Any) -> None:
        self.taps.begin()


class _End:
    """Hook behind a model's forward."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps

    def __call__(self, module: nn.Module, given: Any, output: Any) -> Any:
        carriers, inputs = self.taps.end()
        if output is None or ops.written_down():  # None: the forward has raised
            return output
        if not isinstance(output, Tensor) or not output.is_floating_point():
            what = f"a tensor of {output.dtype}" if isinstance(output, Tensor) else type(output).__name__
            raise RuleTypeError(
                f"dfa sends the error at a model's output to its layers, so the output has to be one floating tensor, and "
                f"{type(module).__name__} returns {what}. Convert the part that returns one."
            )
        return deliver(output, carriers, inputs) if inputs else output


def _hooks(module: nn.Module) -> list[tuple[dict[int, Any], int, Taps]]:
    """Positions of our hooks: the dictionary of the module, the number in it, and the taps."""
    # PyTorch lists hooks nowhere else. A handle would not do: a deep copy has the hooks and not the handles.
    return [
        (hooks, number, hook.taps)
        for hooks in (_dictionary(module, "_forward_pre_hooks"), _dictionary(module, "_forward_hooks"))
        for number, hook in hooks.items()
        if isinstance(hook, (_Begin, _End))
    ]


def _dictionary(module: nn.Module, name: str) -> dict[int, Any]:
    return vars(module)[name]


def find_taps(model: nn.Module) -> Taps | None:
    """Taps of the direct layers of a model; ``None`` if the model has none."""
    return next((taps for _, _, taps in _hooks(model)), None)


def tap(model: nn.Module) -> Taps:
    """Make a model deliver the error at its output to its direct layers; no effect if it does so already."""
    taps = find_taps(model)
    if taps is None:
        taps = Taps()
        model.register_forward_pre_hook(_Begin(taps))
        model.register_forward_hook(_End(taps), always_call=True)
    return taps


def untap(model: nn.Module) -> None:
    """Remove the hooks from every module that has no direct layer of its own any more."""
    for module in model.modules():
        if ours := _hooks(module):
            used = [vars(layer).get(TAPS) for layer in module.modules() if isinstance(layer, FeedbackLayer)]
            for hooks, number, taps in ours:
                if not any(taps is one for one in used):
                    del hooks[number]
                    _dictionary(module, "_forward_hooks_always_called").pop(number, None)


def feedback_of(model: nn.Module) -> dict[str, Feedback]:
    """Kind of feedback weights of each converted layer of a model, by the layer's name.

    Example:
        >>> from tieless.nn import feedback_of
        >>> feedback_of(tl.convert_feedback(torch.nn.Sequential(torch.nn.Linear(2, 2)), "fa"))
        {'0': FeedbackAlignment(scale='glorot', gain=1)}
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())  # pyright: ignore[reportUnknownArgumentType]
    return {
        name: cast("Carrier", vars(module)[CARRIER]).feedback
        for name, module in modules.items()
        if isinstance(module, FeedbackLayer)
    }


@contextmanager
def tied_feedback(model: nn.Module) -> Generator[None]:
    """Context in which every layer of a model uses its own weights in the backward pass."""
    layers = [module for module in model.modules() if isinstance(module, FeedbackLayer)]
    for layer in layers:
        vars(layer)[_TIED] = True
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop(_TIED, None)
