"""Rule under test, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tieless.forwards import Forward
from tieless.functional import Pair, untie
from tieless.rules import Random, Rule

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def points(count: int = 96) -> Tensor:
    """Points at which rules are tested, in float64: densely around 0, thinly to 8 on both sides, no two alike."""
    line = torch.linspace(-1, 1, count, dtype=torch.float64)
    # An odd shift keeps whole numbers and halves, where rules have their edges, out of it.
    return (2 * line + 6 * line**3 + 1e-3 * torch.cos(37 * line)).view(4, -1)


@dataclass(frozen=True, slots=True)
class Subject:
    """Rule with a forward.

    Args:
        rule, forward: Rule and forward.
        antiderivative: Function whose derivative the slope should be, if one is known.
        elementwise: True if each element of ``z`` should determine its own slope alone; ``None`` for "if it is a
            slope".
    """

    rule: Rule
    forward: Forward
    antiderivative: Callable[[Tensor], Tensor | None]
    elementwise: bool | None

    @property
    def draws(self) -> bool:
        """True if the rule or the forward draws random numbers."""
        return any(part.draws for part in self.rule.parts())

    @property
    def slope(self) -> bool:
        """True if the rule multiplies the feedback (the incoming gradient) by a slope of its own."""
        return all(part.slope(self.forward) is not None for part in self.rule.parts())

    @property
    def is_elementwise(self) -> bool:
        """True if the rule has to be elementwise."""
        return self.slope if self.elementwise is None else self.elementwise

    def untie(self, z: Tensor) -> Tensor:
        return untie(z, self.forward, self.rule)

    def sent(self, z: Tensor, feedback: Tensor | None = None, seed: int = 7) -> Tensor:
        """Gradient sent to ``z``, before a leaf changes its layout."""
        seen: list[Tensor] = []
        leaf = z.detach().requires_grad_()
        inner = leaf.view_as(leaf)
        inner.register_hook(seen.append)
        torch.manual_seed(seed)
        y = self.untie(inner)
        y.backward(torch.ones_like(y) if feedback is None else feedback)
        return seen[0]

    def steps(self, z: Tensor, feedback: Tensor) -> list[Tensor]:
        """Gradients sent by each rule of a chain, called as ``untie`` calls it, but without corrections in between."""
        pair = Pair(self.forward, self.rule)
        results: list[Tensor] = []
        for stream, part in enumerate(pair.parts):
            need = part.rule.needs(self.forward)
            kept = z if need == "input" else self.forward.value(z) if need == "output" else None
            if need is not None and not isinstance(need, str):
                kept = need.pack(z)
            if part.slope is not None:
                feedback = part.slope.send(feedback, kept)
            else:
                feedback = part.rule.feedback(feedback, kept, Random(11, stream) if part.draws else None)
            results.append(feedback)
        return results
