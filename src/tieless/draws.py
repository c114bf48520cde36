"""The random numbers of one call, as functions of its key: what a rule or a forward that draws is given."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from tieless import ops

OF_THE_FORWARD = 2**31 - 1
"""The stream of a forward: no chain has so many rules, so its numbers are nobody else's."""


class Random(NamedTuple):
    """The random numbers of one rule in one call: a function of the call's key and the rule's place in its chain.

    Attributes:
        key: int64, 0-dim; a number where nothing traces.
        stream: The rule's place, 0 for the first; ``OF_THE_FORWARD`` for the forward.
    """

    key: Tensor | int
    stream: int

    def uniform(self, like: Tensor, draw: int = 0) -> Tensor:
        """Numbers on [0, 1) shaped like ``like``, in float32 or float64; another ``draw`` gives independent ones."""
        # PyTorch has no rule for `detach` under `is_grads_batched`, where it is not needed.
        return ops.uniform(like.detach() if like.requires_grad else like, self.key, self.stream, draw)
