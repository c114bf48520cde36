"""A linear layer whose feedback other weights carry, as ``tieless.convert_feedback`` makes it of one that exists."""

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
"""The attribute in which a layer has what carries its feedback."""

TAPS = "_tieless_taps"
"""The attribute in which a direct layer has where it leaves its input."""

_TIED = "_tieless_tied"


class FeedbackLayer(nn.Module):
    """What a layer is beside the class that it had once ``tieless.convert_feedback`` has given it other weights on the way
    back: its forward is the same. ``feedback_of`` lists such layers.
    """

    __prepare_scriptable__ = no_script

    def forward(self, x: Tensor) -> Tensor:
        if vars(self).get(_TIED, False):
            return super().forward(x)
        carrier: Carrier = vars(self)[CARRIER]
        y = super().forward(x.detach())
        if ops.written_down():
            # As with untie: cut off, its gradient is missing in what is written, where another would pass unnoticed.
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
    """Where the direct layers of a model leave their inputs while it runs, so that its output can be joined to them.

    Attributes:
        inputs, carriers: Of each call so far; ``inputs`` is ``None`` while the model does not run.
    """

    def __init__(self) -> None:
        self.inputs: list[Tensor] | None = None
        self.carriers: list[Carrier] = []
        self.thread = 0

    def begin(self) -> None:
        """The model starts to run.

        Raises:
            ConversionError: it runs in another thread already.
        """
        if not torch.compiler.is_compiling():
            here = threading.get_ident()
            if self.inputs is not None and self.thread != here:
                raise ConversionError(
                    "A model with dfa runs in one thread at a time: it is running in another. Copy it."
                )
            self.thread = here
        # What an interrupted run has left is dropped.
        self.inputs = []
        self.carriers = []

    def end(self) -> tuple[list[Carrier], list[Tensor]]:
        """The model has run: the calls of its direct layers."""
        carriers, inputs = self.carriers, self.inputs or []
        self.inputs = None
        self.carriers = []
        return carriers, inputs

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()


class _Begin:
    """A hook before a model's forward."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps

    def __call__(self, module: nn.Module, given: Any) -> None:
        self.taps.begin()


class _End:
    """A hook behind a model's forward."""

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
    """Where our hooks are: in which of the module's dictionaries, under which number, with which taps."""
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
    """Where the direct layers of a model leave their inputs; ``None`` where it was not converted to any."""
    return next((taps for _, _, taps in _hooks(model)), None)


def tap(model: nn.Module) -> Taps:
    """Let a model deliver the error at its output; nothing more if it does so already."""
    taps = find_taps(model)
    if taps is None:
        taps = Taps()
        model.register_forward_pre_hook(_Begin(taps))
        model.register_forward_hook(_End(taps), always_call=True)
    return taps


def untap(model: nn.Module) -> None:
    """Take the hooks from every module that has no direct layer of its own any more."""
    for module in model.modules():
        if ours := _hooks(module):
            used = [vars(layer).get(TAPS) for layer in module.modules() if isinstance(layer, FeedbackLayer)]
            for hooks, number, taps in ours:
                if not any(taps is one for one in used):
                    del hooks[number]
                    _dictionary(module, "_forward_hooks_always_called").pop(number, None)


def feedback_of(model: nn.Module) -> dict[str, Feedback]:
    """What carries the feedback of each converted layer of a model, by the layer's name.

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
    """Inside, every layer of a model carries its feedback by its own weights."""
    layers = [module for module in model.modules() if isinstance(module, FeedbackLayer)]
    for layer in layers:
        vars(layer)[_TIED] = True
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop(_TIED, None)
