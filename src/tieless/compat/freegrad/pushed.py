"""Forward-mode derivative of a rule: its effect on a tangent.

A rule that is linear in the feedback is the transpose of a Jacobian, so the transposed rule is what goes forward. A
slope multiplies each element, so it is its own transpose; any other rule is transposed by PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tieless import ops
from tieless.compat.freegrad.underneath import Written
from tieless.errors import TransformError
from tieless.functional import Pair, Part
from tieless.kernels.layout import memory_order, same_layout
from tieless.rules import Random
from tieless.slopes import Codes, Need, Window


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
    """Gradient of ``<rule(g), tangent>`` by ``g``, at ``g = 0``, where a linear rule sends 0."""
    rule = part.rule
    if part.slope is not None:
        return part.slope.send(tangent, kept)
    if part.constant and rule.linear:  # a jam: a random slope
        return rule.feedback(tangent, kept, random)
    written = isinstance(rule, Written)
    with torch.enable_grad():
        feedback = torch.zeros_like(tangent).requires_grad_()
        sent = rule.feedback(feedback, kept, random) if written or rule.linear else None
    if sent is None or (not written and bool(sent.any())):
        raise TransformError(
            f"jvp asks for a Jacobian, and the rule {rule} is not linear in the feedback, so it has none. Use vjp."
        )
    return torch.autograd.grad(sent, feedback, tangent)[0]
