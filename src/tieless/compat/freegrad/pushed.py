"""Forward-mode derivative of a rule: its effect on a tangent.

A rule that is linear in the feedback is the transpose of a Jacobian, so the transposed rule is what goes forward. A
slope multiplies each element, so it is its own transpose; a function of the user's is transposed by PyTorch.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from tieless import ops
from tieless.compat.freegrad.underneath import Written, seeded
from tieless.errors import TransformError
from tieless.functional import Pair, Part
from tieless.kernels.layout import memory_order, same_layout
from tieless.rules import Centralize, Drop, FullJam, PositiveJam, Random, RectangularJam, Rule, Scale
from tieless.slopes import Codes, Need, Window

__all__ = ["pushed"]


def pushed(pair: Pair, tangent: Tensor, z: Tensor, y: Tensor) -> Tensor:
    """Tangent of ``y``: that of ``z`` through the transpose of each rule, the last one first.

    Raises:
        TransformError: a rule is not linear in the feedback, so it is not the transpose of a Jacobian.
    """
    key = ops.draw_key_now(z) if pair.draws else 0
    order = memory_order(z)
    for stream, part in reversed(list(enumerate(pair.parts))):
        need = part.rule.needs(pair.forward)
        lying = same_layout(tangent, order)
        tangent = _transposed(part, lying, _kept(need, z, y), Random(key, stream) if part.draws else None)
    return tangent


def _kept(need: Need, z: Tensor, y: Tensor) -> Tensor | None:
    if isinstance(need, (Window, Codes)):
        return need.pack(z)
    return None if need is None else z if need == "input" else y


def _transposed(part: Part, tangent: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
    rule = part.rule
    if part.slope is not None:
        return part.slope.send(tangent, kept)
    if isinstance(rule, Written):
        return _transposed_function(rule, tangent, kept, random)
    if not _is_its_own_transpose(rule):
        raise TransformError(
            f"jvp asks for a Jacobian, and the rule {rule} is not linear in the feedback, so it has none. Use vjp."
        )
    return rule.feedback(tangent, kept, random)


def _is_its_own_transpose(rule: Rule) -> bool:
    if isinstance(rule, FullJam):
        return rule.replace == "slope"
    if isinstance(rule, (PositiveJam, RectangularJam)):
        return rule.replace == "slope" and rule.gate == "preactivation"
    return isinstance(rule, (Scale, Centralize, Drop))


def _transposed_function(rule: Written, tangent: Tensor, z: Tensor | None, random: Random | None) -> Tensor:
    """Gradient of ``<rule(g), tangent>`` by ``g``."""
    drawing = nullcontext() if random is None else seeded(int(random.key), random.stream, tangent.device)
    with torch.enable_grad(), drawing:
        feedback = torch.zeros_like(tangent).requires_grad_()
        return torch.autograd.grad(rule.sent(feedback, z), feedback, tangent)[0]
