"""What ``explain`` measures, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ActivationRun:
    """What one activation did in the forward pass of the model.

    Args:
        calls: How often it was called.
        elements: How many elements of ``z`` it saw, over all calls.
        kept_bytes: Of the storages that it keeps for the backward pass, whoever else keeps them.
        own_bytes: Of those that nothing else keeps: what would be freed if only this activation kept nothing.
        fired: Fraction of elements at which the rule lets anything through; ``None`` if it saw none.
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
        name: In the model; empty if it is the model.
        forward, backward: The specs of its halves.
        gate: The region in which the rule passes anything, ``None`` if that is everywhere.
        flat: Whether the forward's derivative is 0 almost everywhere.
        dtype: Of ``z``, in which the bits were measured.
        bits_per_element: Kept for the backward pass for each element more.
        bytes_per_call: Kept beside those, however many elements there are.
        run: What it did with the inputs given; ``None`` if none were.
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
    """What the whole model keeps between forward and backward: each storage once.

    Parameters, buffers and inputs, which are there anyway, are not counted.

    Args:
        training: Whether the model was in training mode.
        kept_bytes: All that is kept.
        native_bytes: What the native model keeps: every activation as PyTorch has it.
        untie_bytes: What ``untie`` keeps where it is called by itself; ``None`` if it is not.
        uncounted: Saved tensors without a storage, such as sparse ones, which are in no sum.
    """

    training: bool
    kept_bytes: int
    native_bytes: int
    untie_bytes: int | None
    uncounted: int
