"""Classes that cannot be activations: more than one input, or outputs that each depend on several elements."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tieless.forwards import Forward


def not_one_of_each(native: Forward, forward: Callable[..., Any]) -> str | None:
    """Reason why a module is no activation, from the signature of its ``forward`` and a few numbers; ``None`` in doubt.

    Args:
        native: Function that the module computes.
        forward: The ``forward`` of its class.
    """
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) > 1:
        return f"its forward takes {' and '.join(needed)}, and an activation has one input"
    z = torch.tensor([[-1.7, 0.3, 2.1], [0.6, -0.4, 1.2]], device="cpu")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            whole, again = native.value(z.clone()), native.value(z.clone())
            alone = [native.value(one.clone().view(1, 1)) for one in z.flatten()]
        except Exception:  # noqa: BLE001  it needs other numbers, and fails in as many ways as code can be written
            return None
    if not isinstance(whole, Tensor) or whole.shape != z.shape:  # pyright: ignore[reportUnnecessaryIsInstance]
        return "its output has not the shape of its input, as that of an activation has"
    if not torch.equal(whole, again):
        return None  # it draws
    if not all(one.shape == (1, 1) for one in alone) or not torch.allclose(
        whole, torch.cat(alone).view(2, 3), 1e-3, 1e-5
    ):
        return "its outputs follow from other elements too, and not each from one, as those of an activation do"
    return None
