"""Training by directions alone: no norm of any incoming gradient (feedback) reaches a weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from tieless.errors import RuleTypeError, RuleValueError
from tieless.optim.grouped import Grouped, Parameters
from tieless.optim.orthogonal import orthogonalised, unit


class DirectionFirst(Grouped):
    """Optimiser with updates of one norm in every layer, in the direction of the gradient with equal singular values.

    A weight of two or more dimensions is a matrix of ``m`` outputs and ``n`` inputs, kernels of a convolution
    flattened. With ``g`` its gradient and ``a`` an average that starts at 0::

        a = momentum a + (1 - momentum) g / |g|
        u = momentum a + (1 - momentum) g / |g|
        w = w - lr sqrt(max(1, m / n)) orthogonal(u)

    ``orthogonal`` keeps the singular vectors and makes the singular values 1, or nearly: from 0.68 to 1.20 for those
    above a five-hundredth of the norm. A parameter of fewer dimensions, such as a bias of ``n`` numbers, takes ``lr
    sqrt(n) u``: an update of the root mean square ``lr`` where its gradients agree, and less where they do not. A
    gradient of 0 leaves only the average of the past; a parameter without a gradient stays. Elements of ``a`` and ``u``
    below the fourth root of the dtype's smallest normal number, 3.3e-10 in float32, count as 0: the average of a unit
    that is off would fade to denormal numbers, which slow a CPU down, and products of it sooner. ``a`` is float32 for
    weights of half types, also when a state is loaded.

    So no positive factor that a rule, a loss or the depth puts on the gradient of a parameter, at any step, changes
    anything, and an update changes no weight by more than ``1.20 lr sqrt(max(1, m / n))`` in the spectral norm,
    whatever the incoming gradient.

    Args:
        params: Parameters, or groups of them with their own ``lr`` and ``momentum``.
        lr: Size of an update, above 0. Give it a schedule that takes it to 0, for updates do not shrink by themselves.
        momentum: Weight of the past gradients, from 0 to below 1.
    Raises:
        RuleTypeError, RuleValueError: an argument is wrong, or a gradient is sparse or complex.
    Source:
        Jordan et al. 2024, "Muon", https://kellerjordan.github.io/posts/muon, as in ``torch.optim.Muon``, which differs
        in its arithmetic (bfloat16), in taking matrices alone, and in the average: there it is of ``g``, not of ``g /
        |g|``.
    Example:
        >>> from tieless.optim import DirectionFirst
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), tl.Activation("logistic", "full_jam >> gated"))
        >>> optimiser = DirectionFirst(net.parameters())
        >>> before = net[0].weight.detach().clone()
        >>> net(torch.rand(4, 3)).square().sum().mul(1e-20).backward(); optimiser.step()
        >>> bool(0.01 < torch.linalg.matrix_norm(net[0].weight - before, 2) < 0.03)
        True
    """

    def __init__(self, params: Parameters, lr: float = 0.02, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def _check(self, group: Mapping[str, Any]) -> None:
        if not (0 < group["lr"] < math.inf and 0 <= group["momentum"] < 1):
            given = f"lr={group['lr']!r}, momentum={group['momentum']!r}"
            raise RuleValueError(f"DirectionFirst needs a finite lr > 0 and a momentum from 0 to below 1, got {given}.")

    def _update(self, group: Mapping[str, Any]) -> None:
        matrices: dict[object, list[tuple[Tensor, Tensor]]] = {}
        for weight in cast("list[Tensor]", group["params"]):
            if weight.grad is None or weight.numel() == 0:
                continue
            sought = self._sought(weight, weight.grad, group["momentum"])
            if sought.dim() > 1:
                # Weights of one shape go through the iteration together, which saves a deep network most calls.
                matrices.setdefault((sought.shape, sought.dtype, sought.device), []).append((weight, sought))
            else:
                _move(weight, sought * math.sqrt(sought.numel()), group["lr"])
        for same in matrices.values():
            outputs, inputs = same[0][1].shape
            size = math.sqrt(max(1.0, outputs / inputs))
            directions = orthogonalised(torch.stack([sought for _, sought in same])) * size
            for (weight, _), direction in zip(same, directions, strict=True):
                _move(weight, direction, group["lr"])

    def _sought(self, weight: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """Direction of a weight's update, as a matrix or a vector: the newest direction and the past ones."""
        if gradient.is_sparse or gradient.is_complex():
            raise RuleTypeError("DirectionFirst has no sparse and no complex gradients; use dense, real ones.")
        new = unit(_wide(gradient))
        average = self._average(weight)
        average.copy_(_joined(average, new, momentum).view(weight.shape))
        return _joined(average, new, momentum)


def _wide(value: Tensor) -> Tensor:
    """Matrix with a row for each output, or a vector; half types as float32, the dtype of the arithmetic."""
    flat = value.flatten(1) if value.dim() > 1 else value.flatten()
    return flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat


def _joined(past: Tensor, new: Tensor, momentum: float) -> Tensor:
    """Average of the past and the newest direction, without the elements that ``DirectionFirst`` counts as 0."""
    joined = _wide(past) * momentum + new * (1 - momentum)
    return torch.nn.functional.hardshrink(joined, torch.finfo(joined.dtype).tiny ** 0.25)


def _move(weight: Tensor, direction: Tensor, rate: float) -> None:
    weight.sub_((direction * rate).view(weight.shape).to(weight.dtype))
