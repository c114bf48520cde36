"""What a trial can let carry the feedback through its linear layers."""

from __future__ import annotations

from torch import nn

from tieless.convert import convert_feedback

__all__ = ["carry_feedback"]


def carry_feedback(model: nn.Module, feedback: str, seed: int) -> None:
    """Give all linear layers of a trial's network the feedback weights of its spec, in place.

    Args:
        model: As its model, its halves and its weights make it.
        feedback: The spec; ``"tied"`` leaves the model as it is.
        seed: The trial's.
    """
    if feedback != "tied":
        convert_feedback(model, feedback, seed=seed)
