"""Measurements of ``explain``, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ActivationRun:
    """Measurements of one activation in the forward pass of the model.

    Args:
        calls: Number of calls.
        elements: Number of elements of ``z`` that it saw, over all calls.
        kept_bytes: Bytes of the storages that it keeps for the backward pass, whether or not other nodes keep them too.
        own_bytes: Bytes of the storages that nothing else keeps: they would be freed if only this activation kept
            nothing.
        fired: Fraction of elements at which the rule passes any gradient; ``None`` if the activation saw no elements.
    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), tl.Activation("relu", "constant"))
        >>> run = tl.explain(net, torch.rand(64, 4)).activations[0].run
        >>> run.elements, run.kept_bytes, run.fired
        (512, 0, 1.0)
    """

    calls: int
    elements: int
    kept_bytes: int
    own_bytes: int
    fired: float | None


@dataclass(frozen=True, slots=True)
class ExplainedActivation:
    """One ``Activation`` of a model.

    Args:
        name: Name in the model; empty if it is the model.
        forward, backward: Specs of its halves.
        gate: Region in which the rule passes any gradient; ``None`` if that is everywhere.
        flat: True if the forward's derivative is 0 almost everywhere.
        dtype: Dtype of ``z``, in which the bits were measured.
        bits_per_element: Bits that are stored for the backward pass for each additional element.
        bytes_per_call: Further bytes that are stored however many elements there are.
        run: Measurements with the inputs given; ``None`` without inputs.
    """

    name: str
    forward: str
    backward: str
    gate: str | None
    flat: bool
    dtype: str
    bits_per_element: float
    bytes_per_call: int
    run: ActivationRun | None


@dataclass(frozen=True, slots=True)
class ModelRun:
    """Memory that the whole model stores between forward and backward, each storage counted once.

    Parameters, buffers and inputs, which exist anyway, are not counted.

    Args:
        training: True if the model was in training mode.
        kept_bytes: Bytes that the model stores.
        native_bytes: Bytes that the native model stores, in which every activation is PyTorch's own.
        untie_bytes: Bytes that direct calls of ``untie`` store; ``None`` if there are none.
        uncounted: Number of saved tensors without a storage, such as sparse ones, which are in no sum.
    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), tl.Activation("gelu", "rectangular"))
        >>> run = tl.explain(net, torch.rand(64, 4)).run
        >>> run.kept_bytes, run.native_bytes  # 64 x 8 bits, and 64 x 8 numbers of float32
        (64, 2048)
    """

    training: bool
    kept_bytes: int
    native_bytes: int
    untie_bytes: int | None
    uncounted: int
