"""Random numbers of one call, as functions of its key, for a rule or a forward that draws."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from tieless import ops

FORWARD_STREAM = 2**31 - 1
"""Stream of a forward: no chain has so many rules, so no rule has the same numbers."""


class Random(NamedTuple):
    """Random numbers of one rule in one call: a function of the call's key and the rule's index in its chain.

    Attributes:
        key: Key, int64, 0-dim; a number if nothing traces.
        stream: Index of the rule in its chain, 0 for the first; ``FORWARD_STREAM`` for the forward.
    Example:
        >>> from tieless.rules import Random
        >>> z, random = torch.zeros(100), Random(key=7, stream=0)
        >>> torch.equal(random.uniform(z), random.uniform(z)), torch.equal(random.uniform(z), random.uniform(z, draw=1))
        (True, False)
    """

    key: Tensor | int
    stream: int

    def uniform(self, like: Tensor, draw: int = 0) -> Tensor:
        """Uniform numbers on [0, 1), shaped like ``like``, float32 or float64; each ``draw`` gives independent ones."""
        # PyTorch has no rule for `detach` under `is_grads_batched`, where it is not needed.
        return ops.uniform(like.detach() if like.requires_grad else like, self.key, self.stream, draw)
