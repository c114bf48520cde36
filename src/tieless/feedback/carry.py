"""Autograd functions behind a converted layer, whose incoming gradient goes through feedback weights.

A converted layer computes ``y`` from its input cut off from the graph, so that its own weights get their gradient from
PyTorch as usual, and its input gets none. The functions here join the input to ``y`` again, by the feedback weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from tieless import ops
from tieless._kinds import refuse_all_but_arrays
from tieless._tracing import GraphNames, known_when_traced
from tieless._underivable import NO_PUSHED, underivable
from tieless.errors import ConversionError, RuleTypeError, TransformError
from tieless.feedback.geometry import Geometry
from tieless.feedback.kinds import Feedback

_NO_FORWARD_MODE = (
    "Feedback weights have no forward-mode derivative (jvp, jacfwd, hessian, forward_ad): they say what is sent back, not "
    "what goes forward. Use reverse mode (grad, vjp, jacrev), or tieless.revert_feedback(model)."
)


@dataclass(frozen=True, slots=True)
class Carrier:
    """Carrier of one layer's feedback: all values that its backward pass needs.

    Args:
        feedback: Kind of the feedback weights.
        geometry: Layer without its weights.
        key: Key of the layer.
    Example:
        >>> from tieless.feedback import Carrier, Geometry, UniformSign, send
        >>> x, weight = torch.ones(1, 2, requires_grad=True), torch.tensor([[3.0, -4.0]])
        >>> carrier = Carrier(UniformSign(scale="weights"), Geometry((1, 2)), key=0)
        >>> send(x.detach() @ weight.T, x, weight, carrier).sum().backward(); x.grad
        tensor([[ 3.5355, -3.5355]])
    """

    feedback: Feedback
    geometry: Geometry
    key: int


@known_when_traced
def _carrier_name(carrier: Carrier) -> str:
    return _MET.name(str(carrier), carrier)


def _send_in_graph(y: Tensor, x: Tensor, weight: Tensor | None, name: str) -> Tensor:
    return _send(y, x, weight, _MET[name])


def _deliver_in_graph(output: Tensor, names: str, *inputs: Tensor) -> Tensor:
    return _deliver(output, tuple(_MET[name] for name in names.splitlines()), inputs)


_MET: GraphNames[Carrier] = GraphNames(_send_in_graph, _deliver_in_graph)
"""Carriers that compilers have met, by name."""


def send(y: Tensor, x: Tensor, weight: Tensor | None, carrier: Carrier) -> Tensor:
    """Output ``y``, from which the gradient goes on to ``x`` by feedback weights.

    Args:
        y: Output of the layer for ``x`` cut off.
        x: Input of the layer, padded as its geometry says.
        weight: Weights of the layer, if the kind reads them.
        carrier: Carrier of a kind that is not direct.
    """
    if torch.compiler.is_compiling():
        return _send_in_graph(y, x, weight, _carrier_name(carrier))
    return _send(y, x, weight, carrier)


def deliver(output: Tensor, carriers: Sequence[Carrier], inputs: Sequence[Tensor]) -> Tensor:
    """Output of a model, from which the error goes straight to the inputs of layers.

    Args:
        output: Output of the model: ``(n, ...)``, or one sample's numbers.
        carriers: Carriers of the inputs; their kinds are direct.
        inputs: Inputs of the layers: ``(n, ...)``.
    Raises:
        RuleTypeError: an input and the output have different numbers of samples, or the output is a loss.
    """
    if output.dim() == 0:
        raise RuleTypeError(
            "dfa sends each sample the error at its own output, and the model returned one number, such as a mean loss. Let it "
            "return the numbers of each sample, and take the loss outside."
        )
    for x in inputs:
        samples = x.shape[0] if x.dim() > 1 else 1
        if samples != (output.shape[0] if output.dim() > 1 else 1) or (output.dim() > 1 and x.dim() < 2):
            raise RuleTypeError(
                f"dfa sends each sample the error at its own output, and a layer has an input of shape {tuple(x.shape)} "
                f"where the output has {tuple(output.shape)}. Keep the samples in dimension 0, or leave out that layer."
            )
    if torch.compiler.is_compiling():
        return _deliver_in_graph(output, "\n".join([_carrier_name(carrier) for carrier in carriers]), *inputs)
    return _deliver(output, tuple(carriers), inputs)


def undelivered(y: Tensor, x: Tensor) -> Tensor:
    """Output ``y`` of a direct layer outside of its model. It refuses a backward pass: no error will be delivered."""
    return cast("Tensor", _Undelivered.apply(y, x))


def _send(y: Tensor, x: Tensor, weight: Tensor | None, carrier: Carrier) -> Tensor:
    refuse_all_but_arrays(x, "Feedback weights")
    key = ops.draw_key(y.detach()) if carrier.feedback.draws else None
    return cast("tuple[Tensor, ...]", _Sent.apply(y, x, weight, key, carrier))[0]


def _deliver(output: Tensor, carriers: tuple[Carrier, ...], inputs: Sequence[Tensor]) -> Tensor:
    for one in (output, *inputs):
        refuse_all_but_arrays(one, "Feedback weights")
    return cast("tuple[Tensor, ...]", _Delivered.apply(output, carriers, *inputs))[0]


# Outputs are copies, not views: an activation may write in place to a layer's output, and PyTorch forbids that for a
# view which an autograd function has made. The layer's own output is freed after the copy, for nothing keeps it. The
# empty anchor is that of ``untie``: through it a forward-mode derivative of a gradient meets ``underivable``.


class _Sent(torch.autograd.Function):
    """Identity on a layer's output; the gradient goes on unchanged, and to the layer's input by feedback weights."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, x: Tensor, weight: Tensor | None, key: Tensor | None, carrier: Carrier) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]  # fmt: skip
        # In a graph y depends on the key, in name only, so that a compiled checkpoint keeps the draw.
        copy = y * ((key & 0) + 1) if key is not None and torch.compiler.is_compiling() else y.clone()
        return copy, y.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, x, weight, key, carrier = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1], weight, key)
        ctx.carrier = carrier
        ctx.shape, ctx.dtype = tuple(x.shape), x.dtype

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad_output is None or not ctx.needs_input_grad[1]:
            return grad_output, None, None, None, None
        anchor, weight, key = ctx.saved_tensors
        carrier: Carrier = ctx.carrier
        geometry = carrier.geometry
        with torch.no_grad():
            used = carrier.key if key is None else key
            weights = carrier.feedback.weights(geometry.shape, weight, used, grad_output.device).to(grad_output.dtype)
        sent = geometry.grad_input(grad_output, weights, ctx.shape).to(ctx.dtype)
        above, below = _without_forward_mode(anchor, grad_output, grad_output, sent)
        return above, below, None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(_NO_FORWARD_MODE)


class _Delivered(torch.autograd.Function):
    """Identity on a model's output; the error goes on unchanged, and to each layer's input by its feedback weights."""

    generate_vmap_rule = True

    @staticmethod
    def forward(output: Tensor, carriers: tuple[Carrier, ...], *inputs: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return output.clone(), output.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, carriers, *layers = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])
        ctx.carriers = carriers
        ctx.like = [(tuple(x.shape), x.dtype) for x in layers]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad_output is None:
            return (None,) * (2 + len(ctx.like))
        error = grad_output
        # A tensor of fewer than two dimensions is one sample.
        error = error.flatten(1) if error.dim() > 1 else error.reshape(1, -1)
        sent: list[Tensor | None] = []
        for carrier, (shape, dtype), wanted in zip(ctx.carriers, ctx.like, ctx.needs_input_grad[2:], strict=True):
            sent.append(_delivered(error, carrier, shape).to(dtype) if wanted else None)
        above, *below = _without_forward_mode(ctx.saved_tensors[0], grad_output, grad_output, *sent)
        return above, None, *below

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(_NO_FORWARD_MODE)


def _delivered(error: Tensor, carrier: Carrier, shape: tuple[int, ...]) -> Tensor:
    inputs = 1
    for size in shape if error.shape[0] == 1 and len(shape) == 1 else shape[1:]:
        inputs *= size
    with torch.no_grad():
        weights = carrier.feedback.weights((error.shape[1], inputs), None, carrier.key, error.device)
    return (error @ weights.to(error.dtype)).reshape(shape)


class _Undelivered(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if ctx.needs_input_grad[1]:
            raise ConversionError(
                "dfa has no error to deliver: this layer ran by itself, or inside a reentrant checkpoint, and not in a call "
                "of the model that was converted. Call that model; checkpoint with use_reentrant=False."
            )
        return grad_output, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(_NO_FORWARD_MODE)


def _without_forward_mode(anchor: Tensor, grad_output: Tensor, *sent: Tensor | None) -> tuple[Tensor | None, ...]:
    """Refuse a forward-mode derivative of the gradient passed down. Autograd can record it, for it is linear."""
    if not ops.forward_mode():
        return sent
    return tuple(None if one is None else underivable(one, anchor, grad_output, NO_PUSHED) for one in sent)
